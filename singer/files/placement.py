"""Placement: a row that says that a file was read up to an offset, made from the file's own bytes.

For rows that no delivery made: a person's choice, another agent's watermark. Blocks on a cold page:
for a worker thread. Any thread.
"""

from __future__ import annotations

import os
from typing import Final

from singer.base.errors import ReadError
from singer.base.position import NO_MARK, TAIL_BYTES, FileIdentity, Position
from singer.files.marks import read_fingerprint, read_tail
from singer.files.opening import explain
from singer.files.stat import FileStat

#: How far from an offset the beginning of a line is looked for.
LINE_SEARCH_BYTES: Final = 1 << 20


def place(
    fd: int,
    stat: FileStat,
    offset: int,
    *,
    stream: str,
    destination: str,
    path: str,
    now_ns: int,
) -> Position:
    """A new row (id 0) from which the open file is read from `offset` on.

    `path` is the one the file belongs to, not the name it was rotated to. `offset` must not lie
    behind the end of the file. Raises ReadError.
    """
    return Position(
        stream=stream,
        destination=destination,
        path=path,
        identity=FileIdentity(
            device=stat.device,
            inode=stat.inode,
            birth_ns=stat.birth_ns,
            # What follows the offset was not delivered, and may still be written anew.
            fingerprint=read_fingerprint(fd, offset) if offset else NO_MARK,
        ),
        offset=offset,
        tail=read_tail(fd, offset, TAIL_BYTES) if offset else NO_MARK,
        first_seen_ns=now_ns,
        updated_ns=now_ns,
    )


def line_start_before(fd: int, offset: int) -> int | None:
    """Where the line that has the byte at `offset` begins: `offset` itself if it does there.

    None if it begins more than 1 MiB before. Raises ReadError.
    """
    length = min(offset, LINE_SEARCH_BYTES)
    found = _read(fd, length, offset - length).rfind(b"\n")
    if found < 0:
        return 0 if length == offset else None
    return offset - length + found + 1


def last_line_start(fd: int, size: int) -> int:
    """Where the unfinished last line of a file of `size` bytes begins: nothing is cut in two.

    The end of the file if the line has more than 1 MiB. Raises ReadError.
    """
    start = line_start_before(fd, size)
    return size if start is None else start


def line_start_after(fd: int, offset: int) -> int | None:
    """Where the first line behind `offset` begins, or would begin after the last newline.

    None if there is no newline within 1 MiB. Raises ReadError.
    """
    found = _read(fd, LINE_SEARCH_BYTES, offset).find(b"\n")
    return None if found < 0 else offset + found + 1


def _read(fd: int, length: int, offset: int) -> bytes:
    try:
        return os.pread(fd, length, offset)
    except OSError as error:
        raise ReadError(f"look for a line: {explain(error)}") from error
