"""Fields of structs in TBinaryProtocol: which frames hold exactly one struct, and what is in it.

`walk` looks at many frames side by side, a field of each at a time, as long as they are flat or
hold other structs. What has containers, or more than its bounds, it leaves to `scan`, which takes
one frame at a time. Neither trusts a length: all bytes that are looked at lie in the frame, and a
frame is sound only if its struct ends exactly where it does. Pure.

The format: a field is a type byte, a 16-bit number and a value; a struct ends with a stop byte;
a string is a 32-bit length and so many bytes; a list or set is an element's type, a 32-bit count
and the elements, a map has two types. Big-endian all of it. (thrift-binary-protocol.md of Apache
Thrift.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Bools, Bytes, Int64s

STOP: Final = 0
BOOL: Final = 2
BYTE: Final = 3
DOUBLE: Final = 4
I16: Final = 6
I32: Final = 8
I64: Final = 10
STRING: Final = 11
STRUCT: Final = 12
MAP: Final = 13
SET: Final = 14
LIST: Final = 15
UUID: Final = 16

#: Bytes of the values of each type that has a fixed size.
FIXED: Final = {BOOL: 1, BYTE: 1, DOUBLE: 8, I16: 2, I32: 4, I64: 8, UUID: 16}
#: The same by type; 0: of no fixed size, or unknown.
_SIZES: Final = np.zeros(256, np.int64)
_SIZES[list(FIXED)] = list(FIXED.values())
#: Fields and stops that `walk` takes in one frame: a `LogMessage` with all there is has 15.
_MOST_FIELDS: Final = 64
#: How deep values lie in each other at most.
_MOST_DEPTH: Final = 64

#: Numbers of fields, the outermost first.
FieldPath: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is wanted of a struct; None: it has no such field.

    `heads` are the (type, number) that its first field may have. `key` and `message` are strings,
    `timestamp` and `checksum` are integers of 64 bits. A struct without its `message` is none.
    """

    heads: frozenset[tuple[int, int]]
    message: FieldPath | None = None
    key: FieldPath | None = None
    timestamp: FieldPath | None = None
    checksum: FieldPath | None = None


LOG_MESSAGE: Final = Layout(
    heads=frozenset({(STRING, 1), (STRING, 2)}),
    key=(1,),
    message=(2,),
    timestamp=(3,),
    checksum=(4,),
)


class Soundness(IntEnum):
    """Whether a frame holds exactly one struct."""

    NO = 0
    YES = 1
    OPEN = 2  #: for `scan` to find out


class Fields(NamedTuple):
    """Columns int64[n]: window's indices of strings and their lengths, or -1; numbers, or -1."""

    message: Int64s
    message_length: Int64s
    key: Int64s
    key_length: Int64s
    timestamp: Int64s
    checksum: Int64s

    def take(self, rows: Bools | Int64s) -> Fields:
        """The rows chosen by a mask or by indices."""
        return Fields(*(column[rows] for column in self))


def walk(
    window: Bytes, starts: Int64s, ends: Int64s, layout: Layout
) -> tuple[NDArray[np.uint8], Fields]:
    """The structs in `window[starts[i]:ends[i]]`, n of them: `Soundness` uint8[n], and the fields.

    No frame is empty, and all end in the window. Of those that are not sound the fields are void.
    """
    soundness = np.zeros(len(starts), np.uint8)
    fields = Fields(*(np.full(len(starts), -1, np.int64) for _ in Fields._fields))
    row, at, end = np.arange(len(starts)), starts, ends
    way = _Way(layout, len(starts))
    for _ in range(_MOST_FIELDS):
        kind = window[at]
        more = kind != STOP
        if not more.all():
            over = ~more & (way.depth == 0)
            soundness[row[over & (at + 1 == end)]] = Soundness.YES
            inner = ~more & (way.depth > 0) & (at + 1 < end)
            way.leave(inner)
            at = at + inner
            keep = inner | more
            row, at, end, kind, more = (column[keep] for column in (row, at, end, kind, more))
            way.keep(keep)
        if not len(row):
            break
        # Room for the head of a field, and of a string: every frame ends with a stop behind it.
        sound = ~more | (at + 3 < end)
        head = np.where(sound & more, at, 0)
        number = window[head + 1].astype(np.int64) << 8 | window[head + 2]
        string = more & (kind == STRING) & (at + 7 < end)
        length = np.where(string, unsigned(window, np.where(string, at + 3, 0)), 0)
        nested = more & (kind == STRUCT)
        size = _SIZES[kind]
        step = np.where(string, 7 + length, np.where(nested, 3, np.where(size > 0, 3 + size, 0)))
        container = more & sound & (kind >= MAP) & (kind <= LIST)
        soundness[row[container]] = Soundness.OPEN
        sound &= ~more | ((step > 0) & (at + step < end))
        for path, start, found in (
            (layout.message, fields.message, fields.message_length),
            (layout.key, fields.key, fields.key_length),
        ):
            here = string & sound & way.is_at(path, number)
            start[row[here]] = at[here] + 7
            found[row[here]] = length[here]
        integer = more & sound & (kind == I64)
        for path, column in (
            (layout.timestamp, fields.timestamp),
            (layout.checksum, fields.checksum),
        ):
            here = integer & way.is_at(path, number)
            if here.any():
                high, low = unsigned(window, at[here] + 3), unsigned(window, at[here] + 7)
                column[row[here]] = high << 32 | low
        way.enter(nested & sound, number)
        at = at + np.where(more, step, 0)
        row, at, end = row[sound], at[sound], end[sound]
        way.keep(sound)
    soundness[row] = Soundness.OPEN
    if layout.message is not None:
        missing = (fields.message_length < 0) & (soundness == Soundness.YES)
        soundness[missing] = Soundness.NO
    return soundness, fields


class _Way:
    """How deep the rows are in structs, and how far on the way to each wanted field."""

    def __init__(self, layout: Layout, rows: int) -> None:
        paths = (layout.message, layout.key, layout.timestamp, layout.checksum)
        self.depth = np.zeros(rows, np.int64)
        # At the top there is no way to go.
        self._gone = {path: np.zeros(rows, np.int64) for path in paths if path and len(path) > 1}

    def keep(self, rows: Bools) -> None:
        """Forget the others."""
        self.depth = self.depth[rows]
        for path, gone in self._gone.items():
            self._gone[path] = gone[rows]

    def enter(self, rows: Bools, number: Int64s) -> None:
        """These go into a struct, which is the field of that number."""
        for path, gone in self._gone.items():
            for level, step in enumerate(path[:-1]):
                here = rows & (self.depth == level) & (gone == level) & (number == step)
                gone[here] = level + 1
        self.depth += rows

    def leave(self, rows: Bools) -> None:
        """These come to the end of a struct."""
        self.depth -= rows
        for gone in self._gone.values():
            np.minimum(gone, self.depth, out=gone, where=rows)

    def is_at(self, path: FieldPath | None, number: Int64s) -> Bools:
        """Which rows' field of that number is the one at `path`."""
        if path is None:
            return np.zeros(len(number), np.bool_)
        here: Bools = (self.depth == len(path) - 1) & (number == path[-1])
        if len(path) > 1:
            here &= self._gone[path] == len(path) - 1
        return here


def scan(frame: bytes, layout: Layout) -> tuple[int, ...] | None:
    """The struct that is all of `frame`: a row of `Fields`, indices of the frame; None: it is none.

    Every step takes a byte at least, so there are no more of them than bytes.
    """
    paths = (layout.message, layout.key, layout.timestamp, layout.checksum)
    one = _Scan(frame, frozenset(path for path in paths if path is not None))
    try:
        end = one.struct(0, ())
    except (IndexError, _UnsoundError):
        return None
    if end != len(frame) or (layout.message is not None and layout.message not in one.found):
        return None
    return (
        *one.string(layout.message),
        *one.string(layout.key),
        one.integer(layout.timestamp),
        one.integer(layout.checksum),
    )


class _UnsoundError(Exception):
    """It is no struct."""


class _Scan:
    """One frame, and where in it the values of the wanted fields are, with their types."""

    def __init__(self, frame: bytes, wanted: frozenset[FieldPath]) -> None:
        self.found: dict[FieldPath, tuple[int, int]] = {}
        self._frame = frame
        self._wanted = wanted

    def string(self, path: FieldPath | None) -> tuple[int, int]:
        """Index and length of the last string at `path`, or -1."""
        at, kind = self.found.get(path or (), (-1, -1))
        return (at + 4, self._uint(at)) if kind == STRING else (-1, -1)

    def integer(self, path: FieldPath | None) -> int:
        """The last number at `path`, or -1."""
        at, kind = self.found.get(path or (), (-1, -1))
        return int.from_bytes(self._frame[at : at + 8], "big", signed=True) if kind == I64 else -1

    def struct(self, at: int, outer: FieldPath) -> int:
        """Behind the struct at `at`. Raises IndexError, _UnsoundError."""
        frame = self._frame
        while (kind := frame[at]) != STOP:
            if at + 3 >= len(frame):
                raise _UnsoundError
            path = (*outer, int.from_bytes(frame[at + 1 : at + 3], "big"))
            if path in self._wanted:
                self.found[path] = (at + 3, kind)
            at = self._value(at + 3, kind, path)
        return at + 1

    def _value(self, at: int, kind: int, path: FieldPath) -> int:
        """Behind the value at `at`."""
        frame = self._frame
        if len(path) > _MOST_DEPTH:
            raise _UnsoundError
        if kind in FIXED:
            at += FIXED[kind]
        elif kind == STRING:
            at += 4 + self._uint(at)
        elif kind == STRUCT:
            at = self.struct(at, path)
        elif kind in {LIST, SET}:
            at = self._values(at + 5, (frame[at],), self._uint(at + 1), path)
        elif kind == MAP:
            at = self._values(at + 6, (frame[at], frame[at + 1]), self._uint(at + 2), path)
        else:
            raise _UnsoundError
        if at > len(frame):
            raise _UnsoundError
        return at

    def _values(self, at: int, kinds: tuple[int, ...], count: int, path: FieldPath) -> int:
        """Behind so many elements, or pairs, of a container. No path that is wanted leads there."""
        if count and all(kind in FIXED for kind in kinds):
            return at + count * sum(FIXED[kind] for kind in kinds)
        for _ in range(count):
            for kind in kinds:
                at = self._value(at, kind, (*path, -1))
        return at

    def _uint(self, at: int) -> int:
        """A 32-bit number that must be there."""
        if at + 4 > len(self._frame):
            raise _UnsoundError
        return int.from_bytes(self._frame[at : at + 4], "big")


def unsigned(window: Bytes, at: Int64s) -> Int64s:
    """The 32-bit big-endian numbers at these indices."""
    wide = window[at].astype(np.int64)
    for byte in (1, 2, 3):
        wide = wide << 8 | window[at + byte]
    return wide
