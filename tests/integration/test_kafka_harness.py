"""The harness itself: what the integration tests take for granted about their cluster."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from tests.support.kafka_cluster import FAILOVER_SECONDS, RACKS, KafkaCluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka


def produce(kafka: KafkaCluster, topic: str, values: list[bytes], partition: int) -> None:
    failures: list[object] = []
    producer = Producer({**kafka.client_properties(), "acks": "all"})
    for value in values:
        producer.produce(
            topic,
            value,
            partition=partition,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(FAILOVER_SECONDS) == 0
    assert failures == []


def test_three_brokers_in_three_racks(kafka: KafkaCluster) -> None:
    assert kafka.racks() == dict(zip(kafka.broker_ids, RACKS, strict=True))


def test_leaders_are_dealt_in_turn_and_offsets_count(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("harness", partitions=4)
    assert kafka.leaders(topic) == {0: 1, 1: 2, 2: 3, 3: 1}
    produce(kafka, topic, [b"one", b"two"], partition=3)
    assert kafka.end_offsets(topic) == {0: 0, 1: 0, 2: 0, 3: 2}


def test_an_absent_topic_has_no_leaders(kafka: KafkaCluster) -> None:
    assert kafka.leaders(kafka.unique("absent")) == {}


def test_a_killed_broker_loses_its_leaders_and_gets_them_back(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("harness", partitions=3)
    kafka.kill(2)
    # Until its own metadata has caught up, the broker that answers knows no such topic.
    wait_until(lambda: kafka.leaders(topic).get(1) not in (2, None), FAILOVER_SECONDS, "another")
    produce(kafka, topic, [b"without broker 2"], partition=1)
    kafka.start(2)
    wait_until(
        lambda: all(len(isr) == 3 for isr in kafka.replicas_in_sync(topic).values()),
        FAILOVER_SECONDS,
        "all replicas in sync again",
    )
    kafka.elect_preferred(topic)
    wait_until(lambda: kafka.leaders(topic).get(1) == 2, FAILOVER_SECONDS, "broker 2 leads again")
    assert kafka.end_offsets(topic) == {0: 0, 1: 1, 2: 0}


def test_a_stopped_broker_hands_over(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("harness", partitions=3)
    kafka.stop(3)
    assert kafka.leaders(topic)[2] in (1, 2)
    kafka.start(3)
    wait_until(lambda: set(kafka.racks()) == {1, 2, 3}, 60, "three brokers again")


def test_leaders_move_while_all_brokers_are_up(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("harness", partitions=3)
    kafka.move_leaders(topic, 2)
    # Another broker may answer, and hear of it a moment later.
    wait_until(lambda: kafka.leaders(topic) == {0: 2, 1: 2, 2: 2}, FAILOVER_SECONDS, "broker 2")
    produce(kafka, topic, [b"moved"], partition=0)
    assert kafka.end_offsets(topic)[0] == 1


def test_a_paused_broker_is_back_after_resume(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("harness", partitions=1)
    kafka.pause(1)
    wait_until(lambda: kafka.leaders(topic).get(0) in (2, 3), FAILOVER_SECONDS, "another leader")
    kafka.resume(1)
    wait_until(
        lambda: 1 in kafka.replicas_in_sync(topic)[0], FAILOVER_SECONDS, "broker 1 in sync again"
    )
