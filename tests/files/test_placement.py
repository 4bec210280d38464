"""Rows made from a file's own bytes."""

from __future__ import annotations

import os

import pytest

from singer.base.position import NO_MARK, Mark
from singer.files.identity import Verdict, identify
from singer.files.marks import agrees, tail_agrees
from singer.files.placement import LINE_SEARCH_BYTES, line_start_after, line_start_before, place
from singer.files.stat import stat_fd

LINES = b"".join(b"line %04d\n" % n for n in range(500))


@pytest.fixture
def open_file(tmp_path):
    made = []

    def make(data):
        path = tmp_path / f"log-{len(made)}"
        path.write_bytes(data)
        made.append(os.open(path, os.O_RDONLY))
        return made[-1]

    yield make
    for fd in made:
        os.close(fd)


class Content:
    def __init__(self, fd):
        self.fd = fd

    def fingerprint_agrees(self, mark):
        return agrees(self.fd, mark)

    def tail_agrees(self, offset, mark):
        return tail_agrees(self.fd, offset, mark)


@pytest.mark.parametrize("offset", [0, 1, 10, 255, 256, 257, 1024, 1025, 4990, len(LINES)])
def test_the_file_is_known_again_by_the_row(open_file, offset):
    fd = open_file(LINES)
    stat = stat_fd(fd)
    row = place(fd, stat, offset, stream="s", destination="d", path="/p", now_ns=7)
    assert identify(stat, [row], Content(fd)) == (Verdict.RESUME, row)
    assert (row.id, row.stream, row.destination, row.path) == (0, "s", "d", "/p")
    assert (row.offset, row.resume, row.first_seen_ns, row.updated_ns) == (offset, b"", 7, 7)
    begins, ends = LINES[: min(offset, 1024)], LINES[max(0, offset - 256) : offset]
    assert row.identity.fingerprint == (Mark.of(begins) if offset else NO_MARK)
    assert row.tail == (Mark.of(ends) if offset else NO_MARK)


def test_what_follows_the_offset_may_change(open_file, tmp_path):
    fd = open_file(LINES)
    row = place(fd, stat_fd(fd), 20, stream="s", destination="d", path="/p", now_ns=7)
    (tmp_path / "log-0").write_bytes(LINES[:20] + b"something else\n" * 100)
    assert identify(stat_fd(fd), [row], Content(fd)) == (Verdict.RESUME, row)


@pytest.mark.parametrize(
    ("data", "offset", "before", "after"),
    [
        (b"", 0, 0, None),
        (b"ab\ncd\n", 0, 0, 3),
        (b"ab\ncd\n", 1, 0, 3),
        (b"ab\ncd\n", 2, 0, 3),  # the newline is part of its line
        (b"ab\ncd\n", 3, 3, 6),
        (b"ab\ncd\n", 6, 6, None),
        (b"ab\ncd", 5, 3, None),
        (b"ab", 1, 0, None),
    ],
)
def test_line_starts(open_file, data, offset, before, after):
    fd = open_file(data)
    assert line_start_before(fd, offset) == before
    assert line_start_after(fd, offset) == after


def test_lines_are_not_looked_for_without_end(open_file):
    far = LINE_SEARCH_BYTES
    fd = open_file(b"\n" + b"x" * (2 * far) + b"\n")
    assert line_start_before(fd, 1 + far - 1) == 1
    assert line_start_before(fd, 1 + far) is None
    assert line_start_after(fd, 1 + far) is None
    assert line_start_after(fd, 2 + far) == 2 + 2 * far
