"""Packed: the content of a compressed file, read like that of a plain one.

Owns the way from compressed bytes to content: members one behind the other, files that are still
being written, files that are damaged. Knows nothing of paths or rotation. Everything that
decompresses blocks, and is for a worker thread; one thread at a time.

Memory is bounded by the decoders (`decoders.MEMORY_BYTES`, for the few files that were made to
need so much) and one step of content, whatever the input.

What is handed out was decoded from bytes that are there, but the formats hold their checksums
behind the content: gzip at the end of a member, zstd of a frame (if at all), bzip2 of a block of up
to 900 kB, xz of a block, mostly the whole file. Content between the last checksum that agreed and a
fault may therefore be wrong, from the damaged place on. It is not held back: it would have to be
kept, or the file read twice. All that a library decodes before a fault is handed out; only a byte
or a few may go with the error itself (the last of a bzip2 block with a wrong checksum).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from singer.base.errors import ReadError
from singer.base.position import FINGERPRINT_BYTES, TAIL_BYTES, Mark
from singer.files.decoders import DECODE_ERRORS, FORMATS, MEMORY_BYTES, Decoder
from singer.files.marks import name_of
from singer.files.opening import explain
from singer.files.siblings import Compression
from singer.files.source import WINDOW_BYTES, Outcome, Source

#: Compressed bytes read at once.
_CHUNK_BYTES: Final = 256 << 10
#: Compressed bytes given to a decoder at once: less is copied again when its output is full.
_FEED_BYTES: Final = 32 << 10
#: Content decoded at once.
_STEP_BYTES: Final = 256 << 10
#: Both where a decoder is known to fail: byte by byte, since what it decoded goes with the error.
_FINE_BYTES: Final = 1

_ZEROS: Final = re.compile(rb"\0*")


class _BrokenError(Exception):
    """The content ends here for good. `withheld`: some of it may have gone with the error."""

    def __init__(self, fault: str, *, withheld: bool = False) -> None:
        super().__init__(fault)
        self.withheld = withheld


class _Stream:
    """The content of a compressed file, once through from the beginning.

    What lies behind the compressed offset `fine_from` is given to the decoder byte by byte for as
    long as a feed is.

    `complete`   at the last look the file ended where a member does
    `ended`      nothing will follow, however the file grows
    `offset`     how far the file was read, in compressed bytes
    `fed_from`   where the bytes begin that the decoder was given last
    """

    __slots__ = (
        "_brimful",
        "_chunk",
        "_decoder",
        "_fd",
        "_fine_from",
        "_format",
        "_members",
        "_used",
        "complete",
        "ended",
        "fed_from",
        "offset",
    )

    def __init__(self, fd: int, compression: Compression, fine_from: int | None) -> None:
        self.complete = self.ended = False
        self.offset = self.fed_from = 0
        self._fine_from = fine_from
        self._fd = fd
        self._format = FORMATS[compression]
        self._decoder: Decoder | None = None
        self._members = 0
        self._chunk = b""
        self._used = 0
        self._brimful = False  # the decoder may have more without more input

    def next(self, limit: int) -> bytes:
        """Some content, at most `limit` bytes.

        Empty: nothing more for now. Raises _BrokenError, then must not be called again; ReadError.
        """
        while (decoder := self._decoder or self._begin()) is not None:
            data = b""
            if decoder.needs_input and not self._brimful:
                data = self._take()
                if not data:
                    return b""
            try:
                content = decoder.decompress(data, limit)
            except DECODE_ERRORS as error:
                raise self._broken(error) from error
            self._brimful = len(content) == limit
            if decoder.eof:
                self._used -= len(decoder.unused_data)
                self._decoder = None
                self._brimful = False
            if content:
                return content
        return b""

    def _begin(self) -> Decoder | None:
        """A decoder for the member that begins here; None: none does, not yet or never."""
        if self.ended:
            return None
        magics = self._format.magics
        while True:
            if self._members and (padding := _ZEROS.match(self._chunk, self._used)):
                self._used = padding.end()
            head = self._chunk[self._used : self._used + len(magics[0])]
            if len(head) == len(magics[0]) or not self._refill():
                break
        if head in magics:
            self._decoder = self._format.decoder()
            self._members += 1
            self.complete = False
        elif any(magic.startswith(head) for magic in magics):
            self.complete = not head and self._members > 0
        elif self._members and self._format.lenient:
            self.complete = self.ended = True
        else:
            raise self._stranger()
        return self._decoder

    def _take(self) -> bytes:
        """The next bytes for the decoder; none when the file ends here."""
        if self._used == len(self._chunk):
            self._refill()
        self.fed_from = self._where()
        count = _FEED_BYTES
        if self._fine_from is not None:
            if self.fed_from < self._fine_from:
                count = min(count, self._fine_from - self.fed_from)
            elif self.fed_from < self._fine_from + _FEED_BYTES:
                count = _FINE_BYTES
        data = self._chunk[self._used : self._used + count]
        self._used += len(data)
        return data

    def _refill(self) -> bool:
        """Read on in the file; False when it ends here."""
        try:
            fresh = os.pread(self._fd, _CHUNK_BYTES, self.offset)
        except OSError as error:
            raise ReadError(f"read {name_of(self._fd)!r}: {explain(error)}") from error
        self._chunk = self._chunk[self._used :] + fresh
        self._used = 0
        self.offset += len(fresh)
        return bool(fresh)

    def _where(self) -> int:
        return self.offset - len(self._chunk) + self._used

    def _broken(self, error: Exception) -> _BrokenError:
        cause = str(error).lower()
        if "memory usage limit" in cause or "too much memory" in cause:  # xz, zstd
            return _BrokenError(
                f"needs more than {MEMORY_BYTES >> 20} MiB of memory to decompress ({cause}); "
                f"decompress it by hand, into a file beside it"
            )
        return _BrokenError(
            f"corrupt {self._format.name} data before byte {self._where()} ({cause}), so that what "
            f"follows cannot be read; put an undamaged copy in its place if there is one",
            withheld=not self._format.exact,
        )

    def _stranger(self) -> _BrokenError:
        name = self._format.name
        if not self._members:
            return _BrokenError(
                f"not a {name} file although its name says so; rename it or exclude it"
            )
        return _BrokenError(
            f"what begins at byte {self._where()}, behind complete {name} data, is no {name} data "
            f"and is not read; save it if it is wanted, and cut the file there"
        )


class Packed:
    """The content of a compressed file, decompressed, from its beginning on.

    `length`   bytes of content in all, when the file, as it was last seen, is complete; else None
    `fault`    why nothing behind `reached` can ever be read, and what to do; else None
    `reached`  content was produced up to this offset
    `head`     the first bytes of the content, at most 1024
    `end`      the last bytes of what was read, at most 256
    `seen`     the size of the compressed file when nothing behind `reached` could be had for now;
               None before that
    `settled`  nothing behind `reached` is to come, however the file grows

    `fd` stays the caller's. One thread at a time, but for `abandon`.
    """

    __slots__ = (
        "_abandoned",
        "_at",
        "_stream",
        "_suspect",  # where decoding in large steps failed, in the content and compressed
        "compression",
        "fault",
        "fd",
        "head",
        "length",
        "reached",
        "seen",
        "settled",
    )

    def __init__(self, fd: int, compression: Compression) -> None:
        self.fd = fd
        self.compression = compression
        self.length: int | None = None
        self.fault: str | None = None
        self.reached = 0
        self.head = b""
        self.seen: int | None = None
        self.settled = False
        self._suspect: tuple[int, int] | None = None
        self._abandoned = False
        self.rewind()

    def rewind(self) -> None:
        """Begin again from the beginning at the next read; a decoder's memory is given back."""
        fine_from = self._suspect[1] if self._suspect else None
        self._stream = _Stream(self.fd, self.compression, fine_from)
        self._at = 0

    def abandon(self) -> None:
        """Let a read that is under way in another thread end soon; nobody waits for it."""
        self._abandoned = True

    def read_at(self, offset: int, view: memoryview) -> int:
        """Fill `view` with the content from `offset` on, as far as there is any.

        Returns how much; 0: nothing more for now. Going on from the last read is cheap, forward is
        decompressed and passed over, backward begins again from the beginning. Raises ReadError.
        """
        if offset < self._at:
            self.rewind()
        filled = 0
        while filled < len(view) and not self._abandoned:
            if self.fault is not None and offset + filled >= self.reached:
                break
            ahead = offset + filled - self._at  # to be passed over first
            limit = ahead or len(view) - filled
            if self.fault is not None:
                limit = min(limit, self.reached - self._at)
            try:
                content = self._stream.next(self._stride(limit))
            except _BrokenError as error:
                self._broke(error)
                continue
            if not content:
                self._ran_out()
                break
            if len(self.head) < FINGERPRINT_BYTES and self._at == len(self.head):
                self.head += content[: FINGERPRINT_BYTES - self._at]
            self._at += len(content)
            if self._at > self.reached:
                self.reached, self.length = self._at, None
            if not ahead:
                view[filled : filled + len(content)] = content
                filled += len(content)
        return filled

    def _stride(self, limit: int) -> int:
        """How much to decode at once."""
        if self._suspect is not None and 0 <= self._at - self._suspect[0] < _STEP_BYTES:
            return _FINE_BYTES
        return min(limit, _STEP_BYTES)

    def _broke(self, error: _BrokenError) -> None:
        """Decoding failed: once more in the smallest steps, if content was lost with the error."""
        if error.withheld and (self._suspect is None or self._at < self._suspect[0]):
            self._suspect = (self._at, self._stream.fed_from)
        else:
            self.fault = str(error)
            self.settled = True
            self.reached, self.length = self._at, None
        self.rewind()

    def _ran_out(self) -> None:
        self.reached = self._at
        self.seen = self._stream.offset
        self.length = self._at if self._stream.complete else None
        self.settled = self._stream.ended


class PackedSource(Source):
    """A cursor through the decompressed content of a compressed file; offsets are the content's.

    Decompresses in a thread only. What lies before the cursor is not compared: a compressed file is
    not rewritten under its readers, and its size says if it was truncated.
    """

    __slots__ = ("_packed",)

    def __init__(self, fd: int, compression: Compression, offset: int, tail: bytes) -> None:
        self._packed = Packed(fd, compression)
        super().__init__(fd, offset, tail)

    @property
    def complete(self) -> bool:
        """Whether the end of a whole file was reached, or a fault."""
        return self._packed.length is not None or self._packed.fault is not None

    @property
    def fault(self) -> str | None:
        """Why what follows cannot be read, and what to do; None: it can."""
        return self._packed.fault

    def unread(self, size: int) -> int:
        """0 when a compressed file of `size` bytes has no more; else as much as there may be."""
        packed = self._packed
        if self.read_offset >= packed.reached:
            if packed.settled:
                return 0
            if packed.seen is not None and size <= packed.seen:
                return size - packed.seen
        return WINDOW_BYTES

    def read(self, want: int, *, nowait: bool) -> Outcome:
        """Read up to `want` more bytes behind the window. Raises ReadError."""
        if not want:
            return Outcome.END
        if nowait:
            return Outcome.COLD
        self._make_room(want)
        view = self._buffer[self._end : self._end + want]
        fresh = self._packed.read_at(self.read_offset, view.data)
        self._end += fresh
        return Outcome.GREW if fresh else Outcome.END

    def _anew(self) -> PackedSource:
        self._packed.abandon()
        return PackedSource(self.fd, self._packed.compression, self.offset, self.tail)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a content: how it begins, and what lies right before an offset."""

    fingerprint: Mark
    offset: int
    tail: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What one pass over the content of a compressed file told.

    `tails`    for each of what was asked for: the (at most 256) bytes before its offset if this is
               the content, so long and with both marks; None if it is not, or not yet
    `length`   bytes of content in all; None if the file is not complete, or was not read to its end
    `head`     the first bytes of the content, at most 1024
    `fault`    why it cannot be read further, and what to do
    """

    tails: tuple[bytes | None, ...]
    length: int | None
    head: bytes
    end: bytes
    fault: str | None


def examine(
    fd: int, compression: Compression, marks: Sequence[Known], *, whole: bool
) -> Examination:
    """Which of `marks` the content agrees with; to its end if `whole`, else as far as it takes.

    Blocks, for as long as decompressing takes. Raises ReadError.
    """
    packed = Packed(fd, compression)
    tails: list[bytes | None] = [None] * len(marks)
    view = memoryview(bytearray(_STEP_BYTES))
    stretch = bytes(view[: packed.read_at(0, view)])
    begin, end = 0, len(stretch)  # of `stretch` in the content
    left = deque(
        sorted(
            (known.offset, index)
            for index, known in enumerate(marks)
            if known.fingerprint.agrees(packed.head)
        )
    )
    while True:
        while left and left[0][0] <= end:
            offset, index = left.popleft()
            tail = stretch[max(0, offset - begin - TAIL_BYTES) : offset - begin]
            expected = marks[index].tail
            if expected.agrees(tail[max(0, len(tail) - expected.length) :]):
                tails[index] = tail
        if not (left or whole):
            break
        count = packed.read_at(end, view)
        if not count:
            break
        stretch = stretch[-TAIL_BYTES:] + bytes(view[:count])
        end += count
        begin = end - len(stretch)
    return Examination(
        tails=tuple(tails),
        length=packed.length,
        head=packed.head,
        end=stretch[-TAIL_BYTES:],
        fault=packed.fault,
    )
