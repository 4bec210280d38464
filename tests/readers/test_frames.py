"""Frames with a length before them, against a plain loop over the bytes."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.config import (
    ByteSize,
    Endian,
    FramesReaderConfig,
    LengthType,
    Payload,
    ProtobufReaderConfig,
)
from singer.base.ports import State
from singer.readers.making import make
from tests.readers.ranges import merged

LIMIT = 40
FORMATS = {
    (LengthType.U16, Endian.BIG): ">H",
    (LengthType.U16, Endian.LITTLE): "<H",
    (LengthType.U32, Endian.BIG): ">I",
    (LengthType.U32, Endian.LITTLE): "<I",
    (LengthType.U64, Endian.BIG): ">Q",
    (LengthType.U64, Endian.LITTLE): "<Q",
}


def frames_of(**options):
    return FramesReaderConfig(max_record=ByteSize(LIMIT), **options)


PROTOBUF = ProtobufReaderConfig(max_record=ByteSize(LIMIT))


def varint(number):
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def read(config, data, cuts=(), *, last=State.FINAL, offset=1000):
    """Records and what was given up, as a file grows; the books are checked."""
    one = make(config)
    records, ends, bad, at, resume = [], [], [], 0, b""
    for stop in [*sorted(cuts), len(data)]:
        for state in [State.MORE, last] if stop == len(data) else [State.MORE]:
            window = np.frombuffer(data[at:stop], np.uint8)
            framed = one.frame(window, offset + at, state, resume=resume)
            batch = framed.batch
            assert batch.span == (offset + at, offset + at + framed.consumed)
            booked = int(framed.sources.sum()) + sum(each.end - each.start for each in framed.bad)
            assert booked == framed.consumed
            records += [batch.payload(row) for row in range(len(batch))]
            ends += [int(end) - offset for end in batch.ends]
            bad += [(each.start - offset, each.end - offset) for each in framed.bad]
            at += framed.consumed
            resume = framed.resume
    assert ends == sorted(ends)
    return records, merged(bad), at


@pytest.mark.parametrize(("length", "endian"), FORMATS)
@pytest.mark.parametrize("includes_itself", [False, True])
@pytest.mark.parametrize("payload", Payload)
def test_every_way_to_write_a_length(length, endian, includes_itself, payload):
    number = struct.Struct(FORMATS[length, endian])
    own = number.size * includes_itself
    parts = [number.pack(len(each) + own) + each for each in (b"one", b"", b"x" * LIMIT, b"\0\xff")]
    data = b"".join(parts)
    config = frames_of(
        length=length, endian=endian, includes_itself=includes_itself, payload=payload
    )
    expected = parts if payload is Payload.FRAME else [each[number.size :] for each in parts]
    for cuts in [], range(len(data)):
        assert read(config, data, cuts) == (expected, [], len(data))


def test_frames_of_one_length():
    config = frames_of(length=LengthType.FIXED, size=ByteSize(4))
    for cuts in [], range(10):
        assert read(config, b"aaaabbbbcc", cuts) == ([b"aaaa", b"bbbb"], [(8, 10)], 10)
    assert read(config, b"aaaabbbbcc", last=State.QUIET) == ([b"aaaa", b"bbbb"], [], 8)


def test_delimited_messages():
    parts = [varint(len(each)) + each for each in (b"one", b"", b"x" * LIMIT)]
    data = b"".join(parts)
    for cuts in [], range(len(data)):
        assert read(PROTOBUF, data, cuts) == ([b"one", b"", b"x" * LIMIT], [], len(data))


def test_a_frame_that_is_too_long_is_given_up_and_its_neighbours_are_not():
    frames = [b"one", b"y" * 5000, b"two"]
    data = b"".join(struct.pack(">I", len(each)) + each for each in frames)
    for cuts in [], range(0, len(data), 13):
        assert read(frames_of(), data, cuts) == ([b"one", b"two"], [(7, 7 + 5004)], len(data))


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1])
def test_lengths_that_nobody_means_give_up_what_follows_and_hold_none_of_it(length):
    data = struct.pack(">I", 3) + b"one" + struct.pack(">i", length) + b"z" * 100_000
    one = make(frames_of())
    framed = one.frame(np.frombuffer(data, np.uint8), 0, State.MORE)
    assert len(framed.batch) == 1
    assert framed.consumed > 0
    assert len(framed.resume) < 100
    for cuts in [], range(0, len(data), 7919):
        assert read(frames_of(), data, cuts) == ([b"one"], [(7, len(data))], len(data))


@pytest.mark.parametrize(
    ("config", "junk"),
    [
        (frames_of(includes_itself=True), struct.pack(">I", 3)),
        (frames_of(includes_itself=True), struct.pack(">I", 0)),
        (PROTOBUF, b"\xff" * 10),
        (PROTOBUF, b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_length_that_cannot_be_leaves_nothing_to_go_by(config, junk):
    good = struct.pack(">I", 7) + b"one" if config is not PROTOBUF else varint(3) + b"one"
    data = good + junk + good * 50
    for cuts in [], range(0, len(data), 11):
        assert read(config, data, cuts) == ([b"one"], [(len(good), len(data))], len(data))


@given(
    frames=st.lists(st.binary(max_size=60), max_size=12),
    stop=st.integers(0, 400),
    change=st.one_of(st.none(), st.tuples(st.integers(0, 400), st.integers(0, 255))),
    kind=st.sampled_from(["u16", "u32 itself", "varint"]),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_prefixes_and_changes_are_the_same_however_they_are_cut(frames, stop, change, kind, seed):
    if kind == "u16":
        config, write = frames_of(length=LengthType.U16), lambda n: struct.pack(">H", n)
    elif kind == "varint":
        config, write = PROTOBUF, varint
    else:
        config = frames_of(includes_itself=True, endian=Endian.LITTLE)
        write = lambda n: struct.pack("<I", n + 4)  # noqa: E731
    data = bytearray(b"".join(write(len(each)) + each for each in frames)[:stop])
    if change and change[0] < len(data):
        data[change[0]] = change[1]
    data = bytes(data)
    whole = read(config, data)
    assert whole[2] == len(data)
    rng = random.Random(seed)
    cuts = rng.sample(range(len(data) + 1), min(len(data), seed % 9))
    assert read(config, data, cuts) == whole
    if change is None:
        short = [each for each in frames if len(each) <= LIMIT]
        assert whole[0] == short[: len(whole[0])]


def test_what_another_reader_left_is_given_up_with_what_follows():
    window = np.frombuffer(b"\0\0\0\1x", np.uint8)
    framed = make(frames_of()).frame(window, 5, State.FINAL, resume=b"truncate:7")
    assert (len(framed.batch), framed.consumed) == (0, 5)
    assert framed.bad


def test_an_empty_window():
    for config in frames_of(), PROTOBUF:
        assert read(config, b"") == ([], [], 0)
