"""The records of a topic, for tools: a partition's, from one offset to another. Blocks.

What a consumer sees that reads committed records only. No consumer group is involved, nothing is
committed, and no topic is created.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition

from singer.base.errors import ClusterError, DeliveryError
from singer.kafka import errors
from singer.kafka.error_table import ErrorClass
from singer.validate.stretch import Stretch

_ASK_SECONDS: Final = 15.0
#: No record and no other answer for so long: no broker is there.
_SILENCE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.2
_STATISTICS_SECONDS: Final = 2.0
#: Records of one stretch, at most.
_MOST: Final = 10_000
_PARTITION_EOF: Final = -191

_SETTINGS: Final[Mapping[str, Any]] = {
    "group.id": "singer-validate",  # demanded; nothing is ever committed to it
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 32 << 10,
    "statistics.interval.ms": 500,
    "log_level": 3,
}


class Topic:
    """One topic; `reaching` are a client's settings for its cluster."""

    def __init__(self, name: str, reaching: Mapping[str, Any]) -> None:
        self.name = name
        #: Bytes that brokers sent, as librdkafka counts them: compressed, and with their heads.
        self.received_bytes = 0
        self._consumer = Consumer({**reaching, **_SETTINGS, "stats_cb": self._count})

    def _count(self, statistics: str) -> None:
        self.received_bytes = int(json.loads(statistics)["rx_bytes"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go."""
        self._consumer.close()

    def settle(self) -> None:
        """Wait for statistics of what was read."""
        before = self.received_bytes
        ends = time.monotonic() + _STATISTICS_SECONDS
        while self.received_bytes == before and time.monotonic() < ends:
            self._consumer.poll(_POLL_SECONDS)

    def partitions(self) -> tuple[int, ...]:
        """Their numbers. Raises DeliveryError: TopicError where the topic is absent."""
        step = f"look at topic {self.name}"
        try:
            # The whole list: a question for one topic would create it where brokers do that.
            found = self._consumer.list_topics(timeout=_ASK_SECONDS).topics.get(self.name)
        except KafkaException as error:
            raise _failure(step, error) from error
        if found is None:
            raise errors.failure(step, errors.UNKNOWN_TOPIC_OR_PART)
        return tuple(sorted(found.partitions))

    def bounds(self, partition: int) -> tuple[int, int]:
        """(first offset that there is, offset behind the last). Raises DeliveryError."""
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self.name, partition), timeout=_ASK_SECONDS
            )
        except KafkaException as error:
            raise _failure(f"look at {self.name} [{partition}]", error) from error
        return low, high

    def offset_at(self, partition: int, time_ms: int) -> int:
        """The first offset whose record is not older; the end if all are. Raises DeliveryError."""
        asked = TopicPartition(self.name, partition, time_ms)
        try:
            (found,) = self._consumer.offsets_for_times([asked], timeout=_ASK_SECONDS)
        except KafkaException as error:
            raise _failure(f"look at {self.name} [{partition}]", error) from error
        return int(found.offset) if found.offset >= 0 else self.bounds(partition)[1]

    def read(self, partition: int, start: int, end: int) -> Iterator[Stretch]:
        """The records of offsets [start, end), which the partition must have reached.

        In stretches that leave no offset out; the first is an empty one where the partition does
        not reach back to `start` any more. Raises DeliveryError.
        """
        step = f"read {self.name} [{partition}]"
        at = min(end, max(start, self.bounds(partition)[0]))
        if at > start:
            yield Stretch(start=start, end=at, offsets=np.empty(0, np.int64), values=())
        if at >= end:
            return
        self._consumer.assign([TopicPartition(self.name, partition, at)])
        heard = time.monotonic()
        try:
            while at < end:
                messages = self._consumer.consume(_MOST, _POLL_SECONDS)
                if messages:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENCE_SECONDS:
                    raise ClusterError(f"{step}: no broker answers")
                offsets, values, kept, reached = [], [], [], at
                for message in messages:
                    fault = message.error()
                    if fault is None:
                        kept.append(message)
                        offsets.append(message.offset() or 0)
                        values.append(message.value() or b"")
                        reached = offsets[-1] + 1
                    elif fault.code() == _PARTITION_EOF:
                        reached = max(reached, message.offset() or 0)
                    elif errors.classify(fault.code()) is not ErrorClass.CONNECTION:
                        raise errors.failure(step, fault.code())
                if reached > at:
                    there = np.array(offsets, np.int64)
                    mine = int(np.searchsorted(there, end))
                    stop = min(reached, end)
                    yield Stretch(
                        start=at,
                        end=stop,
                        offsets=there[:mine],
                        values=values[:mine],
                        messages=kept[:mine],
                    )
                    at = stop
        except KafkaException as error:
            raise _failure(step, error) from error
        finally:
            self._consumer.unassign()


def _failure(step: str, error: KafkaException) -> DeliveryError:
    return errors.failure(step, error.args[0].code())
