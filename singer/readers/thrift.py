"""Thrift: records are `LogMessage` structs in frames of a 4-byte big-endian length.

A frame is a length N and N bytes of TBinaryProtocol: one struct of `binary` 1 key, `binary` 2
message, `i64` 3 timestamp in ns, `i64` 4 CRC-32 of the message, struct 5 audit headers; key or
message come first.

Columnar: frames are found by the byte that all of them begin with, their lengths are compared with
where the next one begins, and the fields of all frames of a window are walked side by side. Python
steps are taken where the chain of frames breaks. No length is trusted: a frame is one only if its
fields end exactly where it does. Pure; knows no files and no clock.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from singer.base.batch import Bools, Bytes, Int64s, Keys, RecordBatch
from singer.base.config import ThriftPayload, ThriftReaderConfig
from singer.base.ports import BadRange, Framed, State
from singer.readers.ranges import PART_BYTES, dead_letter

#: Bytes of the length before each frame.
_PREFIX: Final = 4
#: Bytes of a frame that tell whether it may be one: the length, and the head of its first field.
_HEAD: Final = 7
#: A frame with an empty message: one field of 7 bytes, and the stop.
_LEAST: Final = 8
#: Types of TBinaryProtocol.
_STOP: Final = 0
_I64: Final = 10
_STRING: Final = 11
_STRUCT: Final = 12
#: Fields and stops that are walked in one frame: a `LogMessage` with all there is has 15.
_MOST_FIELDS: Final = 64
_MOST_DEPTH: Final = 8
#: Bytes of the values of each type; 0: of no fixed size, or unknown.
_SIZES: Final = np.zeros(256, np.int64)
_SIZES[[2, 3, 4, 6, 8, _I64]] = [1, 1, 8, 2, 4, 8]


class _Frames(NamedTuple):
    """Columns of whole frames, int64, in order: the window's index of each, and its length."""

    starts: Int64s
    lengths: Int64s

    @property
    def ends(self) -> Int64s:
        """The window's index behind each."""
        return self.starts + self.lengths + _PREFIX

    def take(self, rows: Bools | Int64s) -> _Frames:
        return _Frames(self.starts[rows], self.lengths[rows])


class _Fields(NamedTuple):
    """Columns of what stands in frames; an absent key has the length -1, an absent time is -1."""

    message: Int64s
    message_length: Int64s
    key: Int64s
    key_length: Int64s
    timestamp_ns: Int64s

    def take(self, rows: Bools | Int64s) -> _Fields:
        return _Fields(*(column[rows] for column in self))


class ThriftReader:
    """A `base.ports.Reader` of `LogMessage` frames.

    A last frame that is torn waits for its rest, and is given up when nothing will come. Garbage is
    given up as one range, up to the next whole frame.
    """

    __slots__ = ("_max_record", "_part_bytes", "_payload")

    def __init__(self, config: ThriftReaderConfig, *, part_bytes: int = PART_BYTES) -> None:
        self._max_record = int(config.max_record)
        self._payload = config.payload
        self._part_bytes = part_bytes

    @property
    def max_window(self) -> int:
        """The longest frame there may be."""
        return self._max_record + _PREFIX

    def frame(
        self,
        window: Bytes,
        offset: int,
        state: State,
        *,
        scanned: int = 0,  # noqa: ARG002  # of a torn frame no more than its head is looked at
        resume: bytes = b"",  # noqa: ARG002  # what was before the window says nothing of it
    ) -> Framed:
        """Frame `window`, uint8, whose first byte is at file offset `offset`."""
        heads = self._heads(window)
        lengths = _unsigned(window, heads)
        whole = heads + lengths + _PREFIX <= len(window)
        frames = _Frames(heads[whole], lengths[whole])
        valid, fields = _walk(window, frames)
        frames, fields = frames.take(valid), fields.take(valid)
        torn = heads[~whole]
        at, rows, bad = 0, [], list[tuple[int, int]]()
        ends = frames.ends
        breaks = np.append(np.flatnonzero(ends[:-1] != frames.starts[1:]), len(ends) - 1)
        while at < len(window):
            index = int(np.searchsorted(frames.starts, at))
            if index < len(ends) and frames.starts[index] == at:
                last = int(breaks[np.searchsorted(breaks, index)])
                rows.append(np.arange(index, last + 1))
                at = int(ends[last])
                continue
            until = int(frames.starts[index]) if index < len(ends) else len(window)
            if state is State.MORE or (state is State.QUIET and until == len(window)):
                if self._may_come(window, at):
                    break
                if until == len(window):
                    until = self._first_torn(window, at, torn)
            bad.append((at, until))
            at = until
        chosen = np.concatenate(rows) if rows else np.empty(0, np.int64)
        return Framed(
            batch=self._batch(
                window, (offset, offset + at), frames.take(chosen), fields.take(chosen)
            ),
            consumed=at,
            scanned=at,
            bad=self._give_up(bad, offset),
        )

    def _heads(self, window: Bytes) -> Int64s:
        """Where frames may begin of which at least the head is there."""
        heads = np.flatnonzero(window[_PREFIX : max(_PREFIX, len(window) - 2)] == _STRING)
        number = window[heads + 6]
        heads = heads[(window[heads + 5] == 0) & (number >= 1) & (number <= 2)]
        lengths = _unsigned(window, heads)
        kept: Int64s = heads[(lengths >= _LEAST) & (lengths <= self._max_record)]
        return kept

    def _may_come(self, window: Bytes, at: int) -> bool:
        """Whether what is at `at` may be the beginning of a frame that is not whole yet."""
        head = window[at : at + _HEAD].tobytes()
        if len(head) >= _PREFIX:
            length = int.from_bytes(head[:_PREFIX], "big")
            if not _LEAST <= length <= self._max_record or at + _PREFIX + length <= len(window):
                return False
        return (
            head[4:5] in {b"", b"\x0b"}
            and head[5:6] in {b"", b"\x00"}
            and head[6:7] in {b"", b"\x01", b"\x02"}
        )

    def _first_torn(self, window: Bytes, at: int, torn: Int64s) -> int:
        """Where behind `at` a frame may begin that is not whole; the end if nowhere."""
        index = int(np.searchsorted(torn, at + 1))
        if index < len(torn):
            return int(torn[index])
        rest = range(max(at + 1, len(window) - _HEAD + 1), len(window))
        return next((each for each in rest if self._may_come(window, each)), len(window))

    def _give_up(self, ranges: list[tuple[int, int]], offset: int) -> tuple[BadRange, ...]:
        bad: list[BadRange] = []
        for start, end in ranges:
            reason = "no Thrift frame"
            dead_letter(offset + start, offset + end, 0, self._part_bytes, bad, reason=reason)
        return tuple(bad)

    def _batch(
        self, window: Bytes, span: tuple[int, int], frames: _Frames, fields: _Fields
    ) -> RecordBatch:
        if self._payload is ThriftPayload.FRAME:
            starts, lengths = frames.starts + _PREFIX, frames.lengths
        else:
            starts, lengths = fields.message, fields.message_length
        known = fields.timestamp_ns >= 0
        return RecordBatch(
            buffer=window,
            starts=starts,
            lengths=lengths.astype(np.int32),
            ends=frames.ends + span[0],
            span=span,
            keys=Keys(buffer=window, starts=fields.key, lengths=fields.key_length.astype(np.int32)),
            timestamps_ms=np.where(known, fields.timestamp_ns // 1_000_000, -1),
        )


def _walk(window: Bytes, frames: _Frames) -> tuple[Bools, _Fields]:
    """The fields of all frames, one of each at a time: which frames are sound, and what is there.

    All bytes that are looked at lie in the frame. A container (list, set, map) is none of the
    format's, and no frame that has one is sound.
    """
    count = len(frames.starts)
    valid = np.zeros(count, np.bool_)
    fields = _Fields(*(np.full(count, -1, np.int64) for _ in _Fields._fields))
    row = np.arange(count)
    at, end = frames.starts + _PREFIX, frames.ends
    depth = np.zeros(count, np.int64)
    for _ in range(_MOST_FIELDS):
        kind = window[at]
        more = kind != _STOP
        if not more.all():
            over = ~more & (depth == 0)
            valid[row[over & (at + 1 == end)]] = True
            inner = ~more & (depth > 0) & (at + 1 < end)
            depth -= inner
            at = at + inner
            keep = inner | more
            row, at, end, depth, kind, more = (c[keep] for c in (row, at, end, depth, kind, more))
        if not len(row):
            break
        # Room for the head of a field, and of a string: every frame ends with a stop behind it.
        sound = ~more | (at + 3 < end)
        head = np.where(sound & more, at, 0)
        number = window[head + 1].astype(np.int64) << 8 | window[head + 2]
        string = more & (kind == _STRING) & (at + 7 < end)
        length = np.where(string, _unsigned(window, np.where(string, at + 3, 0)), 0)
        nested = more & (kind == _STRUCT) & (depth < _MOST_DEPTH)
        size = _SIZES[kind]
        step = np.where(string, 7 + length, np.where(nested, 3, np.where(size > 0, 3 + size, 0)))
        sound &= ~more | ((step > 0) & (at + step < end))
        outer = more & sound & (depth == 0)
        for wanted, start, found in (
            (1, fields.key, fields.key_length),
            (2, fields.message, fields.message_length),
        ):
            here = outer & string & (number == wanted)
            start[row[here]] = at[here] + 7
            found[row[here]] = length[here]
        here = outer & (kind == _I64) & (number == 3)
        if here.any():
            high, low = _unsigned(window, at[here] + 3), _unsigned(window, at[here] + 7)
            fields.timestamp_ns[row[here]] = high << 32 | low
        depth = depth + nested
        at = at + np.where(more, step, 0)
        row, at, end, depth = (c[sound] for c in (row, at, end, depth))
    valid &= fields.message_length >= 0
    return valid, fields


def _unsigned(window: Bytes, at: Int64s) -> Int64s:
    """The 32-bit big-endian numbers at these indices."""
    wide = window[at].astype(np.int64)
    for byte in (1, 2, 3):
        wide = wide << 8 | window[at + byte]
    return wide
