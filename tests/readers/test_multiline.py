"""Records of several lines, against a plain loop over lines."""

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.config import ByteSize, MultilineReaderConfig
from singer.base.ports import State
from singer.readers.multiline import MultilineReader
from tests.readers.ranges import merged

LIMIT = 60


def reader(**options):
    given = {"start": "^[0-9]", "max_record": ByteSize(LIMIT), **options}
    return MultilineReader(MultilineReaderConfig(**given), part_bytes=16)


def read(data, cuts=(), *, last=State.FINAL, offset=1000, **options):
    """Records, their ends and what was given up, shown as a file grows; the books are checked."""
    one = reader(**options)
    records, ends, bad = [], [], []
    at = scanned = 0
    resume = b""
    for stop in [*sorted(cuts), len(data)]:
        states = [State.MORE, last] if stop == len(data) else [State.MORE]
        for state in states:
            window = np.frombuffer(data[at:stop], np.uint8)
            framed = one.frame(window, offset + at, state, scanned=scanned, resume=resume)
            batch = framed.batch
            assert batch.span == (offset + at, offset + at + framed.consumed)
            assert framed.consumed <= framed.scanned <= len(window)
            assert len(window) - framed.consumed <= one.max_window
            records += [batch.payload(row) for row in range(len(batch))]
            ends += [int(end) - offset for end in batch.ends]
            bad += [(each.start - offset, each.end - offset) for each in framed.bad]
            at += framed.consumed
            scanned, resume = framed.scanned - framed.consumed, framed.resume
            assert len(resume) <= 1024
    assert ends == sorted(ends)
    return records, ends, merged(bad), at


def expected(data, *, start="^[0-9]", end=None, max_lines=500):
    """One line after the other, as a person would."""
    records, bad, group, at = [], [], [], 0

    def close():
        if group:
            records.append(b"".join(group).removesuffix(b"\n") if at_newline else b"".join(group))
            group.clear()

    at_newline = True
    ended = False
    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
        text = line.removesuffix(b"\n")
        size = sum(map(len, group))
        if len(text) > LIMIT:
            close()
            bad.append((at, at + len(line)))
        else:
            if (
                ended
                or len(group) == max_lines
                or (start and re.search(start.encode(), text))
                or size + len(text) + 1 > LIMIT + 1
            ):
                close()
            group.append(line)
            at_newline = line.endswith(b"\n")
        ended = bool(end and re.search(end.encode(), text))
        at += len(line)
    close()
    return records, merged(bad)


TRACE = b"1 one\n  at a\n  at b\n2 two\n3 three\n\n  at c\n"


def test_lines_that_do_not_begin_a_record_belong_to_the_one_before():
    records, ends, bad, at = read(TRACE)
    assert records == [b"1 one\n  at a\n  at b", b"2 two", b"3 three\n\n  at c"]
    assert ends == [20, 26, len(TRACE)]
    assert (bad, at) == ([], len(TRACE))


def test_what_stands_before_the_first_is_a_record():
    assert read(b"  at z\n  at y\n" + TRACE)[0][:2] == [b"  at z\n  at y", b"1 one\n  at a\n  at b"]


def test_records_by_their_last_lines():
    data = b"BEGIN\na;\nb\nc;\nrest"
    assert read(data, start=None, end=";$")[0] == [b"BEGIN\na;", b"b\nc;", b"rest"]
    # Both: what is between an end and the next start is a record too.
    data = b"1 a\n.\nnoise\n2 b\n3 c\n.\n"
    assert read(data, end="^[.]$")[0] == [b"1 a\n.", b"noise", b"2 b", b"3 c\n."]


def test_the_last_record_waits_for_more_until_nothing_came_for_the_timeout():
    assert read(TRACE, last=State.MORE)[0] == [b"1 one\n  at a\n  at b", b"2 two"]
    assert read(TRACE, last=State.QUIET)[0][-1] == b"3 three\n\n  at c"
    # A line without its newline is being written; nobody knows to which record it belongs.
    records, _, bad, at = read(TRACE + b"  at", last=State.QUIET)
    assert (records[-1], bad, at) == (b"2 two", [], 26)
    assert read(TRACE + b"  at")[0][-1] == b"3 three\n\n  at c\n  at"


def test_a_record_that_is_known_to_be_whole_does_not_wait():
    assert read(b"1\n2;\n", last=State.MORE, end=";")[0] == [b"1", b"2;"]
    assert read(b"1\na\nb\n", last=State.MORE, max_lines=3)[0] == [b"1\na\nb"]
    assert read(b"1\na\nb\nc\n", last=State.MORE, max_lines=3)[0] == [b"1\na\nb"]
    line = b"1" + b"x" * (LIMIT - 1) + b"\n"
    assert read(line, last=State.MORE)[0] == [line[:-1]]
    assert read(line[1:], last=State.MORE)[0] == []
    assert read(b"1\n" + b"x" * LIMIT, last=State.MORE)[0] == [b"1"]


def test_records_of_too_many_lines_or_bytes_are_cut_and_nothing_is_lost():
    data = b"1\n" + b"".join(b"line %d\n" % n for n in range(100)) + b"2\n"
    for options in {"max_lines": 3}, {}:
        records, _, bad, _ = read(data, **options)
        assert b"\n".join(records) + b"\n" == data
        assert not bad
        assert max(map(len, records)) <= LIMIT
        assert (records, []) == expected(data, **options)


def test_a_line_that_is_too_long_is_given_up_and_its_neighbours_are_not():
    data = b"1 one\n  at\n" + b"x" * 200 + b"\n  at\n2 two\n"
    for cuts in [], range(0, len(data), 7):
        records, _, bad, at = read(data, cuts)
        assert records == [b"1 one\n  at", b"  at", b"2 two"]
        assert (bad, at) == ([(11, 212)], len(data))


def test_a_line_that_is_given_up_begins_nothing(long=b"1" + b"x" * 200 + b"\n"):
    data = b"1 one\n  at\n" + long + b"  at\n2 two\n"
    for cuts in [], range(0, len(data), 7):
        records, _, bad, _ = read(data, cuts)
        assert records == [b"1 one\n  at", b"  at", b"2 two"]
        assert bad == [(11, 11 + len(long))]


def test_the_rest_of_a_line_that_is_given_up_says_nothing_of_the_lines_behind_it():
    data = b"x" * 200 + b"1\n2 two\n  at\n"
    for cut in range(100, 203):
        records, _, bad, at = read(data, [cut], last=State.MORE)
        assert (records, bad, at) == ([], [(0, 202)], 202)


def test_a_pattern_is_found_in_one_line_only():
    assert read(b"a\n b\nb\n", start=r"a\s+b")[0] == [b"a\n b\nb"]
    assert read(b"x\n1\nx\n", start="^1$")[0] == [b"x", b"1\nx"]
    assert read(b"x\n\ny\n", start="^$")[0] == [b"x", b"\ny"]
    assert read(b"a\xffb\nxaxb\n\xc3\xa9a\n", start="a.b")[0] == [b"a\xffb", b"xaxb\n\xc3\xa9a"]


@given(
    lines=st.lists(
        st.one_of(
            st.sampled_from([b"1", b"22;", b"", b" at", b";", b"\r", b"\xff\xfe"]),
            st.binary(max_size=90),
        ),
        max_size=25,
    ),
    unterminated=st.booleans(),
    options=st.sampled_from(
        [{}, {"end": ";$"}, {"start": None, "end": ";$"}, {"max_lines": 2}, {"max_lines": 1}]
    ),
    seed=st.integers(0, 9999),
)
@settings(deadline=None, max_examples=200)
def test_however_it_is_cut_it_is_what_a_loop_over_lines_makes(lines, unterminated, options, seed):
    data = b"".join(line + b"\n" for line in lines)
    if unterminated:
        data = data[:-1]
    records, bad = expected(data, **options)
    rng = random.Random(seed)
    for cuts in [], rng.sample(range(len(data) + 1), min(len(data), seed % 9)), range(len(data)):
        found = read(data, cuts, **options)
        assert (found[0], found[2], found[3]) == (records, bad, len(data))


@pytest.mark.parametrize("stop", range(len(TRACE) + 1))
def test_every_prefix_gives_whole_records_only_while_more_may_come(stop):
    records = read(TRACE[:stop], last=State.MORE)[0]
    assert records == read(TRACE)[0][: len(records)]
    assert read(TRACE[:stop])[:1] == expected(TRACE[:stop])[:1]


def test_a_long_stretch_without_a_newline_needs_no_more_than_a_record():
    one = reader()
    framed = one.frame(np.full(10_000, ord("x"), np.uint8), 0, State.MORE)
    assert 10_000 - framed.consumed <= one.max_window
    assert one.frame(np.empty(0, np.uint8), 0, State.FINAL).consumed == 0
