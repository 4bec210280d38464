from __future__ import annotations

import ctypes
import random
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka.cimpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.batch import Keys
from singer.kafka import keyhashes
from tests.kafka.support import batch_of
from tests.support import kafka_classpath

JAVA = Path(__file__).parent.parent / "support" / "kafka" / "KeyPartitions.java"


def _column(keys: Sequence[bytes]) -> Keys:
    column = batch_of([b""] * len(keys), keys).keys
    assert column is not None
    return column


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def _ten_thousand_keys() -> list[bytes]:
    rng = random.Random(7)
    lengths = [*range(300), 4095, 4096, 4097, 70_000]
    lengths += rng.choices([0, 3, 8, 16, 24, 36, 64], k=10_000 - len(lengths))
    return [rng.randbytes(length) for length in lengths]


# --- what others made of the same keys --------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafkas_own_tests(key: bytes, expected: int) -> None:
    assert _signed(keyhashes.murmur2_of(key)) == expected
    assert keyhashes.murmur2(_column([key] * 100)).tolist() == [expected & 0x7FFFFFFF] * 100


@pytest.mark.parametrize(
    ("key", "expected"), [(b"hello", 613153351), (b"key0", -300485417), (b"a", 1009084850)]
)
def test_murmur3_is_that_of_java_singer(key: bytes, expected: int) -> None:
    assert _signed(keyhashes.murmur3_of(key)) == expected
    assert keyhashes.murmur3(_column([key] * 100)).tolist() == [abs(expected)] * 100


@pytest.mark.parametrize("copies", [1, 100])
def test_crc32_is_that_of_java_singer(copies: int) -> None:
    keys = [bytes([0, 80, 64, 36, 43, 101, 22, 13]), bytes([0, 32, 69, 252, 197, 25, 224, 22])]
    assert (keyhashes.crc32(_column(keys * copies)) % 60).tolist() == [40, 8] * copies
    assert keyhashes.crc32(_column([b"hello"] * copies)).tolist() == [907060870] * copies


@pytest.mark.parametrize("copies", [1, 100])
def test_md5_is_that_of_java_singer(copies: int) -> None:
    keys = _column([b"399553798187727154"] * copies)
    assert (keyhashes.md5(keys) % 50).tolist() == [24] * copies


def test_ten_thousand_keys_go_where_librdkafka_puts_them() -> None:
    theirs = ctypes.CDLL(confluent_kafka.cimpl.__file__).rd_kafka_msg_partitioner_murmur2
    pointer = ctypes.c_void_p
    theirs.argtypes = (pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, pointer, pointer)
    keys = _ten_thousand_keys()
    expected = [theirs(None, key, len(key), 1000, None, None) for key in keys]
    assert (keyhashes.murmur2(_column(keys)) % 1000).tolist() == expected


def test_ten_thousand_keys_go_where_kafkas_java_client_puts_them() -> None:
    reason = kafka_classpath.missing()
    if reason is not None:
        pytest.skip(reason)
    keys = _ten_thousand_keys()
    for partitions in (7, 1 << 20):
        done = subprocess.run(
            ["java", "-cp", kafka_classpath.classpath(), str(JAVA), str(partitions)],
            input="".join(f"{key.hex()}\n" for key in keys),
            capture_output=True,
            text=True,
            timeout=120.0,
            check=True,
        )
        expected = [int(line) for line in done.stdout.split()]
        assert len(expected) == 10_000
        assert (keyhashes.murmur2(_column(keys)) % partitions).tolist() == expected


# --- a column, however it is made, and its keys one by one --------------------------------------


@given(
    st.lists(st.integers(0, 200), min_size=0, max_size=40),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_a_column_is_hashed_as_its_keys_one_by_one(
    lengths: list[int], copies: int, rng: random.Random
) -> None:
    keys = [rng.randbytes(length) for length in lengths * copies]
    rng.shuffle(keys)
    column = _column(keys)
    for of_column, of_key in (
        (keyhashes.murmur2, lambda key: keyhashes.murmur2_of(key) & 0x7FFFFFFF),
        (keyhashes.murmur3, lambda key: abs(_signed(keyhashes.murmur3_of(key)))),
        (keyhashes.crc32, lambda key: abs(_signed(zlib.crc32(key)))),
        (keyhashes.md5, lambda key: _signed(keyhashes.md5_of(key))),
    ):
        assert of_column(column).tolist() == [of_key(key) for key in keys]


def test_keys_lie_anywhere_in_their_buffer() -> None:
    buffer = np.frombuffer(random.Random(1).randbytes(1003), np.uint8)
    starts = np.arange(1000, dtype=np.int64)[::-1].copy()  # any order, over each other, to the end
    lengths = (np.arange(1000) % 3 + 1).astype(np.int32)
    column = Keys(buffer=buffer, starts=starts, lengths=lengths)
    texts = [
        buffer[start : start + length].tobytes()
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    ]
    assert (keyhashes.murmur2(column) == keyhashes.murmur2(_column(texts))).all()
    assert (keyhashes.md5(column) == keyhashes.md5(_column(texts))).all()
