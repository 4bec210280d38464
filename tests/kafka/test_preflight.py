"""What is found about a cluster, by what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from singer.kafka.preflight import Facts, Finding, Level, Need, TopicFacts, judge

NEED = Need(topic="web", max_record_bytes=1000, compression="zstd")
SETTINGS = {
    "min.insync.replicas": "2",
    "max.message.bytes": "1000",
    "compression.type": "producer",
}
GOOD = TopicFacts(partitions=3, copies=3, may_write=True, settings=SETTINGS)


def judged(
    topic: TopicFacts = GOOD,
    need: Need = NEED,
    racks: tuple[str, ...] = ("a", "b"),
    zones: tuple[str, ...] = ("a", "a-id"),
    names: tuple[str, ...] = (),
) -> tuple[Finding, ...]:
    facts = Facts(topics={need.topic: topic}, racks=frozenset(racks), names=names)
    return judge("main", (need,), facts, zones)


def test_nothing_is_found_where_all_is_well() -> None:
    assert judged() == judged(need=replace(NEED, local=True)) == ()
    assert judged(replace(GOOD, settings=SETTINGS | {"compression.type": "zstd"})) == ()


@pytest.mark.parametrize(
    ("topic", "level", "cause"),
    [
        (TopicFacts(error=29), Level.ERROR, "TOPIC_AUTHORIZATION_FAILED"),
        (replace(GOOD, may_write=False), Level.ERROR, "it may not be written"),
        (replace(GOOD, leaderless=1), Level.WARNING, "1 of 3 partitions have no leader"),
        (replace(GOOD, settings=None), Level.NOTE, "its settings cannot be seen"),
    ],
)
def test_topics(topic: TopicFacts, level: Level, cause: str) -> None:
    (finding,) = judged(topic)
    assert (finding.level, finding.thing) == (level, "main/web")
    assert cause in finding.cause
    assert finding.advice


@pytest.mark.parametrize(
    ("setting", "value", "level", "cause"),
    [
        ("min.insync.replicas", "1", Level.WARNING, "what one broker has is acknowledged"),
        ("min.insync.replicas", "4", Level.ERROR, "4 of only 3 replicas: no record is taken"),
        ("max.message.bytes", "999", Level.WARNING, "999 is below max_record (1000)"),
        ("compression.type", "lz4", Level.WARNING, "lz4 is not ours (zstd): brokers recompress"),
    ],
)
def test_settings(setting: str, value: str, level: Level, cause: str) -> None:
    (finding,) = judged(replace(GOOD, settings=SETTINGS | {setting: value}))
    assert finding.level is level
    assert cause in finding.cause


def test_one_replica() -> None:
    settings = SETTINGS | {"min.insync.replicas": "1"}
    causes = [each.cause for each in judged(replace(GOOD, copies=1, settings=settings))]
    assert len(causes) == 2
    assert "replication factor 1" in causes[0]


def test_a_topic_that_is_absent() -> None:
    (finding,) = judged(TopicFacts(error=3), names=("wep", "other"))
    assert finding.level is Level.ERROR
    assert finding.advice.endswith("correct topic in publish (did you mean wep?)")
    (finding,) = judged(TopicFacts(error=3), replace(NEED, create=True))
    assert finding.level is Level.NOTE


@pytest.mark.parametrize(
    ("racks", "zones", "cause"),
    [
        ((), ("a",), "its brokers have no racks: local takes all partitions"),
        (("a",), (), "this host's zone is not known"),
        (("a", "b"), ("c", "c-id"), "no broker is in this host's zone (c, c-id; a, b)"),
    ],
)
def test_zones_matter_to_who_wants_local_partitions(
    racks: tuple[str, ...], zones: tuple[str, ...], cause: str
) -> None:
    assert judged(racks=racks, zones=zones) == ()
    (finding,) = judged(need=replace(NEED, local=True), racks=racks, zones=zones)
    assert finding.level is Level.WARNING
    assert cause in finding.cause
