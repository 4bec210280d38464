"""Dormants: files that were read to their end and closed, to be asked about when they change.

Owns what is remembered of them, and the watches that tell of growth. Loop thread only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from singer.files.census import Key
from singer.files.keyed import Keyed
from singer.files.stat import FileStat, stat_path
from singer.files.wakeup import Wakeup


@dataclass(slots=True, kw_only=True, eq=False)
class Dormant:
    """A file that was read to its end and closed, and what it was like then."""

    path: str  #: that it belongs to
    seen_at: str
    birth_ns: int | None
    size: int
    mtime_ns: int
    watched: bool = False  #: the kernel tells when it grows

    def is_same(self, stat: FileStat) -> bool:
        """Whether nothing was written to it since."""
        return (self.birth_ns, self.size, self.mtime_ns) == (
            stat.birth_ns,
            stat.size,
            stat.mtime_ns,
        )


class Dormants(Keyed[Dormant]):
    """The closed files of one stream. `stirred` is told, once, that one may have changed.

    `at`  by path, the one that is there
    """

    def __init__(self, wakeup: Wakeup, stirred: Callable[[Dormant], None]) -> None:
        super().__init__()
        self.at: dict[str, Key] = {}
        self._wakeup = wakeup
        self._stirred = stirred

    def add(
        self, key: Key, path: str, seen_at: str, stat: FileStat, *, fd: int | None = None
    ) -> None:
        """Remember a file of `path`; with a descriptor, which may be closed then, watch it.

        `stirred` is told at once if it grew between `stat` and the watch. Raises OSError.
        """
        dormant = Dormant(
            path=path,
            seen_at=seen_at,
            birth_ns=stat.birth_ns,
            size=stat.size,
            mtime_ns=stat.mtime_ns,
        )
        self.forget(key)
        self._put(key, dormant)
        if path == seen_at:
            self.at[path] = key
        if fd is not None:
            dormant.watched = self._wakeup.arm(fd, dormant, self._stir)
            if not dormant.watched:
                self._wakeup.disarm(dormant)
            elif os.fstat(fd).st_size != stat.size:
                self._wakeup.disarm(dormant)
                self._stir(dormant)

    def forget(self, key: Key) -> None:
        """It is open, or no more what it was."""
        dormant = self._pop(key)
        if dormant is not None:
            self._wakeup.disarm(dormant)
            if self.at.get(dormant.path) == key:
                del self.at[dormant.path]

    def _stir(self, dormant: Dormant) -> None:
        dormant.watched = False
        self._stirred(dormant)


def changed(dormants: Mapping[Key, Dormant]) -> list[Key]:
    """Which of these are not as they were, where they were. Blocks; any thread."""
    found = []
    for key, dormant in dormants.items():
        try:
            stat = stat_path(dormant.seen_at)
        except FileNotFoundError:
            found.append(key)
        except OSError:
            continue  # what cannot be seen may be as it was
        else:
            if stat.key != key or not dormant.is_same(stat):
                found.append(key)
    return found
