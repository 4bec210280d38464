"""Marks of open files: the fingerprint of the beginning, the tail before an offset.

Reads a descriptor with pread, so its file position does not matter. Blocks on a cold page: for a
worker thread. Any thread.
"""

from __future__ import annotations

import os

from singer.base.errors import ReadError
from singer.base.position import FINGERPRINT_BYTES, NO_MARK, TAIL_BYTES, Mark
from singer.files.opening import explain


def read_fingerprint(fd: int, limit: int = FINGERPRINT_BYTES) -> Mark:
    """The mark of the first `limit` bytes, or of the whole file if it is shorter.

    Raises ReadError.
    """
    return Mark.of(_read(fd, min(limit, FINGERPRINT_BYTES), 0))


def agrees(fd: int, fingerprint: Mark) -> bool:
    """Whether the file begins with the marked bytes; it may have grown. Raises ReadError."""
    return fingerprint.agrees(_read(fd, fingerprint.length, 0))


def read_tail(fd: int, offset: int, length: int) -> Mark:
    """The mark of the (at most `length`) bytes before `offset`. Raises ReadError.

    NO_MARK if the file is shorter than `offset`.
    """
    length = min(length, offset)
    data = _read(fd, length, offset - length)
    return Mark.of(data) if len(data) == length else NO_MARK


def tail_agrees(fd: int, offset: int, tail: Mark) -> bool:
    """Whether the marked bytes are those right before `offset`. Raises ReadError."""
    return tail.length <= offset and tail.agrees(_read(fd, tail.length, offset - tail.length))


def first_bytes(fd: int, offset: int) -> bytes:
    """What a fingerprint covers of the bytes before `offset`. Raises OSError."""
    length = min(FINGERPRINT_BYTES, offset)
    return os.pread(fd, length, 0) if length else b""


def last_bytes(fd: int, offset: int) -> bytes:
    """What a tail covers of the bytes before `offset`. Raises OSError."""
    length = min(TAIL_BYTES, offset)
    return os.pread(fd, length, offset - length) if length else b""


def _read(fd: int, length: int, offset: int) -> bytes:
    if not length:
        return b""
    try:
        return os.pread(fd, length, offset)
    except OSError as error:
        raise ReadError(f"read marks of {name_of(fd)!r}: {explain(error)}") from error


def name_of(fd: int) -> str:
    """The path of an open file, as the kernel knows it now; for messages."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"descriptor {fd}"
