"""Brokers named by a file, topics by their URI, on a real cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_delivery import DELIVERY_SECONDS
from tests.support.agent_process import AgentProcess
from tests.support.consume import Collector
from tests.support.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka

URI = "plaintext:/rn:kafka:test:us-east-1:logs"


def put(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def agent_of(tmp_path: Path, topic: str) -> AgentProcess:
    """Its cluster is in a registry, which says that the brokers are in the file `brokers`."""
    registry: dict[str, Any] = {
        "clusters": {"logs": {"bootstrap_file": str(tmp_path / "brokers")}},
        "uris": {URI: "logs"},
        "properties": [{"name": "fast", "properties": {"linger.ms": 0}}],
    }
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(registry))
    config = {
        "agent": {
            "state_dir": str(tmp_path / "state"),
            "rescan": "500ms",
            "registry": str(tmp_path / "registry.yaml"),
        },
        "streams": [
            {
                "name": "s",
                "paths": [str(tmp_path / "*.log")],
                "publish": [{"topic": f"{URI}:{topic}"}],
            }
        ],
    }
    return AgentProcess(str(tmp_path / "agent"), config)


def test_brokers_that_are_elsewhere_are_found_without_a_restart(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    topic = kafka.create_topic("discovered")
    log, brokers = tmp_path / "a.log", tmp_path / "brokers"
    put(brokers, "# not there any more\n127.0.0.1:1\n")
    log.write_text("one\n")
    with agent_of(tmp_path, topic) as agent, Collector(kafka.bootstrap, topic) as collector:
        agent.start()
        assert agent.wait_for_log("event=registry-read .*groups=fast")
        agent.wait_for_log("event=cluster-down")
        put(brokers, "\n".join(kafka.bootstrap.split(",")))
        collector.wait_for(1, DELIVERY_SECONDS)
        agent.wait_for_log("event=producer-retired")
        put(brokers, "")
        agent.wait_for_log("event=bootstrap-unusable .*names no broker")
        with log.open("a") as file:
            file.write("two\n")
        collector.wait_for(2, DELIVERY_SECONDS)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()

        brokers.unlink()
        with log.open("a") as file:
            file.write("three\n")
        agent.start()
        agent.wait_for_log("event=bootstrap-unusable .*no such file")
        collector.wait_for(3, DELIVERY_SECONDS)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()


def test_one_broker_more_or_less_disturbs_nobody(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("more")
    log, brokers = tmp_path / "a.log", tmp_path / "brokers"
    first, *others = kafka.bootstrap.split(",")
    put(brokers, f'{{"brokers": ["{first}"]}}')
    log.write_text("one\n")
    with agent_of(tmp_path, topic) as agent, Collector(kafka.bootstrap, topic) as collector:
        agent.start()
        collector.wait_for(1, DELIVERY_SECONDS)
        put(brokers, "\n".join((first, *others)))
        agent.wait_for_log(f"event=bootstrap-read .*{others[-1]}")
        put(brokers, "\n".join(others))
        agent.wait_for_log(f"event=bootstrap-read .*names {others[0]}")
        with log.open("a") as file:
            file.write("two\n")
        collector.wait_for(2, DELIVERY_SECONDS)
        assert agent.stop() == 0, agent.tail()
        assert agent.events("producer-retired") == []
        agent.assert_balanced()
