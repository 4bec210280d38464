"""Exactly once, on a real Apache Kafka: consumers that read what is committed see every line once,
whatever happens to agents and brokers.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from singer.writers.dead_letters import read_dead_letters
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Arrived, Collector, read_topic
from tests.support.kafka_cluster import FAILOVER_SECONDS, KafkaCluster
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

DELIVERY_SECONDS = 60.0


def agent_for(
    kafka: KafkaCluster,
    tmp_path: Path,
    streams: Sequence[dict[str, Any]],
    *,
    name: str = "agent",
    commit_every: str = "100ms",
    **agent: Any,
) -> AgentProcess:
    config = configuration(
        state_dir=str(tmp_path / f"state-{name}"),
        bootstrap=kafka.bootstrap,
        streams=streams,
        agent={"id": tmp_path.name, **agent},
        cluster={"delivery": "exactly_once", "commit_every": commit_every},
    )
    return AgentProcess(str(tmp_path / name), config)


def values(arrived: Arrived) -> list[bytes]:
    return [record.value for records in arrived.values() for record in records]


def sent(kafka: KafkaCluster, topic: str) -> int:
    """How many records are there, committed or not."""
    uncommitted = {"isolation.level": "read_uncommitted"}
    return len(values(read_topic(kafka.bootstrap, topic, properties=uncommitted)))


def test_every_line_arrives_once_over_restarts(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("once", partitions=3)
    streams = [stream("app", str(tmp_path / "app.log"), topic)]
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        Collector(kafka.bootstrap, topic) as collector,
        agent_for(kafka, tmp_path, streams, start_spread="500ms") as agent,
    ):
        for life in range(3):
            writer.write(1000)
            if life == 1:
                writer.rotate()
                writer.write(500)
            agent.start()
            writer.write(1000)
            collector.wait_for(len(writer.written), DELIVERY_SECONDS)
            assert agent.stop() == 0, agent.tail()
            agent.assert_balanced()
        assert "event=transactions-wait" not in agent.log()  # for a producer that is to come
        arrived = collector.close()
    assert_delivered({writer.lineage: writer.written}, arrived)


def test_consumers_see_nothing_before_its_position_is_committed(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    topic = kafka.create_topic("open", partitions=1)
    streams = [stream("app", str(tmp_path / "app.log"), topic)]
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        agent_for(kafka, tmp_path, streams, commit_every="10m") as agent,
    ):
        writer.write(100)
        agent.start()
        wait_until(lambda: sent(kafka, topic) == 100, DELIVERY_SECONDS, "100 records")
        agent.kill()
        writer.write(10)
        assert values(read_topic(kafka.bootstrap, topic)) == []
        agent.start()
        wait_until(lambda: sent(kafka, topic) == 210, DELIVERY_SECONDS, "all of it again")
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
    assert_delivered({writer.lineage: writer.written}, read_topic(kafka.bootstrap, topic))


def test_brokers_die_while_they_are_written_to(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("dying")
    streams = [stream("app", str(tmp_path / "app-*.log"), topic, partitioner="random")]
    with (
        contextlib.ExitStack() as files,
        Collector(kafka.bootstrap, topic) as collector,
        agent_for(kafka, tmp_path, streams) as agent,
    ):
        writers = [
            files.enter_context(LogWriter(str(tmp_path / f"app-{n}.log"), n)) for n in range(3)
        ]
        agent.start()
        for broker in kafka.broker_ids:
            for writer in writers:
                writer.write(5000)
            kafka.kill(broker)
            for writer in writers:
                writer.write(100)
            lines = sum(len(writer.written) for writer in writers)
            collector.wait_for(lines, FAILOVER_SECONDS)
            kafka.start(broker)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        arrived = collector.close()
    assert_delivered({writer.lineage: writer.written for writer in writers}, arrived)


def test_a_topic_that_is_deleted_takes_no_other_with_it(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    good, gone = kafka.create_topic("good"), kafka.create_topic("gone")
    streams = [
        stream("good", str(tmp_path / "good.log"), good),
        stream("gone", str(tmp_path / "gone.log"), gone),
    ]
    with (
        LogWriter(str(tmp_path / "good.log"), 0) as writer,
        LogWriter(str(tmp_path / "gone.log"), 1) as other,
        Collector(kafka.bootstrap, good) as collector,
        agent_for(kafka, tmp_path, streams, drain_deadline="2s") as agent,
    ):
        writer.write(100)
        other.write(100)
        agent.start()
        collector.wait_for(100, DELIVERY_SECONDS)
        wait_until(
            lambda: len(values(read_topic(kafka.bootstrap, gone))) == 100,
            DELIVERY_SECONDS,
            "the other topic's lines",
        )
        kafka.admin.delete_topics([gone])[gone].result()
        for _ in range(10):
            other.write(10)
            writer.write(100)
            collector.wait_for(len(writer.written), DELIVERY_SECONDS)
        agent.stop()
        agent.assert_balanced()
        arrived = collector.close()
    assert_delivered({writer.lineage: writer.written}, arrived)


def test_a_record_that_is_refused_is_found_and_buried(kafka: KafkaCluster, tmp_path: Path) -> None:
    limits = {"max.message.bytes": "100000"}
    small, other = (
        kafka.create_topic("small", partitions=1, configs=limits),
        kafka.create_topic("other"),
    )
    streams = [
        stream("small", str(tmp_path / "small.log"), small),
        stream("other", str(tmp_path / "other.log"), other),
    ]
    source = random.Random(7)
    culprits = []
    with (
        LogWriter(str(tmp_path / "small.log"), 0) as writer,
        LogWriter(str(tmp_path / "other.log"), 1) as bystander,
        agent_for(kafka, tmp_path, streams) as agent,
    ):
        for _ in range(3):
            writer.write(300)
            # Noise: the limit is on what is left after compression.
            writer.write_line(source.randbytes(200_000).replace(b"\n", b""))
            culprits.append(writer.written[-1])
        writer.write(300)
        bystander.write(1000)
        assert agent.run_once(DELIVERY_SECONDS) == 0, agent.tail()
        total = agent.assert_balanced()
    assert total["dead_lettered"] == sum(len(line) + 1 for line in culprits)
    letters = read_dead_letters(str(tmp_path / "state-agent" / "dead_letters"))
    assert [letter.payload for letter in letters] == culprits
    kept = [line for line in writer.written if line not in culprits]
    assert values(read_topic(kafka.bootstrap, small)) == kept
    assert_delivered({1: bystander.written}, read_topic(kafka.bootstrap, other))


def test_records_that_all_are_refused_are_buried_one_by_one(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    """On a compacted topic the broker refuses what has no key."""
    compacted = kafka.create_topic("compacted", configs={"cleanup.policy": "compact"})
    streams = [stream("app", str(tmp_path / "app.log"), compacted)]
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        agent_for(kafka, tmp_path, streams) as agent,
    ):
        writer.write(5)
        assert agent.run_once(DELIVERY_SECONDS) == 0, agent.tail()
        agent.assert_balanced()
    letters = read_dead_letters(str(tmp_path / "state-agent" / "dead_letters"))
    assert [letter.payload for letter in letters] == writer.written


def test_lines_too_long_for_the_reader_are_buried_before_the_position_moves(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    topic = kafka.create_topic("long", partitions=1)
    reader = {"type": "text", "max_record": 1000}
    streams = [stream("app", str(tmp_path / "app.log"), topic, reader=reader)]
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        agent_for(kafka, tmp_path, streams) as agent,
    ):
        for _ in range(3):
            writer.write(10)
            writer.write_line(b"x" * 2000)
        assert agent.run_once(DELIVERY_SECONDS) == 0, agent.tail()
        agent.assert_balanced()
    kept = [line for line in writer.written if len(line) < 1000]
    assert values(read_topic(kafka.bootstrap, topic)) == kept
    letters = list(read_dead_letters(str(tmp_path / "state-agent" / "dead_letters")))
    long = [line + b"\n" for line in writer.written if len(line) > 1000]
    assert b"".join(letter.payload for letter in letters) == b"".join(long)


def test_two_agents_with_one_id_fence_each_other_and_repeat_nothing(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    topic = kafka.create_topic("twins")
    with (
        LogWriter(str(tmp_path / "one.log"), 0) as one,
        LogWriter(str(tmp_path / "two.log"), 1) as two,
        Collector(kafka.bootstrap, topic) as collector,
        agent_for(kafka, tmp_path, [stream("app", one.path, topic)], name="first") as first,
        agent_for(kafka, tmp_path, [stream("app", two.path, topic)], name="second") as second,
    ):
        one.write(1000)
        first.start()
        collector.wait_for(1000, DELIVERY_SECONDS)
        two.write(1000)
        second.start()
        collector.wait_for(2000, DELIVERY_SECONDS)
        one.write(1000)  # who was fenced notices with the next transaction
        collector.wait_for(3000, DELIVERY_SECONDS)
        assert first.events("producer-broken")
        assert second.stop() == 0, second.tail()
        one.write(1000)
        collector.wait_for(4000, DELIVERY_SECONDS)
        assert first.stop() == 0, first.tail()
        arrived = collector.close()
    assert_delivered({0: one.written, 1: two.written}, arrived)
