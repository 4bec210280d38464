"""Descriptors: ceilings on the log files that the agent holds open.

Owns two decisions. When more files are to be open than `max_open`, idle ones are closed, the least
recently used first: their growth is still noticed, but a deletion then takes what was not read.
When deleted files keep more than `max_deleted_files` descriptors or `max_deleted_bytes` of disk
space, those deleted longest ago are given up, read or not. Loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from singer.base.events import DescriptorsHeld, Emit
from singer.files.census import Key


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

    def idle_files(self) -> Iterable[tuple[float, Key]]:
        """Since when (loop time) files are idle that may be closed."""
        ...

    def close_idle(self, since: float, key: Key) -> None:
        """Close a file, if it has been idle since then."""
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
        # Since when each was idle, at the last look at all of them, the longest last. Whoever came
        # to rest after that look comes after them, so they are used up before the next.
        self._idle: list[tuple[float, int, Key]] = []
        self._told: DescriptorsHeld | None = None

    def add(self, holder: Holder) -> None:
        """Count this holder's files as well."""
        self._holders.append(holder)

    def room_for(self, wanted: int) -> int:
        """How many of `wanted` more files may be opened, after idle ones were closed for them."""
        if not self._close_idle(wanted):
            self._idle = sorted(
                (
                    (since, number, key)
                    for number, holder in enumerate(self._holders)
                    for since, key in holder.idle_files()
                ),
                reverse=True,
            )
            self._close_idle(wanted)
        return min(wanted, self.free)

    @property
    def free(self) -> int:
        """How many more files may be opened without closing one."""
        return max(0, self._ceiling - self._open)

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

    def _close_idle(self, wanted: int) -> bool:
        """Close files until there is room for so many more; whether there is."""
        while self._idle and self._ceiling - self._open < wanted:
            since, number, key = self._idle.pop()
            self._holders[number].close_idle(since, key)
        return self._ceiling - self._open >= wanted

    @property
    def _open(self) -> int:
        return sum(holder.open_files for holder in self._holders)
