"""A file's way to a topic of a live cluster, for tests whose leaders and partitions change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

import numpy as np

from singer.base.clock import SystemClock
from singer.base.config import (
    ClusterConfig,
    LocalConfig,
    Ordering,
    PartitionerConfig,
    PartitionerType,
    Seconds,
)
from singer.base.errors import TopicError
from singer.base.events import discard
from singer.base.ports import Receipt, Settlement
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.topology import Topology
from singer.writers.kafka import KafkaWriter
from tests.kafka.support import Bootstrapped, Record, batch_of, until

#: Longer than any period of looking at leaders.
LONG_SECONDS: Final = 400.0


class JumpingClock(SystemClock):
    """Real time that a test may push ahead."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class File:
    """One file, sent as a pipeline sends it."""

    def __init__(
        self, cluster: KafkaCluster, topic: str, config: PartitionerConfig, seed: int
    ) -> None:
        self.writer = KafkaWriter(cluster, topic, config)
        self.partitioner = self.writer.partitioner(seed)
        self.sent: list[tuple[bytes | None, bytes]] = []
        self.under_way: list[Receipt] = []
        self._offset = 0

    async def send(self, keys: Sequence[bytes | None]) -> set[int]:
        """Send a record for each key; the partitions they go to."""
        if self.partitioner.due():
            await self.settle()
        lines = [b"%d" % (len(self.sent) + n) for n in range(len(keys))]
        batch = batch_of(lines, keys, self._offset)
        self._offset = batch.span[1] + (1 << 20)  # another block for each batch
        route = self.partitioner.assign(batch)
        self.under_way.append(self.writer.send(batch, route))
        self.sent += zip(keys, lines, strict=True)
        return set(np.atleast_1d(route).tolist())

    async def settle(self) -> None:
        receipts, self.under_way = self.under_way, []
        assert await asyncio.gather(*receipts) == [Settlement()] * len(receipts)


class Live:
    """A cluster, a topic of it, and files that are written to it."""

    def __init__(self, cluster: KafkaCluster, clock: JumpingClock, topology: Topology) -> None:
        self.cluster = cluster
        self.clock = clock
        self.topology = topology

    def files(self, config: PartitionerConfig, count: int = 8) -> list[File]:
        return [File(self.cluster, self.topology.topic, config, seed) for seed in range(count)]

    async def look(self) -> None:
        """Let one refresh pass that finds something new."""
        version = self.topology.version
        led = int(np.flatnonzero(self.topology.leaders > 0)[0])
        await self.cluster.send(self.topology.topic, led, batch_of([b"flowing"]))
        self.clock.ahead += LONG_SECONDS
        await until(lambda: self.topology.version > version, "the change is noticed")


async def _ready(cluster: KafkaCluster, clock: JumpingClock, topic: str) -> None:
    """Wait until the broker that is asked has heard of a topic that was just made."""
    ends = time.monotonic() + 10.0
    while True:
        try:
            return await cluster.ready(topic)
        except TopicError:
            assert time.monotonic() < ends, f"no broker knows {topic}"
            clock.ahead += LONG_SECONDS  # what is absent is asked for again
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def live(server: Bootstrapped, topic: str = "t") -> AsyncIterator[Live]:
    clock = JumpingClock()
    cluster = KafkaCluster(
        ClusterConfig(name="main"),
        bootstrap=server.bootstrap,
        host="host",
        client_id="singer-test",
        zone=Zone(("zone-b",)),
        emit=discard,
        clock=clock,
    )
    await cluster.start()
    try:
        await _ready(cluster, clock, topic)
        yield Live(cluster, clock, cluster.topology(topic))
    finally:
        await cluster.close()


def config_of(kind: PartitionerType, *, local: LocalConfig | None = None) -> PartitionerConfig:
    return PartitionerConfig(
        type=kind,
        local=local,
        ordering=Ordering.NONE if local else Ordering.PER_KEY,
        interval=Seconds(0.1),
        partitions=3 if kind is PartitionerType.FIXED else None,
    )


def some_keys(count: int) -> list[bytes]:
    return [b"key-%d" % (n % 50) for n in range(count)]


async def used(files: Sequence[File]) -> set[int]:
    """The partitions that the next records of all files go to."""
    return set().union(*[await file.send(some_keys(50)) for file in files])


async def until_used(files: Sequence[File], partitions: set[int]) -> None:
    """Send until some go to one of `partitions`: `sticky` stays where it is for a while."""
    ends = time.monotonic() + 10.0
    while not await used(files) & partitions:
        assert time.monotonic() < ends, f"nothing goes to any of {partitions}"
        await asyncio.sleep(0.02)


def assert_ordered(file: File, records: Sequence[Record]) -> None:
    """Everything arrived once, and each partition has it in the order it was sent."""
    numbers: dict[int, list[int]] = {}
    for partition, key, value in records:
        if key is not None:
            numbers.setdefault(partition, []).append(int(value or b""))
    arrived = [number for some in numbers.values() for number in some]
    assert sorted(arrived) == [int(line) for _, line in file.sent]
    assert all(some == sorted(some) for some in numbers.values())
