"""The text reader against a model that looks at one byte at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.config import ByteSize, Oversize, TextReaderConfig
from singer.base.ports import Disposal, Framed, Reader, State
from singer.readers.text import PART_BYTES, TextReader

LIMIT = 4
PART = 3

#: Short lines, empty lines, NUL, CR, invalid UTF-8, and lines around and far above the limit.
CONTENT = st.lists(st.sampled_from([b"\n", b"\n", b"a", b"b\0", b"\r", b"\xff", b"cdefg"])).map(
    b"".join
)
MODES = st.sampled_from(Oversize)
CUTS = st.lists(st.integers(1, 9), min_size=1)


def reader(oversize: Oversize, limit: int = LIMIT, part: int = PART) -> TextReader:
    config = TextReaderConfig(max_record=ByteSize(limit), oversize=oversize)
    return TextReader(config, part_bytes=part)


def frame(
    subject: Reader,
    data: bytes,
    state: State = State.MORE,
    *,
    offset: int = 0,
    scanned: int = 0,
    resume: bytes = b"",
) -> Framed:
    window = np.frombuffer(data, dtype=np.uint8)
    return subject.frame(window, offset, state, scanned=scanned, resume=resume)


def payloads(framed: Framed) -> list[bytes]:
    return [framed.batch.payload(row) for row in range(len(framed.batch))]


@dataclass(slots=True)
class Model:
    """What becomes of each byte. Records are (offset, payload), bad bytes offset -> disposal."""

    oversize: Oversize
    records: list[tuple[int, bytes]] = field(default_factory=list)
    bad: dict[int, Disposal] = field(default_factory=dict)
    line: bytes = b""
    start: int = 0
    given_up: bool = False

    def feed(self, offset: int, byte: bytes) -> None:
        if self.given_up:
            self._drop(offset)
            self.given_up = byte != b"\n"
            self.start = offset + 1
        elif byte == b"\n":
            self.records.append((self.start, self.line))
            self.line, self.start = b"", offset + 1
        else:
            self.line += byte
            if len(self.line) > LIMIT:
                self._too_long(offset)

    def flush(self) -> None:
        if self.line:
            self.records.append((self.start, self.line))
            self.start += len(self.line)
            self.line = b""

    def _too_long(self, offset: int) -> None:
        if self.oversize is Oversize.DEAD_LETTER:
            for each in range(self.start, offset + 1):
                self._drop(each)
            self.line, self.given_up = b"", True
        else:
            self.records.append((self.start, self.line[:LIMIT]))
            if self.oversize is Oversize.TRUNCATE:
                self._drop(offset)
                self.line, self.given_up = b"", True
            else:
                self.line, self.start = self.line[LIMIT:], offset

    def _drop(self, offset: int) -> None:
        skip = self.oversize is Oversize.TRUNCATE
        self.bad[offset] = Disposal.SKIP if skip else Disposal.DEAD_LETTER


@dataclass(slots=True)
class Cursor:
    """What a pipeline does with a reader: shows windows, keeps what was not consumed."""

    subject: TextReader
    data: bytes
    offset: int = 0
    shown: int = 0
    scanned: int = 0
    resume: bytes = b""
    looked_at: int = 0
    most_held: int = 0
    records: list[tuple[int, bytes, int]] = field(default_factory=list)
    bad: dict[int, Disposal] = field(default_factory=dict)
    commits: list[tuple[int, bytes]] = field(default_factory=list)

    def step(self, more: int, state: State) -> None:
        self.shown = min(self.shown + more, len(self.data))
        window = self.data[self.offset : self.shown]
        self.looked_at += len(window) - self.scanned
        framed = frame(
            self.subject,
            window,
            state,
            offset=self.offset,
            scanned=self.scanned,
            resume=self.resume,
        )
        self._account(framed)
        if framed.consumed:
            self.commits += [(int(end), b"") for end in framed.batch.ends]
            self.commits = [c for c in self.commits if c[0] < self.offset + framed.consumed]
            self.commits.append((self.offset + framed.consumed, framed.resume))
        self.offset += framed.consumed
        self.scanned = framed.scanned - framed.consumed
        self.resume = framed.resume
        self.most_held = max(self.most_held, self.shown - self.offset)

    def finish(self) -> None:
        self.step(len(self.data), State.FINAL)
        assert self.offset == len(self.data)

    def restart(self, commit: tuple[int, bytes]) -> None:
        """Go on as after a crash: what was not committed is forgotten."""
        self.offset, self.resume = commit
        self.shown, self.scanned = self.offset, 0
        self.records = [record for record in self.records if record[2] <= self.offset]
        self.bad = {at: why for at, why in self.bad.items() if at < self.offset}

    def _account(self, framed: Framed) -> None:
        """Each consumed byte is in one record with its terminator, or in one bad range."""
        batch = framed.batch
        assert batch.span == (self.offset, self.offset + framed.consumed)
        assert framed.consumed <= framed.scanned
        assert len(framed.resume) <= 1024
        covered: list[tuple[int, int]] = []
        for row in range(len(batch)):
            start = self.offset + int(batch.starts[row])
            content = batch.payload(row)
            end = start + len(content)
            if end < self.offset + framed.consumed and self.data[end : end + 1] == b"\n":
                end += 1
            covered.append((start, end))
            self.records.append((start, content, int(batch.ends[row])))
        for bad in framed.bad:
            covered.append((bad.start, bad.end))
            for at in range(bad.start, bad.end):
                assert at not in self.bad
                self.bad[at] = bad.disposal
        edges = [self.offset]
        for start, end in sorted(covered):
            assert start == edges[-1]
            assert end > start
            edges.append(end)
        assert edges[-1] == self.offset + framed.consumed
        ends = batch.ends.tolist()
        assert ends == sorted(set(ends))
        assert all(end in edges for end in ends)


@given(CONTENT, MODES, CUTS)
def test_every_byte_is_where_the_model_has_it_however_the_input_is_cut(data, oversize, cuts):
    model = Model(oversize)
    for offset in range(len(data)):
        model.feed(offset, data[offset : offset + 1])
    model.flush()
    cursor = Cursor(reader(oversize), data)
    while cursor.shown < len(data):
        for cut in cuts:
            cursor.step(cut, State.MORE)
            assert cursor.shown - cursor.offset <= LIMIT + 1
    cursor.finish()
    assert [(start, content) for start, content, _ in cursor.records] == model.records
    assert cursor.bad == model.bad
    assert cursor.looked_at == len(data)


@given(CONTENT, MODES, st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1))
def test_quiet_emits_what_is_held_and_an_oversized_line_goes_on(data, oversize, steps):
    model = Model(oversize)
    cursor = Cursor(reader(oversize), data)
    for more, quiet in steps:
        before = cursor.shown
        cursor.step(more, State.QUIET if quiet else State.MORE)
        for offset in range(before, cursor.shown):
            model.feed(offset, data[offset : offset + 1])
        if quiet:
            model.flush()
            assert cursor.offset == cursor.shown
    for offset in range(cursor.shown, len(data)):
        model.feed(offset, data[offset : offset + 1])
    model.flush()
    cursor.finish()
    assert [(start, content) for start, content, _ in cursor.records] == model.records
    assert cursor.bad == model.bad


@given(CONTENT, MODES, CUTS, st.data())
def test_a_restart_from_any_committed_position_loses_and_repeats_nothing(
    data, oversize, cuts, draw
):
    model = Model(oversize)
    for offset in range(len(data)):
        model.feed(offset, data[offset : offset + 1])
    model.flush()
    cursor = Cursor(reader(oversize), data)
    for cut in cuts:
        cursor.step(cut, State.MORE)
    cursor.restart(draw.draw(st.sampled_from([(0, b""), *cursor.commits])))
    for cut in draw.draw(CUTS):
        cursor.step(cut, State.MORE)
    cursor.finish()
    assert [(start, content) for start, content, _ in cursor.records] == model.records
    assert cursor.bad == model.bad


def test_a_record_is_the_line_without_its_newline():
    framed = frame(reader(Oversize.SPLIT, 100), b"one\n\nt\0w\r\n\xfe\n rest", offset=50)
    assert payloads(framed) == [b"one", b"", b"t\0w\r", b"\xfe"]
    assert framed.batch.ends.tolist() == [54, 55, 60, 62]
    assert (framed.batch.starts.dtype, framed.batch.lengths.dtype) == (np.int64, np.int32)
    assert framed.batch.ends.dtype == np.int64
    assert (framed.consumed, framed.scanned) == (12, 17)
    assert framed.batch.span == (50, 62)


@pytest.mark.parametrize("state", [State.QUIET, State.FINAL])
def test_an_unterminated_last_line_is_held_until_nothing_more_is_expected(state):
    subject = reader(Oversize.DEAD_LETTER, 100)
    held = frame(subject, b"held")
    assert (len(held.batch), held.consumed, held.scanned) == (0, 0, 4)
    emitted = frame(subject, b"held", state, scanned=4)
    assert payloads(emitted) == [b"held"]
    assert emitted.batch.ends.tolist() == [4]
    assert emitted.consumed == 4


def test_an_empty_window_is_nothing():
    for state in State:
        framed = frame(reader(Oversize.DEAD_LETTER), b"", state, offset=7)
        assert (len(framed.batch), framed.consumed, framed.bad) == (0, 0, ())
        assert framed.batch.span == (7, 7)


def test_what_was_scanned_is_not_looked_at_again():
    framed = frame(reader(Oversize.DEAD_LETTER, 100), b"a\nb\n", scanned=2)
    assert payloads(framed) == [b"a\nb"]


def test_an_oversized_line_goes_to_the_dead_letters_between_its_neighbours():
    framed = frame(reader(Oversize.DEAD_LETTER, part=PART_BYTES), b"ab\ntoolong\ncd\n")
    assert payloads(framed) == [b"ab", b"cd"]
    assert framed.batch.ends.tolist() == [3, 14]
    ranges = [(bad.start, bad.end, bad.part) for bad in framed.bad]
    assert ranges == [(3, 8, 0), (8, 11, 1)]
    assert {(bad.reason, bad.disposal) for bad in framed.bad} == {
        ("oversized", Disposal.DEAD_LETTER)
    }


def test_a_truncated_line_commits_with_the_bytes_that_were_cut_off():
    framed = frame(reader(Oversize.TRUNCATE), b"toolong\ncd\n")
    assert payloads(framed) == [b"tool", b"cd"]
    assert framed.batch.ends.tolist() == [8, 11]
    assert [(bad.start, bad.end, bad.reason, bad.disposal) for bad in framed.bad] == [
        (4, 8, "truncated", Disposal.SKIP)
    ]


def test_a_split_line_has_no_empty_last_piece():
    framed = frame(reader(Oversize.SPLIT), b"abcdefgh\nabcdefghi\n")
    assert payloads(framed) == [b"abcd", b"efgh", b"abcd", b"efgh", b"i"]
    assert framed.batch.ends.tolist() == [4, 9, 13, 17, 19]


def test_the_rule_of_a_line_that_was_begun_outlives_a_change_of_configuration():
    begun = frame(reader(Oversize.TRUNCATE), b"toolong")
    rest = frame(reader(Oversize.SPLIT), b" rest\nab\n", offset=7, resume=begun.resume)
    assert payloads(rest) == [b"ab"]
    assert [(bad.start, bad.end, bad.disposal, bad.part) for bad in rest.bad] == [
        (7, 13, Disposal.SKIP, 1)
    ]
    assert rest.resume == b""


def test_what_another_reader_left_is_the_middle_of_a_line():
    framed = frame(reader(Oversize.SPLIT), b"end\nab\n", resume=b"\xffwhatever")
    assert payloads(framed) == [b"ab"]
    assert [(bad.start, bad.end, bad.part) for bad in framed.bad] == [(0, 3, 0), (3, 4, 1)]


@pytest.mark.parametrize("oversize", Oversize)
def test_an_endless_line_is_held_in_bounded_memory_and_scanned_once(oversize):
    limit = 1 << 16
    cursor = Cursor(reader(oversize, limit, limit // 4), b"x" * (20 * limit) + b"\nok\n")
    while cursor.shown < len(cursor.data):
        cursor.step(5_000, State.MORE)
    assert cursor.most_held <= limit
    assert cursor.looked_at == len(cursor.data)
    assert cursor.records[-1][1] == b"ok"
    assert cursor.resume == b""


def test_parts_of_an_endless_line_that_trickles_in_are_worth_a_dead_letter_each():
    limit = 1 << 20
    subject = reader(Oversize.DEAD_LETTER, limit, PART_BYTES)
    resume = frame(subject, b"x" * (limit + 1)).resume
    held = frame(subject, b"x" * (PART_BYTES - 1), resume=resume)
    assert (held.consumed, held.resume) == (0, resume)
    given_up = frame(subject, b"x" * PART_BYTES, scanned=PART_BYTES - 1, resume=resume)
    assert [(bad.start, bad.end, bad.part) for bad in given_up.bad] == [(0, PART_BYTES, 5)]


def test_a_window_of_max_window_bytes_is_always_consumed_in_part():
    for oversize in Oversize:
        subject = reader(oversize)
        first = frame(subject, b"x" * subject.max_window)
        assert first.consumed > 0
        again = frame(subject, b"x" * subject.max_window, resume=first.resume)
        assert again.consumed > 0
