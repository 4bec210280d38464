"""Thrift frames against bytes made by hand: the exact record, or a range that is given up."""

import random
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.config import ByteSize, OnCorrupt, Payload, ThriftReaderConfig
from singer.base.ports import State
from singer.readers.thrift import ThriftReader
from tests.readers.ranges import merged
from tests.readers.thrift_frames import frame, headers, i64, parse, string

LIMIT = 4096


def reader(**options):
    return ThriftReader(ThriftReaderConfig(**{"max_record": ByteSize(LIMIT), **options}))


def read(data, cuts=(), *, final=True, offset=1000, **options):
    """Records as (message, key), their ends and the ranges given up, as files show them: growing.

    The books are checked: each byte is a record's, given up, or left.
    """
    one = reader(**options)
    records, ends, bad, at = [], [], [], 0
    for stop in [*sorted(cuts), len(data)]:
        states = [State.MORE, State.FINAL] if final and stop == len(data) else [State.MORE]
        for state in states:
            window = np.frombuffer(data[at:stop], np.uint8)
            framed = one.frame(window, offset + at, state)
            batch = framed.batch
            assert batch.span == (offset + at, offset + at + framed.consumed)
            assert 0 <= framed.consumed <= len(window)
            records += [(batch.payload(row), batch.key(row)) for row in range(len(batch))]
            ends += [int(end) - offset for end in batch.ends]
            bad += [(each.start - offset, each.end - offset) for each in framed.bad]
            at += framed.consumed
    assert ends == sorted(ends)
    return records, ends, merged(bad), at


SOME = [
    frame(b"one", timestamp_ns=1_553_980_990_791_000_000),
    frame(b"two", key=b"k", timestamp_ns=5, more=i64(4, 12345)),
    frame(b"", key=b""),
    frame(b"three" * 20, key=b"\0\xff", timestamp_ns=7, more=i64(4, -1) + headers()),
    frame(b"four\x0b\0\2", more=headers(host=b"")),
]
RECORDS = [
    (b"one", None),
    (b"two", b"k"),
    (b"", b""),
    (b"three" * 20, b"\0\xff"),
    (b"four\x0b\0\2", None),
]


def test_messages_keys_and_times():
    data = b"".join(SOME)
    records, ends, bad, at = read(data)
    assert (records, bad, at) == (RECORDS, [], len(data))
    assert ends == list(np.cumsum([len(each) for each in SOME]))
    batch = reader().frame(np.frombuffer(data, np.uint8), 0, State.MORE).batch
    assert batch.timestamps_ms.tolist() == [1_553_980_990_791, 0, -1, 0, -1]


def test_the_whole_struct_when_asked_for():
    records, _, bad, _ = read(b"".join(SOME), payload=Payload.FRAME)
    assert [value for value, _ in records] == [each[4:] for each in SOME]
    assert not bad


def test_a_frame_as_the_java_agent_reads_it():
    message = b'{"timestamp":1553980990791,"message":"x"}'
    data = struct.pack(">i", len(message) + 19) + b"\x0b\0\2" + struct.pack(">i", len(message))
    data += message + b"\x0a\0\3" + struct.pack(">q", 1_553_980_990_791_000_000) + b"\0"
    assert read(data)[0] == [(message, None)]


@pytest.mark.parametrize("stop", range(len(b"".join(SOME)) + 1))
def test_every_prefix_gives_whole_records_only_and_waits_for_the_rest(stop):
    data = b"".join(SOME)[:stop]
    whole = [n for n in range(len(SOME) + 1) if len(b"".join(SOME[:n])) <= stop][-1]
    records, _, bad, at = read(data, final=False)
    assert (records, bad, at) == (RECORDS[:whole], [], len(b"".join(SOME[:whole])))
    records, _, bad, at = read(data)
    assert records == RECORDS[:whole]
    assert at == stop
    assert bad == [(len(b"".join(SOME[:whole])), stop)] * (len(b"".join(SOME[:whole])) < stop)


def test_every_change_of_one_byte_is_the_exact_record_or_a_range_given_up():
    data = b"".join(SOME)
    for index in range(len(data)):
        for value in {0, 1, 0x0B, 0x7F, 0x80, 0xFF, data[index] ^ 1}:
            changed = data[:index] + bytes([value]) + data[index + 1 :]
            records, ends, bad, at = read(changed)
            assert at == len(data)
            covered = sum(end - start for start, end in bad)
            for record, end in zip(records, ends, strict=True):
                start = max(
                    s
                    for s in range(end)
                    if end - s > 4
                    and parse(changed[s + 4 : end]) == record
                    and struct.unpack_from(">I", changed, s)[0] == end - s - 4
                )
                covered += end - start
            assert covered == len(data), (index, value, bad, ends)


@given(
    pieces=st.lists(
        st.one_of(
            st.builds(
                frame,
                st.binary(max_size=60),
                key=st.one_of(st.none(), st.binary(max_size=5)),
                timestamp_ns=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
                more=st.sampled_from([b"", headers(), i64(4, 1)]),
            ),
            st.binary(max_size=30),
            st.sampled_from([b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x0b\x0b\0\2"]),
        ),
        max_size=12,
    ),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_however_it_is_cut_the_same_records_come(pieces, seed):
    data = b"".join(pieces)
    cuts = random.Random(seed).sample(range(len(data) + 1), min(len(data), seed % 7))
    whole = read(data)
    records, ends, bad, at = read(data, cuts)
    assert at == whole[3] == len(data)
    assert (records, ends, bad) == whole[:3]


def test_garbage_between_frames_is_one_range():
    for garbage in (b"\0" * 50, b"text\n" * 30, b"\xff" * 7, b"\0\0\0\x0b\x0b\0\x02\0\0\0\x01"):
        data = SOME[0] + garbage + SOME[1]
        records, _, bad, _ = read(data)
        assert records == RECORDS[:2]
        assert bad == [(len(SOME[0]), len(SOME[0]) + len(garbage))]


@pytest.mark.parametrize("length", [0, 1, 7, LIMIT + 1, 2**31 - 1, -1, -(2**31)])
def test_lengths_that_cannot_be(length):
    data = struct.pack(">i", length) + SOME[0][4:] + SOME[1]
    records, _, bad, _ = read(data, final=False)
    assert records == [RECORDS[1]]
    assert bad == [(0, len(SOME[0]))]


def test_a_frame_longer_than_allowed_is_given_up_and_its_neighbours_are_not():
    data = SOME[0] + frame(b"x" * (LIMIT + 1)) + SOME[1]
    records, _, bad, _ = read(data, cuts=range(0, len(data), 997))
    assert records == RECORDS[:2]
    assert bad == [(len(SOME[0]), len(data) - len(SOME[1]))]


@pytest.mark.parametrize("depth", [1, 8, 31, 32, 64, 65, 1000])
def test_structs_in_structs(depth):
    more = struct.pack(">bh", 12, 9) * depth + b"\0" * depth
    records, _, bad, _ = read(frame(b"x", more=more) + SOME[1])
    assert records == ([(b"x", None)] if depth <= 64 else []) + [RECORDS[1]]
    assert bool(bad) == (depth > 64)


def test_a_struct_without_a_message_is_no_record():
    fields = string(1, b"key") + b"\0"
    records, _, bad, _ = read(struct.pack(">i", len(fields)) + fields + SOME[0])
    assert records == RECORDS[:1]
    assert bad == [(0, 4 + len(fields))]


LISTS = [
    (15, b"\x0b\0\0\0\x02" + b"\0\0\0\x01a" + b"\0\0\0\0"),  # list<string>
    (14, b"\x0a\0\0\0\x03" + b"\0" * 24),  # set<i64>
    (15, b"\x0c\0\0\0\x02" + i64(1, 5) + b"\0" + b"\0"),  # list<struct>
    (13, b"\x0b\x0c\0\0\0\x01" + b"\0\0\0\x01k" + string(7, b"v") + b"\0"),  # map<string, struct>
    (13, b"\x08\x03\0\0\0\x02" + b"\0" * 10),  # map<i32, byte>
    (15, b"\x02\0\0\0\0"),  # an empty list<bool>
    (13, b"\0\0\0\0\0\0"),  # an empty map, which need not say of what
    (15, b"\x0f\0\0\0\x01" + b"\x02\0\0\0\x01\x01"),  # list<list<bool>>
]


@pytest.mark.parametrize(("kind", "value"), LISTS)
def test_fields_with_containers_are_passed_over(kind, value):
    field = struct.pack(">bh", kind, 9) + value
    for more in field, headers() + field, field + i64(4, 77):
        one = frame(b"x", key=b"k", timestamp_ns=8_000_000, more=more)
        records, _, bad, _ = read(SOME[0] + one + SOME[1])
        assert (records, bad) == ([RECORDS[0], (b"x", b"k"), RECORDS[1]], [])
        batch = reader().frame(np.frombuffer(one, np.uint8), 0, State.MORE).batch
        assert batch.timestamps_ms.tolist() == [8]
        for cut in range(4 + 7 + 2 + 7 + 2, len(one) - 1):  # a container that ends elsewhere
            shorter = one[4:cut] + b"\0"
            torn = struct.pack(">i", len(shorter)) + shorter
            records, _, bad, at = read(torn + SOME[1])
            assert records[-1] == RECORDS[1]
            assert at == len(torn) + len(SOME[1])
            assert bad or records[0] in {(b"x", b"k"), (b"x", None)}


@pytest.mark.parametrize("count", [-1, 2**31 - 1, 5000])
@pytest.mark.parametrize("element", [0, 1, 2, 10, 11, 12, 13, 15, 16, 99, 255])
def test_containers_that_say_they_are_larger_than_the_frame(count, element):
    value = struct.pack(">bi", element - 256 if element > 127 else element, count) + b"\0" * 20
    torn = frame(b"x", more=struct.pack(">bh", 15, 9) + value)
    records, _, bad, _ = read(SOME[0] + torn + SOME[1])
    assert records == RECORDS[:2]
    assert bad == [(len(SOME[0]), len(SOME[0]) + len(torn))]


def test_what_looks_like_a_frame_with_a_container_at_every_few_bytes_costs_no_more_than_a_little():
    """Each claims to hold all that follows, so that looking into each would take a day."""
    one = struct.pack(">ibhi", 0, 11, 2, 0) + struct.pack(">bhbi", 15, 9, 12, 2**31 - 1)
    data = bytearray(one * (1_000_000 // len(one)))
    for at in range(0, len(data) - 40_000, len(one)):
        struct.pack_into(">i", data, at, 30_000 + at % 1000)
    framed = reader(max_record=ByteSize(100_000)).frame(
        np.frombuffer(bytes(data), np.uint8), 0, State.FINAL
    )
    assert framed.consumed == len(data)
    assert not len(framed.batch)


def test_messages_are_compared_with_their_checksums_when_asked_for():
    right = frame(b"right", more=i64(4, zlib.crc32(b"right")))
    wrong = frame(b"wrong", key=b"k", more=i64(4, 1))
    data = SOME[0] + right + wrong + right
    records, _, bad, _ = read(data)
    assert [value for value, _ in records] == [b"one", b"right", b"wrong", b"right"]
    assert not bad
    records, _, bad, _ = read(data, checksum=True)
    assert [value for value, _ in records] == [b"one", b"right", b"right"]
    start = len(SOME[0]) + len(right)
    assert bad == [(start, start + len(wrong))]
    records, _, bad, _ = read(data, checksum=True, on_corrupt=OnCorrupt.PASS)
    assert [value for value, _ in records] == [b"one", b"right", b"wrong", b"right"]
    assert not bad


def test_a_changed_byte_of_a_message_is_found_by_its_checksum():
    message = bytes(range(256))
    data = frame(message, more=i64(4, zlib.crc32(message)))
    for index in range(len(data)):
        for value in {data[index] ^ 1, data[index] ^ 0x80}:
            changed = data[:index] + bytes([value]) + data[index + 1 :]
            records, _, bad, _ = read(changed, checksum=True)
            inside = 11 <= index < 11 + len(message)
            assert not (inside and records)
            assert bad == [(0, len(data))] * (not records)


@pytest.mark.parametrize("garbage", [b"\0", b"\x0b", b"\xff", b"\0\0\x02\0\x0b\0\x02"])
def test_no_more_than_a_window_is_ever_held(garbage):
    """A long file without a frame: each window is given up but for what may begin one."""
    window = np.frombuffer(garbage * (2 * LIMIT // len(garbage)), np.uint8)
    framed = reader().frame(window, 0, State.MORE)
    assert len(window) - framed.consumed < reader().max_window
    assert not len(framed.batch)


def test_an_empty_window():
    assert read(b"") == ([], [], [], 0)


def test_of_a_torn_frame_no_more_than_its_head_is_looked_at():
    """It may come in many small writes, and its message may be full of what may be frames."""
    torn = frame(frame(b"x") * 200_000)[:-1]
    one = reader(max_record=ByteSize(len(torn)))
    window = np.frombuffer(torn, np.uint8)
    begun = time.process_time()
    for _ in range(100):
        assert one.frame(window, 0, State.MORE).consumed == 0
    assert time.process_time() - begun < 3, "looking at all of it would take half a minute"
