"""The books of what is under way: which rows of which batch each delivery report settles.

Pure bookkeeping without librdkafka. Every record handed over gets a serial of its lane (one
topic and partition of one handle), and lies with its batch in a segment of consecutive serials.
Reports of success come in order, a whole produce request at a time: `Lane.acknowledge` settles
thousands of rows in O(1). Whatever looks different goes row by row through `Lane.walk`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from singer.base.batch import Bools, Int32s, Int64s, RecordBatch, Run
from singer.base.errors import DeliveryError, InvariantError, Kind
from singer.base.ports import Receipt, Rejection, Settlement

_UNDER_WAY: Final = 0
_ACKNOWLEDGED: Final = 1
_REJECTED: Final = 2
_FAILED: Final = 3

#: Of all that goes well.
_NONE: Final[Counter[Kind]] = Counter()

#: Makes the exception of a failed batch from the number of its leading acknowledged rows.
Failure: TypeAlias = Callable[[int], DeliveryError]


class Sending:
    """One batch under way, and the receipt its sender holds.

    The batch, and with it the payload bytes that librdkafka reads, lives until the last row is
    settled. Rows are settled by exactly one of `acknowledge`, `reject` and `fail`.
    """

    __slots__ = ("_failure", "_finished", "_rejections", "_runs", "_states", "batch", "pending",
                 "receipt", "segments", "topic", "troubles")  # fmt: skip

    def __init__(
        self,
        topic: str,
        batch: RecordBatch,
        receipt: Receipt,
        finished: Callable[[Sending], None],
    ) -> None:
        self.topic = topic
        self.batch = batch
        self.receipt = receipt
        self.pending = len(batch)
        self.segments: list[_Segment] = []
        self._finished = finished
        self._states: Int64s | None = None
        self._rejections: list[Rejection] = []
        self._runs: list[Run] = []
        #: Errors after which rows were sent again.
        self.troubles: Counter[Kind] = _NONE
        self._failure: Failure | None = None

    def acknowledge(self, run: Run) -> None:
        """These rows are with the broker."""
        self._runs.append(run)
        if self._states is not None:
            self._states[run.rows] = _ACKNOWLEDGED
        self._settle(run.count)

    def acknowledge_rows(self, partition: int, rows: Int64s, offsets: Int64s) -> None:
        """These rows are with the broker, at these offsets."""
        if len(rows) == 0:
            return
        self.detail()
        known = (offsets[1:] >= 0) & (offsets[:-1] >= 0)
        steady = (np.diff(offsets) == 1) & known | (offsets[1:] < 0) & (offsets[:-1] < 0)
        cuts = [0, *(np.flatnonzero(~steady | (np.diff(rows) < 0)) + 1).tolist(), len(rows)]
        for low, high in pairwise(cuts):
            self.acknowledge(
                Run(
                    partition=partition,
                    offset=max(-1, int(offsets[low])),
                    count=high - low,
                    rows=rows[low:high],
                )
            )

    def reject(self, rows: Int64s, reason: str) -> None:
        """The broker will never take these rows."""
        self._rejections.extend(Rejection(row=row, reason=reason) for row in rows.tolist())
        self._mark(rows, _REJECTED)

    def fail(self, rows: Int64s, failure: Failure) -> None:
        """These rows did not arrive, and nobody knows whether they could: the batch fails.

        The first failure of a batch is the one its receipt tells.
        """
        self._failure = self._failure or failure
        self._mark(rows, _FAILED)

    def sent_again(self, kind: Kind) -> None:
        """Rows go once more, because of an error that was not theirs, as far as anybody knows."""
        if self.troubles is _NONE:
            self.troubles = Counter()
        self.troubles[kind] += 1

    @property
    def arrived(self) -> bool:
        """Whether any row is with the broker, and none failed."""
        return self._failure is None and bool(self._runs)

    def detail(self) -> None:
        """Begin to keep a state per row, because this batch will not simply succeed."""
        if self._states is not None:
            return
        self._states = np.zeros(len(self.batch), np.int64)
        for segment in self.segments:
            self._states[segment.rows_of(np.arange(segment.done))] = _ACKNOWLEDGED

    def settle_empty(self) -> None:
        """A batch without rows is done at once."""
        self._settle(0)

    def _mark(self, rows: Int64s, state: int) -> None:
        if len(rows) == 0:
            return
        self.detail()
        assert self._states is not None
        self._states[rows] = state
        self._settle(len(rows))

    def _settle(self, count: int) -> None:
        self.pending -= count
        if self.pending > 0:
            return
        if self.pending < 0:
            raise InvariantError(f"settle batch for {self.topic}: a row was reported twice")
        self.segments.clear()  # they refer to this sending: the batch is to be freed at once
        self._finished(self)
        if self.receipt.done():  # its sender was cancelled and does not wait any more
            return
        if self._failure is not None:
            error = self._failure(self._leading())
            error.runs = tuple(self._runs)
            self.receipt.set_exception(error)
        else:
            rejected = sorted(self._rejections, key=lambda rejection: rejection.row)
            settlement = Settlement(
                rejected=tuple(rejected), runs=tuple(self._runs), displaced=bool(self.troubles)
            )
            self.receipt.set_result(settlement)

    def _leading(self) -> int:
        assert self._states is not None
        other = np.flatnonzero(self._states != _ACKNOWLEDGED)
        return int(other[0]) if len(other) else len(self._states)


class _Segment:
    """Consecutive serials of a lane, `first` to `first + size`, that belong to one sending.

    `rows` are the batch's rows they stand for (None: 0 to size). Without a `mask`, the first
    `done` are settled; with one, those that are True.
    """

    __slots__ = ("done", "first", "mask", "rows", "sending", "size")

    def __init__(self, sending: Sending, first: int, size: int, rows: Int64s | None) -> None:
        self.sending = sending
        self.first = first
        self.size = size
        self.rows = rows
        self.done = 0
        self.mask: Bools | None = None

    def rows_of(self, index: Int64s) -> Int64s:
        """The batch's rows of these places in the segment."""
        return index if self.rows is None else self.rows[index]

    def span(self, count: int) -> slice | Int64s:
        """The batch's rows of the next `count` places, which are done with this."""
        start, self.done = self.done, self.done + count
        span = slice(start, self.done)
        return span if self.rows is None else self.rows[span]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Failed:
    """Rows of one batch that a report says did not arrive, with librdkafka's code for each."""

    sending: Sending
    rows: Int64s
    codes: Int32s


class Lane:
    """One topic and partition of one handle: its serials, and the segments not yet settled."""

    __slots__ = ("_masked", "_segments", "expected", "next", "number", "partition", "topic")

    def __init__(self, number: int, topic: str, partition: int) -> None:
        self.number = number
        self.topic = topic
        self.partition = partition
        #: The serial the next record gets.
        self.next = 0
        #: The lowest serial that is not settled.
        self.expected = 0
        self._segments: deque[_Segment] = deque()
        self._masked = 0

    def push(self, sending: Sending, size: int, rows: Int64s | None, taken: Bools | None) -> None:
        """`size` records of a sending were handed over. Where `taken` is False they were not, and
        their serials are never reported.
        """
        segment = _Segment(sending, self.next, size, rows)
        sending.segments.append(segment)
        self._segments.append(segment)
        self.next += size
        if taken is not None:
            sending.detail()
            segment.mask = ~taken
            self._masked += 1
            self._forget_settled()

    def is_next(self, serial: int) -> bool:
        """Whether a report that begins with this serial may go through `acknowledge`.

        With holes about, the serials of a report need not be consecutive.
        """
        return serial == self.expected and not self._masked

    def acknowledge(self, count: int, offset: int) -> None:
        """The next `count` serials arrived, at `offset` and behind it; -1: nobody knows where."""
        self.expected += count
        segments = self._segments
        while count:
            segment = segments[0]
            taken = min(count, segment.size - segment.done)
            rows = segment.span(taken)
            count -= taken
            if segment.done == segment.size:
                segments.popleft()
            segment.sending.acknowledge(
                Run(partition=self.partition, offset=offset, count=taken, rows=rows)
            )
            if offset >= 0:
                offset += taken

    def walk(self, serials: Int64s, codes: Int32s, offsets: Int64s) -> list[Failed]:
        """Settle reported serials one by one, in any order; returns the rows that failed.

        Failed rows are not settled in their sending: the caller decides what becomes of them.
        """
        order = np.argsort(serials, kind="stable")
        serials, codes, offsets = serials[order], codes[order], offsets[order]
        failed = []
        touched = 0
        for segment in tuple(self._segments):
            low, high = np.searchsorted(serials, (segment.first, segment.first + segment.size))
            if low == high:
                continue
            touched += int(high - low)
            index = serials[low:high] - segment.first
            segment.sending.detail()
            if segment.mask is None:
                segment.mask = np.arange(segment.size) < segment.done
                self._masked += 1
            if segment.mask[index].any():
                raise InvariantError(f"settle {self.topic} [{self.partition}]: reported twice")
            segment.mask[index] = True
            rows = segment.rows_of(index)
            bad = codes[low:high] != 0
            if bad.any():
                failed.append(
                    Failed(sending=segment.sending, rows=rows[bad], codes=codes[low:high][bad])
                )
            segment.sending.acknowledge_rows(self.partition, rows[~bad], offsets[low:high][~bad])
        if touched != len(serials):
            raise InvariantError(
                f"settle {self.topic} [{self.partition}]: serials {serials[0]} to {serials[-1]}"
                f" reported, {self.expected} to {self.next} are under way"
            )
        self._forget_settled()
        return failed

    def _forget_settled(self) -> None:
        """Drop whole segments from the front and say where the next report is due."""
        segments = self._segments
        while segments:
            head = segments[0]
            if head.mask is None:
                self.expected = head.first + head.done
                return
            if not head.mask.all():
                self.expected = head.first + int(np.argmin(head.mask))
                return
            segments.popleft()
            self._masked -= 1
        self.expected = self.next
