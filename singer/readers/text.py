"""Lines: a record is what stands before a newline. Pure; knows no files and no clock.

Columnar: lines are found and cut with numpy, so there is no Python per line; only lines that are
longer than `max_record` cost a Python step each, when they are given up. The bytes pass
unchanged unless the configuration says otherwise: NUL, CR and invalid UTF-8 are content like any
other, an empty line is a record of length 0.

A line longer than `max_record` is given up as soon as one byte too many is seen, so that a line
without end needs no more memory than one of `max_record`. From then on `resume` says that the
bytes that follow belong to it, up to and including its newline: `<oversize>:<next part>`. Splitting
needs no such memory, because a line that follows a full piece is cut like any other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from singer.base.batch import Bytes, Int64s, RecordBatch
from singer.base.config import Oversize, TextReaderConfig
from singer.base.ports import BadRange, Disposal, Framed, State
from singer.readers.encoding import Encoding
from singer.readers.ranges import PART_BYTES, dead_letter

_NEWLINE: Final = 10
_RETURN: Final = 13
#: Up to this length one line at a time is the common case, and worth a way of its own.
_ONE_LINE_BYTES: Final = 4096
_FIRST: Final = np.zeros(1, np.int64)
_TRUNCATE: Final = Oversize.TRUNCATE.value.encode()


class _Lines(NamedTuple):
    """Columns of lines or pieces, int64: index in the window, length, file offset behind it."""

    starts: Int64s
    lengths: Int64s
    ends: Int64s


_NO_LINES: Final = _Lines(*(np.empty(0, dtype=np.int64) for _ in range(3)))


class TextReader:
    """A `base.ports.Reader` of lines.

    Committing `batch.ends[i]` inside of the span is safe with an empty `resume`; committing the
    span's end goes with the `resume` of the same call.
    """

    __slots__ = ("_crlf", "_encoding", "_max_record", "_oversize", "_part_bytes", "_unit")

    def __init__(self, config: TextReaderConfig, *, part_bytes: int = PART_BYTES) -> None:
        self._crlf = config.crlf
        self._encoding = None if config.encoding is None else Encoding(config.encoding)
        self._unit = 1 if self._encoding is None else self._encoding.unit
        # Whole code units, so that the pieces of a line can be decoded.
        self._max_record = max(int(config.max_record) // self._unit, 1) * self._unit
        self._oversize = config.oversize
        self._part_bytes = min(part_bytes, self._max_record + self._unit)
        self._part_bytes -= self._part_bytes % self._unit

    @property
    def max_window(self) -> int:
        """One byte more than a record may have: then it is oversized, or there was a newline."""
        return self._max_record + self._unit

    def frame(
        self, window: Bytes, offset: int, state: State, *, scanned: int = 0, resume: bytes = b""
    ) -> Framed:
        """Frame `window`, uint8, whose first byte is at file offset `offset`.

        `scanned` bytes at its start are known to hold no newline. With MORE an unterminated last
        line is left unconsumed, up to `max_record`; with QUIET and FINAL it is a record.
        """
        plain = self._encoding is None and not self._crlf
        if plain and len(window) <= _ONE_LINE_BYTES and not (scanned or resume):
            text = window.tobytes()
            if text.find(b"\n") == len(text) - 1 and 0 < len(text) <= self._max_record:
                return _one_line(window, offset)
        unit = self._unit
        if state is not State.FINAL and unit > 1:  # half a code unit waits for its rest
            window = window[: len(window) - (offset + len(window)) % unit]
        newlines = self._newlines(window, offset, scanned)
        bad: list[BadRange] = []
        begin = 0
        if resume:
            found = len(newlines) > 0
            begin = int(newlines[0]) + unit if found else len(window)
            if not found and state is State.MORE and not resume.startswith(_TRUNCATE):
                begin -= begin % self._part_bytes  # whole parts, not one for each little read
            resume = self._give_up_rest(offset, offset + begin, resume, bad)
            if not found:
                return _framed(window, offset, begin, _NO_LINES, bad, resume=resume)
            newlines = newlines[1:]

        # An unterminated last line that is emitted now is a line without a newline behind it.
        after_lines = int(newlines[-1]) + unit if len(newlines) else begin
        cut = self._cut_of_tail(len(window) - after_lines, state)
        consumed = after_lines + cut
        stops = np.append(newlines, consumed) if cut else newlines
        if not len(stops):
            return _framed(window, offset, consumed, _NO_LINES, bad)
        starts = np.empty_like(stops)
        starts[0] = begin
        np.add(stops[:-1], unit, out=starts[1:])
        ends = stops + (offset + unit)
        if cut:
            ends[-1] -= unit
        lines = _Lines(starts, stops - starts, ends)
        resume = b""
        whole = int(lines.lengths.max()) <= self._max_record
        if not whole:
            torn = cut > self._max_record and self._oversize is not Oversize.SPLIT
            lines, parts = self._oversized(lines, offset, bad)
            resume = _middle(self._oversize, parts) if torn else b""
        buffer, lines = self._converted(window, lines, in_a_row=whole, first=offset + begin == 0)
        return _framed(window, offset, consumed, lines, bad, resume=resume, buffer=buffer)

    def _newlines(self, window: Bytes, offset: int, scanned: int) -> Int64s:
        """Where newlines begin."""
        if self._encoding is not None:
            return self._encoding.newlines(window, offset, scanned)
        newlines = np.flatnonzero(window[scanned:] == _NEWLINE)
        if scanned:
            newlines += scanned
        return newlines

    def _converted(
        self, window: Bytes, lines: _Lines, *, in_a_row: bool, first: bool
    ) -> tuple[Bytes, _Lines]:
        """The lines as they are published, and the buffer they are in."""
        buffer, starts, lengths = window, lines.starts, lines.lengths
        if self._encoding is not None and len(starts):
            buffer, starts, lengths = self._encoding.convert(
                window, starts, lengths, in_a_row=in_a_row, first=first
            )
        if self._crlf and len(buffer):
            last = buffer[np.maximum(starts + lengths - 1, 0)]
            lengths = lengths - ((lengths > 0) & (last == _RETURN))
        return buffer, _Lines(starts, lengths, lines.ends)

    def _cut_of_tail(self, length: int, state: State) -> int:
        """How many bytes of an unterminated last line of `length` bytes are emitted now."""
        if state is not State.MORE:
            return length
        if length <= self._max_record:
            return 0
        if self._oversize is Oversize.SPLIT:
            # Leave a byte, so that a newline that follows ends a piece and makes no empty one.
            return (length - 1) // self._max_record * self._max_record
        return length

    def _oversized(self, lines: _Lines, offset: int, bad: list[BadRange]) -> tuple[_Lines, int]:
        """The records of lines of which some are too long, and the parts of the last of those."""
        limit = self._max_record
        if self._oversize is Oversize.SPLIT:
            return _split(lines, limit, offset), 0
        big = lines.lengths > limit
        parts = 0
        for row in np.flatnonzero(big):
            start, end = int(lines.starts[row]) + offset, int(lines.ends[row])
            if self._oversize is Oversize.TRUNCATE:
                parts = _skip(start + limit, end, 0, bad)
            else:
                parts = dead_letter(start, end, 0, self._part_bytes, bad, reason="oversized")
        if self._oversize is Oversize.TRUNCATE:
            return lines._replace(lengths=np.minimum(lines.lengths, limit)), parts
        return _Lines(*(column[~big] for column in lines)), parts

    def _give_up_rest(self, start: int, end: int, resume: bytes, bad: list[BadRange]) -> bytes:
        """Give up [start, end), which belongs to a line given up before; the new resume.

        The line's own rule holds, even if the configuration changed since it was begun. What
        another reader left says at least that we are in the middle of something.
        """
        mode, _, digits = resume.partition(b":")
        part = int(digits) if digits.isdigit() else 0
        if mode == _TRUNCATE:
            return _middle(Oversize.TRUNCATE, _skip(start, end, part, bad))
        parts = dead_letter(start, end, part, self._part_bytes, bad, reason="oversized")
        return _middle(Oversize.DEAD_LETTER, parts)


def _middle(oversize: Oversize, part: int) -> bytes:
    return f"{oversize.value}:{part}".encode()


def _framed(
    window: Bytes,
    offset: int,
    consumed: int,
    lines: _Lines,
    bad: list[BadRange],
    *,
    resume: bytes = b"",
    buffer: Bytes | None = None,
) -> Framed:
    return Framed(
        batch=RecordBatch(
            buffer=window if buffer is None else buffer,
            starts=lines.starts,
            lengths=lines.lengths.astype(np.int32),
            ends=lines.ends,
            span=(offset, offset + consumed),
        ),
        consumed=consumed,
        scanned=len(window),
        bad=tuple(bad),
        resume=resume,
    )


def _one_line(window: Bytes, offset: int) -> Framed:
    """A window that is one whole line: what a tailed file shows most of the time."""
    size = len(window)
    return Framed(
        batch=RecordBatch(
            buffer=window,
            starts=_FIRST,
            lengths=np.array((size - 1,), np.int32),
            ends=np.array((offset + size,), np.int64),
            span=(offset, offset + size),
        ),
        consumed=size,
        scanned=size,
    )


def _split(lines: _Lines, limit: int, offset: int) -> _Lines:
    """Cut each line into pieces of `limit` bytes and a last one that is not empty."""
    pieces = np.maximum((lines.lengths - 1) // limit + 1, 1)
    last = np.cumsum(pieces) - 1
    index = np.arange(int(last[-1]) + 1) - np.repeat(last - pieces + 1, pieces)
    starts = np.repeat(lines.starts, pieces) + index * limit
    stops = np.repeat(lines.starts + lines.lengths, pieces)
    lengths = np.minimum(stops - starts, limit)
    ends = starts + lengths + offset
    ends[last] = lines.ends
    return _Lines(starts, lengths, ends)


def _skip(start: int, end: int, part: int, bad: list[BadRange]) -> int:
    if start < end:
        bad.append(
            BadRange(start=start, end=end, reason="truncated", disposal=Disposal.SKIP, part=part)
        )
        part += 1
    return part
