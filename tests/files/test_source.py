import os

import pytest

from singer.base.position import TAIL_BYTES
from singer.files.source import Outcome, Source


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDONLY)
    yield path, fd
    os.close(fd)


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def read(source, want):
    outcome = source.read(want, nowait=True)
    return source.read_cold(want) if outcome is Outcome.COLD else outcome


def test_windows_follow_each_other_and_held_bytes_stay(log):
    path, fd = log
    append(path, b"one\ntwo\nthr")
    source = Source(fd, 0, b"")
    assert read(source, 100) is Outcome.GREW
    assert source.window.tobytes() == b"one\ntwo\nthr"
    source.consume(8, 11)
    assert (source.offset, source.read_offset, source.held, source.scanned) == (8, 11, 3, 3)
    append(path, b"ee\n")
    assert read(source, 100) is Outcome.GREW
    assert source.window.tobytes() == b"three\n"


def test_shown_bytes_are_never_overwritten(log):
    path, fd = log
    source = Source(fd, 0, b"")
    shown = []
    for number in range(2000):
        line = b"%06d %s\n" % (number, b"x" * (number % 50))
        append(path, line)
        assert read(source, len(line)) is Outcome.GREW
        shown.append((source.window, line))
        source.consume(len(line), len(line))
    assert all(window.tobytes() == line for window, line in shown)


def test_the_tail_is_the_bytes_before_the_offset(log):
    path, fd = log
    data = os.urandom(3000)
    append(path, data)
    source = Source(fd, 0, b"")
    assert read(source, 3000) is Outcome.GREW
    for step in (1, 99, 155, 1, 500, 2000):
        source.consume(step, step)
        assert source.tail == data[max(0, source.offset - TAIL_BYTES) : source.offset]


@pytest.mark.parametrize("before", [1, 100, 256, 5000])
def test_truncated_and_regrown_past_the_offset_is_noticed(log, before):
    path, fd = log
    append(path, b"a" * before)
    source = Source(fd, 0, b"")
    assert read(source, before) is Outcome.GREW
    source.consume(before, before)
    path.write_bytes(b"b" * (before + 50))
    assert read(source, 50) is Outcome.CHANGED
    assert source.read_offset == before


def test_truncated_below_the_offset_is_noticed(log):
    path, fd = log
    append(path, b"a" * 500)
    source = Source(fd, 0, b"")
    assert read(source, 500) is Outcome.GREW
    path.write_bytes(b"a" * 10)
    assert source.unread(10) < 0
    assert read(source, 50) is Outcome.CHANGED


def test_the_check_covers_what_is_held(log):
    path, fd = log
    append(path, b"held, not consumed")
    source = Source(fd, 0, b"")
    assert read(source, 100) is Outcome.GREW
    path.write_bytes(b"something else altogether")
    assert read(source, 100) is Outcome.CHANGED


def test_end_of_file(log):
    path, fd = log
    append(path, b"abc")
    source = Source(fd, 3, b"abc")
    assert source.unread(3) == 0
    assert read(source, 10) is Outcome.END


def test_a_line_that_grows_for_ever_is_copied_a_linear_number_of_bytes(log):
    path, fd = log
    source = Source(fd, 0, b"")
    buffers = set()
    total = 0
    for _ in range(400):
        append(path, b"x" * 5000)
        assert read(source, 5000) is Outcome.GREW
        total += 5000
        buffers.add((id(source.window.base), len(source.window.base)))
    assert source.window.tobytes() == b"x" * total
    assert len(buffers) < 20  # doubling: a new buffer only now and then


def test_relax_gives_the_buffer_back_only_when_nothing_is_held(log):
    path, fd = log
    append(path, b"abc")
    source = Source(fd, 0, b"")
    read(source, 3)
    source.relax()
    assert source.window.tobytes() == b"abc"
    source.consume(3, 3)
    source.relax()
    assert source.held == 0
    append(path, b"def")
    assert read(source, 3) is Outcome.GREW
    assert source.window.tobytes() == b"def"
