"""What arrived: whole topics, from a real cluster or from librdkafka's mock.

Bytes as the broker has them; nothing is decoded. `read_topic` reads what is there now.
`Collector` reads along, which the mock cluster needs: it keeps 5 MiB of a partition.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.support.waiting import wait_until

_METADATA_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.2
_MESSAGES_AT_ONCE: Final = 10_000
#: A broker that was killed comes back, or another one leads, well within this.
READ_SECONDS: Final = 60.0


class Record(NamedTuple):
    """One record as it lies in its partition."""

    offset: int
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


#: Per partition its records, by ascending offset.
Arrived: TypeAlias = Mapping[int, list[Record]]


class Reading:
    """A consumer of one whole topic from its beginning, and what it has read. One thread."""

    def __init__(self, bootstrap: str, topic: str, properties: Mapping[str, Any] | None) -> None:
        self.arrived: dict[int, list[Record]] = {}
        self.ended: set[int] = set()
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"read-{topic}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                # Records that were dropped before they were read are a fault, not a detail.
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
                "error_cb": lambda _: None,
                **(properties or {}),
            }
        )

    def assign(self) -> bool:
        """Take all partitions; False while there is no such topic."""
        metadata = self._consumer.list_topics(self._topic, timeout=_METADATA_SECONDS)
        partitions = list(metadata.topics[self._topic].partitions)
        self.arrived = {partition: [] for partition in partitions}
        self._consumer.assign([TopicPartition(self._topic, p, 0) for p in partitions])
        return bool(partitions)

    def step(self) -> int:
        """Read what is there, waiting a moment for more; how many records came."""
        messages = self._consumer.consume(_MESSAGES_AT_ONCE, _POLL_SECONDS)
        records = 0
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            error = message.error()
            if error is None:
                # An empty value is a record; no value at all would be a tombstone.
                value = message.value()
                assert value is not None, f"a tombstone at {partition}:{offset}"
                headers = tuple((name, content) for name, content in message.headers() or ())
                record = Record(offset, value, message.key(), headers)
                self.arrived[partition].append(record)
                self.ended.discard(partition)
                records += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ended.add(partition)
            elif not error.retriable() and error.code() != KafkaError._TRANSPORT:
                raise KafkaException(error)
        return records

    def close(self) -> None:
        self._consumer.close()


def read_topic(
    bootstrap: str, topic: str, *, properties: Mapping[str, Any] | None = None
) -> Arrived:
    """All that is in `topic` now. `{"isolation.level": "read_uncommitted"}` shows all of it."""
    reading = Reading(bootstrap, topic, properties)
    try:
        assert reading.assign(), f"read topic {topic}: there is no such topic"
        ends = time.monotonic() + READ_SECONDS
        while reading.ended != set(reading.arrived):
            reading.step()
            assert time.monotonic() < ends, f"read topic {topic}: no end in {READ_SECONDS:g} s"
        return reading.arrived
    finally:
        reading.close()


class Collector:
    """Reads a topic from its first record on, in a thread, until it is closed."""

    def __init__(
        self, bootstrap: str, topic: str, *, properties: Mapping[str, Any] | None = None
    ) -> None:
        self._reading = Reading(bootstrap, topic, properties)
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self.count = 0
        self._thread = threading.Thread(target=self._run, name=f"collect {topic}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait_for(self, count: int, deadline_seconds: float) -> None:
        """Wait until at least `count` records came."""

        def enough() -> bool:
            self._check()
            return self.count >= count

        wait_until(enough, deadline_seconds, lambda: f"{count} records came: {self.count} did")

    def wait_for_values(self, values: int, deadline_seconds: float) -> None:
        """Wait until at least `values` *different* records came; duplicates count once."""

        def enough() -> bool:
            self._check()
            return self.count >= values and len(self._distinct()) >= values

        wait_until(
            enough,
            deadline_seconds,
            lambda: f"{values} different records came: {len(self._distinct())} did",
        )

    def wait_for_these(self, values: set[bytes], deadline_seconds: float) -> None:
        """Wait until each of `values` came, whatever else did."""

        def enough() -> bool:
            self._check()
            return self.count >= len(values) and values <= self._distinct()

        wait_until(
            enough,
            deadline_seconds,
            lambda: f"{len(values)} records came: {len(values & self._distinct())} did",
        )

    def close(self) -> Arrived:
        """Stop and return all that came."""
        self._closing.set()
        self._thread.join(READ_SECONDS)
        assert not self._thread.is_alive(), "the collector did not stop"
        self._check()
        return self._reading.arrived

    def _distinct(self) -> set[bytes]:
        # The lists only grow, and copying one is atomic under the interpreter's lock.
        return {r.value for records in list(self._reading.arrived.values()) for r in list(records)}

    def _check(self) -> None:
        if self._failure is not None:
            raise AssertionError(f"collect: {self._failure}") from self._failure

    def _run(self) -> None:
        try:
            while not self._closing.is_set() and not self._assigned():
                self._closing.wait(_POLL_SECONDS)
            while not self._closing.is_set():
                self.count += self._reading.step()
        except Exception as error:  # noqa: BLE001  (told by whoever waits or closes)
            self._failure = error
        finally:
            self._reading.close()

    def _assigned(self) -> bool:
        try:
            return self._reading.assign()
        except KafkaException:  # no broker answers yet
            return False
