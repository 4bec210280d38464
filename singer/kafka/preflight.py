"""Whether a cluster is as its streams need it: asked before they fail.

`judge` is pure: facts in, findings out. `examine` asks for the facts through the producer's own
handle, with questions that create nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from singer.base.errors import DeliveryError
from singer.base.suggestion import meant
from singer.kafka import errors
from singer.kafka import librdkafka as rd
from singer.kafka import topology as ask
from singer.kafka.handle import Handle

#: Copies without which the loss of one broker is a loss of records, or of the topic.
_COPIES: Final = 2


class Level(IntEnum):
    """How bad a finding is."""

    NOTE = 0  #: it could not be looked at
    WARNING = 1  #: it works, and something is lost or wasted when things go wrong
    ERROR = 2  #: nothing will be delivered


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be: what, why, and what to do."""

    level: Level
    thing: str
    cause: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What all destinations of a topic need together."""

    topic: str
    max_record_bytes: int
    compression: str
    #: Somebody wants partitions of this host's zone only.
    local: bool = False
    #: The agent makes it if it is absent.
    create: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """What the cluster says of one topic.

    `error` is the code why it says nothing (0: none). `copies` are those of the partition that has
    the fewest. `may_write` and `settings` are None where the broker does not tell.
    """

    error: int = 0
    partitions: int = 0
    copies: int = 0
    leaderless: int = 0
    may_write: bool | None = None
    settings: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the cluster says: of topics by name, its racks, and names like those that are absent."""

    topics: Mapping[str, TopicFacts]
    racks: frozenset[str]
    names: tuple[str, ...] = ()


# --- judgement ----------------------------------------------------------------------------------


def judge(
    cluster: str, needs: tuple[Need, ...], facts: Facts, zones: tuple[str, ...]
) -> tuple[Finding, ...]:
    """What is not as it should be. `zones` are the names of this host's zone."""
    found = []
    for need in needs:
        found += _topic(f"{cluster}/{need.topic}", need, facts.topics[need.topic], facts.names)
    if any(need.local for need in needs):
        found += _zone(cluster, facts.racks, zones)
    return tuple(found)


def _topic(thing: str, need: Need, topic: TopicFacts, names: tuple[str, ...]) -> list[Finding]:
    def finding(level: Level, cause: str, advice: str) -> Finding:
        return Finding(level=level, thing=thing, cause=cause, advice=advice)

    if topic.error == errors.UNKNOWN_TOPIC_OR_PART:
        if need.create:
            return [finding(Level.NOTE, "the topic is absent", "it is created when first used")]
        hint = meant(need.topic, names)
        advice = f"create it, say create: true, or correct topic in publish{hint}"
        return [finding(Level.ERROR, "the topic is absent", advice)]
    if topic.error:
        advice = errors.advise(topic.error).removeprefix(": ") or "see the cause"
        return [finding(Level.ERROR, errors.describe(topic.error), advice)]
    found = []
    if topic.may_write is False:
        found.append(
            finding(Level.ERROR, "it may not be written", "grant this client WRITE on the topic")
        )
    if topic.leaderless:
        cause = f"{topic.leaderless} of {topic.partitions} partitions have no leader"
        found.append(finding(Level.WARNING, cause, "look at the brokers that should lead them"))
    if topic.copies < _COPIES:
        cause = f"replication factor {topic.copies}: a broker that is lost takes records along"
        found.append(finding(Level.WARNING, cause, "have its partitions kept by 3 brokers"))
    if topic.settings is None:
        advice = "grant this client DESCRIBE_CONFIGS on the topic to have it checked"
        return [*found, finding(Level.NOTE, "its settings cannot be seen", advice)]
    return found + [finding(*each) for each in _settings(need, topic.copies, topic.settings)]


def _settings(need: Need, copies: int, settings: Mapping[str, str]) -> list[tuple[Level, str, str]]:
    found = []
    in_sync = int(settings.get("min.insync.replicas", _COPIES))
    if in_sync > copies:
        cause = f"min.insync.replicas {in_sync} of only {copies} replicas: no record is taken"
        found.append((Level.ERROR, cause, "lower it, or add replicas"))
    elif in_sync < _COPIES:
        cause = f"min.insync.replicas {in_sync}: what one broker has is acknowledged"
        found.append((Level.WARNING, cause, f"set it to {_COPIES}"))
    largest = int(settings.get("max.message.bytes", need.max_record_bytes))
    if largest < need.max_record_bytes:
        cause = f"max.message.bytes {largest} is below max_record ({need.max_record_bytes})"
        advice = "raise it, or lower max_record: the broker refuses what is longer"
        found.append((Level.WARNING, cause, advice))
    codec = settings.get("compression.type", "producer")
    if codec not in ("producer", need.compression):
        cause = f"compression.type {codec} is not ours ({need.compression}): brokers recompress"
        found.append((Level.WARNING, cause, "set the topic's to producer, or ours to the same"))
    return found


def _zone(cluster: str, racks: frozenset[str], zones: tuple[str, ...]) -> list[Finding]:
    if not racks:
        cause, advice = "its brokers have no racks", "set broker.rack, or remove local"
    elif not zones:
        cause, advice = "this host's zone is not known", "see agent.locality"
    elif not racks & set(zones):
        cause = f"no broker is in this host's zone ({', '.join(zones)}; {', '.join(sorted(racks))})"
        advice = "correct agent.locality or broker.rack"
    else:
        return []
    cause += ": local takes all partitions"
    return [Finding(level=Level.WARNING, thing=cluster, cause=cause, advice=advice)]


# --- questions ------------------------------------------------------------------------------


async def examine(handle: Handle, needs: tuple[Need, ...], timeout_seconds: float) -> Facts:
    """Ask for everything `judge` looks at. Raises DeliveryError without an answer."""
    topics = tuple(need.topic for need in needs)
    facts = await _describe(handle, topics, timeout_seconds)
    racks = await ask.broker_racks(handle, timeout_seconds)
    there = tuple(topic for topic in topics if not facts[topic].error)
    settings = await _settings_of(handle, there, timeout_seconds) if there else {}
    names: list[str] = []
    if any(each.error == errors.UNKNOWN_TOPIC_OR_PART for each in facts.values()):
        names = await ask.topic_names(handle, timeout_seconds)
    return Facts(
        topics={
            topic: TopicFacts(
                error=each.error,
                partitions=each.partitions,
                copies=each.copies,
                leaderless=each.leaderless,
                may_write=each.may_write,
                settings=settings.get(topic),
            )
            for topic, each in facts.items()
        },
        racks=frozenset(racks.values()),
        names=tuple(names),
    )


async def _describe(
    handle: Handle, topics: tuple[str, ...], timeout_seconds: float
) -> dict[str, TopicFacts]:
    def send(options: int, queue: int) -> None:
        rd.admin_options_set_include_authorized_operations(options, 1)
        names = (ctypes.c_char_p * len(topics))(*(topic.encode() for topic in topics))
        collection = rd.topic_collection_of_topic_names(names, len(topics))
        rd.describe_topics(handle.pointer, collection, options, queue)
        rd.topic_collection_destroy(collection)

    def read(event: int) -> dict[str, TopicFacts]:
        result = rd.event_describe_topics_result(event)
        descriptions = rd.pointers(rd.describe_topics_result_topics, result)
        return {
            rd.topic_description_name(each).decode(): _topic_facts(each) for each in descriptions
        }

    return await handle.ask("describe topics", send, read, timeout_seconds=timeout_seconds)


def _topic_facts(description: int) -> TopicFacts:
    error = rd.topic_description_error(description)
    if error and (code := rd.error_code(error)):
        return TopicFacts(error=code)
    partitions = rd.pointers(rd.topic_description_partitions, description)
    count = ctypes.c_size_t()
    operations = rd.topic_description_authorized_operations(description, ctypes.byref(count))
    allowed = {operations[i] for i in range(count.value)}
    return TopicFacts(
        partitions=len(partitions),
        copies=min(
            (len(rd.pointers(rd.partition_info_replicas, p)) for p in partitions), default=0
        ),
        leaderless=sum(not rd.partition_info_leader(p) for p in partitions),
        may_write=bool(allowed & {rd.ACL_ALL, rd.ACL_WRITE}) if allowed else None,
    )


async def _settings_of(
    handle: Handle, topics: tuple[str, ...], timeout_seconds: float
) -> dict[str, dict[str, str]]:
    """The settings of topics that may be seen; those of others are not in it."""

    def send(options: int, queue: int) -> None:
        made = [rd.config_resource_new(rd.RESOURCE_TOPIC, topic.encode()) for topic in topics]
        array = (ctypes.c_void_p * len(made))(*made)
        rd.describe_configs(handle.pointer, array, len(made), options, queue)
        rd.config_resource_destroy_array(array, len(made))

    def read(event: int) -> dict[str, dict[str, str]]:
        result = rd.event_describe_configs_result(event)
        resources = rd.pointers(rd.describe_configs_result_resources, result)
        return {
            rd.config_resource_name(each).decode(): {
                rd.config_entry_name(entry).decode(): (rd.config_entry_value(entry) or b"").decode()
                for entry in rd.pointers(rd.config_resource_configs, each)
            }
            for each in resources
            if not rd.config_resource_error(each)
        }

    try:
        return await handle.ask("describe settings", send, read, timeout_seconds=timeout_seconds)
    except DeliveryError:  # they stay unknown, which is a note
        return {}
