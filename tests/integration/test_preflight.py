"""`check --online` and the warnings at the start, on a real cluster; and that nothing is created
that nobody asked for, on brokers that create topics whenever they are named.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_delivery import DELIVERY_SECONDS, agent_for
from tests.support.agent_process import AgentProcess, stream
from tests.support.consume import Collector
from tests.support.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka


def online(agent: AgentProcess) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "singer", "check", "--online", "-c", agent.config_path],
        capture_output=True,
        text=True,
        timeout=DELIVERY_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()[1:]


def test_a_sound_topic_and_a_local_zone(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("sound")
    logs = stream("s", str(tmp_path / "*.log"), topic, partitioner={"local": True})
    agent = agent_for(kafka, tmp_path, logs, locality="static:us-east-1b")
    assert online(agent) == (os.EX_OK, ["online: 0 error(s), 0 warning(s)"])


def test_what_is_wrong_is_said_beforehand_and_at_the_start(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    poor = kafka.create_topic(
        "poor",
        replication_factor=1,
        configs={
            "min.insync.replicas": "1",
            "max.message.bytes": "5000",
            "compression.type": "gzip",
        },
    )
    absent = poor.replace("poor", "pour")
    logs = stream("s", str(tmp_path / "*.log"), poor, partitioner={"local": True})
    logs["publish"].append({"cluster": "main", "topic": absent})
    agent = agent_for(kafka, tmp_path, logs, locality="static:eu-west-1a")
    status, lines = online(agent)
    assert status == os.EX_UNAVAILABLE
    for part in (
        "replication factor 1: a broker",
        "min.insync.replicas 1: what one",
        "max.message.bytes 5000 is below max_record (983040)",
        "compression.type gzip is not ours (lz4)",
        "no broker is in this host's zone (eu-west-1a; us-east-1a, us-east-1b, us-east-1c)",
    ):
        assert any(line.startswith("warning") and part in line for line in lines), part
    assert lines[0].startswith(f"error    main/{absent}")
    assert "did you mean" in lines[0]
    assert poor in lines[0]
    assert lines[-1] == "online: 1 error(s), 5 warning(s)"
    with agent:
        agent.start()
        agent.wait_for_log("event=preflight-failed .*compression.type gzip")
        assert agent.stop() == 0, agent.tail()
        assert len(agent.events("preflight-failed")) == 6
    assert kafka.leaders(absent) == {}


@pytest.fixture
def eager(tmp_path: Path) -> Iterator[KafkaCluster]:
    """A broker that makes every topic that somebody asks for."""
    cluster = KafkaCluster(
        str(tmp_path / "kafka"),
        brokers=1,
        properties={"auto.create.topics.enable": "true", "min.insync.replicas": 1},
    )
    try:
        cluster.start_all()
        yield cluster
    finally:
        cluster.close()


def names(kafka: KafkaCluster) -> set[str]:
    """All topics; a question about one would create it."""
    return set(kafka.admin.list_topics(timeout=20.0).topics)


def test_no_question_of_ours_creates_a_topic(eager: KafkaCluster, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\n")
    agent = agent_for(eager, tmp_path, stream("s", str(tmp_path / "*.log"), "absent"))
    before = names(eager)
    status, lines = online(agent)
    assert (status, "the topic is absent" in lines[0]) == (os.EX_UNAVAILABLE, True)
    with agent:
        agent.start()
        agent.wait_for_log("event=destination-waits")
        agent.wait_for_log("event=preflight-failed")
        assert names(eager) == before
        eager.create_topic("absent", replication_factor=1, exact_name=True)
        with Collector(eager.bootstrap, "absent") as collector:
            collector.wait_for(1, DELIVERY_SECONDS)
        assert agent.stop() == 0, agent.tail()


def test_a_topic_is_created_where_that_is_said(kafka: KafkaCluster, tmp_path: Path) -> None:
    made, by_default = kafka.unique("made"), kafka.unique("by-default")
    (tmp_path / "a.log").write_text("one\n")
    logs = stream("s", str(tmp_path / "*.log"), made)
    logs["publish"][0]["create"] = {"partitions": 5, "replication_factor": 2}
    logs["publish"].append({"cluster": "main", "topic": by_default, "create": True})
    with agent_for(kafka, tmp_path, logs) as agent:
        status, lines = online(agent)
        assert (status, len(lines)) == (os.EX_OK, 3)
        assert "it is created when first used" in lines[0]
        assert not {made, by_default} & names(kafka)
        agent.start()
        agent.wait_for_log(f"event=topic-created .*{made}")
        # The brokers' default is one replica, of which two must be in sync: nothing is taken.
        agent.wait_for_log(f"event=topic-created .*{by_default}")
        with Collector(kafka.bootstrap, made) as collector:
            collector.wait_for(1, DELIVERY_SECONDS)
    assert [len(brokers) for brokers in kafka.replicas(made).values()] == [2] * 5
    assert [len(brokers) for brokers in kafka.replicas(by_default).values()] == [1]


def test_what_the_brokers_refuse_to_create_waits(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.unique("too-many")
    (tmp_path / "a.log").write_text("one\n")
    logs = stream("s", str(tmp_path / "*.log"), topic)
    logs["publish"][0]["create"] = {"replication_factor": 9}
    with agent_for(kafka, tmp_path, logs) as agent:
        agent.start()
        agent.wait_for_log("event=destination-waits .*INVALID_REPLICATION_FACTOR")
        kafka.create_topic(topic, exact_name=True)
        with Collector(kafka.bootstrap, topic) as collector:
            collector.wait_for(1, DELIVERY_SECONDS)
        assert agent.stop() == 0, agent.tail()
