"""`singer check --online`: every cluster of a configuration, looked at as the agent would use it.

Owns what the streams need of each topic, and short-lived connections to ask. Changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from singer.base.clock import SystemClock
from singer.base.config import ClusterConfig, Config
from singer.base.errors import DeliveryError, SingerError
from singer.base.events import Event, discard
from singer.base.hostid import host_id
from singer.base.smallfile import read_small_file
from singer.base.zone import Zone
from singer.kafka.addresses import addresses
from singer.kafka.cluster import KafkaCluster
from singer.kafka.events import ClusterDown
from singer.kafka.preflight import Finding, Level, Need
from singer.kafka.properties import compression
from singer.kafka.topic_template import TopicTemplate
from singer.locality.zone import resolve

_MAX_BYTES = 1 << 20


def needs(config: Config) -> dict[str, tuple[Need, ...]]:
    """Per cluster that is not embedded what the streams need of its topics.

    Topics that paths fill in are not known beforehand.
    """
    found: dict[str, dict[str, Need]] = {}
    for stream in config.streams:
        for destination in stream.publish:
            cluster = config.clusters[destination.cluster]
            topic = destination.topic
            if cluster.is_embedded or TopicTemplate(topic).groups:
                continue
            topics = found.setdefault(cluster.name, {})
            before = topics.get(topic)
            size = getattr(stream.reader, "max_record", 0)
            topics[topic] = Need(
                topic=topic,
                max_record_bytes=max(size, before.max_record_bytes if before else 0),
                compression=compression(cluster.properties)
                if destination.compression is None
                else destination.compression.value,
                local=destination.partitioner.local is not None or bool(before and before.local),
                create=destination.create is not None or bool(before and before.create),
            )
    return {name: tuple(topics.values()) for name, topics in found.items()}


async def check(config: Config) -> tuple[Finding, ...]:
    """What is not as it should be, on all clusters; each is asked for some seconds."""
    zone = Zone(resolve(config.agent.locality, emit=discard))
    asked = (
        _cluster(config, config.clusters[name], topics, zone)
        for name, topics in needs(config).items()
    )
    return tuple(finding for found in await asyncio.gather(*asked) for finding in found)


async def _cluster(
    config: Config, cluster: ClusterConfig, topics: tuple[Need, ...], zone: Zone
) -> tuple[Finding, ...]:
    causes: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, ClusterDown):
            causes.append(event.cause)

    try:
        addresses_now = brokers(cluster)
    except ValueError as error:
        cause = f"bootstrap_file {cluster.bootstrap_file}: {error}"
        return (_failed(cluster.name, cause, "mend it"),)
    host = config.agent.id or host_id()
    kafka = KafkaCluster(
        cluster,
        bootstrap=",".join(addresses_now),
        host=host,
        client_id=f"singer-{host},check",
        zone=zone,
        emit=hear,
        clock=SystemClock(),
    )
    try:
        await kafka.start()
        return await kafka.preflight(topics)
    except DeliveryError as error:
        cause = causes[-1] if causes else str(error)
        return (_failed(cluster.name, cause, "look at the brokers and at bootstrap"),)
    except SingerError as error:
        return (_failed(cluster.name, str(error), "correct the cluster"),)
    finally:
        await kafka.close()


def brokers(cluster: ClusterConfig) -> tuple[str, ...]:
    """The addresses of a cluster that is not embedded. Raises ValueError for its file."""
    if cluster.bootstrap_file is None:
        return cluster.bootstrap
    return addresses(read_small_file(cluster.bootstrap_file, _MAX_BYTES))


def _failed(cluster: str, cause: str, advice: str) -> Finding:
    return Finding(level=Level.ERROR, thing=cluster, cause=cause, advice=advice)


def unlooked(config: Config) -> Mapping[str, str]:
    """Topics that cannot be looked at beforehand, and why."""
    found = {}
    for stream in config.streams:
        for destination in stream.publish:
            name = f"{destination.cluster}/{destination.topic}"
            if config.clusters[destination.cluster].is_embedded:
                found[name] = "the cluster is embedded, and made by the agent"
            elif TopicTemplate(destination.topic).groups:
                found[name] = "its topics follow from paths"
    return found
