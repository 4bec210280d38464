"""Intervals: which numbers of a line were seen. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

#: More intervals than this and the lowest gap is taken as seen: memory ends somewhere.
_MOST: Final = 10_000


class Intervals:
    """Disjoint [start, end) in ascending order; neighbours that touch are one."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> zip[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    @property
    def end(self) -> int:
        """Behind the last number seen; 0 before the first."""
        return self._ends[-1] if self._ends else 0

    def gaps(self) -> list[tuple[int, int]]:
        """What is between them."""
        return list(zip(self._ends[:-1], self._starts[1:], strict=True))

    def add(self, start: int, end: int) -> int:
        """See [start, end); how many of these numbers were seen before."""
        if start >= end:
            return 0
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        again = sum(
            max(0, min(end, self._ends[at]) - max(start, self._starts[at]))
            for at in range(low, high)
        )
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
        if len(self._starts) > _MOST:
            del self._starts[1], self._ends[0]
        return again

    def beyond(self, other: Intervals) -> list[tuple[int, int]]:
        """What is in these and not in the others."""
        found = []
        for start, end in self:
            at = start
            for low, high in other:
                if high <= at:
                    continue
                if low >= end:
                    break
                if low > at:
                    found.append((at, low))
                at = max(at, high)
            if at < end:
                found.append((at, end))
        return found
