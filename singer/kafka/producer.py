"""The columnar producer: whole batches to librdkafka, whole produce requests back.

Owns what is under way on one cluster: sendings, lanes, and the second, slow handle through which
records go one per request when a broker refused a request without saying which record it meant.
Loop thread only.

Payloads are borrowed: librdkafka reads them from the batch's buffer, which the sending keeps
alive until the last row is reported. Keys are copied by librdkafka.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Bytes, Int32s, Int64s, RecordBatch
from singer.base.errors import (
    ClusterError,
    DeliveryError,
    FatalProducerError,
    InvariantError,
    Kind,
    RefusedError,
    SingerError,
)
from singer.base.ports import Receipt, Route
from singer.kafka import errors, headed
from singer.kafka import librdkafka as rd
from singer.kafka.connections import ConnectionMeter, Connections
from singer.kafka.delivery import Lane, Sending
from singer.kafka.error_table import ErrorClass
from singer.kafka.handle import Handle
from singer.kafka.properties import QUARANTINE
from singer.kafka.traffic import RetryMeter, Traffic, TrafficMeter

#: A record's `_private` holds the number of its lane above this many bits of serial. 2**44
#: records on one partition are petabytes; a million lanes are more than a cluster has.
_SERIAL_BITS: Final = 44
_SERIAL_MASK: Final = (1 << _SERIAL_BITS) - 1

#: Rows the message array holds at first: a window of 1 MiB of 150-byte lines.
_FIRST_ROWS: Final = 8192

#: How long `drain` looks at one handle before it looks at the other.
_DRAIN_SLICE_SECONDS: Final = 0.2

#: How long the reports of a broken handle may take before what it holds is purged.
_SETTLE_SECONDS: Final = 10.0

_NOTHING: Final = np.zeros(1, np.uint8)


class Owner(Protocol):
    """Hears what a producer learns about its cluster; called on the loop."""

    def alive(self) -> None:
        """Something was acknowledged."""
        ...

    def trouble(self, code: int, reason: str) -> None:
        """The client has a problem that it deals with itself."""
        ...

    def topic_failed(self, topic: str, code: int) -> None:
        """Rows of this topic failed with an error of class TOPIC."""
        ...

    def refused(self, topic: str, records: int, code: int) -> None:
        """A request was refused; these records are sent again, alone."""
        ...

    def met(self, kind: Kind) -> None:
        """An error that is dealt with here: records are sent again, or refused for good."""
        ...

    def remedied(self, topic: str, troubles: Counter[Kind]) -> None:
        """What was sent again because of such errors has arrived."""
        ...

    def broken(self, code: int, reason: str) -> None:
        """The producer can no longer be used."""
        ...

    def logged(self, level: int, facility: str, text: str) -> None:
        """A line of librdkafka's log."""
        ...

    def token_wanted(self, handle: Handle) -> None:
        """A handle needs a token for SASL OAUTHBEARER."""
        ...

    def measured(self, traffic: Traffic) -> None:
        """What was sent of a topic since the last time."""
        ...

    def retried(self, records: int) -> None:
        """So many records more were sent again by librdkafka itself."""
        ...

    def connected(self, connections: Connections) -> None:
        """How many connections stand, and what became of others since the last time."""
        ...


class ColumnarProducer:
    """Sends batches; every receipt is settled exactly once."""

    def __init__(
        self,
        settings: Mapping[str, str],
        owner: Owner,
        *,
        isolates: bool = True,
        codecs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`isolates`: records of a refused request go one by one; else their batch fails with a
        RefusedError. `codecs` are, by topic, those that are not the settings'; more may come.
        Raises InputError where librdkafka does not take the settings.
        """
        self._isolates = isolates
        self.codecs = codecs
        self._settings = settings
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._live: set[Sending] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._main = _Channel(settings, self, self._loop)
        self._quarantine: _Channel | None = None
        self._fatal: tuple[int, str] | None = None
        self._closed = False
        #: `loop.time()` of the last acknowledgement, or of the first batch after all was settled.
        self.progress = self._loop.time()

    @property
    def outstanding(self) -> int:
        """Batches under way."""
        return len(self._live)

    @property
    def handle(self) -> Handle:
        """The handle, for questions about the cluster."""
        return self._main.handle

    @property
    def fatal(self) -> tuple[int, str] | None:
        """The code and reason that broke it, if it is broken."""
        return self._fatal

    def produce(
        self, topic: str, route: Route, batch: RecordBatch, receipt: Receipt | None = None
    ) -> Receipt:
        """Hand a batch over. `route` is one partition, or int32[n], one per row.

        `receipt` is one that was given out before there was a producer to settle it. Never
        raises for what the cluster may answer; see `base.ports.Receipt`.
        """
        if receipt is None:
            receipt = self._loop.create_future()
        if self._fatal is not None or self._closed:
            code, reason = self._fatal or (errors.FATAL, "the producer is closed")
            receipt.set_exception(
                FatalProducerError(f"produce to {topic}: {reason} ({code})", code=errors.name(code))
            )
            return receipt
        sending = Sending(topic, batch, receipt, self._finished)
        if not self._live:
            self.progress = self._loop.time()
            self._idle.clear()
        self._live.add(sending)
        if len(batch) == 0:
            sending.settle_empty()
        else:
            self._main.submit(sending, None, route)
        return receipt

    def too_large(self, batch: RecordBatch) -> Int64s:
        """The rows that librdkafka does not take."""
        return np.flatnonzero(_sizes(batch) > self.handle.max_record_bytes)

    async def drain(self, deadline_seconds: float) -> bool:
        """Send what lingers and wait for all reports; whether nothing is under way any more."""
        ends = self._loop.time() + deadline_seconds
        while self._live:
            left = ends - self._loop.time()
            if left <= 0:
                return False
            # In slices, because rows may wander from the main handle to the quarantine.
            slice_seconds = min(left, _DRAIN_SLICE_SECONDS)
            with contextlib.suppress(DeliveryError):  # no thread to flush in: linger ends too
                for channel in self._channels():
                    await channel.handle.flush(slice_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(slice_seconds):
                    await self._idle.wait()
        return True

    def add_brokers(self, addresses: str) -> None:
        """Make more brokers of this cluster known, `host:port` with commas between."""
        for channel in self._channels():
            channel.handle.add_brokers(addresses)

    def retire(self, reason: str) -> None:
        """Take no more batches, as if it were broken: its owner is going to replace it."""
        self._fatal = self._fatal or (errors.FATAL, reason)

    async def settle(self, patience_seconds: float = _SETTLE_SECONDS) -> bool:
        """Let what is under way come to its end, then push it there; whether it came by itself."""
        for pushed, seconds in enumerate((patience_seconds, _SETTLE_SECONDS)):
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 it can swallow that we are cancelled.
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
                return not pushed
            for channel in self._channels():
                channel.handle.purge()
        return False

    async def close(self, deadline_seconds: float) -> bool:
        """End it; whether librdkafka ended in time.

        Receipts under way never complete; those of a broken producer fail, because its
        successor is to send their batches.
        """
        self._closed = True
        keep = tuple(sending.batch for sending in self._live)
        closing = [channel.handle.close(deadline_seconds, keep) for channel in self._channels()]
        done = await asyncio.gather(*closing)
        if self._fatal is not None:
            for sending in self._live:
                if not sending.receipt.done():
                    reason = f"produce to {sending.topic}: {self._fatal[1]}"
                    name = errors.name(self._fatal[0])
                    sending.receipt.set_exception(FatalProducerError(reason, code=name))
        self._live.clear()
        self._idle.set()
        return all(done)

    def _channels(self) -> list[_Channel]:
        return [self._main] if self._quarantine is None else [self._main, self._quarantine]

    # --- called by the channels -------------------------------------------------------------

    def acknowledged(self) -> None:
        """Something arrived."""
        self.progress = self._loop.time()
        self._owner.alive()

    def failed(self, channel: _Channel, lane: Lane, sending: Sending, rows: Int64s, codes: Int32s,
               *, named: bool) -> None:  # fmt: skip
        """Rows of one lane did not arrive: decide what becomes of them.

        `named`: the broker said which records of the request it means. It always does so for
        INVALID_RECORD, but librdkafka (2.16) passes that on only when there are at least two:
        else it calls all records of the request invalid. So without an innocent among them,
        nobody's guilt is proven.
        """
        fatal = channel.handle.fatal()
        if fatal is not None:  # reports of its consequences may come before the event itself
            self.broken(*fatal)
        if not self._isolates and self._fatal is None:
            refused = np.isin(codes, errors.RECORD_CODES)
            guilty = refused & (codes != errors.INVALID_DIFFERENT_RECORD)
            if guilty.any():
                self._refuse(sending, rows, rows[guilty], int(codes[guilty][0]), named=named)
                return
        for code in np.unique(codes).tolist():
            these = rows[codes == code]
            error_class = errors.classify(code)
            if self._fatal is not None or error_class is not ErrorClass.RECORD:
                self._give_up(sending, these, code, error_class)
            elif not self._isolates:
                self._give_up(sending, these, code, ErrorClass.CONNECTION)
            elif code == errors.INVALID_DIFFERENT_RECORD and named:
                # Innocent: once more, the usual way. They keep their order among themselves.
                sending.sent_again(errors.kind(errors.INVALID_RECORD))
                channel.submit(sending, these, lane.partition)
            elif channel is self._quarantine or named:
                self._owner.met(errors.kind(code))
                sending.reject(these, errors.describe(code))
            else:
                self._owner.met(errors.kind(code))
                self._owner.refused(lane.topic, len(these), code)
                sending.sent_again(errors.kind(code))
                self._alone(sending, these, lane.partition)

    def reject(self, sending: Sending, rows: Int64s, code: int) -> None:
        """These rows cannot be sent at all."""
        sending.reject(rows, errors.describe(code))

    def trouble(self, code: int, reason: str) -> None:
        """See Owner."""
        self._owner.trouble(code, reason)

    def logged(self, level: int, facility: str, text: str) -> None:
        """See Owner."""
        self._owner.logged(level, facility, text)

    def token_wanted(self, handle: Handle) -> None:
        """See Owner."""
        self._owner.token_wanted(handle)

    def measured(self, traffic: Traffic) -> None:
        """See Owner."""
        self._owner.measured(traffic)

    def retried(self, records: int) -> None:
        """See Owner."""
        self._owner.retried(records)

    def connected(self, connections: Connections) -> None:
        """See Owner."""
        self._owner.connected(connections)

    def broken(self, code: int, reason: str) -> None:
        """A handle is broken, and with it the producer; what is under way settles as failed."""
        if self._fatal is None and not self._closed:
            self._fatal = (code, reason)
            self._owner.broken(code, reason)

    # --- inside -----------------------------------------------------------------------------

    def _give_up(self, sending: Sending, rows: Int64s, code: int, error_class: ErrorClass) -> None:
        if error_class is ErrorClass.FATAL:
            self.broken(code, errors.describe(code))
        if self._fatal is not None:  # the purge of its queue is a consequence, not the cause
            reason = f"produce to {sending.topic}: {self._fatal[1]}"
            name = errors.name(self._fatal[0])
            sending.fail(
                rows, lambda settled: FatalProducerError(reason, settled=settled, code=name)
            )
            return
        step = f"produce to {sending.topic}"
        sending.fail(rows, lambda settled: errors.failure(step, code, settled=settled))
        if error_class is ErrorClass.TOPIC:
            self._owner.topic_failed(sending.topic, code)

    @staticmethod
    def _refuse(sending: Sending, rows: Int64s, guilty: Int64s, code: int, *, named: bool) -> None:
        """Fail rows because of some of them, or (not `named`) of one beside these."""
        error = RefusedError(
            f"produce to {sending.topic}: {errors.describe(code)}{errors.advise(code)}",
            rows=tuple(guilty.tolist()),
            proven=named,
            code=errors.name(code),
        )
        sending.fail(rows, lambda _: error)

    def _alone(self, sending: Sending, rows: Int64s, partition: int) -> None:
        """Send rows one per request.

        Through the second handle, and all of them, innocents too: each is asked about once, in
        order among themselves, and the main handle's large requests go on meanwhile.
        """
        if self._quarantine is None:
            try:
                self._quarantine = _Channel({**self._settings, **QUARANTINE}, self, self._loop)
            except SingerError as error:  # such as a certificate that is just being renewed
                reason = f"produce to {sending.topic}: {error}"
                sending.fail(rows, lambda settled: ClusterError(reason, settled=settled))
                return
        self._quarantine.submit(sending, rows, partition)

    def _finished(self, sending: Sending) -> None:
        self._live.discard(sending)
        if sending.troubles and sending.arrived:
            self._owner.remedied(sending.topic, sending.troubles)
        if not self._live:
            self._idle.set()


class _Channel:
    """A handle with its lanes and the message array it is fed from."""

    def __init__(
        self,
        settings: Mapping[str, str],
        producer: ColumnarProducer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._producer = producer
        self._lanes: list[Lane] = []
        self._by_partition: dict[tuple[str, int], Lane] = {}
        self._meter = TrafficMeter()
        self._retries = RetryMeter()
        self._connections = ConnectionMeter()
        self._make_room(_FIRST_ROWS)
        self.handle = Handle(settings, self, loop, producer.codecs)

    # --- records in -------------------------------------------------------------------------

    def submit(self, sending: Sending, rows: Int64s | None, route: Route) -> None:
        """Hand rows (None: all) of a sending's batch over, in order per partition.

        `route` is the partition, or one for each row of the *whole* batch.
        """
        batch = sending.batch
        rows = self._fitting(sending, rows)
        if rows is not None and len(rows) == 0:
            return
        if isinstance(route, np.ndarray):
            chosen = route if rows is None else route[rows]
            order = np.argsort(chosen, kind="stable")
            chosen = chosen[order]
            cuts = np.flatnonzero(chosen[1:] != chosen[:-1]) + 1
            if len(cuts):  # otherwise all rows go the same way, and already lie in order
                rows = order if rows is None else rows[order]
            bounds = [0, *cuts.tolist(), len(chosen)]
            partitions = chosen[bounds[:-1]].tolist()
        else:
            bounds = [0, len(batch) if rows is None else len(rows)]
            partitions = [int(route)]
        self._fill(batch, rows, bounds[-1])
        for index, partition in enumerate(partitions):
            low, high = bounds[index], bounds[index + 1]
            lane = self._lane(sending.topic, partition)
            part = None if rows is None else rows[low:high]
            code = self._hand_over(sending, lane, part, low, high)
            if code and errors.classify(code) is not ErrorClass.RECORD:
                # What comes behind would be delivered, and then again with the whole batch.
                left = np.arange(high, bounds[-1]) if rows is None else rows[high:]
                self._not_taken(sending, lane, left, code)
                return

    def _fitting(self, sending: Sending, rows: Int64s | None) -> Int64s | None:
        """The rows that librdkafka will take; larger ones are rejected here.

        Asked beforehand, so that a call takes all rows and their serials have no holes.
        """
        batch, limit = sending.batch, self.handle.max_record_bytes
        sizes = _sizes(batch)
        if rows is not None:
            sizes = sizes[rows]
        if int(sizes.max(initial=0)) <= limit:
            return rows
        fits = sizes <= limit
        every = np.arange(len(batch)) if rows is None else rows
        self._producer.reject(sending, every[~fits], errors.MSG_SIZE_TOO_LARGE)
        return every[fits]

    def _fill(self, batch: RecordBatch, rows: Int64s | None, count: int) -> None:
        """Write `count` message structs; librdkafka copies them."""
        if count > len(self._messages):
            self._make_room(count)
        starts, lengths = batch.starts, batch.lengths
        if rows is not None:
            starts, lengths = starts[rows], lengths[rows]
        np.add(starts, _address(batch.buffer), out=self._payload[:count])
        self._len[:count] = lengths
        keys = batch.keys
        if keys is not None:
            key_starts, key_lengths = keys.starts, keys.lengths
            if rows is not None:
                key_starts, key_lengths = key_starts[rows], key_lengths[rows]
            base = _address(keys.buffer)
            self._key[:count] = np.where(key_lengths < 0, 0, key_starts + base)
            self._key_len[:count] = np.maximum(key_lengths, 0)
            self._keyed = True
        elif self._keyed:
            self._key[:] = 0
            self._key_len[:] = 0
            self._keyed = False

    def _hand_over(
        self, sending: Sending, lane: Lane, rows: Int64s | None, low: int, high: int
    ) -> int:
        """One call for messages [low, high) of the array, or one for each with headers; the first
        code when some were not taken, else 0.
        """
        count = high - low
        first = (lane.number << _SERIAL_BITS) | lane.next
        np.add(self._counting[:count], first, out=self._private[low:high])
        topic, headers = self.handle.topic(lane.topic), sending.batch.headers
        if headers:
            codes = headed.produce(
                self.handle.pointer,
                topic,
                lane.partition,
                self._messages[low:high],
                headers=headers,
                rows=np.arange(low, high) if rows is None else rows,
            )
            taken = int((codes == 0).sum())
        else:
            taken = rd.produce_batch(
                topic,
                lane.partition,
                0,  # neither copy nor free: borrowed
                self._messages_address + low * rd.MESSAGE.itemsize,
                count,
            )
        if taken == count:
            lane.push(sending, count, rows, None)
            return 0
        if not headers:
            codes = self._messages["err"][low:high].copy()
        every = np.arange(low, high) if rows is None else rows
        bad = codes != 0
        if taken > 0:
            lane.push(sending, count, every, ~bad)
        for code in np.unique(codes[bad]).tolist():
            self._not_taken(sending, lane, every[codes == code], code)
        return int(codes[bad][0])

    def _not_taken(self, sending: Sending, lane: Lane, rows: Int64s, code: int) -> None:
        if len(rows):
            codes = np.full(len(rows), code, np.int32)
            self._producer.failed(self, lane, sending, rows, codes, named=False)

    def _lane(self, topic: str, partition: int) -> Lane:
        lane = self._by_partition.get((topic, partition))
        if lane is None:
            lane = Lane(len(self._lanes), topic, partition)
            self._lanes.append(lane)
            self._by_partition[topic, partition] = lane
        return lane

    def _make_room(self, rows: int) -> None:
        self._messages: NDArray[np.void] = np.zeros(rows, rd.MESSAGE)
        self._messages_address = _address(self._messages)
        self._payload: Int64s = self._messages["payload"]
        self._len: Int64s = self._messages["len"]
        self._key: Int64s = self._messages["key"]
        self._key_len: Int64s = self._messages["key_len"]
        self._private: Int64s = self._messages["private"]
        self._counting = np.arange(rows, dtype=np.int64)
        self._keyed = False

    # --- reports back (Listener) ------------------------------------------------------------

    def delivered(self, event: int) -> None:
        """A delivery event: in O(1) where it is what was expected, else message by message."""
        count = rd.event_message_count(event)
        first = rd.event_message_next(event)
        if not first:
            return
        private = ctypes.c_uint64.from_address(first + rd.MESSAGE_PRIVATE_OFFSET).value
        code = ctypes.c_int.from_address(first).value
        lane = self._lanes[private >> _SERIAL_BITS]
        if code == 0 and lane.is_next(private & _SERIAL_MASK):
            offset = ctypes.c_int64.from_address(first + rd.MESSAGE_OFFSET_OFFSET).value
            lane.acknowledge(count, max(-1, offset))
            self._producer.acknowledged()
        else:
            self._walk(event, first, count)

    def _walk(self, event: int, first: int, count: int) -> None:
        pointers = (ctypes.c_void_p * count)()
        pointers[0] = first
        rest = ctypes.cast(ctypes.byref(pointers, 8), ctypes.POINTER(ctypes.c_void_p))
        count = 1 + rd.event_message_array(event, rest, count - 1)
        messages = [rd.Message.from_address(pointers[i] or 0) for i in range(count)]
        privates = np.array([message.private for message in messages], np.int64)
        codes = np.array([message.err for message in messages], np.int32)
        offsets = np.array([message.offset for message in messages], np.int64)
        named = bool((codes == errors.INVALID_DIFFERENT_RECORD).any())
        numbers = privates >> _SERIAL_BITS
        arrived = False
        for number in np.unique(numbers).tolist():
            these = numbers == number
            lane = self._lanes[number]
            failures = lane.walk(privates[these] & _SERIAL_MASK, codes[these], offsets[these])
            for failure in failures:
                self._producer.failed(
                    self, lane, failure.sending, failure.rows, failure.codes, named=named
                )
            arrived = arrived or bool((codes[these] == 0).any())
        if arrived:
            self._producer.acknowledged()

    def failed(self, code: int, reason: str) -> None:
        """See Listener."""
        self._producer.trouble(code, reason)

    def broken(self, code: int, reason: str) -> None:
        """See Listener."""
        self._producer.broken(code, reason)

    def logged(self, level: int, facility: str, text: str) -> None:
        """See Listener."""
        self._producer.logged(level, facility, text)

    def token_wanted(self, handle: Handle) -> None:
        """See Listener."""
        self._producer.token_wanted(handle)

    def measured(self, statistics: bytes) -> None:
        """See Listener."""
        for traffic in self._meter.read(statistics):
            self._producer.measured(traffic)
        self._producer.connected(self._connections.read(statistics))
        retried = self._retries.read(statistics, sum(lane.next for lane in self._lanes))
        if retried:
            self._producer.retried(retried)


def _sizes(batch: RecordBatch) -> Int32s:
    """int32[n]: bytes of each record, key and value."""
    keys = batch.keys
    return batch.lengths if keys is None else batch.lengths + np.maximum(keys.lengths, 0)


def _address(array: Bytes | NDArray[np.void]) -> int:
    """Where an array's bytes are; never 0, because a NULL payload is a tombstone, not an empty
    value.
    """
    if not array.flags.c_contiguous:
        raise InvariantError("produce: the buffer of a batch is not contiguous")
    address: int = array.__array_interface__["data"][0]
    return address or _NOTHING.__array_interface__["data"][0]
