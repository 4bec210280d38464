"""Faults of real brokers under the real agent: nothing is lost, and other topics go on.

Whoever takes a broker down here leaves it to the `kafka` fixture to bring it back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest
from confluent_kafka import Producer

from tests.positions.parts import fill, mounted
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Collector
from tests.support.kafka_cluster import FAILOVER_SECONDS, START_SECONDS, KafkaCluster
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

SECONDS: Final = 60.0
_REASSIGN: Final = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
_CONFIGS: Final = "kafka.admin.ConfigCommand"


class Host:
    """An agent that sends one file to each of these topics."""

    def __init__(self, kafka: KafkaCluster, tmp_path: Path, *topics: str) -> None:
        self._parts = contextlib.ExitStack()
        paths = [str(tmp_path / f"{number}.log") for number in range(len(topics))]
        self.writers = [
            self._parts.enter_context(LogWriter(path, number)) for number, path in enumerate(paths)
        ]
        self.collectors = [
            self._parts.enter_context(Collector(kafka.bootstrap, topic)) for topic in topics
        ]
        config = configuration(
            state_dir=str(tmp_path / "state"),
            bootstrap=kafka.bootstrap,
            streams=[stream(topic, path, topic) for topic, path in zip(topics, paths, strict=True)],
        )
        self.agent = self._parts.enter_context(AgentProcess(str(tmp_path / "agent"), config))

    def __enter__(self) -> Self:
        self.agent.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def write(self, count: int) -> None:
        for writer in self.writers:
            writer.write(count)

    def await_all(self, *numbers: int) -> None:
        """Until every line arrived, of these files; of all of them where none is named."""
        for number in numbers or range(len(self.writers)):
            written = self.writers[number].written
            self.collectors[number].wait_for_values(len(written), FAILOVER_SECONDS)

    def stop(self) -> dict[str, int]:
        """Stop the agent: every line arrived once and in order, and nothing is open; its books."""
        assert self.agent.stop() == 0, self.agent.tail()
        for writer, collector in zip(self.writers, self.collectors, strict=True):
            assert_delivered({writer.lineage: writer.written}, collector.close())
        return self.agent.assert_balanced()


def place(kafka: KafkaCluster, name: str, brokers: list[int], **configs: str) -> str:
    """A topic of one partition on these brokers, led by the first."""
    named = {key.replace("_", "."): value for key, value in configs.items()}
    return kafka.create_topic(name, assignment=[brokers], configs=named)


def in_sync(kafka: KafkaCluster, topic: str, *brokers: int) -> None:
    wait_until(
        lambda: sorted(kafka.replicas_in_sync(topic).get(0, ())) == sorted(brokers),
        START_SECONDS,
        lambda: f"{brokers} are in sync for {topic}: {kafka.replicas_in_sync(topic)}",
    )


@pytest.fixture
def throttled(kafka: KafkaCluster) -> Iterator[None]:
    """Every client may send 5,000 bytes a second to each broker, over ten seconds."""
    whom = ["--alter", "--entity-type", "clients", "--entity-default"]
    kafka.tool(_CONFIGS, *whom, "--add-config", "producer_byte_rate=5000")
    yield
    kafka.tool(_CONFIGS, *whom, "--delete-config", "producer_byte_rate")


@pytest.mark.usefixtures("throttled")
def test_a_quota_throttles_and_loses_nothing(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = place(kafka, "quota", [1, 2])
    with Host(kafka, tmp_path, topic) as host:
        host.write(3000)  # more than ten seconds of it: the broker hears nothing more for a while
        host.await_all()
        begun = time.monotonic()
        host.write(100)
        host.await_all()
        assert time.monotonic() - begun > 2.0, "throttled"
        assert host.agent.events("cluster-down") == []
        assert host.stop()["rewound"] == 0


def test_too_few_replicas_are_waited_for_and_others_go_on(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    strict = place(kafka, "strict", [1, 2, 3], min_insync_replicas="3")
    other = place(kafka, "other", [1, 2, 3])
    with Host(kafka, tmp_path, strict, other) as host:
        host.write(100)
        host.await_all()
        kafka.stop(3)
        in_sync(kafka, strict, 1, 2)
        host.write(2000)
        host.await_all(1)
        assert host.collectors[0].count == 100, "two replicas are too few for it"
        kafka.start(3)
        host.await_all()
        assert host.stop()["rewound"] == 0


def test_a_broker_comes_back_with_an_empty_disk_at_another_address(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    """While it recovers there is one replica; then it is the one that is left."""
    topic = place(kafka, "empty", [1, 2], min_insync_replicas="1")
    other = place(kafka, "other", [3, 1], min_insync_replicas="1")
    with Host(kafka, tmp_path, topic, other) as host:
        host.write(1000)
        host.await_all()
        kafka.stop(2)
        in_sync(kafka, topic, 1)
        host.write(2000)
        host.await_all()
        kafka.start_empty(2)
        host.write(2000)
        in_sync(kafka, topic, 1, 2)
        host.await_all()
        kafka.move_leaders(topic, 2)  # whoever writes has to find its new address
        kafka.stop(1)
        host.write(2000)
        host.await_all()
        kafka.start(1)
        in_sync(kafka, topic, 1, 2)
        kafka.elect_preferred(topic)
        host.write(1000)
        host.await_all()
        host.stop()


@pytest.mark.long
def test_the_disk_of_a_broker_is_full(kafka: KafkaCluster, tmp_path: Path) -> None:
    """It ends, as Kafka does without a disk; another one leads."""
    kafka.stop(3)
    with mounted(kafka.data(3), "size=256m"):
        try:
            kafka.start_empty(3)
            topic = place(kafka, "full", [3, 1], min_insync_replicas="1")
            other = place(kafka, "other", [2, 1], min_insync_replicas="1")
            with Host(kafka, tmp_path, topic, other) as host:
                host.write(1000)
                host.await_all()
                fill(kafka.data(3))
                host.write(5000)
                host.await_all(1)
                kafka.await_end(3)
                host.write(1000)
                host.await_all()
                host.stop()
        finally:
            kafka.kill(3)
    kafka.start_empty(3)


def test_a_topic_is_moved_to_other_brokers(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = place(kafka, "moved", [1])
    other = place(kafka, "other", [2])
    plan = tmp_path / "plan.json"
    plan.write_text(
        '{"version": 1, "partitions": '
        f'[{{"topic": "{topic}", "partition": 0, "replicas": [3, 2]}}]}}'
    )
    with Host(kafka, tmp_path, topic, other) as host:
        host.write(20_000)
        kafka.tool(_REASSIGN, "--reassignment-json-file", str(plan), "--execute")
        host.write(20_000)
        in_sync(kafka, topic, 2, 3)
        assert kafka.replicas(topic) == {0: [3, 2]}
        host.write(1000)
        host.await_all()
        host.stop()


def test_an_unknown_topic_is_not_made_although_brokers_would(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    asked, there = kafka.unique("made"), place(kafka, "there", [1])
    Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0}).list_topics(asked, 10.0)
    wait_until(lambda: kafka.leaders(asked), SECONDS, "others make it by asking for it")
    absent = kafka.unique("absent")
    with Host(kafka, tmp_path, absent, there) as host:
        host.write(1000)
        host.await_all(1)
        host.agent.wait_for_log(f"event=destination-waits .*{absent}")
        assert kafka.leaders(absent) == {}
        kafka.create_topic(absent, exact_name=True)
        host.await_all()
        host.stop()
