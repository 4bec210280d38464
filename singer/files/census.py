"""Census: which file was seen where, at the last look at each directory.

Pure. Keeps the answer of every look and says what is different since the one before, so that work
follows what changes and not what is there: a rescan of ten thousand idle files touches none.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from singer.files.stat import FileStat
from singer.files.walk import Sighting

#: (device, inode): a file, whatever its names.
Key: TypeAlias = tuple[int, int]
#: The files that appeared, changed or moved, and where they are seen now; None: nowhere any more.
Changes: TypeAlias = dict[Key, Sighting | None]


class Census:
    """What is seen of a stream's files. A file with several names is seen at the first of them."""

    def __init__(self) -> None:
        self._stats: dict[str, FileStat] = {}
        self._directories: dict[str, list[str]] = {}  # the paths seen in each
        self._names: dict[Key, list[str]] = {}  # of each file, in order

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, key: Key) -> bool:
        return key in self._names

    @property
    def stats(self) -> Mapping[str, FileStat]:
        """All that is seen, by path."""
        return self._stats

    @property
    def directories(self) -> Collection[str]:
        """The directories in which something was seen."""
        return self._directories.keys()

    def where(self, key: Key) -> Sighting | None:
        """Where a file is seen."""
        names = self._names.get(key)
        return Sighting(names[0], self._stats[names[0]]) if names else None

    def at(self, path: str) -> Key | None:
        """Which file is seen at `path`."""
        stat = self._stats.get(path)
        return None if stat is None else (stat.device, stat.inode)

    def see_all(self, sightings: Iterable[Sighting]) -> Changes:
        """Everything was looked at, and this is all there is."""
        before = self._stats
        self._stats = dict(sightings)
        self._directories = {}
        for path in self._stats:
            self._directories.setdefault(os.path.dirname(path), []).append(path)
        return self._compare(before, self._stats)

    def see(self, directories: Collection[str], sightings: Iterable[Sighting]) -> Changes:
        """These directories were looked at, and this is all there is in them."""
        before = {
            path: self._stats.pop(path)
            for directory in directories
            for path in self._directories.pop(directory, ())
        }
        after = dict(sightings)
        self._stats |= after
        for path in after:
            self._directories.setdefault(os.path.dirname(path), []).append(path)
        return self._compare(before, after)

    def _compare(self, before: Mapping[str, FileStat], after: Mapping[str, FileStat]) -> Changes:
        changed: set[Key] = set()
        for path, stat in after.items():
            known = before.get(path)
            # A walk gives the very same object back for what did not change.
            if known is stat or known == stat:
                continue
            key = (stat.device, stat.inode)
            changed.add(key)
            if known is not None:
                if (known.device, known.inode) == key:
                    continue
                changed.add(self._forget(path, known))
            names = self._names.setdefault(key, [])
            names.append(path)
            names.sort()
        for path in before.keys() - after.keys():
            changed.add(self._forget(path, before[path]))
        return {key: self.where(key) for key in changed}

    def _forget(self, path: str, stat: FileStat) -> Key:
        key = (stat.device, stat.inode)
        names = self._names[key]
        names.remove(path)
        if not names:
            del self._names[key]
        return key
