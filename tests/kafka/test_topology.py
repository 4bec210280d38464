from __future__ import annotations

import asyncio

import numpy as np
import pytest

from singer.base.errors import ClusterError, InvariantError
from singer.kafka import topology as ask
from singer.kafka.embedded import API_METADATA, EmbeddedCluster
from singer.kafka.topology import LEADERLESS, Topology
from tests.kafka.support import embedded, producer, run

RACKS = {1: "use1-az1", 2: "b", 3: "c"}


def _topology(leaders: list[int]) -> Topology:
    topology = Topology("t")
    assert topology.update(np.array(leaders, np.int32), RACKS)
    return topology


def test_local_candidates_are_led_in_this_zone_by_any_of_its_names() -> None:
    topology = _topology([1, 2, 3, 1, LEADERLESS, 2])
    zone_a = topology.candidates(("us-east-1a", "use1-az1"), local=True)
    assert zone_a.partitions.tolist() == [0, 3]
    assert not zone_a.fallback
    assert topology.candidates(("b",), local=True).partitions.tolist() == [1, 5]
    assert topology.candidates(("b",), local=False).partitions.tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("zones", [(), ("elsewhere",), ("",)])
def test_without_local_ones_all_are_candidates_and_that_shows(zones: tuple[str, ...]) -> None:
    candidates = _topology([1, LEADERLESS, 3, 9]).candidates(zones, local=True)
    assert candidates.partitions.tolist() == [0, 2, 3]
    assert candidates.fallback


def test_when_no_partition_has_a_leader_records_wait_at_all_of_them() -> None:
    candidates = _topology([LEADERLESS] * 3).candidates((), local=False)
    assert candidates.partitions.tolist() == [0, 1, 2]


def test_versions_count_changes_and_candidates_are_kept_per_version() -> None:
    topology = _topology([1, 2])
    first = topology.candidates(("b",), local=True)
    assert topology.candidates(("b",), local=True) is first
    assert not topology.update(np.array([1, 2], np.int32), dict(RACKS))
    assert topology.version == 1
    assert topology.update(np.array([2, 2], np.int32), RACKS)
    assert topology.version == 2
    assert topology.candidates(("b",), local=True).partitions.tolist() == [0, 1]
    assert topology.update(np.array([2, 2], np.int32), {2: "d"})
    assert topology.candidates(("b",), local=True).fallback


def test_a_partition_that_is_gone_has_no_leader() -> None:
    topology = _topology([1, LEADERLESS])
    assert [topology.is_leaderless(p) for p in range(3)] == [False, True, True]


def test_an_unknown_topology_cannot_be_used() -> None:
    with pytest.raises(InvariantError, match="not known"):
        Topology("t").candidates((), local=False)


def test_the_questions_of_a_live_cluster() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            handle = made.handle
            found = await ask.describe_topic(handle, "t", 10.0)
            assert found is not None
            assert found.leaders.tolist() == [1, 2, 3, 1, 2]
            assert found.racks == {1: "zone-a", 2: "zone-b", 3: "zone-c"}
            cluster.set_leader("t", 0, 3)
            cluster.set_leader("t", 4, -1)
            leaders = await ask.topic_leaders(handle, "t", 10.0)
            assert leaders.tolist() == [3, 2, 3, 1, LEADERLESS]
            assert (await ask.broker_racks(handle, 10.0)).items() >= found.racks.items()
            assert await ask.topic_names(handle, 10.0) == ["t"]
            await ask.probe(handle, 10.0)

    with embedded(brokers=3, partitions=5) as cluster:
        run(main(cluster))


def test_asking_for_an_absent_topic_does_not_make_it() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            for _ in range(2):
                assert await ask.describe_topic(made.handle, "absent", 10.0) is None
            assert await ask.topic_names(made.handle, 10.0) == ["t"]

    with embedded() as cluster:
        run(main(cluster))


def test_no_answer_is_a_cluster_error_within_the_deadline() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            cluster.set_down()
            questions = [
                ask.describe_topic(made.handle, "t", 0.5),
                ask.topic_leaders(made.handle, "t", 0.5),
                ask.broker_racks(made.handle, 0.5),
                ask.probe(made.handle, 0.5),
            ]
            answers = await asyncio.wait_for(
                asyncio.gather(*questions, return_exceptions=True), 10.0
            )
            assert [type(answer) for answer in answers] == [ClusterError] * 4
            steps = [str(answer).split(":", maxsplit=1)[0] for answer in answers]
            assert steps == [
                "describe topic t",
                "look up leaders of t",
                "describe cluster",
                "connect to cluster",
            ]

    with embedded() as cluster:
        run(main(cluster))


def test_an_ordinary_look_is_one_request() -> None:
    async def main(cluster: EmbeddedCluster) -> int:
        async with producer(cluster) as made:
            await ask.topic_leaders(made.handle, "t", 10.0)
            cluster.track_requests()
            await ask.topic_leaders(made.handle, "t", 10.0)
            return cluster.requests(API_METADATA)

    with embedded() as cluster:
        assert run(main(cluster)) == 1
