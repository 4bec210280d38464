"""Promotion: a cut through the files of a stream, and where it lies in two destinations.

Pure values. Whoever consumes reads the one destination up to its ends and the other from its ends
on. `positions` keeps promotions, `singer.promotion` carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from singer.base.config import StreamConfig
from singer.base.position import Position

#: A row of the position store: its id, and when its file was first seen (wall clock, ns).
RowKey: TypeAlias = tuple[int, int]
#: (device, inode, birth time in ns).
FileKey: TypeAlias = tuple[int, int, int | None]


def row_key(position: Position) -> RowKey:
    """What tells a row from all others, whatever its file is called: one that begins anew, too."""
    return (position.id, position.first_seen_ns)


def file_key(position: Position) -> FileKey:
    """The file of a row."""
    identity = position.identity
    return (identity.device, identity.inode, identity.birth_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a file is cut: `offset` is in bytes of the file.

    `old` and `new` are the rows of the two destinations; None: it has not begun to read the file.
    `old_offset` and `new_offset` are where they were when the promotion was asked for.
    """

    path: str
    file: FileKey
    offset: int
    old: RowKey | None
    new: RowKey | None
    old_offset: int
    new_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where a destination's topics ended when all before the cut was in them, and nothing behind.

    `offsets` are, by topic, those of the next record of each partition. `missed`: files whose rest
    before the cut could not be had any more (deleted, cut off, left alone).
    """

    reached_ns: int
    offsets: Mapping[str, tuple[int, ...]]
    missed: int = 0

    @property
    def shown(self) -> str:
        """`TOPIC PARTITION:OFFSET PARTITION:OFFSET, TOPIC ...`, for people."""
        return ", ".join(
            " ".join([topic, *(f"{number}:{offset}" for number, offset in enumerate(offsets))])
            for topic, offsets in sorted(self.offsets.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """`new` is the primary of `stream` in place of `old`. `ends` are those that are known yet."""

    id: int = 0  #: the store's; 0 until it has given one
    stream: str
    old: str
    new: str
    asked_ns: int
    ends: Mapping[str, Ends] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether consumers can switch."""
        return self.old in self.ends and self.new in self.ends

    def awaits(self, destination: str) -> bool:
        """Whether a destination has still to come to the cut."""
        return destination in (self.old, self.new) and destination not in self.ends


def cuts_of(rows: Iterable[Position], old: str, new: str) -> list[Cut]:
    """Where the files of a stream are cut: where the further one of two destinations is.

    Rows are of one file if both were first seen at once, and have its identity or at least its
    path: a copy that one destination went over to has another identity. Else by identity, for a
    destination that came later.
    """
    left: dict[str, list[Position]] = {old: [], new: []}
    for row in rows:
        if row.destination in left:
            left[row.destination].append(row)
    pairs: list[tuple[Position | None, Position | None]] = []
    traits: tuple[Callable[[Position], Hashable], ...] = (
        lambda row: (row.first_seen_ns, file_key(row)),
        lambda row: (row.first_seen_ns, row.path),
        file_key,
    )
    for trait in traits:
        others: dict[Hashable, list[Position]] = {}
        for row in left[new]:
            others.setdefault(trait(row), []).append(row)
        alone = []
        for row in left[old]:
            match = next((each for each in others.get(trait(row), ()) if _may_be(row, each)), None)
            if match is None:
                alone.append(row)
            else:
                others[trait(row)].remove(match)
                pairs.append((row, match))
        left = {old: alone, new: [row for found in others.values() for row in found]}
    pairs += [(row, None) for row in left[old]] + [(None, row) for row in left[new]]
    return [_cut(*pair) for pair in pairs]


def _may_be(one: Position, other: Position) -> bool:
    """Whether what was read of them may have been the same."""
    a, b = one.identity.fingerprint, other.identity.fingerprint
    return a.length != b.length or a == b


def _cut(old: Position | None, new: Position | None) -> Cut:
    rows = [row for row in (old, new) if row is not None]
    furthest = max(rows, key=lambda row: row.offset)
    return Cut(
        path=furthest.path,
        file=file_key(furthest),
        offset=furthest.offset,
        old=None if old is None else row_key(old),
        new=None if new is None else row_key(new),
        old_offset=0 if old is None else old.offset,
        new_offset=0 if new is None else new.offset,
    )


def in_effect(stream: StreamConfig, promotions: Iterable[Promotion]) -> StreamConfig:
    """A stream as its promotions (the oldest first) have it: who is primary, and who a shadow."""
    shadow = {each.name: each.shadow for each in stream.publish}
    for promotion in promotions:
        if promotion.stream == stream.name and promotion.new in shadow:
            shadow |= {promotion.old: True, promotion.new: False}
    publish = tuple(replace(each, shadow=shadow[each.name]) for each in stream.publish)
    return replace(stream, publish=publish)
