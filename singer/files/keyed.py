"""Keyed: what is known of files by (device, inode), to be found by the inode number alone as well.

Device numbers change with a remount and rows keep the old ones, so a row's file is looked for on
all devices there are: few. Pure; one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

from singer.files.census import Key

_T = TypeVar("_T")


class Keyed(Mapping[Key, _T]):
    """A mapping by file. Who owns it adds with `_put` and takes out with `_pop`."""

    def __init__(self) -> None:
        self._files: dict[Key, _T] = {}
        self._devices: Counter[int] = Counter()  # how many of the files are on each

    def __getitem__(self, key: Key) -> _T:
        return self._files[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: object) -> bool:
        return key in self._files

    # Those that a Mapping comes with ask for each key: ten times the time.

    def items(self) -> ItemsView[Key, _T]:
        """All keys and values."""
        return self._files.items()

    def values(self) -> ValuesView[_T]:
        """All values."""
        return self._files.values()

    def with_inode(self, inode: int) -> Iterator[_T]:
        """What is known of files with this number, whatever device they are on."""
        for device in self._devices:
            if (device, inode) in self._files:
                yield self._files[device, inode]

    def _put(self, key: Key, value: _T) -> None:
        if key not in self._files:
            self._devices[key[0]] += 1
        self._files[key] = value

    def _pop(self, key: Key) -> _T | None:
        value = self._files.pop(key, None)
        if value is not None:
            self._devices[key[0]] -= 1
            if not self._devices[key[0]]:
                del self._devices[key[0]]
        return value
