"""Stretches of a file that are no record, cut into parts that a dead letter can hold. Pure."""

from __future__ import annotations

from typing import Final

from singer.base.ports import BadRange

#: One dead letter of a stretch is at most this long: it is held in memory, encoded and synced as a
#: whole, and a person has to be able to look at it.
PART_BYTES: Final = 256 << 10


def dead_letter(
    start: int, end: int, part: int, part_bytes: int, bad: list[BadRange], *, reason: str
) -> int:
    """Give up the file bytes [start, end), of which `part` is the first part; the next part."""
    while start < end:
        stop = min(start + part_bytes, end)
        bad.append(BadRange(start=start, end=stop, reason=reason, part=part))
        start, part = stop, part + 1
    return part
