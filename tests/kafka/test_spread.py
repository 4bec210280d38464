from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.config import LocalConfig
from singer.kafka.partitioners import stable_hash
from singer.kafka.spread import Spread, spread
from singer.kafka.topology import LEADERLESS, Topology

#: One broker in each zone, named by its number.
RACKS = {1: "a", 2: "b", 3: "c"}


def _topology(leads: dict[int, int], racks: dict[int, str] | None = None) -> Topology:
    """Broker i leads so many partitions."""
    topology = Topology("t")
    leaders = [broker for broker, count in leads.items() for _ in range(count)]
    topology.update(np.array(leaders, np.int32), racks or RACKS)
    return topology


def _shares(chosen: Spread, topology: Topology) -> dict[str, float]:
    """What each zone is given of a host's records."""
    shares: dict[str, float] = {}
    for partition, weight in zip(chosen.partitions.tolist(), chosen.weights.tolist(), strict=True):
        rack = topology.racks.get(int(topology.leaders[partition]), "")
        shares[rack] = shares.get(rack, 0.0) + weight
    return shares


def _loads(
    topology: Topology, local: LocalConfig, hosts: dict[str, float]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The load of each partition, in even shares, when each zone has so many hosts."""
    loads = np.zeros(len(topology.leaders))
    for rack, number in hosts.items():
        chosen = spread(topology, (rack,), local)
        loads[chosen.partitions] += number / sum(hosts.values()) * chosen.weights
    return loads * len(loads)


def test_without_a_ceiling_everything_stays() -> None:
    topology = _topology({1: 1, 2: 15, 3: 15})
    chosen = spread(topology, ("a",), LocalConfig())
    assert set(_shares(chosen, topology)) == {"a"}


def test_below_the_ceiling_everything_stays() -> None:
    topology = _topology({1: 6, 2: 15, 3: 15})  # of each local one in a: 2.0 even shares
    for zone in "abc":
        chosen = spread(topology, (zone,), LocalConfig(max_share=2.0))
        assert set(_shares(chosen, topology)) == {zone}


def test_what_is_above_the_ceiling_goes_where_there_is_room() -> None:
    topology = _topology({1: 3, 2: 15, 3: 18})  # of each local one in a: 4 even shares
    chosen = spread(topology, ("a",), LocalConfig(max_share=2.0))
    shares = _shares(chosen, topology)
    assert shares["a"] == pytest.approx(0.5)
    # Room: 2 * 15 / 36 - 1 / 3 of all records in b, 2 * 18 / 36 - 1 / 3 in c.
    assert shares["b"] == pytest.approx(0.5 * (0.5 / (0.5 + 2 / 3)))
    assert sum(shares.values()) == pytest.approx(1.0)


def test_who_says_how_many_hosts_there_are_is_believed() -> None:
    topology = _topology({1: 12, 2: 12, 3: 12})
    uneven = LocalConfig(max_share=1.5, hosts={"a": 60, "b": 20, "c": 20})
    assert set(_shares(spread(topology, ("a",), LocalConfig(max_share=1.5)), topology)) == {"a"}
    shares = _shares(spread(topology, ("a",), uneven), topology)
    assert shares["a"] == pytest.approx(0.5 / 0.6)
    assert shares["b"] == pytest.approx(shares["c"])
    assert set(_shares(spread(topology, ("b",), uneven), topology)) == {"b"}


def test_a_zone_that_nobody_spoke_of_has_as_many_hosts_as_the_others() -> None:
    topology = _topology({1: 2, 2: 10, 3: 12})
    said = LocalConfig(max_share=1.5, hosts={"b": 30.0, "c": 30.0})
    unsaid = LocalConfig(max_share=1.5)
    of_said, of_unsaid = (spread(topology, ("a", "id-a"), local) for local in (said, unsaid))
    assert of_said.same(of_unsaid)


def test_without_a_leader_in_the_zone_all_goes_where_there_is_room() -> None:
    topology = _topology({2: 18, 3: 18})
    topology.update(topology.leaders, RACKS)  # broker 1 is known, and leads nothing
    chosen = spread(topology, ("a",), LocalConfig(max_share=2.0))
    shares = _shares(chosen, topology)
    assert shares["b"] == pytest.approx(0.5)
    assert shares["c"] == pytest.approx(0.5)


def test_where_no_partition_has_a_leader_all_are_used() -> None:
    topology = _topology({LEADERLESS: 4})
    chosen = spread(topology, ("a",), LocalConfig(max_share=2.0))
    assert sorted(chosen.partitions.tolist()) == [0, 1, 2, 3]


@given(
    st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any),
    st.lists(st.integers(1, 100), min_size=3, max_size=3),
    st.floats(1.0, 4.0),
)
def test_no_partition_carries_more_than_the_ceiling_when_the_hosts_are_as_told(
    leads: list[int], hosts: list[int], max_share: float
) -> None:
    topology = _topology(dict(zip((1, 2, 3), leads, strict=True)))
    numbers = dict(zip("abc", map(float, hosts), strict=True))
    loads = _loads(topology, LocalConfig(max_share=max_share, hosts=numbers), numbers)
    assert loads.max() <= max_share * (1 + 1e-6)
    assert loads.sum() == pytest.approx(len(loads))


@given(st.integers(0, 1 << 63), st.booleans())
def test_indexes_fall_by_share_whether_they_count_up_or_are_hashes(
    begin: int, counting: bool
) -> None:
    near, far = np.array([1, 4], np.int32), np.array([0, 2, 3], np.int32)
    chosen = Spread(groups=(near, far), bounds=(int(0.7 * 2**64),))
    count = 2000
    indexes = [begin + n if counting else stable_hash("x", begin, n) for n in range(count)]
    found = np.bincount([chosen.at(index) for index in indexes], minlength=5) / count
    expected = np.zeros(5)
    expected[chosen.partitions] = chosen.weights
    assert abs(found - expected).max() < (0.01 if counting else 0.06)


def test_a_column_of_indexes_falls_as_each_of_them() -> None:
    groups = (np.array([1, 4], np.int32), np.array([0, 2, 3], np.int32))
    indexes = np.array([-7, -1, 0, 1, 2, 99, 1 << 31, 123456789], np.int64)
    for chosen in (Spread(groups=groups[:1]), Spread(groups=groups, bounds=(1 << 62,))):
        assert chosen.at_all(indexes).tolist() == [chosen.at(index) for index in indexes.tolist()]


def test_all_files_of_a_topic_share_what_was_worked_out() -> None:
    topology = _topology({1: 2, 2: 2})
    made = []
    for _ in range(3):
        topology.derived("key", lambda: made.append(1))
    assert made == [1]
    topology.update(topology.leaders[::-1].copy(), RACKS)
    topology.derived("key", lambda: made.append(1))
    assert made == [1, 1]
