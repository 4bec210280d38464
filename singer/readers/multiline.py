"""Several lines: a record is what lies between a line that begins one and the next that does.

Which lines begin or end a record is found out for all of a window at once: Python takes a step for
each line in which a pattern is found, which is one for a record. Cutting lines is the text
reader's.

A record is known to be whole when the next one begins, when its last line was found (`end`), or
when no more may belong to it (`max_lines`, `max_record`). Until then none of it is consumed: what
follows is framed with it, whether it comes with another read, or after a restart. Lines before the
first that begins a record are records as well. Pure; knows no files and no clock.
"""

from __future__ import annotations

import numpy as np

from singer.base.batch import Bools, Bytes, Int64s, RecordBatch
from singer.base.config import MultilineReaderConfig, TextReaderConfig
from singer.base.ports import Framed, State
from singer.base.regex import LinePattern
from singer.readers.ranges import PART_BYTES
from singer.readers.text import TextReader


class MultilineReader:
    """A `base.ports.Reader` of records of several lines.

    The payload of a record are its lines and the newlines between them. A line longer than
    `max_record` is given up, and what stands before and behind it are records of their own.
    """

    __slots__ = ("_end", "_lines", "_max_lines", "_max_record", "_start")

    def __init__(self, config: MultilineReaderConfig, *, part_bytes: int = PART_BYTES) -> None:
        self._max_lines = config.max_lines
        self._max_record = int(config.max_record)
        self._lines = TextReader(
            TextReaderConfig(
                max_record=config.max_record, encoding=config.encoding, crlf=config.crlf
            ),
            part_bytes=part_bytes,
        )
        self._start, self._end = (
            None if pattern is None else LinePattern(pattern)
            for pattern in (config.start, config.end)
        )

    @property
    def max_window(self) -> int:
        """As much as a record may have, and a line that is one byte too long to belong to it."""
        return 2 * self._max_record + 2

    def frame(
        self, window: Bytes, offset: int, state: State, *, scanned: int = 0, resume: bytes = b""
    ) -> Framed:
        """Frame `window`, uint8, whose first byte is at file offset `offset`.

        `scanned` bytes at its start are known to hold no newline. With MORE a record is left that
        may go on; with QUIET it is not, unless its last line has no newline yet.
        """
        wanted = State.FINAL if state is State.FINAL else State.MORE
        framed = self._lines.frame(window, offset, wanted, scanned=scanned, resume=resume)
        lines = framed.batch
        if not len(lines):
            return framed
        raw = framed.begins
        begins = self._begins(framed, raw)
        records = np.flatnonzero(begins[:-1])
        stops = np.append(records[1:], len(lines))
        consumed = framed.consumed
        unread = len(window) - consumed
        if consumed + offset == lines.ends[-1] and not begins[-1] and state is not State.FINAL:
            # The last record may go on, unless what there is of its next line is too much for it.
            first = int(raw[records[-1]])
            if (state is State.MORE or unread) and offset + len(window) - first <= self._max_record:
                records, stops = records[:-1], stops[:-1]
                consumed = first - offset
        last = stops - 1
        starts = lines.starts[records]
        batch = RecordBatch(
            buffer=lines.buffer,
            starts=starts,
            lengths=(lines.starts[last] + lines.lengths[last] - starts).astype(np.int32),
            ends=lines.ends[last],
            span=(offset, offset + consumed),
        )
        # Newlines in what is left have to be found again.
        whole = consumed == framed.consumed
        return Framed(
            batch=batch,
            consumed=consumed,
            scanned=framed.scanned if whole else consumed,
            bad=framed.bad,
            resume=framed.resume if whole else b"",
        )

    def _begins(self, framed: Framed, raw: Int64s) -> Bools:
        """bool[n + 1]: which lines begin a record; the last one is whatever follows them."""
        lines = framed.batch
        begins = np.zeros(len(lines) + 1, np.bool_)
        begins[0] = True
        lengths = lines.lengths.astype(np.int64)
        for pattern, after in (self._start, 0), (self._end, 1):
            if pattern is not None:
                begins[pattern.rows(lines.buffer, lines.starts, lengths) + after] = True
        for bad in framed.bad:
            begins[np.searchsorted(lines.ends, bad.start, side="right")] = True
        self._cut_long(begins, raw, lines.ends)
        index = np.arange(len(begins))
        first = np.maximum.accumulate(np.where(begins, index, 0))
        begins |= (index - first) % self._max_lines == 0  # one that has so many is whole
        return begins

    def _cut_long(self, begins: Bools, raw: Int64s, ends: Int64s) -> None:
        """Cut records that are longer than `max_record`: a Python step for each piece."""
        limit = self._max_record + 1  # with the last newline
        records = np.flatnonzero(begins)
        stops = np.append(records[1:], len(ends)) if not begins[-1] else records[1:]
        records = records[: len(stops)]
        for record in np.flatnonzero(ends[stops - 1] - raw[records] > limit):
            first, behind = int(records[record]), int(stops[record])
            while first < behind and ends[behind - 1] - raw[first] > limit:
                fits = int(np.searchsorted(ends, raw[first] + limit, side="right"))
                first = min(max(fits, first + 1), first + self._max_lines)
                begins[min(first, behind)] |= first < behind
