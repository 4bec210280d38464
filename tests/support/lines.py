"""Log-like lines that say where they belong, and a writer that remembers what it wrote.

A line begins with the number of its lineage (a path through all its rotations) and its own
number in it: `0007:0000001234 2026-…`. All else is pseudo-random text that compresses like real
logs do. The same numbers give the same bytes in every run and process.
"""

from __future__ import annotations

import functools
import io
import os
import random
import re
from types import TracebackType
from typing import Final, NamedTuple, Self

_IDENTITY: Final = re.compile(rb"(\d{4}):(\d{10}) ")
#: Bodies are cut from a text of this size: far more than LZ4 looks back (64 KiB), so that two
#: lines it sees together hardly share a cut.
_POOL_BYTES: Final = 4 << 20
#: Every so many lines of a garbled writer carry bytes that upset text tools.
_GARBLE_EVERY: Final = 7
_GARBAGE: Final = (
    b"\0",
    b"\r",
    b"\xff\xfe",
    b"\xc3",
    b"\x1b[31m",
    b"\t\x0b\x0c",
    b"\x80" * 3,
    b"\r",
)
_PHRASES: Final = (
    "GET /api/v1/users/profile HTTP/1.1 200 ",
    "POST /api/v1/orders HTTP/1.1 201 ",
    "upstream connection accepted from gateway ",
    "request completed without error in ",
    "cache miss for key session:token:",
    "com.example.checkout.PaymentService handled ",
    "com.example.search.IndexWorker refreshed ",
    "user-agent=Mozilla/5.0 (X11; Linux x86_64) ",
    "retrying after timeout, attempt ",
    "transaction committed, offset ",
    "rejected: account is not validated ",
    "status=ok region=us-east-1 shard=",
)


class LineId(NamedTuple):
    """The `number`-th line of a lineage, from 0."""

    lineage: int
    number: int


def identify(value: bytes) -> LineId | None:
    """Which line this is; None for bytes no generator made."""
    found = _IDENTITY.match(value)
    return LineId(int(found[1]), int(found[2])) if found else None


def line(lineage: int, number: int, size_bytes: int = 150) -> bytes:
    """One line of exactly `size_bytes`, without its newline.

    LZ4 in blocks of 64 KiB shrinks lines of 150 bytes 2.9 times, lines of 1,000 bytes 2.0 times.
    """
    head = b"%04d:%010d 2026-01-02T%02d:%02d:%02d.%03dZ INFO [worker-%d] " % (
        lineage,
        number,
        number // 3_600_000 % 24,
        number // 60_000 % 60,
        number // 1000 % 60,
        number % 1000,
        number % 8,
    )
    pool = _pool(0.48 if size_bytes < 500 else 0.65)
    size_bytes -= len(head)
    assert size_bytes >= 0, f"a line needs {len(head)} bytes for its head"
    start = (number * 2_654_435_761 + lineage * 40_503_001) % (_POOL_BYTES - max(size_bytes, 0))
    return head + pool[start : start + size_bytes]


def garbled(lineage: int, number: int, size_bytes: int = 150) -> bytes:
    """Like `line`, but now and then with NULs, carriage returns, invalid UTF-8, an empty body."""
    text = line(lineage, number, size_bytes)
    turn, kind = divmod(number, _GARBLE_EVERY)
    if kind:
        return text
    garbage = _GARBAGE[turn % len(_GARBAGE)]
    return text[:16] if turn % 11 == 0 else text[:60] + garbage + text[60:-1] + garbage


@functools.cache
def _pool(randomness: float) -> bytes:
    """Phrases, `randomness` of them (by count) hexadecimal noise that nothing can compress."""
    source = random.Random(17)
    pieces: list[str] = []
    length = 0
    while length < _POOL_BYTES:
        noise = source.random() < randomness
        piece = f"{source.getrandbits(64):016x} " if noise else source.choice(_PHRASES)
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces).encode()[:_POOL_BYTES]


class LogWriter:
    """An application that logs to `path`: appends, rotates, truncates; knows all it wrote.

    `written` has every finished line of the lineage in order, without newlines.
    """

    def __init__(
        self, path: str, lineage: int, *, size_bytes: int = 150, garble: bool = False
    ) -> None:
        self.path = path
        self.lineage = lineage
        self.written: list[bytes] = []
        self._size_bytes = size_bytes
        self._make = garbled if garble else line
        self._begun = b""
        self._file = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, count: int) -> None:
        """Append `count` lines, in writes of the size a buffered logger makes."""
        assert not self._begun, "a line is begun: finish it"
        made = [
            self._make(self.lineage, number, self._size_bytes)
            for number in range(len(self.written), len(self.written) + count)
        ]
        self._put(b"".join(text + b"\n" for text in made))
        self.written += made

    def write_line(self, body: bytes) -> None:
        """Append one line with this body behind its identity."""
        assert b"\n" not in body
        text = b"%04d:%010d " % (self.lineage, len(self.written)) + body
        self._put(text + b"\n")
        self.written.append(text)

    def begin_line(self) -> None:
        """Append half of a line, as a process does between two writes."""
        assert not self._begun
        self._begun = self._make(self.lineage, len(self.written), self._size_bytes)
        self._put(self._begun[: len(self._begun) // 2])

    def finish_line(self) -> None:
        """Append the other half and the newline."""
        text, self._begun = self._begun, b""
        self._put(text[len(text) // 2 :] + b"\n")
        self.written.append(text)

    def rotate(self) -> None:
        """Rename as logrotate does: path.2 to path.3, path.1 to path.2, path to path.1; reopen."""
        assert not self._begun
        self._file.close()
        newest = 1
        while os.path.exists(f"{self.path}.{newest}"):
            newest += 1
        for number in range(newest, 1, -1):
            os.rename(f"{self.path}.{number - 1}", f"{self.path}.{number}")
        os.rename(self.path, f"{self.path}.1")
        self._file = self._open()

    def rename(self, path: str) -> None:
        """Move the file away under any name and reopen."""
        self._file.close()
        os.rename(self.path, path)
        self._file = self._open()

    def reopen(self) -> None:
        """Let the file go, wherever it is by now, and open the path anew; as on a SIGHUP."""
        self._file.close()
        self._file = self._open()

    def truncate(self) -> None:
        """Empty the file in place; what was not read before is gone."""
        self._file.truncate(0)

    def close(self) -> None:
        self._file.close()

    def _open(self) -> io.FileIO:
        return io.FileIO(self.path, "ab")

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
