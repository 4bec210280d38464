"""Lines of containers against a plain loop: parts joined, streams apart, memory bounded."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.config import ByteSize, ContainerReaderConfig, OnCorrupt, ReaderType, Seconds
from singer.base.ports import State
from singer.readers.containers import ContainerReader
from tests.readers.container_logs import cri, docker, parse
from tests.readers.ranges import merged

LIMIT = 1000
MS = 1_700_000_000_000
STREAMS = {0: "stdout", 1: "stderr", 255: None}


def reader(kind=ReaderType.AUTO, **options):
    given = {"max_record": ByteSize(LIMIT), "timeout": Seconds(5.0), **options}
    return ContainerReader(ContainerReaderConfig(type=kind, **given), part_bytes=64)


def read(data, cuts=(), *, last=State.FINAL, offset=1000, **options):
    """(payload, stream, ms) of each record, and what was given up, as a file grows."""
    one = reader(**options)
    records, bad, at, scanned, resume = [], [], 0, 0, b""
    for stop in [*sorted(cuts), len(data)]:
        for state in [State.MORE, last] if stop == len(data) else [State.MORE]:
            window = np.frombuffer(data[at:stop], np.uint8)
            framed = one.frame(window, offset + at, state, scanned=scanned, resume=resume)
            batch = framed.batch
            assert batch.span == (offset + at, offset + at + framed.consumed)
            assert framed.consumed <= framed.scanned <= len(window)
            assert len(window) - framed.consumed <= one.max_window
            ends = batch.ends.tolist()
            assert ends == sorted(ends)
            assert all(batch.span[0] <= end <= batch.span[1] for end in ends)
            assert all(batch.span[0] <= b.start < b.end <= batch.span[1] for b in framed.bad)
            for row in range(len(batch)):
                stream = batch.columns.get("stream", [255] * len(batch))[row]
                ms = -1 if batch.timestamps_ms is None else int(batch.timestamps_ms[row])
                records.append((batch.payload(row), STREAMS[stream], ms))
            bad += [(each.start - offset, each.end - offset) for each in framed.bad]
            at += framed.consumed
            scanned, resume = framed.scanned - framed.consumed, framed.resume
    return records, merged(bad), at


def expected(data, *, on_corrupt=OnCorrupt.DEAD_LETTER):
    """One line after the other, with the two streams apart."""
    records, bad, at = [], [], 0
    open_ = {}  # by stream: [parts, ms of the first, begin, row]
    latest = {}

    def close(stream):
        parts, ms, _, last = open_.pop(stream)
        records.append((last, (b"".join(parts), stream, ms)))

    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for row, line in enumerate(lines):
        end = min(at + len(line) + 1, len(data))
        parsed = parse(line)
        if parsed is None:
            if on_corrupt is OnCorrupt.PASS:
                records.append((row, (line, None, -1)))
            else:
                bad.append((at, end))
        else:
            content, stream, full, ms = parsed
            latest = {each: max(before, ms) for each, before in latest.items()}
            if stream in open_:
                parts, first_ms, begin, _ = open_[stream]
                size = sum(map(len, parts)) + len(content)
                if size > LIMIT or end - begin > 2 * LIMIT or latest[stream] - first_ms > 5000:
                    close(stream)
            if stream not in open_:
                open_[stream], latest[stream] = [[], ms, at, row], ms
            open_[stream][0].append(content)
            open_[stream][3] = row
            if full:
                close(stream)
        at = end
    for stream in list(open_):
        close(stream)
    return [record for _, record in sorted(records, key=lambda each: each[0])], merged(bad)


def test_whole_lines_of_both_formats():
    data = cri(b"one") + cri(b"", stream="stderr", ms=MS + 7) + docker(b"three") + docker(b"")
    assert read(data) == (
        [
            (b"one", "stdout", MS),
            (b"", "stderr", MS + 7),
            (b"three", "stdout", MS),
            (b"", "stdout", MS),
        ],
        [],
        len(data),
    )


@pytest.mark.parametrize("write", [cri, docker])
def test_parts_are_joined_and_streams_kept_apart(write):
    data = (
        write(b"a" * 300, full=False)
        + write(b"err", stream="stderr", ms=MS + 1)
        + write(b"b" * 300, full=False, ms=MS + 2)
        + write(b"c", stream="stderr", full=False, ms=MS + 3)
        + write(b"end", ms=MS + 4)
        + write(b"d", stream="stderr", ms=MS + 5)
    )
    expected_records = [
        (b"err", "stderr", MS + 1),
        (b"a" * 300 + b"b" * 300 + b"end", "stdout", MS),
        (b"cd", "stderr", MS + 3),
    ]
    for cuts in [], range(len(data)):
        assert read(data, cuts) == (expected_records, [], len(data))


def test_what_is_safe_to_commit_is_before_every_record_that_is_not_sent():
    parts = [cri(b"x" * 50, full=False), cri(b"err", stream="stderr"), cri(b"end"), cri(b"next")]
    window = np.frombuffer(b"".join(parts), np.uint8)
    batch = reader().frame(window, 0, State.MORE).batch
    sizes = np.cumsum([len(each) for each in parts]).tolist()
    # Should sending end behind `err`, the part before it must be read again.
    assert batch.ends.tolist() == [0, sizes[2], sizes[3]]


def test_a_record_waits_for_its_last_part_until_nothing_came_for_the_timeout():
    data = cri(b"first") + cri(b"a", full=False) + cri(b"err", stream="stderr")
    records, bad, at = read(data, last=State.MORE)
    assert (records, bad, at) == ([(b"first", "stdout", MS)], [], len(cri(b"first")))
    assert [r[0] for r in read(data, last=State.QUIET)[0]] == [b"first", b"a", b"err"]


def test_a_last_part_that_never_comes_does_not_hold_up_the_other_stream_for_ever():
    data = cri(b"dead", full=False)
    data += b"".join(cri(b"err", stream="stderr", ms=MS + 1000 * n) for n in range(7))
    for cuts in [], range(0, len(data), 10):
        records, _, at = read(data, cuts, last=State.MORE)
        assert [r[0] for r in records] == [b"dead"] + [b"err"] * 7
        assert at == len(data)


def test_parts_that_never_end_are_cut():
    data = b"".join(cri(b"%03d" % n * 30, full=False) for n in range(200))
    for cuts in [], range(0, len(data), 777):
        records, bad, at = read(data, cuts)
        assert b"".join(r[0] for r in records) == b"".join(b"%03d" % n * 30 for n in range(200))
        assert max(len(r[0]) for r in records) <= LIMIT
        assert (bad, at) == ([], len(data))


def test_records_that_stretch_over_each_others_ends_for_ever_need_no_more_than_a_window():
    def parts(stream, *, full):
        return cri(b"x" * 400, stream=stream, full=full)

    again = parts("stderr", full=False) + parts("stdout", full=True)
    again += parts("stdout", full=False) + parts("stderr", full=True)
    data = parts("stdout", full=False) + again * 60
    for cuts in [], range(0, len(data), 997):
        records, bad, at = read(data, cuts)  # and no more is held than a window
        assert (bad, at) == ([], len(data))
        assert sum(len(each[0]) for each in records) == 400 * (1 + 4 * 60)
        torn = [each for each in records if len(each[0]) != 800]
        assert len(torn) < 20, "as few as the bound needs"


def test_a_line_of_another_format_passes_as_it_is_even_if_it_looks_like_one_of_dockers():
    line = rb'{"log":"a\n","stream":"stdout","time":"yesterday"}'
    records, bad, _ = read(line + b"\n", on_corrupt=OnCorrupt.PASS)
    assert ([each[:2] for each in records], bad) == ([(line, None)], [])


def test_lines_of_other_formats():
    other = b"panic: something else\n"
    data = cri(b"one") + other + cri(b"a", full=False) + other + cri(b"b")
    records, bad, _ = read(data)
    assert [r[0] for r in records] == [b"one", b"ab"]
    first = len(cri(b"one"))
    second = first + len(other) + len(cri(b"a", full=False))
    assert bad == [(first, first + len(other)), (second, second + len(other))]
    records, bad, _ = read(data, on_corrupt=OnCorrupt.PASS)
    assert [r[:2] for r in records] == [
        (b"one", "stdout"),
        (other[:-1], None),
        (other[:-1], None),
        (b"ab", "stdout"),
    ]
    assert not bad


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"2016-10-06T00:17:09.669794202Z stdout F",  # nothing behind the tag
        b"2016-10-06T00:17:09.669794202Z stdout F:x:y content",
        b"2016-10-06T00:17:09.669794202Z stdout F:x:y",
        b"2016-10-06T00:17:09Z stderr F a b  c ",
        b"2016-10-06T08:17:09.669794202+08:00 stderr P content",
        b"2016-10-06T00:17:09.6Z stdin F content",
        b"2016-10-06T00:17:09.6Z stdout X content",
        b"2016-10-06T00:17:09.6Z stdout Fcontent",
        b"2016-10-06T00:17:09.6Zstdout F content",
        b"2016-10-06 stdout F content",
        b"2016-10-06T00:17:09.669794202Z",
        b"2016-10-06T00:17:09.669794202Z ",
        b"2016-10-06T00:17:09.669794202Z stdout",
        rb'{"log":"\u00e9 \"quoted\" \\ \n","stream":"stderr","time":"2016-10-06T00:17:09.6Z"}',
        rb'{"log":"a\\n","stream":"stdout","time":"2016-10-06T00:17:09.6Z"}',
        rb'{"log":"\n","stream":"stdout","time":"2016-10-06T00:17:09.123456789Z"}',
        rb'{"log":"","stream":"stdout","time":"2016-10-06T00:17:09.123456789Z"}',
        rb'{"log":"a\n","stream":"stdout","attrs":{"k":"v"},"time":"2016-10-06T00:17:09.6Z"}',
        rb'{"time":"2016-10-06T00:17:09.6Z","stream":"stdout","log":"a\n"}',
        rb'{"log":"a","x":"b\n","stream":"stdout","time":"2016-10-06T00:17:09.123456789Z"}',
        rb'{"log":"a\n","stream":"stdxxx","time":"2016-10-06T00:17:09.123456789Z"}',
        rb'{"log":"a\n","stream":"stdout","time":"2016-10-06X00:17:09.123456789Z"}',
        rb'{"log":"a\n","stream":"stdout","time":12}',
        rb'{"log":5,"stream":"stdout","time":"2016-10-06T00:17:09.6Z"}',
        rb'{"log":"a\n","stream":[],"time":"2016-10-06T00:17:09.6Z"}',
        rb'{"log":"\ud800\n","stream":"stdout","time":"2016-10-06T00:17:09.6Z"}',
        b'{"log":"\xff\\n","stream":"stdout","time":"2016-10-06T00:17:09.6Z"}',
        b"{",
        b"[" * 5000,
    ],
)
def test_lines_as_a_person_would_read_them(line):
    data = cri(b"before") + line + b"\n" + cri(b"behind", ms=MS + 60_000)
    assert read(data)[:2] == expected(data)
    assert read(data, range(len(data)))[:2] == expected(data)


LINES = st.builds(
    lambda write, content, stream, full, ms: write(content, stream=stream, full=full, ms=MS + ms),
    st.sampled_from([cri, docker]),
    st.sampled_from([b"", b"x", b"a b", b"y" * 400, 'é "\\'.encode(), b"\x7f"]),
    st.sampled_from(["stdout", "stdout", "stderr"]),
    st.booleans(),
    st.integers(0, 8000),
)


@given(
    lines=st.lists(st.one_of(LINES, st.sampled_from([b"other\n", b"\n", b"{}\n"])), max_size=14),
    unterminated=st.booleans(),
    on_corrupt=st.sampled_from(OnCorrupt),
    seed=st.integers(0, 9999),
)
@settings(deadline=None, max_examples=200)
def test_however_it_is_cut_it_is_what_a_loop_over_lines_makes(
    lines, unterminated, on_corrupt, seed
):
    data = b"".join(lines)
    if unterminated:
        data = data[:-1]
    records, bad = expected(data, on_corrupt=on_corrupt)
    rng = random.Random(seed)
    for cuts in [], rng.sample(range(len(data) + 1), min(len(data), seed % 9)):
        assert read(data, cuts, on_corrupt=on_corrupt) == (records, bad, len(data))


@pytest.mark.parametrize("write", [cri, docker])
def test_every_prefix_and_every_change_of_one_byte(write):
    data = write(b"one") + write(b"a", full=False) + write(b"b") + write(b"end", stream="stderr")
    for stop in range(len(data) + 1):
        assert read(data[:stop])[:2] == expected(data[:stop])
    for index in range(len(data)):
        for value in {0, 10, 32, 34, 92, 255, data[index] ^ 1}:
            changed = data[:index] + bytes([value]) + data[index + 1 :]
            assert read(changed)[:2] == expected(changed)


def test_a_line_that_is_too_long_is_given_up_even_while_a_part_waits():
    long = cri(b"x" * 40_000)
    data = cri(b"a", full=False) + long + cri(b"end")
    for cuts in [], range(0, len(data), 501):
        records, bad, at = read(data, cuts)
        assert [r[0] for r in records] == [b"a", b"end"] or [r[0] for r in records] == [b"aend"]
        begin = len(cri(b"a", full=False))
        assert (bad, at) == ([(begin, begin + len(long))], len(data))


def test_a_long_stretch_without_a_newline_needs_no_more_than_a_record():
    one = reader()
    framed = one.frame(np.full(100_000, ord("x"), np.uint8), 0, State.MORE)
    assert 100_000 - framed.consumed <= one.max_window
    assert one.frame(np.empty(0, np.uint8), 0, State.FINAL).consumed == 0


def test_many_parts_cost_a_step_each_and_no_more():
    """Quadratic work would take minutes here."""
    data = b"".join(cri(b"", full=False) for _ in range(30_000))
    framed = reader(max_record=ByteSize(10_000_000)).frame(
        np.frombuffer(data, np.uint8), 0, State.FINAL
    )
    assert len(framed.batch) == 1
