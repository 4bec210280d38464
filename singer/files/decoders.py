"""Decoders: one for each compression, all with one interface and bounded output.

Pure: bytes in, bytes out. The interface is the one that `bz2` and `lzma` have; `zlib` and
`zstandard` are brought to it here. A decoder decodes one *member* (what gzip calls a member, xz and
bzip2 a stream, zstd a frame); a file may hold several.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import zstandard

from singer.files.siblings import Compression

#: What `zstd -d` takes without being asked for more, and twice what `xz -9` needs.
MEMORY_BYTES: Final = 128 << 20

#: What a decoder raises when its input is not what it should be. `bz2` raises OSError.
DECODE_ERRORS: Final = (
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    OSError,
    EOFError,
    ValueError,
)

#: A window of gzip's own format (not zlib's): 15 bits, and 16 to say so.
_GZIP_WBITS: Final = 31
_SKIPPABLE_MAGIC_TAIL: Final = b"\x2a\x4d\x18"


class Decoder(Protocol):
    """Decodes one member, from its first byte to its last."""

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached and its check, if it has one, agreed."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether all input was used; there may be output all the same."""
        ...

    @property
    def unused_data(self) -> bytes:
        """At the end: input that lies behind the member; the end of what was fed last."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Up to `max_length` (at least 1) bytes of content. Raises DECODE_ERRORS."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A compression as it lies in a file.

    `magics`     what a member begins with: one of these, all of one length
    `decoder`    makes a decoder for one member
    `exact`      content before an error was always handed out before the error is raised;
                 otherwise the call that raises takes what it had decoded with it
    `lenient`    what follows the last member and is none is ignored, as the format's own tool does
    """

    name: str
    magics: tuple[bytes, ...]
    decoder: Callable[[], Decoder]
    exact: bool = False
    lenient: bool = False


class _Gzip:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP_WBITS)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        left = self._decoder.unconsumed_tail
        return self._decoder.decompress(left + data if left else data, max_length)


class _Zstd:
    """One frame, fed to the library block by block.

    The library returns all that its input holds, without a limit, and a block is the most that can
    be bounded: 128 KiB of content at most. Its reader, which has a limit, keeps back what it has
    decoded when the file ends with a block, and does not tell where a frame ends.
    https://datatracker.ietf.org/doc/html/rfc8878#section-3.1
    """

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=MEMORY_BYTES).decompressobj()
        self._input = bytearray()
        self._output = memoryview(b"")
        self._left = 0  # input bytes of the current part that were not fed yet
        self._part: Callable[[], int] | None = self._header
        self._checksum = False
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._part is None and not self._left and not self._output

    @property
    def unused_data(self) -> bytes:
        return bytes(self._input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        self.needs_input = False
        while not (self._output or self.eof):
            if not self._left and self._part is not None:
                self._left = self._part()
            fed = bytes(self._input[: self._left])
            if not fed:
                self.needs_input = True
                break
            del self._input[: len(fed)]
            self._left -= len(fed)
            self._output = memoryview(self._frame.decompress(fed))
        head, self._output = self._output[:max_length], self._output[max_length:]
        return bytes(head)

    # Each of these tells the length of the part that begins here, and sets the next one. They
    # return 0 while too little of it is there.

    def _header(self) -> int:
        if len(self._input) < 8:  # the shortest frame has 9 bytes, the shortest skippable one 8
            return 0
        if self._input[1:4] == _SKIPPABLE_MAGIC_TAIL:
            self._part = None
            return 8 + int.from_bytes(self._input[4:8], "little")
        self._part = self._block
        self._checksum = bool(self._input[4] & 0b100)
        return zstandard.frame_header_size(bytes(self._input[:8]))

    def _block(self) -> int:
        if len(self._input) < 3:
            return 0
        word = int.from_bytes(self._input[:3], "little")
        if word & 1:  # the last
            self._part = self._trailer if self._checksum else None
        repeated = word >> 1 & 0b11 == 1  # one byte, `word >> 3` times
        return 3 + (1 if repeated else word >> 3)

    def _trailer(self) -> int:
        self._part = None
        return 4


def _bzip2() -> Decoder:
    return bz2.BZ2Decompressor()


def _xz() -> Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MEMORY_BYTES)


FORMATS: Final[Mapping[Compression, Format]] = {
    Compression.GZIP: Format(name="gzip", magics=(b"\x1f\x8b",), decoder=_Gzip, lenient=True),
    Compression.ZSTD: Format(
        name="zstd",
        magics=(
            b"\x28\xb5\x2f\xfd",
            *(bytes([first]) + _SKIPPABLE_MAGIC_TAIL for first in range(0x50, 0x60)),
        ),
        decoder=_Zstd,
        exact=True,
    ),
    Compression.BZIP2: Format(name="bzip2", magics=(b"BZh",), decoder=_bzip2, lenient=True),
    Compression.XZ: Format(name="xz", magics=(b"\xfd7zXZ\0",), decoder=_xz),
}
