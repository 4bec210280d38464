"""RecordBatch: many records as one buffer and numpy columns.

Owns the shape in which records travel from readers through transforms to writers. There is
no Python object per record; `payload` exists for tests and tools only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Int64s: TypeAlias = NDArray[np.int64]
Int32s: TypeAlias = NDArray[np.int32]
Bools: TypeAlias = NDArray[np.bool_]

#: What librdkafka keeps per queued record beside its payload, in bytes; measured. The memory
#: budget counts it, because for short lines it is more than the line.
RECORD_OVERHEAD_BYTES: Final = 192

_NO_COLUMNS: Final[Mapping[str, NDArray[Any]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """Record keys: row i is `buffer[starts[i] : starts[i] + lengths[i]]`; length -1 is no key."""

    buffer: Bytes
    starts: Int64s
    lengths: Int32s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Header:
    """A header of all records: row i has `size` bytes of `buffer`, from `i * stride` on.

    With a stride of 0 all have the same.
    """

    name: bytes
    buffer: Bytes
    size: int
    stride: int

    def value(self, row: int) -> bytes:
        """The bytes of one record's; for tests and tools."""
        return self.buffer[row * self.stride :][: self.size].tobytes()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordBatch:
    """n records of one file, in file order.

    `buffer`   uint8, owner of the payload bytes (or a view that keeps the owner alive)
    `starts`   int64[n], index of each payload in `buffer`
    `lengths`  int32[n], bytes of each payload, terminator excluded
    `ends`     int64[n], ascending file offsets: once row i and all before it are settled, it is
               safe to commit `ends[i]`. Not always the record's own end.
    `span`     (start, end) file offsets this batch accounts for; survives `take`, so that a
               batch whose last rows were filtered away still commits its end
    `sources`  int64[n], bytes of the file that each row accounts for, terminator included; None:
               those between the ends of the row before and its own
    `path`     of the file, where that is known
    `inode`    likewise
    `headers`  what a writer adds for its broker, last of all: `take` lets go of them
    """

    buffer: Bytes
    starts: Int64s
    lengths: Int32s
    ends: Int64s
    span: tuple[int, int]
    keys: Keys | None = None
    timestamps_ms: Int64s | None = None
    sources: Int64s | None = None
    path: str = ""
    inode: int = 0
    headers: tuple[Header, ...] = ()
    columns: Mapping[str, NDArray[Any]] = field(default_factory=lambda: _NO_COLUMNS)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Payload bytes of all rows."""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def cost(self) -> int:
        """Bytes of memory this batch takes while it is queued in a producer."""
        return self.nbytes + RECORD_OVERHEAD_BYTES * len(self)

    def payload(self, row: int) -> bytes:
        """The bytes of one record; for tests, dead letters and tools, not for the hot path."""
        start = int(self.starts[row])
        return self.buffer[start : start + int(self.lengths[row])].tobytes()

    def key(self, row: int) -> bytes | None:
        """The key of one record, None where it has none; for tests and tools."""
        if self.keys is None or self.keys.lengths[row] < 0:
            return None
        start = int(self.keys.starts[row])
        return self.keys.buffer[start : start + int(self.keys.lengths[row])].tobytes()

    def take(self, rows: Bools | Int64s) -> RecordBatch:
        """The rows chosen by a mask or by ascending indices; the span stays whole."""
        keys = self.keys
        return RecordBatch(
            buffer=self.buffer,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            ends=self.ends[rows],
            span=self.span,
            keys=keys
            and Keys(buffer=keys.buffer, starts=keys.starts[rows], lengths=keys.lengths[rows]),
            timestamps_ms=None if self.timestamps_ms is None else self.timestamps_ms[rows],
            sources=None if self.sources is None else self.sources[rows],
            path=self.path,
            inode=self.inode,
            columns={name: column[rows] for name, column in self.columns.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """Acknowledged rows of a batch that lie one behind the other in a partition.

    `rows` are `count` ascending rows, as a slice or int64[count]; `offset` is the first one's, -1
    where the broker did not say.
    """

    partition: int
    offset: int
    count: int
    rows: slice | Int64s

    def below(self, row: int) -> Run | None:
        """What of it are rows before `row`."""
        if isinstance(self.rows, slice):
            count = min(self.count, row - self.rows.start)
        else:
            count = int(np.searchsorted(self.rows, row))
        if count <= 0:
            return None
        rows = slice(self.rows.start, row) if isinstance(self.rows, slice) else self.rows[:count]
        return self if count == self.count else replace(self, count=count, rows=rows)


def batch_of_pairs(pairs: Sequence[tuple[bytes, bytes]]) -> RecordBatch:
    """Keys and values as records that are of no file."""
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    key_lengths = np.array([len(key) for key in keys], np.int32)
    lengths = np.array([len(value) for value in values], np.int32)
    return RecordBatch(
        buffer=np.frombuffer(b"".join(values), np.uint8),
        starts=np.cumsum(lengths, dtype=np.int64) - lengths,
        lengths=lengths,
        ends=np.zeros(len(pairs), np.int64),
        span=(0, 0),
        keys=Keys(
            buffer=np.frombuffer(b"".join(keys), np.uint8),
            starts=np.cumsum(key_lengths, dtype=np.int64) - key_lengths,
            lengths=key_lengths,
        ),
    )
