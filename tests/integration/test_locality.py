"""`locality: ec2` on a real cluster with three racks: nobody waits for the metadata service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_delivery import agent_for
from tests.locality.metadata_server import MetadataServer
from tests.support.agent_process import stream
from tests.support.consume import Collector, read_topic
from tests.support.kafka_cluster import KafkaCluster
from tests.support.waiting import wait_until

FILES = 24


def append(directory: Path, text: str) -> None:
    for number in range(FILES):
        with (directory / f"app-{number}.log").open("a") as file:
            file.write(f"{text} {number}\n")


@pytest.mark.parametrize("known_by", ["name", "id"])
def test_all_partitions_until_the_zone_is_known_and_local_ones_from_then_on(
    kafka: KafkaCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_by: str
) -> None:
    topic = kafka.create_topic("ec2", partitions=6)
    local = {p for p, leader in kafka.leaders(topic).items() if leader == 2}
    names = ("us-east-1b", "use1-az2") if known_by == "name" else ("eu-west-9z", "us-east-1b")
    logs = stream(
        "app",
        str(tmp_path / "app-*.log"),
        topic,
        partitioner={"type": "random", "local": True},
    )
    append(tmp_path, "before")
    with (
        MetadataServer() as server,
        agent_for(kafka, tmp_path, logs, locality="ec2") as agent,
        Collector(kafka.bootstrap, topic) as collector,
    ):
        server.values["placement/availability-zone"] = names[0]
        server.values["placement/availability-zone-id"] = names[1]
        server.hangs.add("/latest/api/token")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        agent.start()
        collector.wait_for(FILES, 60)
        agent.wait_for_log("event=zone-unknown")
        server.hangs.clear()
        agent.wait_for_log("event=zone-found")
        agent.wait_for_log("event=locality-found")
        append(tmp_path, "after")
        collector.wait_for(2 * FILES, 60)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        server.refuses["/latest/api/token"] = 503
        asked = server.asked["PUT /latest/api/token"]
        append(tmp_path, "again")
        agent.start()
        collector.wait_for(3 * FILES, 60)
        now = server.asked
        wait_until(lambda: now["PUT /latest/api/token"] > asked, 20, "it is asked again")
        assert agent.stop() == 0, agent.tail()
    arrived: dict[bytes, set[int]] = {}
    for partition, records in read_topic(kafka.bootstrap, topic).items():
        for record in records:
            arrived.setdefault(record.value.split()[0], set()).add(partition)
    assert not arrived[b"before"] <= local, "no zone was known"
    assert arrived[b"after"] == local
    assert arrived[b"again"] == local, "remembered from the start before"
