"""How far a shadow is behind, and where it may go on."""

import os

import pytest

from singer.base.config import (
    FramesReaderConfig,
    MaxLagConfig,
    MultilineReaderConfig,
    Regex,
    Seconds,
    TextReaderConfig,
)
from singer.base.position import FileIdentity, Position
from singer.lag import Behind, Lag, landing


def behind(offset, size, *, inode=1, idle=0.0):
    return Behind(
        key=(1, inode), offset=offset, size=size, nbytes=max(0, size - offset), idle_seconds=idle
    )


def aged(seconds):
    return Lag(MaxLagConfig(age=Seconds(seconds)), TextReaderConfig())


def test_bytes_are_those_of_all_files_together():
    lag = Lag(MaxLagConfig(bytes=100), TextReaderConfig())
    assert not lag.is_exceeded([behind(0, 60), behind(10, 50, inode=2)], 0.0)
    assert lag.is_exceeded([behind(0, 60), behind(10, 51, inode=2)], 0.0)


def test_an_age_is_that_of_the_oldest_byte_that_is_behind():
    lag = aged(16)
    assert lag.age([behind(0, 100)], 10.0) == 0.0
    assert lag.age([behind(0, 200)], 12.0) == 2.0
    assert lag.age([behind(0, 300)], 15.0) == 5.0
    # What was written at first is delivered; what is behind was there at 12.
    assert lag.age([behind(100, 300)], 16.0) == 4.0
    assert lag.age([behind(200, 300)], 16.0) == 1.0
    assert lag.age([behind(300, 300)], 17.0) == 0.0
    assert lag.age([behind(300, 301)], 30.0) == 0.0
    assert not lag.is_exceeded([behind(300, 301)], 46.0)
    assert lag.is_exceeded([behind(300, 301)], 46.1)


def test_an_age_of_what_nobody_has_written_to_for_long_is_known_at_once():
    lag = aged(60)
    assert lag.is_exceeded([behind(0, 100, idle=61.0)], 0.0)
    assert not lag.is_exceeded([behind(100, 100, idle=61.0)], 0.0)


def test_what_was_truncated_away_makes_nothing_old():
    lag = aged(16)
    lag.age([behind(0, 1000)], 0.0)
    assert lag.age([behind(0, 10)], 10.0) == 0.0
    assert lag.age([behind(0, 2000)], 11.0) == 1.0
    assert lag.age([behind(0, 2000, inode=2)], 12.0) == 0.0


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthr")
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def at(offset, resume=b""):
    return Position(
        stream="s",
        destination="other",
        path="/log",
        identity=FileIdentity(device=1, inode=1, birth_ns=None),
        offset=offset,
        resume=resume,
    )


ANY = MaxLagConfig(bytes=1)
TEXT = Lag(ANY, TextReaderConfig())
MULTILINE = Lag(ANY, MultilineReaderConfig(start=Regex("^o")))
FRAMES = Lag(ANY, FramesReaderConfig())


def test_lines_are_landed_on_behind_the_last_newline(file):
    to = landing(file, 2, lag=TEXT, final=False, other=at(4))
    assert to is not None
    assert (to.end, to.tail, to.head, to.resume) == (8, b"one\ntwo\n", b"e\ntwo\n", b"")
    assert landing(file, 8, lag=TEXT, final=False, other=None) is None


def test_a_file_that_is_finished_ends_with_a_record(file):
    for lag in (TEXT, MULTILINE, FRAMES):
        to = landing(file, 8, lag=lag, final=True, other=at(4))
        assert to is not None
        assert to.end == 11


def test_other_records_are_landed_on_where_another_destination_is(file):
    for lag in (MULTILINE, FRAMES):
        to = landing(file, 0, lag=lag, final=False, other=at(4, b"state"))
        assert to is not None
        assert (to.end, to.resume, to.tail) == (4, b"state", b"one\n")
    assert landing(file, 4, lag=FRAMES, final=False, other=at(4)) is None
    assert landing(file, 4, lag=FRAMES, final=False, other=None) is None
    to = landing(file, 4, lag=MULTILINE, final=False, other=at(4))
    assert to is not None
    assert to.end == 8
