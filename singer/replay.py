"""Replaying dead letters: their payloads to the topics of their destinations, once more.

Owns short-lived connections and the choice of where each letter goes; takes nothing out of files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from singer.base.batch import RecordBatch
from singer.base.clock import SystemClock
from singer.base.config import Config, PartitionerConfig
from singer.base.errors import DeliveryError, InputError, SingerError
from singer.base.events import Emit
from singer.base.hostid import host_id
from singer.base.zone import Zone
from singer.files.pathpattern import PathPattern
from singer.kafka.cluster import KafkaCluster
from singer.kafka.topic_template import TopicTemplate
from singer.online import brokers
from singer.writers.kafka import KafkaWriter
from singer.writers.letter_files import Stored

#: As many are under way at once.
_BATCH_LETTERS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a letter goes."""

    cluster: str
    topic: str
    partitioner: PartitionerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a letter; `fault` is empty if it is acknowledged."""

    stored: Stored
    topic: str
    fault: str


def target(config: Config, stored: Stored, cluster: str | None, topic: str | None) -> Target:
    """Where a letter goes: to its destination, unless something else is said. Raises InputError."""
    letter = stored.letter
    streams = (stream for stream in config.streams if stream.name == letter.stream)
    found = next(((s, d) for s in streams for d in s.publish if d.name == letter.destination), None)
    if found is None and (cluster is None or topic is None):
        raise InputError(
            f"stream {letter.stream} has no destination {letter.destination} any more: name"
            f" --cluster and --topic"
        )
    partitioner = PartitionerConfig()
    if found is not None:
        stream, destination = found
        partitioner = replace(destination.partitioner, local=None)
        cluster = cluster or destination.cluster
        template = TopicTemplate(topic or destination.topic)
        groups = {}
        if template.groups and stream.path_pattern is not None:
            groups = PathPattern(stream.path_pattern).groups(letter.path)
        topic = template.fill(groups)
    assert cluster is not None
    assert topic is not None
    if cluster not in config.clusters:
        raise InputError(f"there is no cluster {cluster} in the configuration: correct --cluster")
    if config.clusters[cluster].is_embedded:
        raise InputError(f"cluster {cluster} is embedded, and forgets all: name another --cluster")
    return Target(cluster=cluster, topic=topic, partitioner=partitioner)


async def replay(
    config: Config, letters: Iterable[tuple[Stored, Target]], *, emit: Emit
) -> AsyncIterator[Outcome]:
    """Send letters and say what became of each; waits for every acknowledgement."""
    by_cluster: dict[str, list[tuple[Stored, Target]]] = {}
    for stored, where in letters:
        by_cluster.setdefault(where.cluster, []).append((stored, where))
    for name, those in by_cluster.items():
        cluster = None
        try:
            cluster = _connect(config, name, emit)
            await cluster.start()
            for batch in _batches(those):
                for outcome in await _send(cluster, batch):
                    yield outcome
        except (SingerError, ValueError) as error:
            for stored, where in those:  # those that were told already have their outcome
                yield Outcome(stored=stored, topic=where.topic, fault=str(error))
        finally:
            if cluster is not None:
                await cluster.close()


def _connect(config: Config, name: str, emit: Emit) -> KafkaCluster:
    host = config.agent.id or host_id()
    return KafkaCluster(
        config.clusters[name],
        bootstrap=",".join(brokers(config.clusters[name])),
        host=host,
        client_id=f"singer-{host},replay",
        zone=Zone(()),
        emit=emit,
        clock=SystemClock(),
    )


def _batches(
    letters: Sequence[tuple[Stored, Target]],
) -> Iterable[Sequence[tuple[Stored, Target]]]:
    """Letters of one file to one topic, in their order."""
    groups: dict[tuple[str, int, int], list[tuple[Stored, Target]]] = {}
    for stored, where in letters:
        letter = stored.letter
        groups.setdefault((where.topic, letter.device, letter.inode), []).append((stored, where))
    for group in groups.values():
        for first in range(0, len(group), _BATCH_LETTERS):
            yield group[first : first + _BATCH_LETTERS]


async def _send(cluster: KafkaCluster, letters: Sequence[tuple[Stored, Target]]) -> list[Outcome]:
    where = letters[0][1]
    faults = [""] * len(letters)
    try:
        writer = KafkaWriter(cluster, where.topic, where.partitioner)
        await writer.ready()
        batch = _batch([stored.letter.payload for stored, _ in letters])
        partitioner = writer.partitioner(letters[0][0].letter.inode)
        settlement = await writer.send(batch, partitioner.assign(batch))
        for rejection in settlement.rejected:
            faults[rejection.row] = rejection.reason
    except DeliveryError as error:
        faults[error.settled :] = [str(error)] * (len(letters) - error.settled)
    return [
        Outcome(stored=stored, topic=where.topic, fault=fault)
        for (stored, _), fault in zip(letters, faults, strict=True)
    ]


def _batch(payloads: Sequence[bytes]) -> RecordBatch:
    lengths = np.array([len(payload) for payload in payloads], np.int32)
    ends = np.cumsum(lengths, dtype=np.int64)
    return RecordBatch(
        buffer=np.frombuffer(b"".join(payloads), np.uint8),
        starts=ends - lengths,
        lengths=lengths,
        ends=ends,
        span=(0, int(ends[-1])),
    )
