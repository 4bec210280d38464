"""Records that a real broker refuses: the mock has no rules to break."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest
from confluent_kafka import KafkaError

from singer.base.errors import Kind
from singer.base.ports import Settlement
from tests.kafka.support import Remembering, batch_of, consume, producer, run, values
from tests.support.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka


def test_a_record_without_a_key_on_a_compacted_topic(kafka: KafkaCluster) -> None:
    """Two culprits in a request are named, and their neighbours sent again the usual way. Of a
    single one librdkafka says that all records of the request are invalid: they go alone.
    """
    topic = kafka.create_topic("compacted", partitions=2, configs={"cleanup.policy": "compact"})
    owner = Remembering()
    lines = [b"%d" % n for n in range(1000)]
    keys = [None if n in (7, 400, 999) else b"k%d" % n for n in range(1000)]
    route = np.arange(1000, dtype=np.int32) % 2

    async def main() -> None:
        async with producer(kafka, owner, linger_ms="500") as made:
            receipt = made.produce(topic, route, batch_of(lines, keys))
            settlement = await receipt
            behind = made.produce(topic, route, batch_of(lines, [b"k"] * 1000))
            assert [rejection.row for rejection in settlement.rejected] == [7, 400, 999]
            assert "INVALID_RECORD" in settlement.rejected[0].reason
            assert await behind == Settlement()
            # Partition 0 has one culprit (400), partition 1 has two (7 and 999).
            assert owner.refusals == [(topic, 500, KafkaError.INVALID_RECORD)]
            # Each request with a culprit, and the one with nothing but a culprit in it.
            kind = Kind("record", "INVALID_RECORD")
            assert owner.kinds_met == [kind] * 3
            assert owner.kinds_remedied == [(topic, {kind: 2})]

    run(main())
    records = consume(kafka.bootstrap, topic, 2, 1997)
    assert len(records) == 1997
    good = [line for n, line in enumerate(lines) if n not in (7, 400, 999)]
    first = [value for _, key, value in records if key != b"k"]
    assert sorted(first) == sorted(good)  # type: ignore[type-var]


def test_a_record_too_large_for_the_topic_between_good_ones(kafka: KafkaCluster) -> None:
    """The broker refuses the whole request; alone, only the large one is refused."""
    topic = kafka.create_topic("narrow", partitions=1, configs={"max.message.bytes": "20000"})
    owner = Remembering()
    lines = [b"%d" % n for n in range(50)]
    lines[13] = os.urandom(15_000).hex().encode()
    lines[31] = os.urandom(15_000).hex().encode()

    async def main() -> None:
        async with producer(kafka, owner, compression_type="none") as made:
            receipts = [made.produce(topic, 0, batch_of(part)) for part in (lines, lines[:10])]
            settled = await asyncio.wait_for(asyncio.gather(*receipts), 60.0)
            assert [r.row for r in settled[0].rejected] == [13, 31]
            assert settled[1] == Settlement()
            assert await made.produce(topic, 0, batch_of([b"after"])) == Settlement()
            assert made.outstanding == 0

    run(main())
    arrived = values(consume(kafka.bootstrap, topic, 1, 59))
    expected = [line for n, line in enumerate(lines) if n not in (13, 31)] + lines[:10]
    assert sorted(arrived) == sorted([*expected, b"after"])  # type: ignore[type-var]
    assert arrived[-1] == b"after"
    assert owner.refusals


def test_a_topic_on_which_every_record_is_refused(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic("compacted", partitions=1, configs={"cleanup.policy": "compact"})

    async def main() -> None:
        async with producer(kafka) as made:
            settlement = await made.produce(topic, 0, batch_of([b"%d" % n for n in range(20)]))
            assert [rejection.row for rejection in settlement.rejected] == list(range(20))

    run(main())
    assert consume(kafka.bootstrap, topic, 1, 0) == []
