"""Descriptors: ceilings on the log files that the agent holds open.

Owns two decisions. When more files are to be open than `max_open`, idle ones are closed, the least
recently used first: their growth is still noticed, but a deletion then takes what was not read.
When deleted files keep more than `max_deleted_files` descriptors or `max_deleted_bytes` of disk
space, those deleted longest ago are given up, read or not. Loop thread only.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

from singer.base.events import DescriptorsHeld, Emit

#: Closing one at a time would look at all the others each time.
_CLOSED_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A file that no name leads to any more: since when (loop time), how large, and its end."""

    since: float
    nbytes: int
    give_up: Callable[[], None]


class Holder(Protocol):
    """Who holds files open."""

    @property
    def open_files(self) -> int:
        """How many."""
        ...

    def idle_files(self) -> Iterable[tuple[float, Callable[[], None]]]:
        """Since when (loop time) each file is idle, and how to close it."""
        ...

    def deleted_files(self) -> Iterable[Deleted]:
        """The open files that are deleted."""
        ...


class Descriptors:
    """The open log files of all streams."""

    def __init__(
        self, emit: Emit, *, max_open: int, max_deleted_files: int, max_deleted_bytes: int
    ) -> None:
        self._emit = emit
        self._most = max_open
        self._max_deleted_files = max_deleted_files
        self._max_deleted_bytes = max_deleted_bytes
        self._ceiling = max_open  # less while the process, or the machine, gives no more
        self._holders: list[Holder] = []
        self._told: DescriptorsHeld | None = None

    def add(self, holder: Holder) -> None:
        """Count this holder's files as well."""
        self._holders.append(holder)

    def room_for(self, wanted: int) -> int:
        """How many of `wanted` more files may be opened, after idle ones were closed for them."""
        room = self._ceiling - self._open
        if room < wanted:
            idle = [each for holder in self._holders for each in holder.idle_files()]
            count = max(wanted - room, _CLOSED_AT_ONCE)
            for _, close in heapq.nsmallest(count, idle, key=itemgetter(0)):
                close()
            room = self._ceiling - self._open
        return max(0, min(wanted, room))

    def refused(self) -> None:
        """The kernel gave no more: until the next review, no more than now are opened."""
        self._ceiling = max(1, min(self._ceiling, self._open))

    def review(self) -> None:
        """Give up deleted files above the ceilings, and say what is held."""
        self._ceiling = self._most
        deleted = [each for holder in self._holders for each in holder.deleted_files()]
        deleted.sort(key=lambda each: each.since, reverse=True)
        nbytes = sum(each.nbytes for each in deleted)
        while deleted and (
            len(deleted) > self._max_deleted_files or nbytes > self._max_deleted_bytes
        ):
            oldest = deleted.pop()
            nbytes -= oldest.nbytes
            oldest.give_up()
        held = DescriptorsHeld(open=self._open, deleted=len(deleted), deleted_bytes=nbytes)
        if held != self._told:
            self._told = held
            self._emit(held)

    @property
    def _open(self) -> int:
        return sum(holder.open_files for holder in self._holders)
