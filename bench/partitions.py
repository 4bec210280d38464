"""How even partitioners load partitions, simulated: 300 hosts, 100 intervals, a clock that is set.

The partitioners are the agent's own, asked as its pipelines ask them; there is no network and no
chance, so that every run finds the same.
"""

from __future__ import annotations

import timeit
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Bytes, Keys, RecordBatch
from singer.base.config import LocalConfig, PartitionerConfig, PartitionerType, Seconds
from singer.base.zone import Zone
from singer.kafka import keyhashes, partitioners
from singer.kafka.partitioners import BLOCK_BYTES
from singer.kafka.topology import Topology

HOSTS: Final = 300
INTERVALS: Final = 100
#: What a host writes in an interval, in MiB; a busier one would only be spread better.
_BLOCKS: Final = 4
#: Of the records that have keys; as many in each block.
_BLOCK_KEYS: Final = 50
_KEY_BYTES: Final = 16
_ZONES: Final = ("a", "b", "c")
_INTERVAL_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Where the hosts are, and the leaders of the partitions; three zones, a broker in each."""

    hosts: tuple[int, int, int]
    leaders: tuple[int, int, int]

    def topology(self) -> Topology:
        """The picture that all hosts have. Leaders of the zones lie among each other."""
        turns = range(max(self.leaders))
        leaders = [
            broker for turn in turns for broker in (1, 2, 3) if turn < self.leaders[broker - 1]
        ]
        topology = Topology("t")
        topology.update(np.array(leaders, np.int32), dict(enumerate(_ZONES, 1)))
        return topology


#: 36 partitions, twelve in each zone; half of the first zone's went to the others.
EVEN: Final = Fleet(hosts=(100, 100, 100), leaders=(12, 12, 12))
UNEVEN_HOSTS: Final = Fleet(hosts=(180, 60, 60), leaders=(12, 12, 12))
LOST_LEADERS: Final = Fleet(hosts=(100, 100, 100), leaders=(6, 15, 15))
BOTH: Final = Fleet(hosts=(180, 60, 60), leaders=(6, 15, 15))

NEAR: Final = LocalConfig()
#: What the hosts are told where they are uneven.
TOLD: Final[Mapping[str, float]] = {"a": 60.0, "b": 20.0, "c": 20.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the partitions got, in even shares."""

    fleet: Fleet
    config: PartitionerConfig
    most: float  #: of all intervals, the partition that got most
    least: float
    peak: float  #: the most that one got in one interval
    across: float  #: the part that went to another zone than its host's
    nbytes: int  #: what all hosts wrote


class _Clock:
    seconds = 1_000_000.0

    def now_ns(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


def load(fleet: Fleet, config: PartitionerConfig, *, blocks: int = _BLOCKS) -> Load:
    """Let all hosts write `blocks` in each interval."""
    topology, clock = fleet.topology(), _Clock()
    homes = np.repeat(np.arange(3), fleet.hosts)
    made = [
        partitioners.make(
            config,
            topology,
            seed=number,
            host=f"host-{number}",
            zone=Zone((_ZONES[home],)),
            clock=clock,
        )
        for number, home in enumerate(homes.tolist())
    ]
    keys = np.random.default_rng(7).integers(0, 256, (256, _BLOCK_KEYS * _KEY_BYTES), np.uint8)
    counts = np.zeros((INTERVALS, 3, len(topology.leaders)))
    for interval in range(INTERVALS):
        clock.seconds += _INTERVAL_SECONDS
        for number, partitioner in enumerate(made):
            for block in range(interval * blocks, (interval + 1) * blocks):
                partitioner.due()  # everything settles at once
                text = keys[(number * 31 + block) % 256]
                route = partitioner.assign(_batch(block, text if config.type.by_key else None))
                np.add.at(counts[interval, homes[number]], route, 1.0 / np.size(route))
    return _summary(fleet, config, counts, topology.leaders - 1)


def _summary(
    fleet: Fleet,
    config: PartitionerConfig,
    counts: NDArray[np.float64],
    zones: NDArray[np.int32],
) -> Load:
    """`counts` by interval, zone of the host, partition."""
    by_partition = counts.sum(axis=(0, 1))
    by_interval = counts.sum(axis=1)
    stayed = sum(counts[:, zone, zones == zone].sum() for zone in range(3))
    return Load(
        fleet=fleet,
        config=config,
        most=by_partition.max() / by_partition.mean(),
        least=by_partition.min() / by_partition.mean(),
        peak=by_interval.max() / by_interval.mean(),
        across=1.0 - stayed / counts.sum(),
        nbytes=int(counts.sum()) * BLOCK_BYTES,
    )


def _batch(block: int, keys: Bytes | None) -> RecordBatch:
    """The end of a block of a file: one record, or as many as there are keys."""
    rows = 1 if keys is None else _BLOCK_KEYS
    end = (block + 1) * BLOCK_BYTES
    column = None if keys is None else _column(keys)
    return RecordBatch(
        buffer=np.zeros(1, np.uint8),
        starts=np.zeros(rows, np.int64),
        lengths=np.zeros(rows, np.int32),
        ends=np.arange(end - rows, end, dtype=np.int64) + 1,
        span=(end - BLOCK_BYTES, end),
        keys=column,
    )


def _column(keys: Bytes, key_bytes: int = _KEY_BYTES) -> Keys:
    starts = np.arange(0, len(keys), key_bytes, dtype=np.int64)
    return Keys(buffer=keys, starts=starts, lengths=np.full(len(starts), key_bytes, np.int32))


def configs(fleet: Fleet) -> Sequence[PartitionerConfig]:
    """What is compared for a fleet."""
    interval = Seconds(_INTERVAL_SECONDS)
    if fleet is EVEN:
        return [
            PartitionerConfig(
                type=kind,
                local=local,
                interval=interval,
                partitions=4 if kind is PartitionerType.FIXED else None,
            )
            for kind in (
                PartitionerType.STICKY,
                PartitionerType.RANDOM,
                PartitionerType.ROUND_ROBIN,
                PartitionerType.FIXED,
                PartitionerType.KEY_MURMUR2,
            )
            for local in (None, NEAR)
            if not (kind.by_key and local)
        ]
    ceilings = [None, 2.0] if fleet is BOTH else [None, 2.0, 1.5]
    told = [{}] if fleet is LOST_LEADERS else [{}, TOLD]
    return [
        PartitionerConfig(local=LocalConfig(max_share=ceiling, hosts=hosts), interval=interval)
        for ceiling in ceilings
        for hosts in told
        if ceiling or not hosts
    ]


def loads() -> list[Load]:
    """All of them."""
    fleets = (EVEN, UNEVEN_HOSTS, LOST_LEADERS, BOTH)
    return [load(fleet, config) for fleet in fleets for config in configs(fleet)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashing:
    """What one hash costs for a column of keys."""

    name: str
    ns_per_key: Mapping[int, float]  #: by the bytes of a key


def hashings() -> list[Hashing]:
    """A window of records at a time; the best of many."""
    rng = np.random.default_rng(7)
    columns = {
        size: _column(rng.integers(0, 256, 7000 * size, np.uint8), size) for size in (16, 36, 100)
    }
    functions = (keyhashes.murmur2, keyhashes.crc32, keyhashes.murmur3, keyhashes.md5)
    return [
        Hashing(
            name=function.__name__,
            ns_per_key={
                size: min(timeit.repeat(partial(function, column), number=1, repeat=20)) / 7e-6
                for size, column in columns.items()
            },
        )
        for function in functions
    ]
