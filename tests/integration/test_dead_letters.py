"""Dead letters of a real Kafka, sent again once it takes them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from singer.cli.main import main
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import read_topic
from tests.support.kafka_cluster import KafkaCluster
from tests.support.lines import LogWriter

pytestmark = pytest.mark.kafka

DELIVERY_SECONDS = 60.0


def test_what_was_too_large_is_sent_when_it_no_longer_is(
    kafka: KafkaCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = {"max.message.bytes": "100000"}
    topic = kafka.create_topic("letters", partitions=1, configs=limit)
    source = random.Random(7)
    with LogWriter(str(tmp_path / "app.log"), 1) as writer:
        writer.write(10)
        writer.write_line(source.randbytes(200_000).replace(b"\n", b""))
        writer.write(10)
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap=kafka.bootstrap,
        streams=[stream("app", writer.path, topic)],
    )
    with AgentProcess(str(tmp_path / "agent"), config) as agent:
        assert agent.run_once(DELIVERY_SECONDS) == 0, agent.tail()
        replay = ["dead-letters", "replay", "--all", "-c", agent.config_path]
        assert main(replay) == 75
        assert "too large" in capsys.readouterr().out
        entry = ConfigEntry(
            "max.message.bytes", "1000000", incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        kafka.admin.incremental_alter_configs([resource])[resource].result()
        assert main(replay) == 0, capsys.readouterr()
    assert not (tmp_path / "state" / "dead_letters").exists()
    arrived = [
        record.value
        for records in read_topic(kafka.bootstrap, topic).values()
        for record in records
    ]
    assert sorted(arrived) == sorted(writer.written)
