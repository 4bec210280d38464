"""Hashes of keys, a column at a time: murmur2 and murmur3, CRC-32, MD5.

What each makes of a key is fixed by others: Kafka's Java client and Java Singer's partitioners.
Keys have any lengths, and a hash is a loop over the words of one. So the loop here goes over the
words, and each step takes all keys that are long enough, which are the first ones when they are
ordered by length. Where fewer than FEW are left a step costs more than it saves: the few
longest keys, and all of a small batch, are hashed one by one. Pure.

Each returns int64[n] of which `% n`, rounded down, is the partition.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Bytes, Int64s, Keys

UInt32s: TypeAlias = NDArray[np.uint32]

#: A step over a column takes about as long as a key of a few words by itself, sixty times.
FEW: Final = 64

_LOW: Final = 0xFFFFFFFF
_SIGN: Final = 0x80000000


def murmur2(keys: Keys) -> Int64s:
    """As Kafka's Java client: murmur2 without its sign."""
    return _hashes(keys, murmur2_of, _murmur2s) & 0x7FFFFFFF


def murmur3(keys: Keys) -> Int64s:
    """As Java Singer's MurmurByteArrayPartitioner: murmur3 (x86, 32 bits) as int32, absolute."""
    return np.abs(_signed(_hashes(keys, murmur3_of, _murmur3s)))


def crc32(keys: Keys) -> Int64s:
    """As Java Singer's Crc32ByteArrayPartitioner: CRC-32 as int32, absolute."""
    return np.abs(_signed(_hashes(keys, zlib.crc32, _crc32s, longest=64)))


def md5(keys: Keys) -> Int64s:
    """As Java Singer's StringKeyMd5Partitioner: the first four bytes of MD5, an int32."""
    return _signed(_hashes(keys, md5_of, _md5s, longest=110))


# --- one key ----------------------------------------------------------------------------------


def murmur2_of(key: bytes) -> int:
    """Kafka's murmur2 of one key, unsigned."""
    value = 0x9747B28C ^ len(key)
    for word in struct.unpack(f"<{len(key) // 4}I", key[: len(key) & ~3]):
        mixed = word * _M2 & _LOW
        value = (value * _M2 & _LOW) ^ ((mixed ^ mixed >> 24) * _M2 & _LOW)
    if len(key) % 4:
        value = (value ^ int.from_bytes(key[len(key) & ~3 :], "little")) * _M2 & _LOW
    value = (value ^ value >> 13) * _M2 & _LOW
    return value ^ value >> 15


def murmur3_of(key: bytes) -> int:
    """murmur3_32 (x86) of one key with seed 0, unsigned."""
    value = 0
    whole = len(key) & ~3
    for word in struct.unpack(f"<{whole // 4}I", key[:whole]):
        value ^= _mixed3(word)
        value = ((value << 13 | value >> 19) * 5 + 0xE6546B64) & _LOW
    value ^= _mixed3(int.from_bytes(key[whole:], "little")) ^ len(key)
    value = (value ^ value >> 16) * 0x85EBCA6B & _LOW
    value = (value ^ value >> 13) * 0xC2B2AE35 & _LOW
    return value ^ value >> 16


def md5_of(key: bytes) -> int:
    """The first four bytes of the MD5 of one key, little endian, unsigned."""
    return int.from_bytes(hashlib.md5(key, usedforsecurity=False).digest()[:4], "little")


def _mixed3(word: int) -> int:
    word = word * _C1 & _LOW
    return (word << 15 | word >> 17) * _C2 & _LOW


_M2: Final = 0x5BD1E995
_C1: Final = 0xCC9E2D51
_C2: Final = 0x1B873593


# --- a column of keys ---------------------------------------------------------------------------


def _hashes(
    keys: Keys,
    one: Callable[[bytes], int],
    column: Callable[[Bytes, Int64s, Int64s], UInt32s],
    longest: int | None = None,
) -> Int64s:
    """Hashes of all keys, unsigned: `one` of the longest few, `column` of the others.

    `longest`: where a library has `one`, columns of longer keys are slower than that.
    """
    lengths = np.maximum(keys.lengths, 0).astype(np.int64)
    order = np.argsort(-lengths, kind="stable")
    # Those as long as the last of the few have company enough to go with the others.
    bound = int(lengths[order[FEW]]) if len(order) > FEW else -1
    few = int((lengths > (bound if longest is None else min(bound, longest))).sum())
    hashes = np.empty(len(order), np.int64)
    for row in order[:few].tolist():
        start = int(keys.starts[row])
        hashes[row] = one(keys.buffer[start : start + int(lengths[row])].tobytes())
    rows = order[few:]
    if len(rows):
        hashes[rows] = column(keys.buffer, keys.starts[rows], lengths[rows])
    return hashes


def _signed(hashes: Int64s) -> Int64s:
    return (hashes ^ _SIGN) - _SIGN


def _padded(buffer: Bytes, starts: Int64s, lengths: Int64s, sizes: Int64s) -> Bytes:
    """The keys one behind the other, each with zeros behind it to its size."""
    copy = np.zeros(int(sizes.sum()), np.uint8)
    within = np.arange(int(lengths.sum())) - np.repeat(_firsts(lengths), lengths)
    copy[np.repeat(_firsts(sizes), lengths) + within] = buffer[np.repeat(starts, lengths) + within]
    return copy


def _firsts(sizes: Int64s) -> Int64s:
    """Where each begins when they lie one behind the other."""
    firsts: Int64s = np.cumsum(sizes) - sizes
    return firsts


def _steps(counts: Int64s) -> Iterator[tuple[int, int]]:
    """Each step, and how many keys take part in it: so many of the first ones, the longest."""
    negative = -counts
    for step in range(int(counts.max(initial=0))):
        yield step, int(np.searchsorted(negative, -step))


def _words(buffer: Bytes) -> UInt32s:
    """The word that begins at each byte."""
    return np.ndarray(max(0, len(buffer) - 3), "<u4", np.ascontiguousarray(buffer), strides=(1,))


def _torn(buffer: Bytes, starts: Int64s, lengths: Int64s) -> UInt32s:
    """The last one to three bytes of keys of no whole number of words, as the words they begin."""
    words = np.zeros(len(lengths), np.uint32)
    for byte in range(3):
        rows = np.flatnonzero(lengths % 4 > byte)
        at = starts[rows] + (lengths[rows] & ~3) + byte
        words[rows] |= buffer[at].astype(np.uint32) << np.uint32(8 * byte)
    return words


def _murmur2s(buffer: Bytes, starts: Int64s, lengths: Int64s) -> UInt32s:
    words, m = _words(buffer), np.uint32(_M2)
    values = lengths.astype(np.uint32) ^ np.uint32(0x9747B28C)
    for step, count in _steps(lengths // 4):
        mixed = words[starts[:count] + 4 * step] * m
        mixed ^= mixed >> 24
        mixed *= m
        values[:count] *= m
        values[:count] ^= mixed
    torn = np.flatnonzero(lengths % 4)
    values[torn] = (values[torn] ^ _torn(buffer, starts[torn], lengths[torn])) * m
    values ^= values >> 13
    values *= m
    values ^= values >> 15
    return values


def _murmur3s(buffer: Bytes, starts: Int64s, lengths: Int64s) -> UInt32s:
    def mixed(word: UInt32s) -> UInt32s:
        word = word * np.uint32(_C1)
        word = word << np.uint32(15) | word >> np.uint32(17)
        return word * np.uint32(_C2)

    words = _words(buffer)
    values = np.zeros(len(lengths), np.uint32)
    for step, count in _steps(lengths // 4):
        value = values[:count] ^ mixed(words[starts[:count] + 4 * step])
        values[:count] = (value << 13 | value >> 19) * np.uint32(5) + np.uint32(0xE6546B64)
    values ^= mixed(_torn(buffer, starts, lengths))
    values ^= lengths.astype(np.uint32)
    values ^= values >> 16
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> 13
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> 16
    return values


def _crc_table() -> UInt32s:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0xEDB88320), table >> 1)
    return table


_CRC: Final = _crc_table()


def _crc32s(buffer: Bytes, starts: Int64s, lengths: Int64s) -> UInt32s:
    values = np.full(len(lengths), _LOW, np.uint32)
    for step, count in _steps(lengths):
        value = values[:count]
        values[:count] = _CRC[(value ^ buffer[starts[:count] + step]) & 0xFF] ^ value >> 8
    return ~values


#: RFC 1321: the sines, the rotations of each round, and which word each of its steps takes.
_MD5_SINES: Final = [np.uint32(int(abs(math.sin(i + 1)) * 2**32)) for i in range(64)]
_MD5_TURNS: Final = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_MD5_WORDS: Final = ((1, 0), (5, 1), (3, 5), (7, 0))
_MD5_START: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)


def _md5s(buffer: Bytes, starts: Int64s, lengths: Int64s) -> UInt32s:
    # A key is followed by 0x80, and the last two words of its last block are its length in bits.
    counts = (lengths + 8) // 64 + 1
    firsts = _firsts(counts)
    padded = _padded(buffer, starts, lengths, counts * 64)
    padded[firsts * 64 + lengths] = 0x80
    blocks = padded.view("<u4").reshape(-1, 16)
    ends = firsts + counts - 1
    blocks[ends, 14] = (lengths << 3) & _LOW
    blocks[ends, 15] = lengths >> 29
    state = [np.full(len(lengths), word, np.uint32) for word in _MD5_START]
    for step, count in _steps(counts):
        after = _md5_block([word[:count] for word in state], blocks[firsts[:count] + step].T)
        for word, more in zip(state, after, strict=True):
            word[:count] += more
    return state[0]


def _md5_block(state: list[UInt32s], words: NDArray[np.uint32]) -> list[UInt32s]:
    """The state after the 64 steps of a block; `words` are 16 columns."""
    a, b, c, d = state
    for step in range(64):
        part = step // 16
        match part:
            case 0:
                mixed = d ^ (b & (c ^ d))
            case 1:
                mixed = c ^ (d & (b ^ c))
            case 2:
                mixed = b ^ c ^ d
            case _:
                mixed = c ^ (b | ~d)
        factor, offset = _MD5_WORDS[part]
        mixed = mixed + a + _MD5_SINES[step] + words[(factor * step + offset) % 16]
        turn = _MD5_TURNS[part][step % 4]
        a, d, c = d, c, b
        b = b + (mixed << turn | mixed >> (32 - turn))
    return [a, b, c, d]
