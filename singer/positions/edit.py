"""Edits: what a person changes in a position store, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from singer.base.position import Position
from singer.base.promotion import Cut, Promotion
from singer.positions.schema import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Changes that are made all or none, in this order."""

    forget: tuple[int, ...] = ()  #: ids of rows
    forget_destinations: tuple[tuple[str, str], ...] = ()  #: (stream, destination), scans as well
    write: tuple[Position, ...] = ()  #: with id 0 a new row, else in place of the one that has it
    scans: tuple[Scan, ...] = ()  #: in place of what was recorded
    cancel: tuple[int, ...] = ()  #: ids of promotions
    promote: tuple[tuple[Promotion, tuple[Cut, ...]], ...] = ()

    def __bool__(self) -> bool:
        rows = self.forget or self.forget_destinations or self.write or self.scans
        return bool(rows or self.cancel or self.promote)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What becomes of rows and scans that are to be added to a store.

    `replaced` are (rows in the store, the row that takes their place): one row each, as a rule.
    `kept` and `kept_scans` are those in the store that stay as they are.
    """

    added: tuple[Position, ...]
    replaced: tuple[tuple[tuple[Position, ...], Position], ...]
    kept: tuple[Position, ...]
    added_scans: tuple[Scan, ...]
    kept_scans: tuple[Scan, ...]

    @property
    def edit(self) -> Edit:
        """The changes to make."""
        return Edit(
            forget=tuple(dict.fromkeys(row.id for rows, _ in self.replaced for row in rows)),
            write=(*self.added, *(row for _, row in self.replaced)),
            scans=self.added_scans,
        )


def is_same_file(one: Position, other: Position) -> bool:
    """Whether two rows are about one file, for one destination of a stream."""
    a, b = one.identity, other.identity
    born_apart = None not in (a.birth_ns, b.birth_ns) and a.birth_ns != b.birth_ns
    return (
        (one.stream, one.destination) == (other.stream, other.destination)
        and (a.device, a.inode) == (b.device, b.inode)
        and not born_apart
    )


def merge(
    rows: Iterable[Position],
    scans: Iterable[Scan],
    *,
    lookup: Callable[[str, Sequence[int]], list[Position]],
    recorded: Iterable[Scan],
    prefer_added: bool,
) -> Merge:
    """Compare what is to be added (rows with id 0) with a store.

    `lookup` finds the store's rows of a stream by inode, `recorded` are its scans. What the store
    has stays, or with `prefer_added` gives way.
    """
    added: list[Position] = []
    replaced: list[tuple[tuple[Position, ...], Position]] = []
    kept: dict[int, Position] = {}
    for row in rows:
        known = tuple(
            each for each in lookup(row.stream, [row.identity.inode]) if is_same_file(row, each)
        )
        if not known:
            added.append(row)
        elif prefer_added and any(replace(each, id=0) != row for each in known):
            replaced.append((known, row))
        else:
            kept |= {each.id: each for each in known}
    there = {scan[:2]: scan for scan in recorded}
    added_scans: list[Scan] = []
    kept_scans: list[Scan] = []
    for scan in scans:
        known_scan = there.get(scan[:2])
        if known_scan is None or (prefer_added and known_scan != scan):
            added_scans.append(scan)
        else:
            kept_scans.append(known_scan)
    return Merge(
        added=tuple(added),
        replaced=tuple(replaced),
        kept=tuple(kept.values()),
        added_scans=tuple(added_scans),
        kept_scans=tuple(kept_scans),
    )
