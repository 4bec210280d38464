from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient

from singer.base.config import EmbeddedConfig
from singer.base.errors import InputError
from singer.kafka.embedded import EmbeddedCluster
from tests.kafka.support import embedded


def test_leaders_are_dealt_evenly_and_brokers_have_racks() -> None:
    with embedded(brokers=3, partitions=7, topics=("a", "b")) as cluster:
        assert len(cluster.bootstrap.split(",")) == 3
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        topics = admin.list_topics(timeout=10).topics
        assert set(topics) == {"a", "b"}
        leaders = [topics["a"].partitions[p].leader for p in range(7)]
        assert leaders == [1, 2, 3, 1, 2, 3, 1]
        described = admin.describe_cluster(request_timeout=10).result(10)
        racks = {node.id: node.rack for node in described.nodes if node.id}
        assert racks == {1: "zone-a", 2: "zone-b", 3: "zone-c"}


def test_making_a_topic_twice_keeps_its_leaders() -> None:
    with embedded(brokers=2, partitions=2) as cluster:
        cluster.set_leader("t", 0, 2)
        cluster.create_topic("t", 2)
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        assert admin.list_topics(timeout=10).topics["t"].partitions[0].leader == 2


def test_racks_are_dealt_in_turn_and_may_be_missing() -> None:
    for racks, expected in ((("x",), ["x", "x"]), ((), [None, None])):
        cluster = EmbeddedCluster(EmbeddedConfig(brokers=2, racks=racks))
        try:
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
            nodes = admin.describe_cluster(request_timeout=10).result(10).nodes
            assert [node.rack for node in sorted(nodes, key=lambda n: n.id) if node.id] == expected
        finally:
            cluster.close()


def test_many_operations_do_not_wait_a_second_each() -> None:
    with embedded(brokers=3, partitions=6) as cluster:
        started = time.monotonic()
        for number in range(20):  # 140 operations, of which about a dozen miss their signal
            cluster.create_topic(f"topic-{number}")
        assert time.monotonic() - started < 5.0


def test_impossible_sizes_and_brokers_are_named() -> None:
    with pytest.raises(InputError, match="start embedded cluster"):
        EmbeddedCluster(EmbeddedConfig(brokers=0))
    with embedded() as cluster:
        with pytest.raises(InputError, match=r"move t \[0\] of the embedded cluster"):
            cluster.set_leader("t", 0, 9)
        cluster.close()
        cluster.close()
