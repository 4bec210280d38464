"""The decoders, where they are more than the library's own."""

from __future__ import annotations

import pytest
import zstandard

from singer.files.decoders import DECODE_ERRORS, FORMATS
from singer.files.siblings import Compression
from tests.files.archives import COMPRESS, lines

EACH = pytest.mark.parametrize("compression", list(Compression))


@EACH
@pytest.mark.parametrize("limit", [1, 1000, 1 << 20])
def test_no_more_than_the_limit_comes_at_once_and_nothing_is_missing(compression, limit):
    content = lines(100)
    decoder = FORMATS[compression].decoder()
    data, pieces = COMPRESS[compression](content) + b"behind", []
    while not decoder.eof:
        pieces.append(decoder.decompress(data, limit))
        data = b""
    assert max(map(len, pieces)) <= limit
    assert b"".join(pieces) == content
    assert decoder.unused_data == b"behind"


def zstd(*blocks: tuple[int, int, bytes], window: int = 0x70) -> bytes:
    """A frame without checksum, of blocks (kind, size, data); the last is the last."""
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([window])
    for number, (kind, size, data) in enumerate(blocks, 1):
        frame += (size << 3 | kind << 1 | (number == len(blocks))).to_bytes(3, "little") + data
    return frame


RAW, REPEATED, COMPRESSED, RESERVED = range(4)


def decode_bytewise(data: bytes) -> tuple[bytes, bool]:
    decoder, content = FORMATS[Compression.ZSTD].decoder(), b""
    for byte in data:
        fed = bytes([byte])
        while out := decoder.decompress(fed, 1 << 20):
            content, fed = content + out, b""
        assert decoder.needs_input or decoder.eof
    return content, decoder.eof


def test_zstd_blocks_of_each_kind():
    frame = zstd((RAW, 5, b"plain"), (REPEATED, 1000, b"x"), (RAW, 0, b""))
    assert decode_bytewise(frame) == (b"plain" + b"x" * 1000, True)
    assert decode_bytewise(frame[:-1]) == (b"plain" + b"x" * 1000, False)


@pytest.mark.parametrize("length", [0, 1, 7, 100_000])
def test_zstd_skippable_frames_hold_nothing(length):
    frame = b"\x5a\x2a\x4d\x18" + length.to_bytes(4, "little") + b"\x28" * length
    decoder = FORMATS[Compression.ZSTD].decoder()
    assert decoder.decompress(frame + b"behind", 100) == b""
    assert decoder.eof
    assert decoder.unused_data == b"behind"
    assert decode_bytewise(frame) == (b"", True)


@pytest.mark.parametrize(
    "parameters", [{}, {"write_checksum": True}, {"write_content_size": False}]
)
@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000, 300_000])
def test_zstd_frame_headers_of_every_length(parameters, size):
    content = lines(6000)[:size]
    frame = zstandard.ZstdCompressor(**parameters).compress(content)
    assert decode_bytewise(frame) == (content, True)


@pytest.mark.parametrize(
    "block", [(RESERVED, 5, b"x"), (RAW, 1 << 20, b"x"), (REPEATED, 1 << 20, b"x")]
)
def test_zstd_blocks_that_must_not_be_are_refused_at_once(block):
    decoder = FORMATS[Compression.ZSTD].decoder()
    assert decoder.decompress(zstd((RAW, 5, b"plain"), block), 100) == b"plain"
    with pytest.raises(DECODE_ERRORS):
        decoder.decompress(b"", 100)


def test_a_zstd_window_is_limited():
    decoder = FORMATS[Compression.ZSTD].decoder()
    assert decoder.decompress(zstd((RAW, 1, b"x"), window=(27 - 10) << 3), 100) == b"x"
    decoder = FORMATS[Compression.ZSTD].decoder()
    with pytest.raises(zstandard.ZstdError, match="too much memory"):
        decoder.decompress(zstd((RAW, 1, b"x"), window=(28 - 10) << 3), 100)
