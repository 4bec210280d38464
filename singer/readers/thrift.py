"""Thrift: records are structs in frames of a 4-byte big-endian length.

A frame is a length N and N bytes of TBinaryProtocol. Without an IDL the struct is a `LogMessage`:
`binary` 1 key, `binary` 2 message, `i64` 3 timestamp in ns, `i64` 4 CRC-32 of the message, struct 5
audit headers; key or message come first.

Columnar: frames are found by the bytes that they begin with, their lengths are compared with where
the next one begins, and the fields of all frames of a window are walked side by side. Python steps
are taken where the chain of frames breaks, and for structs with containers. No length is trusted:
a frame is one only if its fields end exactly where it does. Pure; knows no files and no clock.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Bools, Bytes, Int64s, Keys, RecordBatch
from singer.base.config import OnCorrupt, Payload, ThriftReaderConfig, TimeUnit
from singer.base.ports import BadRange, Framed, State
from singer.readers.ranges import PART_BYTES, dead_letter
from singer.readers.thrift_fields import (
    FIXED,
    LOG_MESSAGE,
    STRING,
    Fields,
    Layout,
    Soundness,
    scan,
    unsigned,
    walk,
)

#: Bytes of the length before each frame.
_PREFIX: Final = 4
#: Bytes of a frame that tell whether it may be one: the length, and the head of its first field.
_HEAD: Final = 7
#: Bytes of garbage that are looked at again and again for what may be a frame with containers, in
#: windows: somebody may write what looks like one at every byte.
_PATIENCE: Final = 4

#: A time in milliseconds is one of the unit, times the first, by the second.
_MILLISECONDS: Final = {
    TimeUnit.NS: (1, 1_000_000),
    TimeUnit.US: (1, 1000),
    TimeUnit.MS: (1, 1),
    TimeUnit.S: (1000, 1),
}
#: Later ones are none: the year 292,000 in seconds.
_LATEST: Final = 1 << 53


class ThriftReader:
    """A `base.ports.Reader` of frames, whose fields lie as `layout` says.

    A last frame that is torn waits for its rest, and is given up when nothing will come. Garbage is
    given up as one range, up to the next whole frame.
    """

    __slots__ = (
        "_config",
        "_heads",
        "_is_kind",
        "_layout",
        "_least",
        "_max_record",
        "_only",
        "_part_bytes",
    )

    def __init__(
        self,
        config: ThriftReaderConfig,
        layout: Layout = LOG_MESSAGE,
        *,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._config = config
        self._layout = layout
        self._max_record = int(config.max_record)
        self._part_bytes = part_bytes
        self._heads = {kind.to_bytes() + number.to_bytes(2, "big") for kind, number in layout.heads}
        kinds = list({kind for kind, _ in layout.heads})
        self._only = kinds[0] if len(kinds) == 1 else None  # faster than a look-up
        self._is_kind = np.isin(np.arange(256), kinds)
        # One field, without content, and the stop.
        self._least = min(
            3 + FIXED.get(kind, 1 if kind != STRING else 4) + 1 for kind, _ in layout.heads
        )

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
        if state is State.MORE and self._may_come(window, 0):
            window = window[:0]  # a long frame may come in many small writes
        heads = self._find_heads(window)
        lengths = unsigned(window, heads)
        whole = heads + lengths + _PREFIX <= len(window)
        frames = _Candidates.of(window, heads[whole], lengths[whole], self._layout)
        torn = heads[~whole]
        at, rows, bad = 0, [np.empty(0, np.int64)], list[tuple[int, int, str]]()
        while at < len(window):
            run = frames.run(at)
            if len(run):
                rows.append(run)
                at = int(frames.ends[run[-1]])
                continue
            until = frames.next_after(at)
            if state is State.MORE or (state is State.QUIET and until == len(window)):
                if self._may_come(window, at):
                    break
                if until == len(window):
                    until = self._first_torn(window, at, torn)
            bad.append((at, until, "no Thrift frame"))
            at = until
        frames = frames.take(np.concatenate(rows))
        corrupt = self._corrupt(window, frames.fields)
        if corrupt.any() and self._config.on_corrupt is OnCorrupt.DEAD_LETTER:
            bad += [
                (int(start), int(end), "checksum does not match")
                for start, end in zip(frames.starts[corrupt], frames.ends[corrupt], strict=True)
            ]
            frames = frames.take(~corrupt)
        return Framed(
            batch=self._batch(window, (offset, offset + at), frames),
            consumed=at,
            scanned=at,
            bad=self._give_up(sorted(bad), offset),
        )

    def _find_heads(self, window: Bytes) -> Int64s:
        """Where frames may begin of which at least the head is there."""
        first = window[_PREFIX : max(_PREFIX, len(window) - 2)]
        heads = np.flatnonzero(self._is_kind[first] if self._only is None else first == self._only)
        number = window[heads + 5].astype(np.int64) << 8 | window[heads + 6]
        begins = np.zeros(len(heads), np.bool_)
        for kind, wanted in self._layout.heads:
            begins |= (number == wanted) & (window[heads + _PREFIX] == kind)
        heads = heads[begins]
        lengths = unsigned(window, heads)
        kept: Int64s = heads[(lengths >= self._least) & (lengths <= self._max_record)]
        return kept

    def _may_come(self, window: Bytes, at: int) -> bool:
        """Whether what is at `at` may be the beginning of a frame that is not whole yet."""
        head = window[at : at + _HEAD].tobytes()
        if len(head) >= _PREFIX:
            length = int.from_bytes(head[:_PREFIX], "big")
            if not self._least <= length <= self._max_record or at + _PREFIX + length <= len(
                window
            ):
                return False
        return any(each.startswith(head[_PREFIX:]) for each in self._heads)

    def _first_torn(self, window: Bytes, at: int, torn: Int64s) -> int:
        """Where behind `at` a frame may begin that is not whole; the end if nowhere."""
        index = int(np.searchsorted(torn, at + 1))
        if index < len(torn):
            return int(torn[index])
        rest = range(max(at + 1, len(window) - _HEAD + 1), len(window))
        return next((each for each in rest if self._may_come(window, each)), len(window))

    def _give_up(self, ranges: list[tuple[int, int, str]], offset: int) -> tuple[BadRange, ...]:
        bad: list[BadRange] = []
        for start, end, reason in ranges:
            dead_letter(offset + start, offset + end, 0, self._part_bytes, bad, reason=reason)
        return tuple(bad)

    def _corrupt(self, window: Bytes, fields: Fields) -> Bools:
        """Which messages are not what their checksum says; none if that is not asked for."""
        corrupt = np.zeros(len(fields.message), np.bool_)
        if self._config.checksum:
            # A Python step for each: no way to do several at once is faster than zlib.
            for row in np.flatnonzero(fields.checksum >= 0):
                start, length = int(fields.message[row]), int(fields.message_length[row])
                crc = zlib.crc32(window[start : start + length].data)
                corrupt[row] = crc != fields.checksum[row]
        return corrupt

    def _batch(self, window: Bytes, span: tuple[int, int], frames: _Candidates) -> RecordBatch:
        fields = frames.fields
        if self._layout.message is None or self._config.payload is Payload.FRAME:
            starts, lengths = frames.starts + _PREFIX, frames.lengths
        else:
            starts, lengths = fields.message, fields.message_length
        times, by = _MILLISECONDS[self._config.timestamp_unit]
        known = (fields.timestamp >= 0) & (fields.timestamp * (times > 1) < _LATEST)
        return RecordBatch(
            buffer=window,
            starts=starts,
            lengths=lengths.astype(np.int32),
            ends=frames.ends + span[0],
            span=span,
            keys=Keys(buffer=window, starts=fields.key, lengths=fields.key_length.astype(np.int32)),
            timestamps_ms=np.where(known, fields.timestamp * times // by, -1),
        )


@dataclass(slots=True, kw_only=True)
class _Candidates:
    """Columns of what may be whole frames: their indices in the window, lengths, and fields."""

    window: Bytes
    layout: Layout
    starts: Int64s
    lengths: Int64s
    soundness: NDArray[np.uint8]
    fields: Fields
    ends: Int64s
    breaks: Int64s  #: rows behind which the chain of sound frames ends
    patience: int  #: bytes that may still be scanned in search of the next frame

    @classmethod
    def of(cls, window: Bytes, starts: Int64s, lengths: Int64s, layout: Layout) -> _Candidates:
        """Those at `starts` that are sound, or may be."""
        ends = starts + lengths + _PREFIX
        soundness, fields = walk(window, starts + _PREFIX, ends, layout)
        kept = soundness != Soundness.NO
        starts, lengths, ends, soundness = (
            column[kept] for column in (starts, lengths, ends, soundness)
        )
        chained = (
            (ends[:-1] == starts[1:])
            & (soundness[:-1] == Soundness.YES)
            & (soundness[1:] == Soundness.YES)
        )
        return cls(
            window=window,
            layout=layout,
            starts=starts,
            lengths=lengths,
            soundness=soundness,
            fields=fields.take(kept),
            ends=ends,
            breaks=np.append(np.flatnonzero(~chained), len(starts) - 1),
            patience=_PATIENCE * len(window),
        )

    def take(self, rows: Bools | Int64s) -> _Candidates:
        """The rows chosen; they are no chain any more."""
        return replace(
            self,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            soundness=self.soundness[rows],
            fields=self.fields.take(rows),
            ends=self.ends[rows],
        )

    def run(self, at: int) -> Int64s:
        """The rows of frames that follow each other from `at` on; they may end anywhere."""
        row = int(np.searchsorted(self.starts, at))
        if row == len(self.starts) or self.starts[row] != at or not self._is_sound(row):
            return np.empty(0, np.int64)
        last = int(self.breaks[np.searchsorted(self.breaks, row)])
        return np.arange(row, last + 1)

    def next_after(self, at: int) -> int:
        """The index of the next frame behind `at`; the window's end if there is none."""
        for row in range(int(np.searchsorted(self.starts, at + 1)), len(self.starts)):
            if self.soundness[row] == _OPEN:
                self.patience -= int(self.lengths[row])
                if self.patience < 0:
                    continue
            if self._is_sound(row):
                return int(self.starts[row])
        return len(self.window)

    def _is_sound(self, row: int) -> bool:
        """Whether it is a frame; what `walk` left open is found out once."""
        soundness = self.soundness[row]
        if soundness == _OPEN:
            start = int(self.starts[row]) + _PREFIX
            found = scan(self.window[start : int(self.ends[row])].tobytes(), self.layout)
            self.soundness[row] = soundness = _NO if found is None else _YES
            if found is not None:
                for column, value, place in zip(self.fields, found, _PLACES, strict=True):
                    column[row] = value + start * (place and value >= 0)
        return bool(soundness == _YES)


#: Looked up once: a member of an enumeration costs as much as a step over a field.
_NO, _YES, _OPEN = (int(each) for each in Soundness)
#: Which columns of `Fields` are indices.
_PLACES: Final = tuple(name in {"message", "key"} for name in Fields._fields)
