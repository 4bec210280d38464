"""Findings: what is wrong with the records of one stream of one host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: So many places of each kind are named; all are counted.
_NAMED: Final = 100


class Owner(NamedTuple):
    """Whose records they are."""

    host: str
    stream: str
    destination: str


class Place(NamedTuple):
    """Offsets [first, end) of a partition."""

    topic: str
    partition: int
    first: int
    end: int


@dataclass(slots=True, eq=False)
class Places:
    """Where something is. `records` counts all, `places` names the first ones."""

    records: int = 0
    places: list[Place] = field(default_factory=list)
    unnamed: int = 0  #: places that are counted only

    def add(self, topic: str, partition: int, first: int, end: int, records: int = -1) -> None:
        """`records` of offsets [first, end), all of them if it is not said."""
        self.records += end - first if records < 0 else records
        if self.places:
            last = self.places[-1]
            if (last.topic, last.partition, last.end) == (topic, partition, first):
                self.places[-1] = last._replace(end=end)
                return
        if len(self.places) < _NAMED:
            self.places.append(Place(topic, partition, first, end))
        else:
            self.unnamed += 1

    def remove(self, partition: int, offset: int) -> None:
        """Take one record out again."""
        self.records -= 1
        for at, place in enumerate(self.places):
            if place.partition == partition and place.first <= offset < place.end:
                parts = (place._replace(end=offset), place._replace(first=offset + 1))
                self.places[at : at + 1] = [part for part in parts if part.first < part.end]
                return


class Missing(NamedTuple):
    """Bytes [start, end) of a file that no account says anything of."""

    path: str
    start: int
    end: int


@dataclass(slots=True, eq=False, kw_only=True)
class Findings:
    """Of one owner. All numbers are of records, unless they say bytes."""

    verified: int = 0
    #: Nothing can be said of them: their offsets are unknown, or a neighbour is lost.
    unverified: int = 0
    #: They are not where they were acknowledged.
    lost: Places = field(default_factory=Places)
    #: Of those, how many are below the first offset that the partition still has.
    expired: int = 0
    #: Blocks of records that are not what was sent, or not in that order.
    corrupted: Places = field(default_factory=Places)
    #: Nobody acknowledged these, and they are like records that were: copies.
    duplicated: Places = field(default_factory=Places)
    #: Acknowledged once more by the same host, whose position had gone back.
    again: int = 0
    #: Not in the order of their file, as neighbours of a record that was refused may be.
    displaced: int = 0
    #: Behind what stands behind them in their file.
    reordered: Places = field(default_factory=Places)
    #: Two ranges say that these are theirs.
    claimed_twice: Places = field(default_factory=Places)
    #: Acknowledged later than allowed after they were read.
    late: int = 0
    #: Ranges that contradict themselves.
    malformed: int = 0
    #: Bytes of files: what became of them.
    accounted_bytes: int = 0
    unknown_bytes: int = 0
    skipped_bytes: int = 0
    missing: list[Missing] = field(default_factory=list)
    missing_bytes: int = 0
    #: Records that accounts speak of and no range.
    without_range: int = 0

    def miss(self, path: str, start: int, end: int) -> None:
        """Bytes of a file are missing."""
        self.missing_bytes += end - start
        if len(self.missing) < _NAMED:
            self.missing.append(Missing(path, start, end))

    @property
    def faults(self) -> Mapping[str, int]:
        """What must not be, where there is any. Duplicates are within "at least once"."""
        every = {
            "lost": self.lost.records,
            "missing bytes": self.missing_bytes,
            "corrupted": self.corrupted.records,
            "reordered": self.reordered.records,
            "claimed twice": self.claimed_twice.records,
            "malformed": self.malformed,
        }
        return {name: number for name, number in every.items() if number}
