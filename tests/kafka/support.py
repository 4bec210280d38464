"""What the Kafka tests share: batches from lines, a consumer, a listener that remembers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from singer.base.batch import Keys, RecordBatch
from singer.base.config import EmbeddedConfig
from singer.base.errors import Kind
from singer.kafka.connections import Connections
from singer.kafka.embedded import EmbeddedCluster
from singer.kafka.producer import ColumnarProducer
from singer.kafka.properties import DEFAULTS
from singer.kafka.traffic import Traffic

Result = TypeVar("Result")

DEADLINE_SECONDS = 30.0


def run(main: Awaitable[Result]) -> Result:
    """Run a coroutine with a deadline."""

    async def bounded() -> Result:
        return await asyncio.wait_for(main, 120.0)

    return asyncio.run(bounded())


async def until(
    predicate: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait on the loop until `predicate` is true."""
    ends = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)


def batch_of(
    lines: Sequence[bytes], keys: Sequence[bytes | None] | None = None, offset: int = 0
) -> RecordBatch:
    """The lines as a text reader would frame them, from file offset `offset` on."""
    buffer = np.frombuffer(bytearray(b"".join(line + b"\n" for line in lines)), np.uint8)
    lengths = np.array([len(line) for line in lines], np.int32)
    ends = np.cumsum(lengths.astype(np.int64) + 1)
    key_columns = None
    if keys is not None:
        key_lengths = np.array([-1 if key is None else len(key) for key in keys], np.int32)
        sizes = np.maximum(key_lengths, 0).astype(np.int64)
        key_columns = Keys(
            buffer=np.frombuffer(bytearray(b"".join(key or b"" for key in keys)), np.uint8),
            starts=np.cumsum(sizes) - sizes,
            lengths=key_lengths,
        )
    return RecordBatch(
        buffer=buffer,
        starts=ends - 1 - lengths,
        lengths=lengths,
        ends=ends + offset,
        span=(offset, offset + int(ends[-1]) if len(lines) else offset),
        keys=key_columns,
    )


@contextlib.contextmanager
def embedded(
    brokers: int = 1, partitions: int = 4, topics: Sequence[str] = ("t",)
) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=brokers, partitions=partitions))
    try:
        for topic in topics:
            cluster.create_topic(topic)
        yield cluster
    finally:
        cluster.close()


class Remembering:
    """A producer's owner that keeps what it is told."""

    def __init__(self) -> None:
        self.acknowledgements = 0
        self.troubles: list[tuple[int, str]] = []
        self.topic_failures: list[tuple[str, int]] = []
        self.refusals: list[tuple[str, int, int]] = []
        self.breaks: list[tuple[int, str]] = []
        self.kinds_met: list[Kind] = []
        self.kinds_remedied: list[tuple[str, dict[Kind, int]]] = []
        self.records_retried = 0
        self.lines: list[str] = []
        self.traffic: list[Traffic] = []
        self.connections: list[Connections] = []

    def alive(self) -> None:
        self.acknowledgements += 1

    def trouble(self, code: int, reason: str) -> None:
        self.troubles.append((code, reason))

    def topic_failed(self, topic: str, code: int) -> None:
        self.topic_failures.append((topic, code))

    def refused(self, topic: str, records: int, code: int) -> None:
        self.refusals.append((topic, records, code))

    def met(self, kind: Kind) -> None:
        self.kinds_met.append(kind)

    def remedied(self, topic: str, troubles: Counter[Kind]) -> None:
        self.kinds_remedied.append((topic, dict(troubles)))

    def broken(self, code: int, reason: str) -> None:
        self.breaks.append((code, reason))

    def logged(self, level: int, facility: str, text: str) -> None:
        self.lines.append(text)

    def measured(self, traffic: Traffic) -> None:
        self.traffic.append(traffic)

    def retried(self, records: int) -> None:
        self.records_retried += records

    def connected(self, connections: Connections) -> None:
        self.connections.append(connections)


class Bootstrapped(Protocol):
    """A cluster one can connect to."""

    @property
    def bootstrap(self) -> str: ...


@contextlib.asynccontextmanager
async def producer(
    cluster: Bootstrapped, owner: Remembering | None = None, **properties: str
) -> AsyncIterator[ColumnarProducer]:
    """A producer with the defaults; properties are written with _ for the dots."""
    given = {name.replace("_", "."): value for name, value in properties.items()}
    settings = {**DEFAULTS, "log.queue": "true", **given, "bootstrap.servers": cluster.bootstrap}
    made = ColumnarProducer(settings, owner or Remembering())
    try:
        yield made
    finally:
        assert await made.close(10.0), "librdkafka did not end"


Record = tuple[int, bytes | None, bytes | None]


def consume(bootstrap: str, topic: str, partitions: int, expected: int) -> list[Record]:
    """(partition, key, value) of at least `expected` records, in the order of each partition,
    and whatever follows at once.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        records: list[Record] = []
        ended: set[int] = set()
        ends = time.monotonic() + DEADLINE_SECONDS
        while len(records) < expected or len(ended) < partitions:
            assert time.monotonic() < ends, f"{len(records)} of {expected} records arrived"
            for message in consumer.consume(10_000, 0.1):
                error = message.error()
                if error is None:
                    ended.discard(message.partition())
                    records.append((message.partition(), message.key(), message.value()))
                elif error.name() == "_PARTITION_EOF":
                    ended.add(message.partition())
                else:
                    pytest.fail(f"consume {topic}: {error}")
        return records
    finally:
        consumer.close()


def values(records: Sequence[Record], partition: int | None = None) -> list[bytes | None]:
    return [value for p, _, value in records if partition in (None, p)]
