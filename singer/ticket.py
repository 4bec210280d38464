"""A ticket: a stretch of a file between being sent and being committed.

Owns what is needed to settle it: the batch, the ranges that are no records, the bytes themselves
(for dead letters), and what its memory is charged to. Pure but for the receipt it waits for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from singer.base.batch import Bytes, RecordBatch
from singer.base.ports import BadRange, Disposal, Receipt, Rejection
from singer.budget import Ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Source bytes of a ticket that are not delivered, and why: for the dead letters.

    `refused`: it was a record that the broker did not take, as it was sent; else no record at all.
    """

    offset: int
    length: int
    reason: str
    part: int
    payload: bytes
    refused: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """A stretch of the file on its way: from `window`'s first byte to `end`."""

    start: int
    end: int
    window: Bytes
    tail_before: bytes  # the bytes before `start`
    tail: bytes = b""  # the bytes before `end`
    resume: bytes
    batch: RecordBatch
    bad: tuple[BadRange, ...]
    cost: int
    shared: tuple[Ceiling, ...]  # charged until the receipt; the file's own until the commit
    sent_at: float
    receipt: Receipt | None = None
    sent: RecordBatch | None = None  # what of the batch the receipt is for, if that was not all
    removed: Mapping[str, int] = field(default_factory=dict)  # bytes of records taken out, by what
    rejected: tuple[Rejection, ...] = ()
    burial: asyncio.Task[None] | None = None
    buried: bool = False
    disposed: int = 0  # bytes dead-lettered or skipped
    skipped: int = 0  # of those

    def extent(self, row: int) -> tuple[int, int]:
        """(end, length) of the source bytes of one row, terminator included."""
        end = int(self.batch.ends[row])
        if self.batch.sources is not None:
            return end, int(self.batch.sources[row])
        begin = int(self.batch.ends[row - 1]) if row else self.start
        bad = sum(bad.end - bad.start for bad in self.bad if begin <= bad.start < end)
        return end, end - begin - bad

    def refuse(self) -> tuple[list[Refuse], Counter[str]]:
        """What is to be dead-lettered, and the bytes skipped by rule per reason."""
        refuse: list[Refuse] = []
        skipped: Counter[str] = Counter()
        for bad in self.bad:
            length = bad.end - bad.start
            if bad.disposal is Disposal.SKIP:
                skipped[bad.reason] += length
                continue
            start = bad.start - self.start
            refuse.append(
                Refuse(
                    offset=bad.start,
                    length=length,
                    reason=bad.reason,
                    part=bad.part,
                    payload=self.window[start : start + length].tobytes(),
                    refused=False,
                )
            )
        for rejection in self.rejected:
            end, length = self.extent(rejection.row)
            refuse.append(
                Refuse(
                    offset=end - length,
                    length=length,
                    reason=rejection.reason,
                    part=0,
                    payload=self.batch.payload(rejection.row),
                    refused=True,
                )
            )
        return refuse, skipped
