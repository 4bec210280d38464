"""Partitioners: which partition a record goes to. Pure but for the clock.

Hashes are BLAKE2b, the same in every process and on every host, so that what is sent again after
a restart goes where it went before. Each policy makes an index of what it goes by (a block of a
file, the time, a key); `_Choices` hold the spread in which that index stands for a partition, and
change it only when the pipeline has let everything settle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import numpy as np

from singer.base.batch import Int64s, Keys, RecordBatch
from singer.base.config import Ordering, PartitionerConfig, PartitionerType
from singer.base.ports import Clock, Partitioner, Route
from singer.base.zone import Zone
from singer.kafka import keyhashes
from singer.kafka.spread import Spread, spread
from singer.kafka.topology import Topology

#: `random` and its like keep this many bytes of a file together: large enough for batches that
#: compress well, small enough to spread one busy file over all partitions within seconds.
BLOCK_BYTES: Final = 1 << 20


def stable_hash(*parts: str | int) -> int:
    """A 64-bit hash of the parts that is the same everywhere and always."""
    text = "\0".join(str(part) for part in parts).encode(errors="surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def make(
    config: PartitionerConfig,
    topology: Topology,
    *,
    seed: int,
    host: str,
    zone: Zone,
    clock: Clock,
) -> Partitioner:
    """The configured partitioner for one file."""
    choices = _Choices(topology, zone, config)
    sticky = StickyPartitioner(choices, host, config.interval, clock)
    match config.type:
        case PartitionerType.STICKY:
            return sticky
        case PartitionerType.RANDOM:
            return BlockPartitioner(choices, partial(stable_hash, "random", seed))
        case PartitionerType.ROUND_ROBIN:
            return BlockPartitioner(choices, stable_hash("round_robin", seed).__add__)
        case PartitionerType.FIXED:
            few = _FewChoices(topology, zone, config, host)
            return BlockPartitioner(few, partial(stable_hash, "random", seed))
        case _ if config.ordering is Ordering.PER_KEY:
            choices = _AllChoices(topology, zone, config)
    return KeyPartitioner(choices, _KEY_HASHES[config.type], sticky)


_KEY_HASHES: Final[Mapping[PartitionerType, Callable[[Keys], Int64s]]] = MappingProxyType(
    {
        PartitionerType.KEY_MURMUR2: keyhashes.murmur2,
        PartitionerType.KEY_CRC32: keyhashes.crc32,
        PartitionerType.KEY_MURMUR3: keyhashes.murmur3,
        PartitionerType.KEY_MD5: keyhashes.md5,
    }
)


class _Choices:
    """The partitions one partitioner chooses from: those with a leader, of this zone if asked."""

    __slots__ = ("_held", "_key", "_local", "_wanted", "_zone", "topology")

    def __init__(self, topology: Topology, zone: Zone, config: PartitionerConfig) -> None:
        self.topology = topology
        self._zone = zone
        self._local = config.local
        self._key = config.local and (config.local.max_share, *sorted(config.local.hosts.items()))
        self._held: Spread | None = None
        self._wanted = False

    def now(self) -> Spread:
        """As the cluster is now."""
        return self.topology.derived(
            ("spread", self._zone.names, self._key),
            lambda: spread(self.topology, self._zone.names, self._local),
        )

    def due(self) -> bool:
        """Whether they changed, which moves records: what was sent must settle first."""
        now = self.now()
        if self._held is not None and self._held is not now and self._held.same(now):
            self._held = now
        self._wanted = self._held is not None and self._held is not now and not self._is_free()
        return self._wanted

    def take(self) -> Spread:
        """What to choose from: changed only if that was due, or there is nothing to wait for."""
        now = self.now()
        if self._held is None or (now is not self._held and (self._wanted or self._is_free())):
            self._held = now
        self._wanted = False
        return self._held

    def _is_free(self) -> bool:
        """Whether one of them has lost its leader: what was sent there would never settle."""
        assert self._held is not None
        return any(map(self.topology.is_leaderless, self._held.partitions.tolist()))


class _AllChoices(_Choices):
    """All partitions, so that a key stays where it is: records wait for a leader."""

    __slots__ = ()

    def now(self) -> Spread:
        """See _Choices."""
        count = len(self.topology.leaders)
        return self.topology.derived(
            "all", lambda: Spread(groups=(np.arange(count, dtype=np.int32),))
        )

    def _is_free(self) -> bool:
        """Never: it waits for the leader too."""
        return False


class _FewChoices(_Choices):
    """So many of the choices as `partitions` says, drawn for each host.

    The draw is a race in which each partition's time depends on it and the host alone: when one
    drops out, or comes back, the others stay.
    """

    __slots__ = ("_count", "_host")

    def __init__(
        self, topology: Topology, zone: Zone, config: PartitionerConfig, host: str
    ) -> None:
        super().__init__(topology, zone, config)
        self._host = host
        self._count = config.partitions

    def now(self) -> Spread:
        """See _Choices."""
        wide = super().now()
        key = ("few", self._zone.names, self._key, self._host, self._count)
        return self.topology.derived(key, lambda: self._draw(wide))

    def _draw(self, wide: Spread) -> Spread:
        partitions = wide.partitions
        hashes = [stable_hash("fixed", self._host, number) for number in partitions.tolist()]
        times = -np.log((np.array(hashes, np.float64) + 1.0) / 2.0**64) / wide.weights
        return Spread(groups=(np.sort(partitions[np.argsort(times)[: self._count]]),))


class BlockPartitioner:
    """A partition for each block of a file, by an index made of its number.

    By offset, not by batch: however the windows are cut the next time, a record that is sent
    again goes to the same partition (as long as the choices are the same).
    """

    __slots__ = ("_block", "_choices", "_index", "_partition", "_spread")

    def __init__(self, choices: _Choices, index: Callable[[int], int]) -> None:
        self._choices = choices
        self._index = index
        self._spread: Spread | None = None
        self._block = -1
        self._partition = -1

    def due(self) -> bool:
        """Whether the choices changed, which moves blocks."""
        return self._choices.due()

    def assign(self, batch: RecordBatch) -> Route:
        """One partition, or one for each row where the batch lies in several blocks."""
        held = self._choices.take()
        if held is not self._spread:
            self._spread, self._block = held, -1
        ends = batch.ends
        first, last = int(ends[0] - 1) // BLOCK_BYTES, int(ends[-1] - 1) // BLOCK_BYTES
        if first == last:
            return self._of(first)
        # `ends` ascend, so each block is one run of rows; a batch touches few blocks.
        borders = (np.arange(first + 1, last + 1, dtype=np.int64) * BLOCK_BYTES) + 1
        cuts = [0, *np.searchsorted(ends, borders).tolist(), len(ends)]
        route = np.empty(len(ends), np.int32)
        for index, block in enumerate(range(first, last + 1)):
            route[cuts[index] : cuts[index + 1]] = self._of(block)
        return route

    def _of(self, block: int) -> int:
        if block != self._block:
            assert self._spread is not None
            self._partition = self._spread.at(self._index(block))
            self._block = block
        return self._partition


class StickyPartitioner:
    """One partition for everything this host sends, another one after each interval.

    All files of a host share the choice, so requests are as large as they can be; hosts start
    at different partitions and change at different moments. A file changes only when what it
    sent before is settled, except away from a partition without a leader, where nothing would
    ever settle.
    """

    __slots__ = (
        "_choices",
        "_clock",
        "_host",
        "_interval_ns",
        "_partition",
        "_phase_ns",
        "_wanted",
    )

    def __init__(self, choices: _Choices, host: str, interval_seconds: float, clock: Clock) -> None:
        self._choices = choices
        self._clock = clock
        self._interval_ns = max(1, int(interval_seconds * 1e9))
        self._host = stable_hash("sticky", host)
        self._phase_ns = stable_hash("phase", host) % self._interval_ns
        self._partition = -1
        self._wanted = False

    def due(self) -> bool:
        """Whether it wants to change, and so everything sent before has to be settled first."""
        self._wanted = not self._is_free() and self._choice() != self._partition
        return self._wanted

    def assign(self, batch: RecordBatch) -> int:
        """The partition for all rows."""
        del batch
        if self._wanted or self._is_free():
            self._partition = self._choice()
            self._wanted = False
        return self._partition

    def _is_free(self) -> bool:
        """Whether there is nothing to wait for before a change: it may leave at once."""
        return self._partition < 0 or self._choices.topology.is_leaderless(self._partition)

    def _choice(self) -> int:
        interval = (self._clock.now_ns() + self._phase_ns) // self._interval_ns
        return self._choices.now().at(self._host + interval)


class KeyPartitioner:
    """A partition for each key, by its hash; records without a key go the way of `sticky`."""

    __slots__ = ("_choices", "_hash", "_keyless")

    def __init__(
        self, choices: _Choices, key_hash: Callable[[Keys], Int64s], keyless: StickyPartitioner
    ) -> None:
        """`key_hash` makes int64[n] of a column of keys."""
        self._choices = choices
        self._hash = key_hash
        self._keyless = keyless

    def due(self) -> bool:
        """Whether keys move, or those without."""
        keyless = self._keyless.due()
        return self._choices.due() or keyless

    def assign(self, batch: RecordBatch) -> Route:
        """One for each row; one for all where no row has a key."""
        keys = batch.keys
        if keys is None or not (keys.lengths >= 0).any():
            return self._keyless.assign(batch)
        route = self._choices.take().at_all(self._hash(keys))
        without = keys.lengths < 0
        if without.any():
            route[without] = self._keyless.assign(batch)
        return route
