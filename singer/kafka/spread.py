"""Spreads: which partitions are given what share of a host's records. Pure.

With `local: {max_share: s}` a host sends to other zones what would make a partition of its own
zone carry more than s times its even share of all records. It asks nobody: all hosts see the
same leaders and racks and work out the same. What none of them sees is how many hosts each zone
has: equally many, unless `hosts` says otherwise; and that all hosts send equally much.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Int32s, Int64s
from singer.base.config import LocalConfig
from singer.kafka.topology import Topology

#: 2^64 divided by the golden ratio. Its multiples spread evenly over 64 bits, for indexes that
#: count up as well as for hashes, and independently of what the same indexes are modulo n.
_GOLDEN: Final = 0x9E3779B97F4A7C15
_BITS: Final = (1 << 64) - 1

#: How this host's zone is called here, whatever the brokers call it.
_HERE: Final = "."
#: The zone of a leader whose rack is not known.
_NOWHERE: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """Groups of partitions. `bounds` are their shares, added up, in 2^-64; the last has the rest.

    An index, a hash or a number that counts up, stands for a partition: it falls into a group
    by the group's share, and within it to partition number `index % n`.
    """

    groups: tuple[Int32s, ...]
    bounds: tuple[int, ...] = ()

    def at(self, index: int) -> int:
        """The partition of an index."""
        draw = index * _GOLDEN & _BITS
        group = self.groups[bisect_right(self.bounds, draw)] if self.bounds else self.groups[0]
        return int(group[index % len(group)])

    def at_all(self, indexes: Int64s) -> Int32s:
        """int32[n]: the partition of each index."""
        if not self.bounds:
            return self.groups[0][indexes % len(self.groups[0])]
        draws = indexes.view(np.uint64) * np.uint64(_GOLDEN)
        numbers = np.searchsorted(np.array(self.bounds, np.uint64), draws, side="right")
        partitions = np.empty(len(indexes), np.int32)
        for number, group in enumerate(self.groups):
            rows = np.flatnonzero(numbers == number)
            partitions[rows] = group[indexes[rows] % len(group)]
        return partitions

    @property
    def partitions(self) -> Int32s:
        """All partitions, group by group."""
        return np.concatenate(self.groups)

    @property
    def weights(self) -> NDArray[np.float64]:
        """float64[n]: the share of each of `partitions`."""
        shares = np.diff(np.array([0, *self.bounds, 1 << 64], np.float64)) / (1 << 64)
        sizes = [len(group) for group in self.groups]
        return np.repeat(shares / sizes, sizes)

    def same(self, other: Spread) -> bool:
        """Whether every index stands for the same partition in both."""
        return self.bounds == other.bounds and all(
            np.array_equal(group, its) for group, its in zip(self.groups, other.groups, strict=True)
        )


def spread(topology: Topology, zones: tuple[str, ...], local: LocalConfig | None) -> Spread:
    """Over the candidates of a host whose zone has one of the names `zones`."""
    candidates = topology.candidates(zones, local=local is not None)
    if local is None or local.max_share is None:
        return Spread(groups=(candidates.partitions,))
    return _bounded(topology, zones, local.max_share, local.hosts)


def _bounded(
    topology: Topology, zones: tuple[str, ...], max_share: float, hosts: Mapping[str, float]
) -> Spread:
    """As much as may stay in this zone, and the rest in proportion to the room of the others."""

    def zone(rack: str) -> str:
        return _HERE if rack in zones else rack

    homes: dict[str, list[int]] = {}
    everywhere = topology.candidates((), local=False).partitions
    for partition in everywhere.tolist():
        rack = topology.racks.get(int(topology.leaders[partition]), _NOWHERE)
        homes.setdefault(zone(rack), []).append(partition)
    # A zone without a leader has hosts all the same, as long as anybody speaks of it.
    told = {zone(rack): number for rack, number in hosts.items()}
    mean = sum(told.values()) / len(told) if told else 1.0
    names = {_HERE, *told, *map(zone, topology.racks.values())}
    numbers = {name: told.get(name, mean) for name in names}
    total = sum(numbers[name] for name in sorted(names))

    def room(name: str) -> float:
        """What a zone may carry of all records, less what its own hosts send."""
        may = max_share * len(homes.get(name, ())) / len(everywhere)
        return may - numbers.get(name, 0.0) / total

    sent = numbers[_HERE] / total
    kept = min(1.0, round(1.0 + room(_HERE) / sent, 9))  # what arithmetic adds is no excess
    if kept == 1.0:
        return Spread(groups=(np.array(homes[_HERE], np.int32),))
    shares = {_HERE: kept} if homes.get(_HERE) else {}
    others = {name: room(name) for name in sorted(homes) if name != _HERE and room(name) > 0}
    for name, its in others.items():
        shares[name] = (1.0 - kept) * its / sum(others.values())
    sums = np.cumsum(list(shares.values()))
    return Spread(
        groups=tuple(np.array(homes[name], np.int32) for name in shares),
        bounds=tuple(int(share * (1 << 64)) for share in sums[:-1].tolist()),
    )
