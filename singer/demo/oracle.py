"""The demo's judge: which lines arrived, which twice, which late, and which never.

Pure, and compact: what arrived is kept as ranges of line numbers, not one by one, because a
healthy agent delivers long runs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from singer.base.batch import Int64s

#: (topic, partition)
Partition: TypeAlias = tuple[str, int]


class Ranges:
    """A set of natural numbers as disjoint, ascending ranges [start, end)."""

    __slots__ = ("_ends", "_starts", "count")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start: int, end: int) -> list[tuple[int, int]]:
        """Add [start, end); returns the parts of it that are new, ascending."""
        first = bisect_left(self._ends, start)
        behind = bisect_right(self._starts, end)
        new: list[tuple[int, int]] = []
        reached = start
        for known_start, known_end in zip(
            self._starts[first:behind], self._ends[first:behind], strict=True
        ):
            if reached < known_start:
                new.append((reached, known_start))
            reached = max(reached, known_end)
        if reached < end:
            new.append((reached, end))
        if first < behind:  # those overlap or touch: one range now
            start = min(start, self._starts[first])
            end = max(end, self._ends[behind - 1])
        self._starts[first:behind] = [start]
        self._ends[first:behind] = [end]
        self.count += sum(new_end - new_start for new_start, new_end in new)
        return new

    def below(self, limit: int) -> int:
        """How many numbers are less than `limit`."""
        return sum(min(end, limit) - start for start, end in self if start < limit)

    @property
    def complete(self) -> int:
        """All numbers less than this are in the set."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the lines written.

    `out_of_order` counts first arrivals in a (file, partition) behind a later line of the file.
    `foreign` counts records that nobody wrote.
    """

    written: int
    lost: int
    duplicated: int
    out_of_order: int
    foreign: int

    @property
    def good(self) -> bool:
        """Whether the promises were kept; duplicates are allowed after a crash."""
        return not (self.lost or self.out_of_order or self.foreign)

    def __str__(self) -> str:
        foreign = f", foreign {self.foreign:,}" if self.foreign else ""
        return (
            f"lost {self.lost:,}, duplicated {self.duplicated:,}, "
            f"out of order {self.out_of_order:,}{foreign}"
        )


class Oracle:
    """Takes what arrives, partition by partition in its order. One thread."""

    def __init__(self, files: int) -> None:
        self._files = tuple(Ranges() for _ in range(files))
        self._here: dict[tuple[int, Partition], Ranges] = {}
        self._highest: dict[tuple[int, Partition], int] = {}
        self._arrived = 0
        self.out_of_order = 0
        self.foreign = 0

    def take(self, partition: Partition, files: Int64s, numbers: Int64s) -> None:
        """Lines that follow each other in a partition: file index and number of each."""
        for file in np.unique(files):
            own = numbers[files == file]
            breaks = np.flatnonzero(np.diff(own) != 1) + 1
            starts = own[np.concatenate(([0], breaks))]
            ends = own[np.concatenate((breaks - 1, [-1]))] + 1
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                self._take_run(int(file), partition, start, end)

    def take_foreign(self, count: int) -> None:
        """Records that are none of our lines."""
        self.foreign += count

    @property
    def delivered(self) -> int:
        """Different lines that arrived."""
        return sum(ranges.count for ranges in self._files)

    @property
    def duplicated(self) -> int:
        """Arrivals of lines beyond their first."""
        return self._arrived - self.delivered

    @property
    def complete(self) -> tuple[int, ...]:
        """For each file the number up to which all lines arrived."""
        return tuple(ranges.complete for ranges in self._files)

    def judge(self, written: Sequence[int]) -> Verdict:
        """Compare with how many lines were written to each file."""
        arrived = [ranges.below(count) for ranges, count in zip(self._files, written, strict=True)]
        return Verdict(
            written=sum(written),
            lost=sum(written) - sum(arrived),
            duplicated=self.duplicated,
            out_of_order=self.out_of_order,
            foreign=self.foreign + self.delivered - sum(arrived),
        )

    def _take_run(self, file: int, partition: Partition, start: int, end: int) -> None:
        self._arrived += end - start
        self._files[file].add(start, end)
        key = (file, partition)
        highest = self._highest.get(key, 0)
        for new_start, new_end in self._here.setdefault(key, Ranges()).add(start, end):
            self.out_of_order += max(0, min(new_end, highest) - new_start)
        self._highest[key] = max(highest, end)
