from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from singer.base.clock import SystemClock
from singer.base.config import (
    ClusterConfig,
    LocalConfig,
    Ordering,
    PartitionerConfig,
    PartitionerType,
)
from singer.base.errors import TopicError
from singer.base.events import discard
from singer.base.ports import Settlement, Writer
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.embedded import EmbeddedCluster
from singer.writers.kafka import KafkaWriter
from tests.kafka.support import batch_of, consume, embedded, run, values


@contextlib.asynccontextmanager
async def connected(server: EmbeddedCluster, **properties: str) -> AsyncIterator[KafkaCluster]:
    given = {name.replace("_", "."): value for name, value in properties.items()}
    cluster = KafkaCluster(
        ClusterConfig(name="main", properties=given),
        bootstrap=server.bootstrap,
        host="host",
        client_id="singer-test",
        zone=Zone(("zone-b",)),
        emit=discard,
        clock=SystemClock(),
    )
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.close()


def _writer(
    cluster: KafkaCluster,
    kind: PartitionerType = PartitionerType.STICKY,
    topic: str = "t",
    *,
    local: bool = False,
) -> KafkaWriter:
    config = PartitionerConfig(
        type=kind,
        local=LocalConfig() if local else None,
        ordering=Ordering.NONE,
        partitions=2 if kind is PartitionerType.FIXED else None,
    )
    return KafkaWriter(cluster, topic, config)


@pytest.mark.parametrize("kind", PartitionerType)
def test_from_batch_to_settlement(kind: PartitionerType) -> None:
    lines = [b"line %d" % n for n in range(1000)]

    async def main(server: EmbeddedCluster) -> None:
        async with connected(server) as cluster:
            writer = _writer(cluster, kind)
            assert isinstance(writer, Writer)
            await writer.ready()
            partitioner = writer.partitioner(seed=7)
            offset = 0
            for first in range(0, len(lines), 100):
                batch = batch_of(lines[first : first + 100], offset=offset)
                offset = batch.span[1]
                assert not partitioner.due()
                receipt = writer.send(batch, partitioner.assign(batch))
                assert await receipt == Settlement()
            await writer.close()

    with embedded(brokers=3) as server:
        run(main(server))
        records = consume(server.bootstrap, "t", 4, len(lines))
    assert values(records) == lines
    assert len({partition for partition, _, _ in records}) == 1


@pytest.mark.parametrize("kind", PartitionerType)
def test_local_records_stay_in_the_zone(kind: PartitionerType) -> None:
    async def main(server: EmbeddedCluster) -> None:
        async with connected(server) as cluster:
            writer = _writer(cluster, kind, local=True)
            await writer.ready()
            for seed in range(20):
                batch = batch_of([b"%d" % seed])
                await writer.send(batch, writer.partitioner(seed).assign(batch))

    with embedded(brokers=3, partitions=9) as server:
        run(main(server))
        records = consume(server.bootstrap, "t", 9, 20)
    assert {partition for partition, _, _ in records} <= {1, 4, 7}
    if kind is PartitionerType.RANDOM:
        assert {partition for partition, _, _ in records} == {1, 4, 7}


def test_writers_of_one_topic_share_what_is_known_of_it() -> None:
    async def main(server: EmbeddedCluster) -> None:
        async with connected(server) as cluster:
            first, second = _writer(cluster), _writer(cluster)
            await asyncio.gather(first.ready(), second.ready())
            assert cluster.topology("t").version == 1

    with embedded() as server:
        run(main(server))


def test_drain_waits_for_the_whole_cluster_and_not_for_linger() -> None:
    async def main(server: EmbeddedCluster) -> None:
        async with connected(server, linger_ms="60000") as cluster:
            mine, other = _writer(cluster), _writer(cluster, topic="other")
            await asyncio.gather(mine.ready(), other.ready())
            assert await mine.drain(0.0)
            receipt = mine.send(batch_of([b"a"]), 0)
            assert not await other.drain(0.0)
            assert await other.drain(20.0)
            assert receipt.result() == Settlement()
            server.set_down()
            stuck = mine.send(batch_of([b"b"]), 0)
            assert not await mine.drain(0.2)
            assert not stuck.done()
            server.set_up()
            assert await mine.drain(30.0)

    with embedded(topics=("t", "other")) as server:
        run(main(server))


def test_an_absent_topic_is_told_by_ready() -> None:
    async def main(server: EmbeddedCluster) -> None:
        async with connected(server) as cluster:
            with pytest.raises(TopicError, match="describe topic absent: it does not exist"):
                await _writer(cluster, topic="absent").ready()

    with embedded() as server:
        run(main(server))
