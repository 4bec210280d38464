"""Containers: what an application wrote, out of the lines that a runtime made of it.

A runtime cuts long lines into parts, and the parts of stdout and stderr may stand among each
other. The parts of one stream up to its full line are one record.

Nothing is consumed from the first part on of a record that is not whole, so a restart reads it
again and no state has to be kept. What the other stream writes in between waits with it: parts
follow each other at once, unless the application or the node died. That is bounded: parts are
joined over at most twice `max_record` bytes of the file, to at most `max_record` bytes, for at most
`timeout` by the times of the lines; and when nothing came for so long, or a window is full of
records that stretch over each other's ends, what there is of them is a record. Records stand in the
order of their last lines. Pure; knows no files and no clock.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from singer.base.batch import Bytes, Int64s, RecordBatch
from singer.base.config import (
    ByteSize,
    ContainerReaderConfig,
    OnCorrupt,
    ReaderType,
    TextReaderConfig,
)
from singer.base.ports import Framed, State
from singer.readers.container_lines import STDERR, STDOUT, Parsed, parse_cri, parse_docker
from singer.readers.ranges import PART_BYTES, dead_letter
from singer.readers.text import TextReader

#: In the column `stream`: the line is of another format, and is published as it is.
NO_STREAM: Final = 255
#: Bytes of a line besides its content, at most: Docker's may have labels.
_ENVELOPE_BYTES: Final = 16 << 10
_BRACE: Final = ord("{")


class ContainerReader:
    """A `base.ports.Reader` of the lines of containers.

    Batches have the column `stream`, uint8 (0 stdout, 1 stderr, 255 none), and the time of each
    record's first line.
    """

    __slots__ = ("_config", "_lines", "_max_record", "_part_bytes", "_pass", "_type")

    def __init__(self, config: ContainerReaderConfig, *, part_bytes: int = PART_BYTES) -> None:
        self._config = config
        self._type = config.type
        self._max_record = int(config.max_record)
        self._pass = config.on_corrupt is OnCorrupt.PASS
        self._part_bytes = part_bytes
        longest = ByteSize(self._max_record + _ENVELOPE_BYTES)
        self._lines = TextReader(TextReaderConfig(max_record=longest), part_bytes=part_bytes)

    @property
    def max_window(self) -> int:
        """As far as parts are joined, and a line that is too far."""
        return 2 * self._max_record + self._lines.max_window

    def frame(
        self, window: Bytes, offset: int, state: State, *, scanned: int = 0, resume: bytes = b""
    ) -> Framed:
        """Frame `window`, uint8, whose first byte is at file offset `offset`.

        With QUIET and FINAL no record waits for its last part; an unterminated last line is left
        until FINAL.
        """
        wanted = State.FINAL if state is State.FINAL else State.MORE
        framed = self._lines.frame(window, offset, wanted, scanned=scanned, resume=resume)
        lines = framed.batch
        if not len(lines):
            return framed
        begins, ends = framed.begins, lines.ends
        parsed = self._parse(window, lines)
        # A line that is too long to be held is behind the last one: nobody can wait here.
        wait = state is State.MORE and framed.consumed + offset == ends[-1]
        records = _Records(parsed, begins, ends, self._config)
        consumed, scanned = framed.consumed, framed.scanned
        # Each record that is not whole may stretch over the end of another: such a chain may go on
        # for ever.
        if (
            wait
            and records.open_at is not None
            and offset + len(window) - records.open_at <= self.max_window
        ):
            consumed = scanned = records.open_at - offset
        bad = [each for each in framed.bad if each.end <= offset + consumed]
        if not self._pass:
            for row in np.flatnonzero(~parsed.sound):
                if ends[row] <= offset + consumed:
                    start, end = int(begins[row]), int(ends[row])
                    reason = "no line of a container"
                    dead_letter(start, end, 0, self._part_bytes, bad, reason=reason)
        bad.sort(key=lambda each: each.start)
        return Framed(
            batch=self._batch(framed, parsed, records, (offset, offset + consumed)),
            consumed=consumed,
            scanned=scanned,
            bad=tuple(bad),
            resume=framed.resume if consumed == framed.consumed else b"",
        )

    def _parse(self, window: Bytes, lines: RecordBatch) -> Parsed:
        starts, lengths = lines.starts, lines.lengths.astype(np.int64)
        if self._type is ReaderType.CRI:
            return parse_cri(window, starts, lengths)
        if self._type is ReaderType.DOCKER:
            return parse_docker(window, starts, lengths)
        parsed = Parsed.nothing(len(starts))
        braced = (lengths > 0) & (window[np.minimum(starts, len(window) - 1)] == _BRACE)
        for parse, chosen in (parse_docker, braced), (parse_cri, ~braced):
            rows = np.flatnonzero(chosen)
            if len(rows):
                parsed.put(rows, parse(window, starts[rows], lengths[rows]))
        return parsed

    def _batch(
        self, framed: Framed, parsed: Parsed, records: _Records, span: tuple[int, int]
    ) -> RecordBatch:
        lines, (first, last) = framed.batch, records.until(span[1])
        if self._pass:
            others = np.flatnonzero(~parsed.sound & (lines.ends <= span[1]))
            parsed.starts[others] = lines.starts[others]
            parsed.lengths[others] = lines.lengths[others]
            parsed.stream[others] = NO_STREAM
            first, last = np.append(first, others), np.append(last, others)
            order = np.argsort(last, kind="stable")
            first, last = first[order], last[order]
        starts, lengths = parsed.starts[last], parsed.lengths[last]
        made: list[bytes] = []
        size = len(framed.batch.buffer)
        by_python = np.isin(last, list(parsed.decoded)) if parsed.decoded else False
        for record in np.flatnonzero((first != last) | by_python):
            rows = records.rows(int(first[record]), int(last[record]))
            content = b"".join(parsed.content(lines.buffer, row) for row in rows)
            starts[record], lengths[record] = size, len(content)
            size += len(content)
            made.append(content)
        buffer = lines.buffer
        if made:
            buffer = np.concatenate([buffer, np.frombuffer(b"".join(made), np.uint8)])
        # A record is safely behind only what began before every record that is still to come.
        later = np.append(records.begins[first][1:], span[1])
        safe = np.minimum.accumulate(later[::-1])[::-1][: len(first)]
        return RecordBatch(
            buffer=buffer,
            starts=starts,
            lengths=lengths.astype(np.int32),
            ends=np.minimum(lines.ends[last], safe),
            span=span,
            timestamps_ms=parsed.times_ms[first],
            columns={"stream": parsed.stream[last].astype(np.uint8)},
        )


class _Records:
    """Which lines are a record: its first and last rows, in the order of the last.

    `open_at` is the file offset of the first part of records that are not whole; None: all are.
    """

    def __init__(
        self, parsed: Parsed, begins: Int64s, ends: Int64s, config: ContainerReaderConfig
    ) -> None:
        self.parsed, self.begins, self.ends = parsed, begins, ends
        self.max_record, self.timeout_ms = int(config.max_record), config.timeout * 1000
        self.open_at: int | None = None
        self._open: list[tuple[int, int]] = []
        pairs = [self._of_stream(stream) for stream in (STDOUT, STDERR)]
        first, last = (np.concatenate(each) for each in zip(*pairs, strict=True))
        order = np.argsort(last)
        self._first, self._last = first[order], last[order]
        if self._open:
            self.open_at = min(int(begins[row]) for row, _ in self._open)
            # Nor may others that stretch over that place be sent: they would be read again.
            while True:
                over = (begins[self._first] < self.open_at) & (ends[self._last] > self.open_at)
                if not over.any():
                    break
                self.open_at = int(begins[self._first[over]].min())

    def until(self, offset: int) -> tuple[Int64s, Int64s]:
        """First and last rows of the records up to a file offset, also of those that are open."""
        first, last = self._first, self._last
        if self._open:
            more = np.array(self._open, np.int64)
            first, last = np.append(first, more[:, 0]), np.append(last, more[:, 1])
            order = np.argsort(last)
            first, last = first[order], last[order]
        kept = self.ends[last] <= offset
        return first[kept], last[kept]

    def rows(self, first: int, last: int) -> list[int]:
        """The rows of one record."""
        if first == last:
            return [first]
        stream = self.parsed.stream[first]
        part = slice(first, last + 1)
        mine = self.parsed.sound[part] & (self.parsed.stream[part] == stream)
        return (np.flatnonzero(mine) + first).tolist()

    def _of_stream(self, stream: int) -> tuple[Int64s, Int64s]:
        """First and last rows of the whole records of a stream; the others are open."""
        rows = np.flatnonzero(self.parsed.sound & (self.parsed.stream == stream))
        full = self.parsed.full[rows]
        if full.all():
            return rows, rows
        alone = full.copy()
        alone[1:] &= full[:-1]
        joined: list[tuple[int, int]] = []
        group: _Group | None = None
        for index in np.flatnonzero(~alone):
            row = int(rows[index])
            if group is not None and not group.add(row):
                joined.append(group.span)
                group = None
            group = group or _Group(self, row)
            if full[index]:
                joined.append(group.span)
                group = None
        if group is not None:
            (self._open if group.reaches(len(self.ends) - 1) else joined).append(group.span)
        both = np.array(joined, np.int64).reshape(-1, 2)
        return np.append(rows[alone], both[:, 0]), np.append(rows[alone], both[:, 1])


class _Group:
    """Parts that are joined, a row of the window each."""

    def __init__(self, records: _Records, row: int) -> None:
        self.span = (row, row)
        self._of = records
        self._size = int(records.parsed.lengths[row])
        self._seen = row
        self._time_ms = self._latest_ms = int(records.parsed.times_ms[row])

    def add(self, row: int) -> bool:
        """Join one more part; False: it is too much, or too late."""
        size = self._size + int(self._of.parsed.lengths[row])
        if size > self._of.max_record or not self.reaches(row):
            return False
        self._size, self.span = size, (self.span[0], row)
        return True

    def reaches(self, row: int) -> bool:
        """Whether a part in that row would not be too far away, in bytes and in time."""
        of, (first, _) = self._of, self.span
        # Lines of other formats have no time, which is the least.
        latest = int(of.parsed.times_ms[self._seen : row + 1].max())
        self._latest_ms, self._seen = max(self._latest_ms, latest), row
        near = of.ends[row] - of.begins[first] <= 2 * of.max_record
        return bool(near) and self._latest_ms - self._time_ms <= of.timeout_ms
