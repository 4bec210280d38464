"""`singer compare`: whether two topics, of one cluster or two, hold the same. Blocks.

By content: the multiset of records, whatever their partitions and order; and by what audit topics
say, where there are some: the same bytes of the same files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from singer.base.errors import InputError
from singer.base.wire.audit import Audit, decode
from singer.validate.contents import A, B, Contents
from singer.validate.findings import Places
from singer.validate.intervals import Intervals
from singer.validate.sequence import Sequence as Ids
from singer.validate.topic import Topic

#: So many records that one side has alone are looked at again, to see whether they are pairs.
_PAIRED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A topic. `ranges` are offsets [start, end) by partition, where not all of it is meant."""

    name: str
    topic: str
    reaching: Mapping[str, Any]
    audit_topic: str | None = None
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, eq=False)
class Volume:
    """How much was read of one side. `wire_bytes`: as brokers sent it, heads and all."""

    records: int = 0
    nbytes: int = 0
    wire_bytes: int = 0
    partitions: int = 0
    known_order: int = 0
    inversions: int = 0
    again: int = 0  # records whose id was there before

    @property
    def ratio(self) -> float:
        """Bytes of payloads for each byte that was sent."""
        return self.nbytes / self.wire_bytes if self.wire_bytes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A record of A and one of B that stands in its place and is another."""

    a: tuple[int, int]  # partition, offset
    b: tuple[int, int]


@dataclass(slots=True, kw_only=True, eq=False)
class Audited:
    """What audit topics say of one stream of a host: (file, start, end) of bytes whose records
    only one side has, and (ms from reading to acknowledgement, records) of each side.
    """

    only_a: list[tuple[str, int, int]] = field(default_factory=list)
    only_b: list[tuple[str, int, int]] = field(default_factory=list)
    records_a: int = 0
    records_b: int = 0
    latency_ms: tuple[list[tuple[int, int]], list[tuple[int, int]]] = field(
        default_factory=lambda: ([], [])
    )


@dataclass(slots=True, kw_only=True, eq=False)
class Comparison:
    """What was found. `missing`: only A has them; `extra`: only B has."""

    a: Side
    b: Side
    volumes: tuple[Volume, Volume] = field(default_factory=lambda: (Volume(), Volume()))
    missing: Places = field(default_factory=Places)
    extra: Places = field(default_factory=Places)
    repeated_a: Places = field(default_factory=Places)
    repeated_b: Places = field(default_factory=Places)
    corrupted: list[Pair] = field(default_factory=list)
    audited: dict[tuple[str, str], Audited] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether B has all that A has, unchanged and in order, and nothing else."""
        audited = any(each.only_a or each.only_b for each in self.audited.values())
        records = self.missing.records + self.extra.records + len(self.corrupted)
        return not audited and not records and not self.volumes[B].inversions


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparer:
    """`told` hears of progress."""

    a: Side
    b: Side
    from_ms: int
    to_ms: int | None
    told: Callable[[str], None]

    def by_content(self, found: Comparison) -> None:
        """Read both and compare record by record. Raises DeliveryError, StateError."""
        with (
            Topic(self.a.topic, self.a.reaching) as a,
            Topic(self.b.topic, self.b.reaching) as b,
            tempfile.TemporaryDirectory(prefix="singer-compare-") as directory,
        ):
            bounds = [self._bounds(self.a, a), self._bounds(self.b, b)]
            total = sum(end - start for each in bounds for start, end in each.values())
            contents = Contents(directory, total)
            try:
                for side, topic in ((A, a), (B, b)):
                    self._read(side, topic, bounds[side], contents, found.volumes[side])
                alone: list[list[tuple[int, int]]] = [[], []]
                for difference in contents.differences():
                    for side, rows, places in (
                        (A, difference.missing, found.missing),
                        (B, difference.extra, found.extra),
                        (A, difference.repeated_a, found.repeated_a),
                        (B, difference.repeated_b, found.repeated_b),
                    ):
                        named = _sorted(rows)
                        for partition, offset in named:
                            places.add((self.a, self.b)[side].topic, partition, offset, offset + 1)
                        if places is found.missing or places is found.extra:
                            alone[side] += named[: _PAIRED - len(alone[side])]
            finally:
                contents.close()
            found.corrupted = _pairs(
                _neighbours(a, sorted(alone[A])), _neighbours(b, sorted(alone[B]))
            )
        for pair in found.corrupted:
            found.missing.remove(*pair.a)
            found.extra.remove(*pair.b)

    def by_audit(self, found: Comparison) -> None:
        """Compare what audit topics say, and read no record. Raises DeliveryError."""
        coverage: list[dict[tuple[str, str, str], Intervals]] = [{}, {}]
        for side, each in ((A, self.a), (B, self.b)):
            assert each.audit_topic is not None
            for audit in self._audits(each):
                self._account(audit, each, side, coverage[side], found)
        for key in sorted(coverage[A].keys() | coverage[B].keys()):
            host, stream, file = key
            in_a, in_b = (each.get(key, Intervals()) for each in coverage)
            entry = found.audited.setdefault((host, stream), Audited())
            entry.only_a += [(file, *gap) for gap in in_a.beyond(in_b)]
            entry.only_b += [(file, *gap) for gap in in_b.beyond(in_a)]

    def _account(
        self,
        audit: Audit,
        side: Side,
        number: int,
        coverage: dict[tuple[str, str, str], Intervals],
        found: Comparison,
    ) -> None:
        for each in audit.ranges:
            if audit.topic != side.topic:
                continue
            file = audit.files[each.file]
            # A row of each destination's own: the file is what they have in common.
            path = file.path.decode(errors="backslashreplace")
            key = (audit.host, file.stream, f"{path} (inode {file.inode})")
            seen = coverage.setdefault(key, Intervals())
            entry = found.audited.setdefault((audit.host, file.stream), Audited())
            if not seen.add(each.start, each.end):
                if number == A:
                    entry.records_a += each.records
                else:
                    entry.records_b += each.records
                took = each.acknowledged_ms - each.read_ms
                entry.latency_ms[number].append((took, each.records))

    def _audits(self, side: Side) -> Iterator[Audit]:
        with Topic(side.audit_topic or "", side.reaching) as topic:
            for partition in topic.partitions():
                start, end = topic.bounds(partition)
                if self.from_ms:
                    start = topic.offset_at(partition, self.from_ms)
                for stretch in topic.read(partition, start, end):
                    for value in stretch.values:
                        try:
                            audit = decode(value)
                        except InputError as error:
                            self.told(f"{side.audit_topic} [{partition}]: {error}")
                            continue
                        if self.to_ms is None or audit.written_ms <= self.to_ms:
                            yield audit

    def _bounds(self, side: Side, topic: Topic) -> dict[int, tuple[int, int]]:
        bounds = {}
        for partition in topic.partitions():
            low, high = topic.bounds(partition)
            start, end = low, high
            if side.ranges:
                start, end = side.ranges.get(partition, (0, 0))
            if self.from_ms:
                start = max(start, topic.offset_at(partition, self.from_ms))
            if self.to_ms is not None:
                end = min(end, topic.offset_at(partition, self.to_ms))
            bounds[partition] = (max(low, start), max(low, start, min(high, end)))
        return bounds

    def _read(
        self,
        side: int,
        topic: Topic,
        bounds: Mapping[int, tuple[int, int]],
        contents: Contents,
        volume: Volume,
    ) -> None:
        for partition, (start, end) in bounds.items():
            ids = Ids()
            for stretch in topic.read(partition, start, end):
                contents.add(side, partition, stretch)
                ids.add(stretch.messages)
                volume.records += len(stretch.values)
                volume.nbytes += sum(map(len, stretch.values))
            volume.partitions += 1
            volume.known_order += ids.known
            volume.inversions += ids.inversions
            volume.again += ids.again
            self.told(f"{topic.name} [{partition}] is read")
        topic.settle()
        volume.wire_bytes = topic.received_bytes


def _sorted(rows: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    return sorted((partition, offset) for offset, partition in rows.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Near:
    """A record that only one side has, and those beside it."""

    place: tuple[int, int]
    value: bytes
    before: bytes | None
    behind: bytes | None


def _neighbours(topic: Topic, places: Sequence[tuple[int, int]]) -> list[_Near]:
    found = []
    for partition, offset in places:
        low, high = topic.bounds(partition)
        there: dict[int, bytes] = {}
        for stretch in topic.read(partition, max(low, offset - 1), min(high, offset + 2)):
            there |= dict(zip(stretch.offsets.tolist(), stretch.values, strict=True))
        found.append(
            _Near(
                place=(partition, offset),
                value=there.get(offset, b""),
                before=there.get(offset - 1),
                behind=there.get(offset + 1),
            )
        )
    return found


def _pairs(of_a: Sequence[_Near], of_b: Sequence[_Near]) -> list[Pair]:
    """Those that stand between the same records: one is the other, changed on its way."""
    by_neighbour: dict[tuple[str, bytes], list[_Near]] = {}
    for near in of_b:
        if near.before is not None:
            by_neighbour.setdefault(("before", near.before), []).append(near)
        if near.behind is not None:
            by_neighbour.setdefault(("behind", near.behind), []).append(near)
    taken: set[tuple[int, int]] = set()
    pairs = []
    for near in of_a:
        candidates = []
        if near.before is not None:
            candidates += by_neighbour.get(("before", near.before), [])
        if near.behind is not None:
            candidates += by_neighbour.get(("behind", near.behind), [])
        free = (each for each in candidates if each.place not in taken)
        match = next(free, None)
        if match is not None:
            taken.add(match.place)
            pairs.append(Pair(a=near.place, b=match.place))
    return pairs
