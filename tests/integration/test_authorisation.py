"""Brokers that allow not everything: who may not write to a topic waits, alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.integration.test_faults import Host
from tests.support import kafka_classpath
from tests.support.kafka_cluster import KafkaCluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

_SECONDS = 60.0
_PROPERTIES = {
    "min.insync.replicas": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


def _acl(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    literal, everybody = ResourcePatternType.LITERAL, "User:ANONYMOUS"
    return AclBinding(ResourceType.TOPIC, topic, literal, everybody, "*", operation, permission)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """One broker that asks its rules."""
    reason = kafka_classpath.missing()
    if reason is not None:
        if os.environ.get("SINGER_REQUIRE_KAFKA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    made = KafkaCluster(str(tmp_path / "kafka"), brokers=1, properties=_PROPERTIES)
    try:
        made.start_all()
        yield made
    finally:
        made.close()


def test_a_topic_that_may_not_be_written_waits_until_it_may(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    allowed = cluster.create_topic("allowed", partitions=1, replication_factor=1)
    forbidden = cluster.create_topic("forbidden", partitions=1, replication_factor=1)
    # Once a topic has rules, what they do not allow is refused.
    reading = _acl(forbidden, AclOperation.READ, AclPermissionType.ALLOW)
    cluster.admin.create_acls([reading])[reading].result(_SECONDS)
    with Host(cluster, tmp_path, allowed, forbidden) as host:
        host.write(2000)
        host.await_all(0)
        host.agent.wait_for_log("TOPIC_AUTHORIZATION_FAILED")
        check = [sys.executable, "-m", "singer", "check", "--online"]
        done = subprocess.run(
            [*check, "-c", host.agent.config_path],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 69, done.stdout
        (error,) = (line for line in done.stdout.splitlines() if line.startswith("error"))
        assert forbidden in error
        assert "may not be written" in error
        host.write(1000)
        host.await_all(0)
        assert host.collectors[1].count == 0
        writing = _acl(forbidden, AclOperation.WRITE, AclPermissionType.ALLOW)
        cluster.admin.create_acls([writing])[writing].result(_SECONDS)
        host.await_all()
        wait_until(lambda: host.collectors[1].count == 3000, _SECONDS, lambda: "all of it, once")
        host.stop()
