from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from singer.base.batch import RecordBatch
from singer.base.config import PartitionerConfig, PartitionerType, Seconds
from singer.base.ports import Partitioner
from singer.base.zone import Zone
from singer.kafka import partitioners
from singer.kafka.partitioners import BLOCK_BYTES, stable_hash
from singer.kafka.topology import LEADERLESS, Topology
from tests.kafka.support import batch_of


@dataclass
class Clock:
    seconds: float = 1_000_000.0

    def now_ns(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


def _topology(leaders: list[int], racks: dict[int, str] | None = None) -> Topology:
    topology = Topology("t")
    topology.update(np.array(leaders, np.int32), racks or {})
    return topology


def _make(
    topology: Topology,
    kind: PartitionerType,
    *,
    clock: Clock | None = None,
    seed: int = 1,
    host: str = "host",
    local: bool = False,
    zones: tuple[str, ...] = (),
) -> Partitioner:
    config = PartitionerConfig(type=kind, local=local, interval=Seconds(30.0))
    return partitioners.make(
        config, topology, seed=seed, host=host, zone=Zone(zones), clock=clock or Clock()
    )


def _rows(ends: list[int]) -> RecordBatch:
    column = np.array(ends, np.int64)
    return RecordBatch(
        buffer=np.zeros(1, np.uint8),
        starts=np.zeros(len(ends), np.int64),
        lengths=np.zeros(len(ends), np.int32),
        ends=column,
        span=(0, ends[-1]),
    )


ONE = batch_of([b"x"])


def test_the_hash_is_the_same_everywhere() -> None:
    # Pinned: with another value every file would change partition with an upgrade.
    assert stable_hash("sticky", "host-1") == 0xDF5A910CCC45AE16
    assert stable_hash("a", "b") != stable_hash("ab", "")


@given(
    st.lists(st.integers(1, 5 * BLOCK_BYTES), min_size=1, max_size=60, unique=True).map(sorted),
    st.data(),
)
def test_random_keeps_a_record_on_its_partition_however_windows_are_cut(
    ends: list[int], data: st.DataObject
) -> None:
    random = _make(_topology([1] * 7), PartitionerType.RANDOM)
    alone = [random.assign(_rows([end])) for end in ends]
    assert all(isinstance(partition, int) for partition in alone)
    cut = data.draw(st.integers(1, len(ends)))
    again = _make(_topology([1] * 7), PartitionerType.RANDOM)  # another process
    together: list[int] = []
    for part in (ends[:cut], ends[cut:]):
        if part:
            route = again.assign(_rows(part))
            if isinstance(route, int):
                together += [route] * len(part)
            else:
                assert route.dtype == np.int32
                together += route.tolist()
    assert together == alone
    assert not again.due()


def test_random_spreads_blocks_and_files() -> None:
    topology = _topology([1, 2, LEADERLESS, 1, 2])
    random = _make(topology, PartitionerType.RANDOM)
    counts = [0] * 5
    for block in range(400):
        counts[int(random.assign(_rows([block * BLOCK_BYTES + 1])))] += 1
    assert counts[2] == 0
    assert min(counts[p] for p in (0, 1, 3, 4)) > 50
    first = {
        int(_make(topology, PartitionerType.RANDOM, seed=seed).assign(_rows([1])))
        for seed in range(50)
    }
    assert first == {0, 1, 3, 4}


def test_random_follows_the_topology() -> None:
    topology = _topology([1, 1])
    random = _make(topology, PartitionerType.RANDOM)
    partition = int(random.assign(ONE))
    leaders = np.array([1, 1], np.int32)
    leaders[partition] = LEADERLESS
    topology.update(leaders, {})
    assert random.assign(ONE) == 1 - partition


def test_sticky_stays_for_an_interval_and_then_asks() -> None:
    clock = Clock()
    sticky = _make(_topology([1, 1, 1]), PartitionerType.STICKY, clock=clock)
    assert not sticky.due()  # nothing was sent yet
    first = sticky.assign(ONE)
    for _ in range(100):
        if sticky.due():
            break
        assert sticky.assign(ONE) == first
        clock.seconds += 1.0
    assert sticky.due()
    second = sticky.assign(ONE)
    assert second != first
    clock.seconds += 29.0
    assert not sticky.due()
    assert sticky.assign(ONE) == second


def test_sticky_does_not_change_without_being_due() -> None:
    """The interval may pass between the question and the assignment."""
    clock = Clock()
    sticky = _make(_topology([1, 1, 1]), PartitionerType.STICKY, clock=clock)
    first = sticky.assign(ONE)
    assert not sticky.due()
    clock.seconds += 31.0
    assert sticky.assign(ONE) == first
    assert sticky.due()


def test_sticky_visits_all_partitions() -> None:
    clock = Clock()
    sticky = _make(_topology([1, 1, 1]), PartitionerType.STICKY, clock=clock)
    seen = [sticky.assign(ONE)]
    for _ in range(5):
        clock.seconds += 30.0
        assert sticky.due()
        seen.append(sticky.assign(ONE))
    assert set(seen) == {0, 1, 2}
    assert seen[:3] == seen[3:]


def test_sticky_changes_once_for_each_time_it_was_due() -> None:
    clock = Clock()
    sticky = _make(_topology([1, 1, 1]), PartitionerType.STICKY, clock=clock)
    first = sticky.assign(ONE)
    clock.seconds += 30.0
    assert sticky.due()
    clock.seconds += 30.0  # settling took an interval: the newest choice counts
    second = sticky.assign(ONE)
    assert not sticky.due()
    clock.seconds += 30.0
    assert sticky.assign(ONE) == second  # not asked, so perhaps something is under way
    assert len({first, second}) == 2


def test_sticky_is_never_due_with_one_candidate() -> None:
    clock = Clock()
    sticky = _make(_topology([1]), PartitionerType.STICKY, clock=clock)
    for _ in range(5):
        assert not sticky.due()
        assert sticky.assign(ONE) == 0
        clock.seconds += 30.0


def test_sticky_leaves_a_leaderless_partition_at_once() -> None:
    topology = _topology([1, 1])
    sticky = _make(topology, PartitionerType.STICKY)
    partition = int(sticky.assign(ONE))
    leaders = np.array([1, 1], np.int32)
    leaders[partition] = LEADERLESS
    topology.update(leaders, {})
    assert not sticky.due()  # waiting would be for ever
    assert sticky.assign(ONE) == 1 - partition


def test_sticky_asks_before_it_leaves_a_partition_that_is_no_longer_local() -> None:
    racks = {1: "a", 2: "b"}
    topology = _topology([1, 2, 2, 2], racks)
    sticky = _make(topology, PartitionerType.STICKY, local=True, zones=("a", "use1-az1"))
    assert sticky.assign(ONE) == 0
    topology.update(np.array([2, 1, 2, 2], np.int32), racks)
    assert sticky.due()
    assert sticky.assign(ONE) == 1


def test_hosts_rotate_over_all_partitions_at_different_moments() -> None:
    topology = _topology([1] * 5)
    hosts = [f"host-{n}" for n in range(200)]
    clock = Clock()
    made = [_make(topology, PartitionerType.STICKY, clock=clock, host=host) for host in hosts]
    counts = np.bincount([int(sticky.assign(ONE)) for sticky in made], minlength=5)
    assert counts.min() > 20
    changed = []
    for _ in range(6):
        clock.seconds += 5.0
        changed.append(sum(sticky.due() and sticky.assign(ONE) >= 0 for sticky in made))
    assert sum(changed) == 200
    assert max(changed) < 80


def test_all_files_of_a_host_share_the_choice() -> None:
    topology = _topology([1] * 50)
    choices = {
        int(_make(topology, PartitionerType.STICKY, seed=seed).assign(ONE)) for seed in range(9)
    }
    assert len(choices) == 1


def test_random_asks_before_candidates_change_under_it() -> None:
    racks = {1: "a", 2: "b"}
    topology = _topology([1, 2, 1, 2], racks)
    random = _make(topology, PartitionerType.RANDOM, local=True, zones=("a",))
    assert random.assign(ONE) in (0, 2)
    assert not random.due()
    topology.update(np.array([2, 1, 2, 1], np.int32), racks)
    assert random.due()
    assert random.assign(ONE) in (1, 3)
    assert not random.due()
