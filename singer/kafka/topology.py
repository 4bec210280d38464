"""What is known of a topic: its partitions, their leaders, and the racks of the brokers.

`Topology` is the picture that partitioners look at; `ask_*` are the questions that make it. The
questions go through the producer's own handle: no second connection, no second credentials.

- `describe_topic` asks whether the topic exists without making it, and answers leaders and racks
  at once; the controller may have to answer, so it is asked only when a topic is first used.
- `topic_leaders` is an ordinary metadata request that any broker answers. It also teaches the
  handle itself where the partitions are.
- `broker_racks` is asked when a broker id turns up that has no known rack, and now and then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import numpy as np

from singer.base.batch import Int32s
from singer.base.errors import InvariantError, TopicError
from singer.kafka import errors
from singer.kafka import librdkafka as rd
from singer.kafka.handle import Handle

Result = TypeVar("Result")

#: No broker leads the partition now.
LEADERLESS: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The partitions to choose from, ascending.

    `fallback`: local ones were asked for and there are none, so these are all.
    """

    partitions: Int32s
    fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaders:
    """An answer of the cluster: the leader of each partition (LEADERLESS: none), and the racks
    it told by the way.
    """

    leaders: Int32s
    racks: Mapping[int, str]


class Topology:
    """The last good picture of one topic. Loop thread only.

    `version` grows with every change; 0 means that nothing is known yet.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.version = 0
        self.leaders: Int32s = np.empty(0, np.int32)
        self.racks: Mapping[int, str] = {}
        self._cached: dict[Hashable, tuple[int, Any]] = {}

    def update(self, leaders: Int32s, racks: Mapping[int, str]) -> bool:
        """Take a new picture; whether it differs from the old one."""
        if self.version and np.array_equal(leaders, self.leaders) and racks == self.racks:
            return False
        self.leaders = leaders
        self.racks = dict(racks)
        self.version += 1
        return True

    def is_leaderless(self, partition: int) -> bool:
        """Whether nobody takes records for this partition now (or it is gone)."""
        return partition >= len(self.leaders) or int(self.leaders[partition]) == LEADERLESS

    def leader_racks(self) -> tuple[str, ...]:
        """The racks that have a leader, sorted."""
        return tuple(sorted({self.racks.get(int(leader), "") for leader in self.leaders} - {""}))

    def candidates(self, zones: tuple[str, ...], *, local: bool) -> Candidates:
        """The partitions to choose from; computed once per version.

        Those with a leader, with `local` only those whose leader's rack is one of `zones` (a
        host's zone has a name and an id; brokers use either). All partitions where nothing else
        is left: records then wait for a leader.
        """
        near = zones if local else ()
        return self.derived(("candidates", near, local), lambda: self._candidates(near, local))

    def derived(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """What `make` makes of this picture; made once per version, for all files of a topic."""
        version, made = self._cached.get(key, (-1, None))
        if version != self.version:
            made = make()
            self._cached[key] = (self.version, made)
        return cast(Result, made)

    def _candidates(self, zones: tuple[str, ...], local: bool) -> Candidates:
        if not len(self.leaders):
            raise InvariantError(f"choose partitions of {self.topic}: its topology is not known")
        led = np.flatnonzero(self.leaders != LEADERLESS).astype(np.int32)
        if not len(led):
            led = np.arange(len(self.leaders), dtype=np.int32)
        if not local:
            return Candidates(partitions=led, fallback=False)
        near = [p for p in led.tolist() if self.racks.get(int(self.leaders[p])) in zones]
        if not near:
            return Candidates(partitions=led, fallback=True)
        return Candidates(partitions=np.array(near, np.int32), fallback=False)


# --- questions ------------------------------------------------------------------------------


async def describe_topic(handle: Handle, topic: str, timeout_seconds: float) -> Leaders | None:
    """Ask for a topic's leaders and their racks; None when it does not exist. Creates nothing.

    Raises TopicError when it may not be seen, ClusterError without an answer.
    """
    step = f"describe topic {topic}"

    def send(options: int, queue: int) -> None:
        names = (ctypes.c_char_p * 1)(topic.encode())
        topics = rd.topic_collection_of_topic_names(names, 1)
        rd.describe_topics(handle.pointer, topics, options, queue)
        rd.topic_collection_destroy(topics)

    def read(event: int) -> Leaders | None:
        result = rd.event_describe_topics_result(event)
        description = rd.pointers(rd.describe_topics_result_topics, result)[0]
        error = rd.topic_description_error(description)
        code = rd.error_code(error) if error else 0
        if code == errors.UNKNOWN_TOPIC_OR_PART:
            return None
        if code:
            raise errors.failure(step, code)
        leaders: dict[int, int] = {}
        racks: dict[int, str] = {}
        for partition in rd.pointers(rd.topic_description_partitions, description):
            node = rd.partition_info_leader(partition)
            leader = rd.node_id(node) if node else LEADERLESS
            leaders[rd.partition_info_partition(partition)] = leader
            racks |= _rack(node)
        return Leaders(leaders=_by_partition(leaders), racks=racks)

    return await handle.ask(step, send, read, timeout_seconds=timeout_seconds)


async def create_topic(
    handle: Handle, topic: str, *, partitions: int, replication_factor: int, timeout_seconds: float
) -> bool:
    """Make a topic (-1: as the broker's defaults say); False if it was there.

    Raises TopicError where the cluster refuses, ClusterError without an answer.
    """
    step = f"create topic {topic}"

    def send(options: int, queue: int) -> None:
        text = rd.error_text()
        new = rd.new_topic_new(
            topic.encode(), partitions, replication_factor, text, rd.ERRSTR_BYTES
        )
        if not new:
            raise TopicError(f"{step}: {text.value.decode()}: correct create in publish")
        rd.create_topics(handle.pointer, (ctypes.c_void_p * 1)(new), 1, options, queue)
        rd.new_topic_destroy(new)

    def read(event: int) -> bool:
        result = rd.event_create_topics_result(event)
        answer = rd.pointers(rd.create_topics_result_topics, result)[0]
        code: int = rd.topic_result_error(answer)
        if code in (0, errors.TOPIC_ALREADY_EXISTS):
            return code == 0
        detail = (rd.topic_result_error_string(answer) or b"").decode(errors="replace")
        raise TopicError(
            f"{step}: {detail or errors.describe(code)} ({rd.err2name(code).decode()}):"
            " create it yourself, or correct create in publish"
        )

    return await handle.ask(step, send, read, timeout_seconds=timeout_seconds)


async def broker_racks(handle: Handle, timeout_seconds: float) -> dict[int, str]:
    """The rack of each broker that has one. Raises ClusterError without an answer."""

    def send(options: int, queue: int) -> None:
        rd.describe_cluster(handle.pointer, options, queue)

    def read(event: int) -> dict[int, str]:
        result = rd.event_describe_cluster_result(event)
        racks: dict[int, str] = {}
        for node in rd.pointers(rd.describe_cluster_result_nodes, result):
            racks |= _rack(node)
        return racks

    return await handle.ask("describe cluster", send, read, timeout_seconds=timeout_seconds)


async def topic_leaders(handle: Handle, topic: str, timeout_seconds: float) -> Int32s:
    """The leader of each partition, from ordinary metadata.

    Raises TopicError when the topic is gone or may not be seen, ClusterError without an answer.
    """
    step = f"look up leaders of {topic}"
    pointer = handle.topic(topic)

    def read(metadata: rd.Metadata) -> Int32s:
        found = metadata.topics[0] if metadata.topic_cnt else None
        if found is None or found.err:
            raise errors.failure(step, found.err if found else errors.UNKNOWN_TOPIC_OR_PART)
        partitions = [found.partitions[i] for i in range(found.partition_cnt)]
        return _by_partition({partition.id: partition.leader for partition in partitions})

    def work() -> Int32s:
        return _metadata(handle.pointer, step, read, timeout_seconds, topic=pointer)

    return await handle.call(step, work)


async def topic_names(handle: Handle, timeout_seconds: float) -> list[str]:
    """All topics of the cluster, for suggestions. Raises ClusterError without an answer."""
    step = "list topics"

    def read(metadata: rd.Metadata) -> list[str]:
        names = [metadata.topics[i].topic for i in range(metadata.topic_cnt)]
        return [name.decode(errors="replace") for name in names]

    def work() -> list[str]:
        return _metadata(handle.pointer, step, read, timeout_seconds, every=True)

    return await handle.call(step, work)


async def probe(handle: Handle, timeout_seconds: float) -> None:
    """Ask any broker for anything. Raises ClusterError when none answers."""
    step = "connect to cluster"

    def work() -> None:
        _metadata(handle.pointer, step, lambda _: None, timeout_seconds)

    await handle.call(step, work)


def _metadata(
    pointer: int,
    step: str,
    read: Callable[[rd.Metadata], Result],
    timeout_seconds: float,
    *,
    topic: int | None = None,
    every: bool = False,
) -> Result:
    """One `rd_kafka_metadata`: of a topic, of all, or of those this handle uses. Blocks."""
    answer = ctypes.POINTER(rd.Metadata)()
    code = rd.metadata(
        pointer, int(every), topic, ctypes.byref(answer), int(timeout_seconds * 1000)
    )
    if code:
        raise errors.failure(step, code)
    try:
        return read(answer.contents)
    finally:
        rd.metadata_destroy(answer)


def _rack(node: int | None) -> dict[int, str]:
    rack = rd.node_rack(node) if node else None
    return {rd.node_id(node): rack.decode(errors="replace")} if rack else {}


def _by_partition(leaders: Mapping[int, int]) -> Int32s:
    """Leaders as an array; a partition that is not mentioned has none."""
    array = np.full(max(leaders, default=-1) + 1, LEADERLESS, np.int32)
    for partition, leader in leaders.items():
        array[partition] = leader
    return array
