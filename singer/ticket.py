"""A ticket: a stretch of a file between being sent and being committed.

Owns what is needed to settle it: the batch, the ranges that are no records, the bytes themselves
(for dead letters), and what its memory is charged to. Pure but for the receipt it waits for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from singer.base.batch import Bytes, RecordBatch
from singer.base.ports import BadRange, Disposal, Receipt, Rejection
from singer.budget import Ceiling
from singer.lag import REASON, Landing


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

    @property
    def is_passed_over(self) -> bool:
        """Whether nothing of it was read, for a shadow that lags."""
        return not len(self.batch) and any(bad.reason == REASON for bad in self.bad)

    def extent(self, row: int) -> tuple[int, int]:
        """(end, length) of the source bytes of one row, terminator included."""
        end = int(self.batch.ends[row])
        if self.batch.sources is not None:
            return end, int(self.batch.sources[row])
        begin = int(self.batch.ends[row - 1]) if row else self.start
        bad = sum(bad.end - bad.start for bad in self.bad if begin <= bad.start < end)
        return end, end - begin - bad

    @classmethod
    def passing_over(cls, start: int, to: Landing, *, cost: int, sent_at: float) -> Self:
        """What a shadow that lags skips."""
        nothing = np.empty(0, np.int64)
        return cls(
            start=start,
            end=to.end,
            window=np.frombuffer(to.head, np.uint8),
            tail_before=b"",
            tail=to.tail,
            resume=to.resume,
            batch=RecordBatch(
                buffer=np.empty(0, np.uint8),
                starts=nothing,
                lengths=np.empty(0, np.int32),
                ends=nothing,
                span=(start, to.end),
            ),
            bad=(BadRange(start=start, end=to.end, reason=REASON, disposal=Disposal.SKIP),),
            cost=cost,
            shared=(),
            sent_at=sent_at,
        )

    def extend(self, to: Landing) -> None:
        """Skip more, behind what is skipped."""
        self.end, self.tail, self.resume = to.end, to.tail, to.resume
        self.window = np.concatenate((self.window, np.frombuffer(to.head, np.uint8)))
        self.batch = replace(self.batch, span=(self.start, to.end))
        self.bad = (replace(self.bad[0], end=to.end),)

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
