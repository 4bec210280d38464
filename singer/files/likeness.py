"""Likeness: what a sibling is to the file at its path, which copytruncate makes copies of.

Where a destination stands in that file says more: see `outdated`.

What a copy holds is delivered from the file itself, or, once that is truncated, from where the row
that moves to the copy says. So what may be one is left alone until that is known. Reads both ends
of two files; blocks, for a worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from singer.base.position import FINGERPRINT_BYTES, TAIL_BYTES, Position
from singer.files.census import Key
from singer.files.finding import Finding
from singer.files.identity import born_before
from singer.files.marks import tail_agrees
from singer.files.stat import stat_fd

#: A file that was written to so lately may still be growing into the copy of another.
_COPYING_NS: Final = 2_000_000_000


class Likeness(Enum):
    """What a sibling is to the file at its path."""

    OTHER = "another file"
    COPY = "a copy of it"
    UNCLEAR = "too short to tell, or being written"
    MOVING = "unknown: that file is being rotated"
    MADE = "an archive that is made of a plain file beside it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The known file that is at its path: copytruncate makes copies of such a file.

    `read` is, for each destination, where it stands in what it read, delivered or not.
    """

    key: Key
    read: tuple[Position, ...]


def compare(finding: Finding, live: int, now_ns: int) -> Likeness:
    """What a plain sibling without a past is to the live file.

    A copy is younger than the live file, not longer, and the same at both ends. While it is being
    written, its beginning must do. Raises OSError, ReadError.
    """
    stat, there = finding.stat, stat_fd(live)
    if born_before(stat, there.birth_ns):
        return Likeness.OTHER
    if stat.size > there.size or not _same_ends(finding.fd, live, stat.size):
        return Likeness.OTHER
    if stat.size >= TAIL_BYTES:
        return Likeness.COPY
    return Likeness.UNCLEAR if now_ns - stat.mtime_ns < _COPYING_NS else Likeness.OTHER


def outdated(finding: Finding, live: int, read: Sequence[Position]) -> set[str]:
    """The destinations to which a younger sibling may be a copy of what the live file was.

    `read` says where each stands in that file. It was cut, or written anew, and who reads it there
    has not come to notice; then it is that reader's to find the copy. Raises OSError, ReadError.
    """
    there = stat_fd(live)
    if born_before(finding.stat, there.birth_ns):
        return set()
    return {
        row.destination
        for row in read
        if row.offset > there.size or not tail_agrees(live, row.offset, row.tail)
    }


def _same_ends(one: int, other: int, size: int) -> bool:
    """Whether two files have the same first and last bytes, going by the first `size`."""
    head, tail = min(FINGERPRINT_BYTES, size), min(TAIL_BYTES, size)
    return os.pread(one, head, 0) == os.pread(other, head, 0) and os.pread(
        one, tail, size - tail
    ) == os.pread(other, tail, size - tail)
