"""Is this file one we know? The decision, apart from any I/O.

Rules of `docs/design.md`, "Identity": first match wins, and in doubt a file is new and read from
its beginning: duplicates, never loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from singer.base.position import TAIL_BYTES, Mark, Position
from singer.files.stat import FileStat


class Verdict(Enum):
    """What a file is to one destination of a stream."""

    NEW = "new"  #: never seen
    RESUME = "resume"  #: the known file, with everything we delivered still before the offset
    REWRITTEN = "rewritten"  #: the known inode, but its content is not what we delivered


class Evidence(Protocol):
    """What the content of a file says; asked only when the names and numbers leave it open."""

    def fingerprint_agrees(self, mark: Mark) -> bool:
        """Whether the file begins with the marked bytes."""
        ...

    def tail_agrees(self, offset: int, mark: Mark) -> bool:
        """Whether the marked bytes lie right before `offset`."""
        ...


def identify(
    stat: FileStat, rows: Sequence[Position], evidence: Evidence
) -> tuple[Verdict, Position | None]:
    """Match a file against the rows that one destination has for its inode number.

    A birth time, where both sides know it, tells a reused inode number from the same file. The
    device may differ (it changes with a remount), then that time or the marks must say something.
    """
    rewritten: Position | None = None
    for row in sorted(rows, key=lambda row: row.identity.device != stat.device):
        born = row.identity.birth_ns
        if born is not None and stat.birth_ns is not None and born != stat.birth_ns:
            continue
        same_device = row.identity.device == stat.device
        if not same_device and not row.tail.length:
            continue
        if _content_agrees(stat, row, evidence):
            return Verdict.RESUME, row
        same_birth = born is not None and born == stat.birth_ns
        if rewritten is None and (same_device or same_birth):
            rewritten = row
    return (Verdict.NEW, None) if rewritten is None else (Verdict.REWRITTEN, rewritten)


def is_copy(stat: FileStat, row: Position, evidence: Evidence) -> bool:
    """Whether a sibling without a row of its own holds what `row` was delivered from.

    That is how the copy of a copytruncate is found, and a file that was restored under another
    inode. Content alone is weak evidence, so all of it must be there: a full tail, a length that
    reaches the offset, a change after the row was first seen, and no birth before the original's.
    """
    return (
        row.offset >= TAIL_BYTES
        and not born_before(stat, row.identity.birth_ns)
        and stat.ctime_ns >= row.first_seen_ns
        and _content_agrees(stat, row, evidence)
    )


def born_before(stat: FileStat, birth_ns: int | None) -> bool:
    """Whether a file is known to be older than one that was born at `birth_ns`."""
    return stat.birth_ns is not None and birth_ns is not None and stat.birth_ns < birth_ns


def _content_agrees(stat: FileStat, row: Position, evidence: Evidence) -> bool:
    return (
        stat.size >= row.offset
        and evidence.fingerprint_agrees(row.identity.fingerprint)
        and evidence.tail_agrees(row.offset, row.tail)
    )
