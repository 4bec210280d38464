"""Census: which file was seen where, at the last look at each directory.

Pure. Keeps the answer of every look and says what is different since the one before, so that work
follows what changes and not what is there: of a directory at rest a rescan touches no file.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from types import MappingProxyType
from typing import Final, TypeAlias

from singer.files.roots import join
from singer.files.stat import FileStat
from singer.files.walk import Files, Sighting, Tree

#: (device, inode): a file, whatever its names.
Key: TypeAlias = tuple[int, int]
#: The files that appeared, changed or moved, and where they are seen now; None: nowhere any more.
Changes: TypeAlias = dict[Key, Sighting | None]

_NO_FILES: Final[Files] = MappingProxyType({})


class Census:
    """What is seen of a stream's files. A file with several names is seen at the first of them."""

    def __init__(self) -> None:
        self._tree: dict[str, Files] = {}
        self._names: dict[Key, list[str]] = {}  # the paths of each file, in order

    def __contains__(self, key: Key) -> bool:
        return key in self._names

    @property
    def tree(self) -> Tree:
        """All that is seen."""
        return self._tree

    @property
    def directories(self) -> Collection[str]:
        """The directories in which something was seen."""
        return self._tree.keys()

    def where(self, key: Key) -> Sighting | None:
        """Where a file is seen."""
        names = self._names.get(key)
        if names is None:
            return None
        directory, name = os.path.split(names[0])
        return Sighting(names[0], self._tree[directory][name])

    def at(self, path: str) -> Key | None:
        """Which file is seen at `path`."""
        directory, name = os.path.split(path)
        stat = self._tree.get(directory, _NO_FILES).get(name)
        return None if stat is None else stat.key

    def see_all(self, tree: Tree, newer: Collection[str] = ()) -> Changes:
        """Everything was looked at, and this is all there is, but for what was seen since in the
        directories that are `newer`.
        """
        before = self._tree
        self._tree = {each: tree[each] for each in tree.keys() - newer}
        self._tree |= {each: before[each] for each in before.keys() & newer}
        return self._compare(before, self._tree)

    def see(self, directories: Collection[str], tree: Tree) -> Changes:
        """These directories were looked at, and this is all there is in them."""
        before = {each: self._tree.pop(each) for each in directories if each in self._tree}
        self._tree |= tree
        return self._compare(before, tree)

    def _compare(self, before: Tree, after: Tree) -> Changes:
        changed: set[Key] = set()
        for directory in before.keys() | after.keys():
            old, new = before.get(directory, _NO_FILES), after.get(directory, _NO_FILES)
            # A walk gives the very same object back for what did not change.
            if old is not new:
                changed |= self._compare_files(directory, old, new)
        return {key: self.where(key) for key in changed}

    def _compare_files(self, directory: str, before: Files, after: Files) -> set[Key]:
        changed: set[Key] = set()
        for name, stat in after.items():
            known = before.get(name)
            if known is stat or known == stat:
                continue
            key = stat.key
            changed.add(key)
            path = join(directory, name)
            if known is not None:
                if (known.device, known.inode) == key:
                    continue
                changed.add(self._forget(path, known))
            names = self._names.setdefault(key, [])
            names.append(path)
            names.sort()
        for name in before.keys() - after.keys():
            changed.add(self._forget(join(directory, name), before[name]))
        return changed

    def _forget(self, path: str, stat: FileStat) -> Key:
        key = stat.key
        names = self._names[key]
        names.remove(path)
        if not names:
            del self._names[key]
        return key
