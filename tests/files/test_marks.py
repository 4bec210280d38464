"""Marks read from real descriptors."""

from __future__ import annotations

import os

import pytest

from singer.base.errors import ReadError
from singer.base.position import FINGERPRINT_BYTES, NO_MARK, Mark
from singer.files import marks


@pytest.fixture
def log(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield fd
    os.close(fd)


def test_a_fingerprint_covers_the_beginning_and_survives_growth(log):
    assert marks.read_fingerprint(log) == NO_MARK
    os.write(log, b"short")
    short = marks.read_fingerprint(log)
    assert short == Mark.of(b"short")
    os.write(log, b"x" * FINGERPRINT_BYTES)
    assert marks.agrees(log, short)
    assert marks.read_fingerprint(log).length == FINGERPRINT_BYTES
    assert marks.read_fingerprint(log, 3) == Mark.of(b"sho")


def test_a_fingerprint_disagrees_with_other_content_and_with_less(log):
    os.write(log, b"content")
    whole = marks.read_fingerprint(log)
    assert not marks.agrees(log, Mark.of(b"other"))
    os.ftruncate(log, 4)
    assert not marks.agrees(log, whole)
    assert marks.agrees(log, NO_MARK)


def test_a_tail_lies_right_before_the_offset(log):
    os.write(log, b"one two three")
    tail = marks.read_tail(log, 7, 3)
    assert tail == Mark.of(b"two")
    assert marks.tail_agrees(log, 7, tail)
    assert not marks.tail_agrees(log, 8, tail)
    assert not marks.tail_agrees(log, 2, tail)
    assert marks.tail_agrees(log, 0, NO_MARK)
    assert marks.read_tail(log, 2, 256) == Mark.of(b"on")
    os.ftruncate(log, 6)
    assert not marks.tail_agrees(log, 7, tail)
    assert marks.read_tail(log, 7, 3) == NO_MARK


def test_the_file_position_does_not_move(log):
    os.write(log, b"content")
    before = os.lseek(log, 0, os.SEEK_CUR)
    marks.read_fingerprint(log)
    marks.tail_agrees(log, 4, Mark.of(b"x"))
    assert os.lseek(log, 0, os.SEEK_CUR) == before


def test_what_cannot_be_read_is_named(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(ReadError, match=f"read marks of '{tmp_path}': is a directory"):
            marks.read_fingerprint(fd)
    finally:
        os.close(fd)
    with pytest.raises(ReadError, match="descriptor -1"):
        marks.agrees(-1, Mark.of(b"x"))
