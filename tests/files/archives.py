"""Compressed files for tests: made by the libraries, and what can be had of a piece of one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import zstandard

from singer.files.siblings import Compression

COMPRESS: Final[Mapping[Compression, Callable[[bytes], bytes]]] = {
    Compression.GZIP: lambda data: gzip.compress(data, mtime=0),
    Compression.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress,
    Compression.BZIP2: lambda data: bz2.compress(data, 1),
    Compression.XZ: lambda data: lzma.compress(data, preset=0),
}
_DECODER: Final[Mapping[Compression, Callable[[], Any]]] = {
    Compression.GZIP: lambda: zlib.decompressobj(31),
    Compression.ZSTD: lambda: zstandard.ZstdDecompressor().decompressobj(),
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lzma.LZMADecompressor,
}
ERRORS: Final = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)


def lines(count: int, seed: int = 0) -> bytes:
    """Log lines: compressible, but not so much that one byte of an archive holds thousands."""
    chance = random.Random(seed)
    return b"".join(
        b"%08d INFO request %x took %d us\n" % (n, chance.getrandbits(64), chance.randrange(9999))
        for n in range(count)
    )


def available(compression: Compression, data: bytes) -> bytes:
    """All that an archive's first bytes hold, by the library alone."""
    content = b""
    while data:
        decoder = _DECODER[compression]()
        content += decoder.decompress(data)
        data = decoder.unused_data
    return content


def available_before_error(compression: Compression, data: bytes) -> bytes:
    """All that can be had of one damaged member, byte by byte in and out."""
    decoder = _DECODER[compression]()
    content = bytearray()
    try:
        for byte in data:
            fed = bytes([byte])
            if compression is Compression.ZSTD:  # has no limit, and needs none: blocks go whole
                content += decoder.decompress(fed)
                continue
            while (out := decoder.decompress(fed, 1)) or fed:
                content += out
                fed = decoder.unconsumed_tail if compression is Compression.GZIP else b""
    except ERRORS:
        pass
    return bytes(content)
