"""Repeats: which records that nobody claims are copies of claimed ones.

Digests of all records go to two files in a directory of the caller's, so memory is bounded and a
copy is found wherever it lies: 12 bytes a claimed record, 20 one that is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from singer.base.batch import Int32s, Int64s

_CLAIMED: Final = np.dtype([("digest", "<u8"), ("owner", "<i4")])
_LEFT: Final = np.dtype([("digest", "<u8"), ("partition", "<i4"), ("offset", "<i8")])
#: Rows looked at together.
_ROWS: Final = 2 << 20


class Repeats:
    """Of one topic; records come partition by partition, in any order."""

    def __init__(self, directory: str) -> None:
        self._claimed = os.path.join(directory, "claimed")
        self._left = os.path.join(directory, "left")
        self._files = {path: open(path, "wb") for path in (self._claimed, self._left)}  # noqa: SIM115

    def add(self, partition: int, offsets: Int64s, values: Sequence[bytes], owners: Int32s) -> None:
        """Records of a partition, and who claims them (-1: nobody)."""
        digests = np.fromiter(map(xxhash.xxh3_64_intdigest, values), np.uint64, len(values))
        mine = owners >= 0
        claimed = np.empty(int(mine.sum()), _CLAIMED)
        claimed["digest"], claimed["owner"] = digests[mine], owners[mine]
        left = np.empty(len(values) - len(claimed), _LEFT)
        left["digest"], left["offset"] = digests[~mine], offsets[~mine]
        left["partition"] = partition
        claimed.tofile(self._files[self._claimed])
        left.tofile(self._files[self._left])

    def found(self) -> Iterator[tuple[Int32s, NDArray[Any]]]:
        """(owners, rows): `rows` have a partition and an offset, and nobody claims them; the owner
        of a record like it, -1 where there is none. In the order in which they came. Once.
        """
        for file in self._files.values():
            file.close()
        for left in _rows(self._left, _LEFT):
            order = np.argsort(left["digest"], kind="stable")
            digests = left["digest"][order]
            owners = np.full(len(left), -1, np.int32)
            for claimed in _rows(self._claimed, _CLAIMED):
                sorted_ = claimed[np.argsort(claimed["digest"], kind="stable")]
                at = np.searchsorted(sorted_["digest"], digests)
                at[at == len(sorted_)] = 0
                alike = sorted_["digest"][at] == digests
                owners[order[alike]] = sorted_["owner"][at[alike]]
            yield owners, left

    def close(self) -> None:
        """Let go of the files; they are the directory's owner's to remove."""
        for file in self._files.values():
            file.close()


def _rows(path: str, kind: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, kind, _ROWS)):
            yield rows
