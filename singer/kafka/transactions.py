"""Transactions: records and the positions behind them, committed together or not at all.

One for each (agent, cluster). Batches of all destinations go into the transaction that is open, or
wait for the next one; a receipt is done once the transaction is committed. When one fails, all that
was in it failed: its senders go back and send it again, and only whose batch was to blame is told
so. Loop thread only; what blocks in librdkafka runs in threads.

A life begins with `init_transactions`, which fences whoever had this id before and ends what they
left open; only then is read what they committed. A commit of which nobody heard is decided by a
record that each transaction carries its own name in.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from singer.base.backoff import Backoff
from singer.base.batch import RecordBatch, batch_of_pairs
from singer.base.errors import ClusterError, DeliveryError, RefusedError, WorldError
from singer.base.events import Emit, InternalError
from singer.base.ports import PositionKeeper, Progress, Receipt, Route, Settlement
from singer.kafka import errors
from singer.kafka import librdkafka as rd
from singer.kafka.committed import PositionsTopic
from singer.kafka.events import TransactionAborted, TransactionCommitted, TransactionsWait
from singer.kafka.handle import Trouble
from singer.kafka.producer import ColumnarProducer
from singer.kafka.threads import in_thread
from singer.kafka.topologies import ASK_SECONDS

#: A transaction of this much memory ends before its time, or one of less to which nothing is added
#: for so long, although all of it has arrived: senders are out of memory until it does.
_LARGE_BYTES: Final = 12 << 20
_STALLED_BYTES: Final = 1 << 20
_STALLED_SECONDS: Final = 0.02

#: How long one call to librdkafka may block; it is made again.
_CALL_MS: Final = 5000

#: Between two attempts to begin.
_BACKOFF_SECONDS: Final = (0.2, 30.0)

#: After a refusal that leaves open which record was meant, so many transactions hold one batch.
_ALONE: Final = 64

#: How often the place is kept from which positions would be read at the next start.
_REMEMBER_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Sent:
    """A batch and who waits for it. Without `progress` no position is behind it."""

    topic: str
    route: Route
    batch: RecordBatch
    progress: Progress | None
    receipt: Receipt

    @property
    def broken(self) -> bool:
        """Whether something failed that stands before it."""
        return self.progress is not None and self.progress.course.broken

    def succeed(self, settlement: Settlement) -> None:
        if not self.receipt.done():
            self.receipt.set_result(settlement)

    def fail(self, error: DeliveryError) -> None:
        if self.progress is not None:
            self.progress.course.broken = True
        if not self.receipt.done():
            self.receipt.set_exception(error)


@dataclass(slots=True, eq=False, kw_only=True)
class _Transaction:
    """What goes together. `failed` as soon as one batch has."""

    name: str
    nbytes: int = 0
    failed: bool = False
    sent: list[tuple[_Sent, Receipt]] = field(default_factory=list)


class _ProducerLostError(Exception):
    """The producer is done for; the cluster makes another one."""


class Transactions:
    """`start` and `close` frame its life; `send` may be called at any time between."""

    def __init__(
        self,
        *,
        cluster: str,
        topic: PositionsTopic,
        keeper: PositionKeeper,
        producer: Callable[[], ColumnarProducer],
        retire: Callable[[str], None],
        commit_every_seconds: float,
        emit: Emit,
    ) -> None:
        """`producer` is the one of now, `retire` has it replaced, with the reason."""
        self._cluster = cluster
        self._topic = topic
        self._keeper = keeper
        self._producer = producer
        self._retire = retire
        self._begun: ColumnarProducer | None = None
        self._commit_every_seconds = commit_every_seconds
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._partition = 0
        self._read_up_to: int | None = None
        self._remember_at = 0.0
        self._held: deque[_Sent] = deque()
        self._open: _Transaction | None = None
        self._doubtful: _Transaction | None = None
        self._alone = 0
        self._hasty = False
        self._stir = asyncio.Event()
        self._usable = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._obstacle = "it is being connected"
        token = os.urandom(8).hex()
        self._names = (f"{token}-{number}" for number in itertools.count(1))
        self._running: asyncio.Task[None] | None = None

    # --- what the cluster uses ------------------------------------------------------------------

    def start(self) -> None:
        """Begin, whether or not the cluster answers; again changes nothing."""
        if self._running is None:
            self._running = self._loop.create_task(self._run())

    async def close(self) -> None:
        """End; what is open is not committed, and its receipts never complete."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def ready(self) -> None:
        """Return once what was committed before is known. Raises ClusterError."""
        if not self._usable.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_SECONDS):
                    await self._usable.wait()
                    return
            raise ClusterError(f"begin transactions on cluster {self._cluster}: {self._obstacle}")

    def send(
        self, topic: str, route: Route, batch: RecordBatch, progress: Progress | None
    ) -> Receipt:
        """Have a batch committed with the progress that it is, if it is any."""
        receipt: Receipt = self._loop.create_future()
        sent = _Sent(topic=topic, route=route, batch=batch, progress=progress, receipt=receipt)
        if sent.broken:
            sent.fail(ClusterError(f"produce to {topic}: what stands before it failed"))
            return receipt
        too_large = self._producer().too_large(batch)
        if len(too_large):
            reason = f"produce to {topic}: {errors.describe(errors.MSG_SIZE_TOO_LARGE)}"
            code = errors.name(errors.MSG_SIZE_TOO_LARGE)
            rows = tuple(too_large.tolist())
            sent.fail(RefusedError(reason, rows=rows, proven=True, code=code))
            return receipt
        self._idle.clear()
        if self._open is not None and not self._alone and not self._open.failed:
            self._hand_over(self._open, sent)
        else:
            self._held.append(sent)
            self._stir.set()
        return receipt

    def hasten(self) -> None:
        """Commit as soon as everything that was sent is there."""
        self._hasty = True
        self._stir.set()

    def renewed(self) -> None:
        """There may be another producer."""
        self._stir.set()

    async def drain(self, deadline_seconds: float) -> bool:
        """Commit all that was sent; whether nothing is under way any more."""
        self.hasten()
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_seconds):
                await self._idle.wait()
        return self._idle.is_set()

    # --- a life ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        backoff = Backoff(*_BACKOFF_SECONDS)
        while True:
            try:
                producer = await self._begin()
                backoff.reset()
                self._obstacle = "the producer is being replaced"
                self._usable.set()
                while True:
                    await self._transact(producer)
            except _ProducerLostError:
                self._usable.clear()
                await self._pause(backoff.next())
            except WorldError as error:
                self._usable.clear()
                delay_seconds = backoff.next()
                self._wait(str(error), delay_seconds)
                await self._pause(delay_seconds)
            except Exception as error:  # noqa: BLE001  # or all its streams would wait for ever
                self._usable.clear()
                self._emit(InternalError.of(f"transact with cluster {self._cluster}", error))
                self._fail_all(ClusterError(f"produce to cluster {self._cluster}: {error}"))
                self._retire("nobody knows what its transaction holds")
                await self._pause(backoff.next())

    async def _begin(self) -> ColumnarProducer:
        """Fence whoever was before, and learn what they, or we, committed."""
        producer = self._producer()
        if producer.fatal is not None:
            raise _ProducerLostError
        self._partition = await in_thread("singer-kafka-positions", self._topic.ensure)
        step = f"begin transactions on cluster {self._cluster}"
        if producer is not self._begun:  # once for each
            trouble = await self._call(producer, step, rd.init_transactions)
            if trouble is not None:
                raise ClusterError(f"{step}: {trouble.text}{errors.advise(trouble.code)}")
            self._begun = producer
        offset = self._read_up_to
        if offset is None:
            offset = await in_thread("singer-kafka-positions", self._keeper.load)
        read = partial(self._topic.read, self._partition, offset)
        found = await in_thread("singer-kafka-positions", read)
        await self._keeper.found(found.values)
        self._read_up_to = found.offset
        await self._keep(found.offset)
        self._remember_at = self._loop.time() + _REMEMBER_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            if found.values.get(self._topic.marker) == doubtful.name.encode():
                self._succeed(doubtful)
            else:
                self._fail(doubtful, "it was not committed")
        self._rest()
        return producer

    def _wait(self, cause: str, retry_seconds: float) -> None:
        if cause != self._obstacle:
            self._emit(
                TransactionsWait(cluster=self._cluster, cause=cause, retry_seconds=retry_seconds)
            )
        self._obstacle = cause

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred()

    async def _stirred(self) -> None:
        self._stir.clear()
        await self._stir.wait()

    # --- a transaction --------------------------------------------------------------------------

    async def _transact(self, producer: ColumnarProducer) -> None:
        """One transaction, once there is something to send. Raises _ProducerLostError."""
        while not self._held:
            if producer.fatal is not None or producer is not self._producer():
                raise _ProducerLostError
            await self._stirred()
        trouble = producer.handle.transact(rd.begin_transaction)
        if trouble is not None:
            if not trouble.fatal and producer.fatal is None:
                self._retire(trouble.text)
            raise _ProducerLostError
        transaction = self._open = _Transaction(name=next(self._names))
        try:
            self._take_held(transaction)
            await self._until_due(producer, transaction)
        finally:
            self._open = None
        if transaction.failed or producer.fatal is not None:
            await self._abort(producer, transaction)
            return
        self._send_positions(producer, transaction)
        step = f"commit transaction on cluster {self._cluster}"
        try:
            trouble = await self._call(producer, step, rd.commit_transaction)
        except ClusterError as error:  # it was closed: did it arrive?
            self._doubtful = transaction
            raise _ProducerLostError from error
        if trouble is None:
            await self._settled(transaction)
            self._succeed(transaction)
            self._rest()
            await self._remember(producer)
        elif trouble.abort:
            await self._abort(producer, transaction, trouble)
        else:
            self._doubtful = transaction
            raise _ProducerLostError

    def _take_held(self, transaction: _Transaction) -> None:
        while self._held:
            sent = self._held.popleft()
            if not sent.broken:
                self._hand_over(transaction, sent)
                if self._alone:
                    return
            elif not sent.receipt.done():
                sent.fail(ClusterError(f"produce to {sent.topic}: what stands before it failed"))

    def _hand_over(self, transaction: _Transaction, sent: _Sent) -> None:
        receipt = self._producer().produce(sent.topic, sent.route, sent.batch)
        transaction.sent.append((sent, receipt))
        before = transaction.nbytes
        transaction.nbytes += sent.batch.cost
        if before < _STALLED_BYTES <= transaction.nbytes or transaction.nbytes >= _LARGE_BYTES:
            self._stir.set()
        receipt.add_done_callback(partial(self._heard, transaction))

    def _heard(self, transaction: _Transaction, receipt: Receipt) -> None:
        if not receipt.cancelled() and receipt.exception() is not None:
            transaction.failed = True
            self._stir.set()

    async def _until_due(self, producer: ColumnarProducer, transaction: _Transaction) -> None:
        """Take more until it is time to commit."""
        due = self._loop.time() + self._commit_every_seconds * random.uniform(0.9, 1.1)  # noqa: S311
        while (
            not transaction.failed
            and producer.fatal is None
            and not self._hasty
            and not self._alone
            and transaction.nbytes < _LARGE_BYTES
            and (left := due - self._loop.time()) > 0
        ):
            if transaction.nbytes < _STALLED_BYTES:
                await self._pause(left)
                continue
            before = transaction.nbytes
            await self._pause(min(left, _STALLED_SECONDS))
            if transaction.nbytes == before and not producer.outstanding:
                break
        self._hasty = False

    def _send_positions(self, producer: ColumnarProducer, transaction: _Transaction) -> None:
        """Where each file is once this is committed, and the transaction's own name."""
        values = dict(
            self._keeper.encode(sent.progress.position)
            for sent, _ in transaction.sent
            if sent.progress is not None
        )
        values[self._topic.marker] = transaction.name.encode()
        receipt = producer.produce(
            self._topic.topic, self._partition, batch_of_pairs(list(values.items()))
        )
        receipt.add_done_callback(partial(self._heard, transaction))

    async def _call(
        self, producer: ColumnarProducer, step: str, function: Callable[..., int | None]
    ) -> Trouble | None:
        """Call until it worked, or for another reason than time did not. Raises ClusterError."""
        while True:
            handle = producer.handle
            trouble = await handle.call(step, partial(handle.transact, function, _CALL_MS))
            if trouble is None or not trouble.retriable:
                return trouble
            self._wait(f"{step}: {trouble.text}", 0.0)

    async def _abort(
        self, producer: ColumnarProducer, transaction: _Transaction, cause: Trouble | None = None
    ) -> None:
        step = f"abort transaction on cluster {self._cluster}"
        lost = True
        if producer.fatal is None:
            with suppress(ClusterError):
                trouble = await self._call(producer, step, rd.abort_transaction)
                lost = trouble is not None
        await self._settled(transaction)
        self._fail(transaction, cause.text if cause else "the producer is replaced")
        self._rest()
        if lost:
            raise _ProducerLostError

    @staticmethod
    async def _settled(transaction: _Transaction) -> None:
        """Nothing of it is under way any more: its buffers may be let go."""
        if transaction.sent:
            await asyncio.wait([receipt for _, receipt in transaction.sent])

    # --- what became of it ----------------------------------------------------------------------

    def _succeed(self, transaction: _Transaction) -> None:
        self._alone = max(0, self._alone - 1)
        for sent, receipt in transaction.sent:
            heard = receipt.done() and not receipt.cancelled() and receipt.exception() is None
            sent.succeed(receipt.result() if heard else Settlement())
        records = sum(len(sent.batch) for sent, _ in transaction.sent)
        self._emit(TransactionCommitted(cluster=self._cluster, records=records))

    def _fail(self, transaction: _Transaction, cause: str) -> None:
        """Tell everybody, and those who are to blame what for."""
        failures = [
            receipt.exception() if receipt.done() else None for _, receipt in transaction.sent
        ]
        blamed = next((str(each) for each in failures if _is_to_blame(each)), cause)
        alone = len(transaction.sent) == 1
        for (sent, _), failure in zip(transaction.sent, failures, strict=True):
            if isinstance(failure, RefusedError):
                proven = failure.proven or (alone and len(sent.batch) == 1)
                if not proven:
                    self._alone = _ALONE
                sent.fail(
                    RefusedError(str(failure), rows=failure.rows, proven=proven, code=failure.code)
                )
            elif isinstance(failure, DeliveryError) and _is_to_blame(failure):
                sent.fail(type(failure)(str(failure), code=failure.code))
            else:
                sent.fail(ClusterError(f"produce to {sent.topic}: transaction aborted: {blamed}"))
        records = sum(len(sent.batch) for sent, _ in transaction.sent)
        self._emit(TransactionAborted(cluster=self._cluster, records=records, cause=blamed))
        self._fail_broken()

    def _fail_broken(self) -> None:
        """What waits behind a batch that failed has failed with it."""
        held, self._held = self._held, deque()
        for sent in held:
            if sent.broken:
                sent.fail(ClusterError(f"produce to {sent.topic}: what stands before it failed"))
            else:
                self._held.append(sent)

    def _fail_all(self, error: DeliveryError) -> None:
        for sent, _ in self._open.sent if self._open is not None else ():
            sent.fail(error)
        while self._held:
            self._held.popleft().fail(error)
        self._open = None
        self._rest()

    def _rest(self) -> None:
        if not self._held and self._open is None and self._doubtful is None:
            self._idle.set()

    async def _remember(self, producer: ColumnarProducer) -> None:
        """Keep where the topic ends: all that stands before is in the agent's own store."""
        if self._loop.time() < self._remember_at:
            return
        self._remember_at = self._loop.time() + _REMEMBER_SECONDS
        with suppress(WorldError):
            await self._keeper.flush()
            step = "ask where positions end"
            ask = partial(producer.handle.end_offset, self._topic.topic, self._partition, _CALL_MS)
            end = await producer.handle.call(step, ask)
            if end is not None:
                self._read_up_to = end
                await self._keep(end)

    async def _keep(self, offset: int) -> None:
        await in_thread("singer-kafka-positions", partial(self._keeper.save, offset))


def _is_to_blame(failure: BaseException | None) -> bool:
    """Whether a batch failed of itself, and not because its transaction did."""
    return failure is not None and type(failure) is not ClusterError
