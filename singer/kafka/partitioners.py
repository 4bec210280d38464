"""Partitioners: which partition a batch goes to. Pure but for the clock.

Hashes are BLAKE2b, the same in every process and on every host, so that what is sent again after
a restart goes where it went before.

Policies for keyed data (`key_murmur2` and others) will be further classes with the same two
methods, from `batch.keys` to int32[n]; `make` is where they are chosen.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

from singer.base.batch import Int32s, RecordBatch
from singer.base.config import PartitionerConfig, PartitionerType
from singer.base.ports import Clock, Partitioner, Route
from singer.base.zone import Zone
from singer.kafka.topology import Topology

#: `random` keeps this many bytes of a file together: large enough for batches that compress
#: well, small enough to spread one busy file over all partitions within seconds.
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
    choices = _Choices(topology, zone, config.local)
    match config.type:
        case PartitionerType.RANDOM:
            return RandomPartitioner(choices, seed)
        case PartitionerType.STICKY:
            return StickyPartitioner(choices, host, config.interval, clock)


class _Choices:
    """The candidates of one partitioner."""

    __slots__ = ("_local", "_zone", "topology")

    def __init__(self, topology: Topology, zone: Zone, local: bool) -> None:
        self.topology = topology
        self._zone = zone
        self._local = local

    def now(self) -> Int32s:
        return self.topology.candidates(self._zone.names, local=self._local).partitions


class RandomPartitioner:
    """A partition for each block of a file, by hash of file and block.

    By offset, not by batch: however the windows are cut the next time, a record that is sent
    again goes to the same partition (as long as the candidates are the same).
    """

    __slots__ = ("_block", "_candidates", "_choices", "_partition", "_seed")

    def __init__(self, choices: _Choices, seed: int) -> None:
        self._choices = choices
        self._seed = seed
        self._candidates: Int32s | None = None
        self._block = -1
        self._partition = -1

    def due(self) -> bool:
        """Whether the candidates changed, which moves blocks: what was sent must settle first.

        Not away from a partition without a leader, where nothing would ever settle.
        """
        known, now = self._candidates, self._choices.now()
        if known is None or now is known or np.array_equal(now, known):
            return False
        return not any(self._choices.topology.is_leaderless(p) for p in known.tolist())

    def assign(self, batch: RecordBatch) -> Route:
        """One partition, or one for each row where the batch lies in several blocks."""
        now = self._choices.now()
        if now is not self._candidates:
            self._candidates, self._block = now, -1
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
            assert self._candidates is not None
            chosen = stable_hash("random", self._seed, block) % len(self._candidates)
            self._partition = int(self._candidates[chosen])
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

    def assign(self, batch: RecordBatch) -> Route:
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
        candidates = self._choices.now()
        interval = (self._clock.now_ns() + self._phase_ns) // self._interval_ns
        return int(candidates[(self._host + interval) % len(candidates)])
