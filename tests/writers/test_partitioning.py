"""Partitioners of a live cluster whose leaders move, vanish and return."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from singer.base.clock import SystemClock
from singer.base.config import (
    ClusterConfig,
    LocalConfig,
    Ordering,
    PartitionerConfig,
    PartitionerType,
    Seconds,
)
from singer.base.events import discard
from singer.base.ports import Receipt, Settlement
from singer.kafka import keyhashes
from singer.kafka.cluster import KafkaCluster
from singer.kafka.topology import Topology
from singer.writers.kafka import KafkaWriter
from tests.kafka.support import Bootstrapped, Record, batch_of, consume, embedded, run, until

BY_KEY = [kind for kind in PartitionerType if kind.by_key]
OTHERS = [kind for kind in PartitionerType if not kind.by_key]
#: Longer than any period of looking at leaders.
LONG_SECONDS = 400.0


class JumpingClock(SystemClock):
    """Real time that a test may push ahead."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class File:
    """One file's way to topic `t`, sent as a pipeline sends it."""

    def __init__(self, cluster: KafkaCluster, config: PartitionerConfig, seed: int) -> None:
        self.writer = KafkaWriter(cluster, "t", config)
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
    """A cluster, its topic `t`, and files that are written to it."""

    def __init__(self, cluster: KafkaCluster, clock: JumpingClock, topology: Topology) -> None:
        self.cluster = cluster
        self.clock = clock
        self.topology = topology

    def files(self, config: PartitionerConfig, count: int = 8) -> list[File]:
        return [File(self.cluster, config, seed) for seed in range(count)]

    async def look(self) -> None:
        """Let one refresh pass that finds something new."""
        version = self.topology.version
        led = int(np.flatnonzero(self.topology.leaders > 0)[0])
        await self.cluster.send("t", led, batch_of([b"flowing"]))
        self.clock.ahead += LONG_SECONDS
        await until(lambda: self.topology.version > version, "the change is noticed")


@contextlib.asynccontextmanager
async def live(server: Bootstrapped) -> AsyncIterator[Live]:
    clock = JumpingClock()
    cluster = KafkaCluster(
        ClusterConfig(name="main"),
        bootstrap=server.bootstrap,
        host="host",
        client_id="singer-test",
        zones=("zone-b",),
        emit=discard,
        clock=clock,
    )
    await cluster.start()
    try:
        await cluster.ready("t")
        yield Live(cluster, clock, cluster.topology("t"))
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


@pytest.mark.parametrize(
    ("kind", "max_share"),
    [
        *((kind, None) for kind in PartitionerType),
        (PartitionerType.STICKY, 9.0),
        (PartitionerType.RANDOM, 9.0),
    ],
)
def test_local_records_follow_the_leaders_out_of_the_zone_and_back(
    kind: PartitionerType, max_share: float | None
) -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=6) as server:
            async with live(server) as there:
                files = there.files(config_of(kind, local=LocalConfig(max_share=max_share)))
                assert await used(files) <= {1, 4}

                server.set_leader("t", 1, 3)
                await there.look()
                assert await used(files) == {4}, "one of them is left"

                server.set_leader("t", 4, 1)
                await there.look()
                assert await used(files) <= {0, 1, 2, 3, 4, 5}
                await until_used(files, {0, 2, 3, 5})

                server.set_leader("t", 5, 2)
                await there.look()
                assert await used(files) == {5}
                for file in files:
                    await file.settle()

    run(main())


@pytest.mark.parametrize("kind", OTHERS)
def test_partitions_without_a_leader_are_skipped(kind: PartitionerType) -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=3) as server:
            async with live(server) as there:
                files = there.files(config_of(kind))
                await used(files)
                for file in files:
                    await file.settle()
                server.set_leader("t", 1, -1)
                await there.look()
                for _ in range(20):
                    assert await used(files) <= {0, 2}
                server.set_leader("t", 1, 2)
                await there.look()
                await until_used(files, {1})
                for file in files:
                    await file.settle()

    run(main())


@pytest.mark.parametrize("kind", BY_KEY)
def test_keys_keep_their_order_while_leaders_move(kind: PartitionerType) -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=5) as server:
            async with live(server) as there:
                (file,) = there.files(config_of(kind), count=1)
                for turn in range(6):
                    await file.send(some_keys(200))
                    server.set_leader("t", turn % 5, 1 + turn % 3)
                    server.set_leader("t", (turn + 1) % 5, 1 + (turn + 1) % 3)
                    await file.send(some_keys(200))
                await file.settle()
            records = consume(server.bootstrap, "t", 5, len(file.sent))
            assert_ordered(file, records)
            homes: dict[bytes | None, set[int]] = {}
            for partition, key, _ in records:
                homes.setdefault(key, set()).add(partition)
            assert all(len(home) == 1 for home in homes.values())
            assert set().union(*homes.values()) == {0, 1, 2, 3, 4}

    run(main())


def test_keys_and_records_without_go_where_they_should() -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=5) as server:
            async with live(server) as there:
                (file,) = there.files(config_of(PartitionerType.KEY_MURMUR2), count=1)
                await file.send([b"a", None, b"foobar", None, b""] * 20)
                await file.settle()
            records = consume(server.bootstrap, "t", 5, 100)
        for key in (b"a", b"foobar"):
            home = (keyhashes.murmur2_of(key) & 0x7FFFFFFF) % 5
            assert [p for p, its, _ in records if its == key] == [home] * 20
        assert len({p for p, its, _ in records if its is None}) == 1

    run(main())
