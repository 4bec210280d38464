"""Where topics end. Blocks; for a thread."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from singer.base.errors import ClusterError
from singer.kafka import errors

_ASK_SECONDS: Final = 10.0


def end_offsets(reaching: Mapping[str, Any], topics: Collection[str]) -> dict[str, tuple[int, ...]]:
    """By topic, the offset of the next record of each partition.

    Records of transactions that are not ended count as well: what is committed may lie behind
    them. Raises ClusterError.
    """
    step = f"ask where {', '.join(sorted(topics))} end"
    if not topics:
        return {}
    try:
        admin = AdminClient(dict(reaching))
        # Not ordinary metadata, for which brokers may create a topic.
        described = admin.describe_topics(
            TopicCollection(list(topics)), request_timeout=_ASK_SECONDS
        )
        asked = {
            TopicPartition(topic, partition.id): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic, future in described.items()
            for partition in future.result().partitions
        }
        futures = admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_ASK_SECONDS
        )
        ends = {(p.topic, p.partition): future.result().offset for p, future in futures.items()}
    except KafkaException as error:
        fault = error.args[0]
        raise ClusterError(f"{step}: {fault.str()}{errors.advise(fault.code())}") from error
    return {
        topic: tuple(ends[key] for key in sorted(ends) if key[0] == topic)
        for topic in sorted(topics)
    }
