"""Claims: what audit ranges say of a partition, held against the records that lie there.

Pure. Ranges come first, in any order and any number of times; then the partition's records, in
ascending offsets. What a claim turns out to be goes into the findings of its owner. State is the
claims that are not past yet.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final

import numpy as np
import xxhash

from singer.base.batch import Int32s
from singer.base.wire.audit import Range
from singer.validate.findings import Findings
from singer.validate.intervals import Intervals
from singer.validate.stretch import Stretch

#: So many ranges are remembered, lest one that is published twice is taken for two.
_KNOWN: Final = 1_000_000
#: What follows each payload where its digest is taken, see docs/audit.md.
_TERMINATOR: Final = b"\n"


def digest(values: Sequence[bytes]) -> int:
    """Of a block of records, as docs/audit.md says."""
    payloads = _TERMINATOR.join([*values, b""])
    lengths = np.fromiter(map(len, values), "<i4", len(values))
    return xxhash.xxh3_64_intdigest(lengths.tobytes(), xxhash.xxh3_64_intdigest(payloads))


@dataclass(slots=True, kw_only=True, eq=False)
class _Claim:
    """A range on its way through its partition: what of it was met."""

    range: Range
    file: Hashable
    owner: int
    findings: Findings
    runs: Iterator[tuple[int, int]]
    run: tuple[int, int] | None  # [first, end) of what is still to be met of the run it is in
    met: int = 0  # records, there or not
    block: list[bytes] = field(default_factory=list)
    lost: int = 0  # of the open block
    begun: int = 0  # where the open block begins
    last: int = 0


class Claims:
    """Of one partition."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        #: Offset behind all that is claimed.
        self.end = 0
        #: The first offset that the partition still has.
        self.low = 0
        self._known: dict[tuple[Hashable, int, int, int], None] = {}
        self._waiting: list[tuple[int, int, _Claim]] = []
        self._numbers = count()
        self._bytes: dict[Hashable, Intervals] = {}

    @property
    def start(self) -> int | None:
        """The lowest offset that is claimed and was not met; None without any."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, claimed: Range, file: Hashable, owner: int, findings: Findings) -> bool:
        """Take a range of a file; False if it was known.

        `file` tells it from all others, `owner` is a number to be given back by `check`.
        """
        identity = (file, claimed.offset, claimed.start, claimed.records)
        if identity in self._known:
            return False
        self._known[identity] = None
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        if claimed.offset < 0:
            findings.unverified += claimed.records
            return True
        runs = _runs(claimed)
        claim = _Claim(
            range=claimed,
            file=file,
            owner=owner,
            findings=findings,
            runs=runs,
            run=next(runs),
        )
        claim.begun = claimed.offset
        heappush(self._waiting, (claimed.offset, next(self._numbers), claim))
        self.end = max(self.end, last_offset(claimed) + 1)
        return True

    def late(self, offset: int) -> Claims | None:
        """Take out what is claimed of records before `offset`, which were checked already."""
        late: Claims | None = None
        while self._waiting and self._waiting[0][0] < offset:
            late = late or Claims(self.topic, self.partition)
            entry = heappop(self._waiting)
            heappush(late._waiting, entry)  # noqa: SLF001  # another one of ours
            late.end = max(late.end, last_offset(entry[2].range) + 1)
        return late

    def check(self, stretch: Stretch) -> Int32s:
        """Hold what is claimed of these offsets against the records.

        Returns int32[n]: the owner of each record, -1 where nobody claims it. Stretches come in
        ascending order and leave nothing out.
        """
        owners = np.full(len(stretch.offsets), -1, np.int32)
        while self._waiting and self._waiting[0][0] < stretch.end:
            _, number, claim = heappop(self._waiting)
            self._meet(claim, stretch, owners)
            if claim.run is not None:
                heappush(self._waiting, (claim.run[0], number, claim))
        return owners

    def close(self) -> None:
        """There is nothing behind what was checked: what is still claimed is lost."""
        start = self.start
        if start is not None:
            none = Stretch(start=start, end=self.end, offsets=np.empty(0, np.int64), values=())
            self.check(none)

    def _meet(self, claim: _Claim, stretch: Stretch, owners: Int32s) -> None:
        offsets = stretch.offsets
        if not claim.met:
            self._order(claim)
        while claim.run is not None and claim.run[0] < stretch.end:
            first, end = claim.run
            stop = min(end, stretch.end)
            low, high = np.searchsorted(offsets, (first, stop)).tolist()
            if (owners[low:high] >= 0).any():
                claim.findings.claimed_twice.add(self.topic, self.partition, first, stop)
            owners[low:high] = claim.owner
            if high - low == stop - first:
                self._take(claim, first, stretch.values[low:high])
            else:
                there = dict(zip(offsets[low:high].tolist(), stretch.values[low:high], strict=True))
                for offset in range(first, stop):
                    self._take(claim, offset, (there.get(offset),))
            claim.run = (stop, end) if stop < end else next(claim.runs, None)

    def _order(self, claim: _Claim) -> None:
        """Claims are met in the order of their first offsets: do their files' bytes ascend?"""
        seen = self._bytes.setdefault(claim.file, Intervals())
        behind = claim.range.start < seen.end
        overlap = seen.add(claim.range.start, claim.range.end)
        if claim.range.displaced and (behind or overlap):
            claim.findings.displaced += claim.range.records
        elif overlap:
            claim.findings.again += claim.range.records
        elif behind:
            end = last_offset(claim.range) + 1
            claim.findings.reordered.add(
                self.topic, self.partition, claim.range.offset, end, claim.range.records
            )

    def _take(self, claim: _Claim, offset: int, values: Sequence[bytes | None]) -> None:
        """The next records of a claim, `offset` being the first one's; None: it is not there."""
        size, done = claim.range.block, 0
        while done < len(values):
            room = size - claim.met % size
            part = values[done : done + room]
            if claim.met % size == 0:
                claim.begun = offset + done
            present = [value for value in part if value is not None]
            claim.block += present
            claim.lost += len(part) - len(present)
            if len(present) < len(part):  # then it is one
                claim.findings.lost.add(self.topic, self.partition, offset, offset + 1)
                claim.findings.expired += offset < self.low
            done += len(part)
            claim.met += len(part)
            claim.last = offset + done
            if claim.met % size == 0 or claim.met == claim.range.records:
                self._close_block(claim)

    def _close_block(self, claim: _Claim) -> None:
        findings, number = claim.findings, (claim.met - 1) // claim.range.block
        if claim.lost:
            findings.unverified += len(claim.block)  # what is left of it proves nothing
        elif number >= len(claim.range.digests):
            findings.unverified += len(claim.block)
        elif digest(claim.block) == claim.range.digests[number]:
            findings.verified += len(claim.block)
        else:
            findings.corrupted.add(
                self.topic, self.partition, claim.begun, claim.last, len(claim.block)
            )
        claim.block, claim.lost = [], 0


def _runs(claimed: Range) -> Iterator[tuple[int, int]]:
    """[first, end) offsets of the runs of a range."""
    offset = claimed.offset
    for place, number in enumerate(claimed.runs):
        if place % 2 == 0:
            yield offset, offset + number
        offset += number


def last_offset(claimed: Range) -> int:
    """Of the last record of a range whose offsets are known."""
    return claimed.offset + sum(claimed.runs) - 1
