"""Exactly once, on a real Apache Kafka: consumers that read what is committed see every line once,
whatever happens to agents and brokers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Arrived, Collector, read_topic
from tests.support.kafka_cluster import KafkaCluster
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered

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


def test_every_line_arrives_once_over_restarts(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("once", partitions=3)
    streams = [stream("app", str(tmp_path / "app.log"), topic)]
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        Collector(kafka.bootstrap, topic) as collector,
        agent_for(kafka, tmp_path, streams) as agent,
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
        arrived = collector.close()
    assert_delivered({writer.lineage: writer.written}, arrived)
