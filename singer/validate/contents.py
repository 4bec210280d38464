"""Contents: two multisets of records, compared on disk.

Each record is a row of 32 bytes in one of many files, chosen by its digest, so equal records of
both sides meet in one file and memory holds one file at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from singer.base.errors import StateError
from singer.validate.stretch import Stretch

#: Which side a record is of.
A: Final = 0
B: Final = 1

_ROW: Final = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("offset", "<i8"), ("partition", "<i4"), ("side", "<i4")]
)
#: Rows of one file, about: what is in memory at once takes some four times as much.
_ROWS: Final = 1 << 20
_MOST_FILES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Rows (offset, partition) of records that one side has more of.

    `missing`: A has them, B has none like them. `extra`: the other way round. `repeated_a`: both
    have such, and A more of them; `repeated_b`: B more.
    """

    missing: NDArray[Any]
    extra: NDArray[Any]
    repeated_a: NDArray[Any]
    repeated_b: NDArray[Any]


class Contents:
    """In files of a directory that is the caller's to remove. Raises StateError without room."""

    def __init__(self, directory: str, records: int) -> None:
        """`records` are about to come, of both sides together."""
        need, free = records * _ROW.itemsize, shutil.disk_usage(directory).free
        if need > free:
            raise StateError(
                f"compare: {directory} has {free >> 20} MiB free, {records} records need"
                f" {need >> 20} MiB: set TMPDIR to a larger disk, or compare less at once"
            )
        count = min(_MOST_FILES, records // _ROWS + 1)
        self._paths = [os.path.join(directory, f"{number:03}") for number in range(count)]
        self._files = [open(path, "wb") for path in self._paths]  # noqa: SIM115

    def add(self, side: int, partition: int, stretch: Stretch) -> None:
        """Records of a partition of one side."""
        if not stretch.messages:
            return
        digests = b"".join(
            xxhash.xxh3_128_digest(value, 0 if key is None else 1 + xxhash.xxh3_64_intdigest(key))
            for value, key in zip(
                stretch.values, (message.key() for message in stretch.messages), strict=True
            )
        )
        halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
        rows = np.empty(len(halves), _ROW)
        rows["high"], rows["low"] = halves[:, 0], halves[:, 1]
        rows["offset"], rows["partition"], rows["side"] = stretch.offsets, partition, side
        numbers = (rows["high"] % np.uint64(len(self._files))).astype(np.int64)
        order = np.argsort(numbers, kind="stable")
        cuts = np.searchsorted(numbers[order], np.arange(len(self._files) + 1)).tolist()
        rows = rows[order]
        for number, file in enumerate(self._files):
            if cuts[number] < cuts[number + 1]:
                rows[cuts[number] : cuts[number + 1]].tofile(file)

    def differences(self) -> Iterator[Difference]:
        """One for each file. Once, at the end."""
        for path, file in zip(self._paths, self._files, strict=True):
            file.close()
            yield _difference(np.fromfile(path, _ROW))
            os.unlink(path)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()


def _difference(rows: NDArray[Any]) -> Difference:
    rows = rows[np.lexsort([rows[name] for name in ("offset", "partition", "side", "low", "high")])]
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows["high"][1:] != rows["high"][:-1]) | (rows["low"][1:] != rows["low"][:-1])
    group = np.cumsum(new) - 1
    groups = int(group[-1]) + 1 if len(rows) else 0
    counts = [np.bincount(group[rows["side"] == side], minlength=groups) for side in (A, B)]
    # The number of each row among those of its side that are like it: the first ones are the pairs.
    begins = np.flatnonzero(new)
    number = np.arange(len(rows)) - begins[group]
    number -= np.where(rows["side"] == B, counts[A][group], 0)
    paired = np.minimum(counts[A], counts[B])[group]
    unpaired = number >= paired
    of_a, of_b = rows["side"] == A, rows["side"] == B
    alone = paired == 0
    places = rows[["offset", "partition"]]
    return Difference(
        missing=places[unpaired & of_a & alone],
        extra=places[unpaired & of_b & alone],
        repeated_a=places[unpaired & of_a & ~alone],
        repeated_b=places[unpaired & of_b & ~alone],
    )
