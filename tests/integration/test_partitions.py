"""Partitions of a real topic that are added, or lose their only leader, while it is written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions

from singer.base.config import Ordering, PartitionerType
from singer.kafka import keyhashes
from tests.kafka.support import Record, consume, run
from tests.readers.thrift_frames import frame
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.kafka_cluster import KafkaCluster
from tests.writers.live import assert_ordered, config_of, live, some_keys, until_used

pytestmark = pytest.mark.kafka


def _homes(records: list[Record]) -> dict[bytes, set[int]]:
    """The partitions of each key."""
    homes: dict[bytes, set[int]] = {}
    for partition, key, _ in records:
        if key is not None:
            homes.setdefault(key, set()).add(partition)
    return homes


@pytest.mark.parametrize(
    "kind", [kind for kind in PartitionerType if kind is not PartitionerType.FIXED]
)
def test_partitions_that_are_added_are_used(kafka: KafkaCluster, kind: PartitionerType) -> None:
    topic = kafka.create_topic("added", partitions=3, replication_factor=1)

    async def main() -> None:
        async with live(kafka, topic) as there:
            (file,) = there.files(config_of(kind), count=1)
            await file.send(some_keys(200))
            before = len(file.sent)
            more = NewPartitions(topic, 6, replica_assignment=[[1], [2], [3]])
            kafka.admin.create_partitions([more])[topic].result(timeout=30.0)
            await there.look()
            while len(there.topology.leaders) < 6 or (there.topology.leaders < 0).any():
                await there.look()
            await until_used([file], {3, 4, 5})
            await file.settle()
        records = consume(kafka.bootstrap, topic, 6, len(file.sent))
        assert_ordered(file, records)
        if kind is PartitionerType.KEY_MURMUR2:
            numbered = [record for record in records if record[1] is not None]
            for count, some in (
                (3, [record for record in numbered if int(record[2] or b"") < before]),
                (6, [record for record in numbered if int(record[2] or b"") >= before]),
            ):
                for key, home in _homes(some).items():
                    assert home == {(keyhashes.murmur2_of(key) & 0x7FFFFFFF) % count}

    run(main())


def test_keys_of_a_partition_without_a_leader_wait_for_it(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("waiting", partitions=3, replication_factor=1)

    async def main() -> None:
        async with live(kafka, topic) as there:
            (file,) = there.files(config_of(PartitionerType.KEY_MURMUR2), count=1)
            await file.send(some_keys(200))
            await file.settle()
            kafka.stop(2)
            await there.look()
            assert there.topology.is_leaderless(1)
            for _ in range(5):
                await file.send(some_keys(200))
            assert not any(receipt.done() for receipt in file.under_way), "each holds such a key"
            kafka.start(2)
            await file.settle()
        records = consume(kafka.bootstrap, topic, 3, len(file.sent))
        assert_ordered(file, records)
        assert all(len(home) == 1 for home in _homes(records).values())

    run(main())


def test_keys_whose_order_is_given_up_do_not_wait_for_a_leader(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("going", partitions=3, replication_factor=1)

    async def main() -> None:
        async with live(kafka, topic) as there:
            config = replace(config_of(PartitionerType.KEY_MURMUR2), ordering=Ordering.NONE)
            (file,) = there.files(config, count=1)
            await file.send(some_keys(200))
            await file.settle()
            kafka.stop(2)
            await there.look()
            for _ in range(5):
                assert await file.send(some_keys(200)) == {0, 2}
            await file.settle()
            kafka.start(2)

    run(main())


def test_the_agent_puts_keys_where_kafkas_client_would(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("keys", partitions=6)
    keys = [b"user-%d" % (n % 300) for n in range(20_000)]
    path = tmp_path / "app.thrift"
    path.write_bytes(b"".join(frame(b"%d" % n, key=key) for n, key in enumerate(keys)))
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap=kafka.bootstrap,
        streams=[stream("app", str(path), topic, partitioner={}, reader="thrift")],
    )
    with AgentProcess(str(tmp_path / "agent"), config) as agent:
        assert agent.run_once() == 0, agent.tail()
        agent.assert_balanced()
    records = consume(kafka.bootstrap, topic, 6, len(keys))
    assert len(records) == len(keys)
    numbers: dict[int, list[int]] = {}
    for partition, key, value in records:
        assert key == keys[int(value or b"")]
        assert partition == (keyhashes.murmur2_of(key) & 0x7FFFFFFF) % 6
        numbers.setdefault(partition, []).append(int(value or b""))
    assert len(numbers) == 6
    assert all(some == sorted(some) for some in numbers.values())
