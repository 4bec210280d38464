"""The positions topic: what this agent committed there, read back. Blocks; for a thread.

A compacted topic that all agents of a cluster share. Each keeps to one partition, by its id, so a
fleet does not read each other's positions; records of others in it are passed over. Keys and
values are opaque here, but that a key begins with the agent's id and a zero byte.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from singer.base.errors import ClusterError
from singer.kafka import errors
from singer.kafka.error_table import ErrorClass
from singer.kafka.reaching import reaching
from singer.kafka.tokens import Token

#: How the topic is made where it is absent. Only the last seconds before a crash are ever read
#: back, so what is older than a month may go; small segments, because only closed ones are
#: compacted, and what is not compacted is read at every start.
PARTITIONS: Final = 50
_REPLICAS: Final = 3
_TOPIC_CONFIG: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(30 * 86_400_000),
    "segment.ms": str(3_600_000),
    "segment.bytes": str(16 << 20),
    "min.cleanable.dirty.ratio": "0.1",
}

_PARTITION_EOF: Final = -191

#: How long one question, and how long nothing at all, may take.
_ASK_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What was found: the latest value by key, and the offset behind all that was read."""

    partition: int
    offset: int
    values: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsTopic:
    """Where an agent's positions are in a cluster.

    `settings` gives those of the producer, `token` fetches one for SASL OAUTHBEARER.
    """

    topic: str
    agent_id: str
    settings: Callable[[], Mapping[str, str]]
    token: Callable[[], Token] | None

    @property
    def marker(self) -> bytes:
        """The key of the record that names the latest transaction."""
        return self.agent_id.encode() + b"\0transaction"

    def ensure(self) -> int:
        """Create the topic if it is absent; returns this agent's partition. Raises ClusterError."""
        admin = AdminClient(self._reaching())
        step = f"create topic {self.topic}"
        try:
            # The whole list: a question for one topic would create it where brokers do that.
            metadata = admin.list_topics(timeout=_ASK_SECONDS)
            topics = metadata.topics
            if self.topic not in topics:
                # Not as the brokers' default says, which may be 1: while it cannot be written,
                # nothing is committed.
                new = NewTopic(
                    self.topic,
                    num_partitions=PARTITIONS,
                    replication_factor=min(_REPLICAS, len(metadata.brokers)),
                    config=dict(_TOPIC_CONFIG),
                )
                try:
                    admin.create_topics([new], request_timeout=_ASK_SECONDS)[self.topic].result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
                ends = time.monotonic() + _ASK_SECONDS
                while self.topic not in topics and time.monotonic() < ends:
                    time.sleep(_AGAIN_SECONDS)  # until the brokers have told each other
                    topics = admin.list_topics(timeout=_ASK_SECONDS).topics
        except KafkaException as error:
            raise self._failure(step, error) from error
        found = topics.get(self.topic)
        if found is None or not found.partitions:
            raise ClusterError(f"{step}: the brokers do not know it yet")
        return zlib.crc32(self.agent_id.encode()) % len(found.partitions)

    def read(self, partition: int, offset: int | None) -> Committed:
        """All of this agent's that is committed, from an offset on. Raises ClusterError.

        Only after the transactions of whoever had this agent's id before are ended: what they left
        open would hide what stands behind it.
        """
        consumer = Consumer(
            {
                **self._reaching(),
                "group.id": f"singer-{self.agent_id}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
            }
        )
        step = f"read positions from {self.topic} [{partition}]"
        prefix = self.agent_id.encode() + b"\0"
        values: dict[bytes, bytes] = {}
        try:
            start = OFFSET_BEGINNING if offset is None else offset
            consumer.assign([TopicPartition(self.topic, partition, start)])
            while True:
                message = consumer.poll(_SILENCE_SECONDS)
                if message is None:
                    raise ClusterError(f"{step}: no broker answers")
                fault = message.error()
                if fault is not None and fault.code() == _PARTITION_EOF:
                    end = message.offset() or 0
                    return Committed(partition=partition, offset=end, values=values)
                if fault is not None:
                    if errors.classify(fault.code()) is ErrorClass.CONNECTION:
                        continue
                    raise errors.failure(step, fault.code())
                key, value = message.key(), message.value()
                if key is not None and value is not None and key.startswith(prefix):
                    values[key] = value
        except KafkaException as error:
            raise self._failure(step, error) from error
        finally:
            consumer.close()

    def _reaching(self) -> dict[str, Any]:
        return reaching(self.settings(), self.token)

    @staticmethod
    def _failure(step: str, error: KafkaException) -> ClusterError:
        fault = error.args[0]
        return ClusterError(f"{step}: {fault.str()}{errors.advise(fault.code())}")
