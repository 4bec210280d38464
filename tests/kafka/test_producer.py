"""The columnar producer against librdkafka's own brokers."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import weakref

import numpy as np
import pytest
from confluent_kafka import KafkaError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from singer.base.errors import ClusterError, FatalProducerError, InputError, Kind, TopicError
from singer.base.ports import Settlement
from singer.kafka import librdkafka as rd
from singer.kafka.embedded import API_PRODUCE, EmbeddedCluster
from singer.kafka.producer import ColumnarProducer
from singer.kafka.properties import DEFAULTS
from tests.kafka.support import (
    Remembering,
    batch_of,
    consume,
    embedded,
    producer,
    run,
    until,
    values,
)

NASTY = [b"", b"\0", b"a\0b", b"\xff\xfe", b"line\r", b"", b"\xc3", b" ", b"x" * 70_000, b""]


def test_bytes_arrive_as_they_are() -> None:
    async def main(cluster: EmbeddedCluster) -> Settlement:
        async with producer(cluster) as made:
            return await made.produce("t", 2, batch_of(NASTY))

    with embedded() as cluster:
        assert run(main(cluster)) == Settlement()
        records = consume(cluster.bootstrap, "t", 4, len(NASTY))
    assert [p for p, _, _ in records] == [2] * len(NASTY)
    assert values(records) == NASTY  # an empty line is b"", not None: that is a tombstone
    assert all(key is None for _, key, _ in records)


def test_a_batch_of_only_empty_lines_without_a_buffer() -> None:
    batch = batch_of([b"", b""])
    batch = type(batch)(
        buffer=np.empty(0, np.uint8),
        starts=np.zeros(2, np.int64),
        lengths=batch.lengths,
        ends=batch.ends,
        span=batch.span,
    )

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            await made.produce("t", 0, batch)

    with embedded() as cluster:
        run(main(cluster))
        assert values(consume(cluster.bootstrap, "t", 4, 2)) == [b"", b""]


Batch = tuple[list[bytes], list[bytes | None] | None, list[int]]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    lines = draw(st.lists(st.binary(max_size=40), min_size=1, max_size=30))
    key = st.one_of(st.none(), st.binary(max_size=9))
    keys = draw(st.one_of(st.none(), st.lists(key, min_size=len(lines), max_size=len(lines))))
    route = draw(st.lists(st.integers(0, 3), min_size=len(lines), max_size=len(lines)))
    return lines, keys, route


# Few examples of many batches: a cluster and its first acknowledgement take a second.
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(batches(), min_size=20, max_size=60))
def test_any_bytes_any_keys_any_route(sent: list[Batch]) -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, linger_ms="0") as made:
            for lines, keys, route in sent:
                await made.produce("t", np.array(route, np.int32), batch_of(lines, keys))

    expected = [
        (partition, keys[row] if keys else None, lines[row])
        for lines, keys, route in sent
        for row, partition in enumerate(route)
    ]
    with embedded() as cluster:
        run(main(cluster))
        records = consume(cluster.bootstrap, "t", 4, len(expected))
    for partition in range(4):
        there = [record for record in records if record[0] == partition]
        assert there == [record for record in expected if record[0] == partition]


def test_200_000_records_over_partitions_in_order() -> None:
    count, per_batch, partitions = 200_000, 20_000, 8
    rng = np.random.default_rng(1)
    sent: list[list[bytes]] = [[] for _ in range(partitions)]

    async def main(cluster: EmbeddedCluster) -> list[Settlement]:
        receipts = []
        async with producer(cluster) as made:
            for first in range(0, count, per_batch):
                lines = [b"%d" % n for n in range(first, first + per_batch)]
                route = rng.integers(0, partitions, per_batch, np.int32)
                for line, partition in zip(lines, route.tolist(), strict=True):
                    sent[partition].append(line)
                receipts.append(made.produce("t", route, batch_of(lines)))
            settled = await asyncio.gather(*receipts)
            assert made.outstanding == 0
            return settled

    with embedded(brokers=3, partitions=partitions) as cluster:
        settled = run(main(cluster))
        records = consume(cluster.bootstrap, "t", partitions, count)
    assert settled == [Settlement()] * (count // per_batch)
    assert len(records) == count
    there = [values(records, partition) for partition in range(partitions)]
    assert there == sent
    for first, settlement in zip(range(0, count, per_batch), settled, strict=True):
        assert sum(run.count for run in settlement.runs) == per_batch
        for one in settlement.runs:  # each says where its rows lie
            rows = (np.arange(per_batch)[one.rows] + first).tolist()
            found = there[one.partition][one.offset : one.offset + one.count]
            assert found == [b"%d" % row for row in rows]


def test_an_empty_batch_is_settled_at_once() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            receipt = made.produce("t", 0, batch_of([]))
            assert receipt.done()
            assert receipt.result() == Settlement()

    with embedded() as cluster:
        run(main(cluster))


@pytest.mark.parametrize(
    "codes",
    [
        [KafkaError.NOT_LEADER_FOR_PARTITION] * 2,
        [KafkaError.NOT_ENOUGH_REPLICAS] * 3,
        [KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND],
        [KafkaError.REQUEST_TIMED_OUT],
        [KafkaError.LEADER_NOT_AVAILABLE, 0, KafkaError.NOT_LEADER_FOR_PARTITION],
        [KafkaError._TRANSPORT, 0, KafkaError._TRANSPORT],
    ],
    ids=str,
)
def test_passing_errors_are_retried_in_order_and_once(codes: list[int]) -> None:
    lines = [[b"%d-%d" % (batch, n) for n in range(300)] for batch in range(8)]

    async def main(cluster: EmbeddedCluster) -> None:
        cluster.push_errors(API_PRODUCE, codes)
        async with producer(cluster, batch_num_messages="100", linger_ms="0") as made:
            receipts = [made.produce("t", 1, batch_of(batch)) for batch in lines]
            assert await asyncio.gather(*receipts) == [Settlement()] * len(lines)

    with embedded() as cluster:
        run(main(cluster))
        expected = [line for batch in lines for line in batch]
        assert values(consume(cluster.bootstrap, "t", 4, len(expected))) == expected


def test_a_topic_error_fails_the_batch_and_says_what_was_settled() -> None:
    owner = Remembering()

    async def main(cluster: EmbeddedCluster) -> None:
        # Three requests of 100: the first passes, the second is refused.
        cluster.push_errors(API_PRODUCE, [0, KafkaError.TOPIC_AUTHORIZATION_FAILED])
        async with producer(
            cluster, owner, batch_num_messages="100", linger_ms="0", max_in_flight="1"
        ) as made:
            receipt = made.produce("t", 0, batch_of([b"%d" % n for n in range(300)]))
            with pytest.raises(TopicError) as raised:
                await receipt
            assert made.outstanding == 0
            assert raised.value.settled == 100
            message = str(raised.value)
            assert message.startswith("produce to t: ")
            assert "TOPIC_AUTHORIZATION_FAILED" in message
            assert "grant" in message

    with embedded() as cluster:
        run(main(cluster))
    assert ("t", KafkaError.TOPIC_AUTHORIZATION_FAILED) in owner.topic_failures


def test_a_topic_that_does_not_exist_fails_and_is_not_created() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, topic_metadata_propagation_max_ms="300") as made:
            with pytest.raises(TopicError) as raised:
                await made.produce("absent", 0, batch_of([b"a"]))
            assert raised.value.settled == 0
            good = await made.produce("t", 0, batch_of([b"others flow on"]))
            assert good == Settlement()
            with pytest.raises(TopicError):
                await made.produce("absent", 0, batch_of([b"a"]))

    with embedded() as cluster:
        run(main(cluster))
        # It was not made by asking: then this would find more than it makes.
        cluster.create_topic("absent", 2)
        assert consume(cluster.bootstrap, "absent", 2, 0) == []


def test_a_partition_that_does_not_exist_fails_only_its_batch() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            await made.produce("t", 0, batch_of([b"known now"]))
            route = np.array([0, 77, 1], np.int32)
            with pytest.raises(TopicError, match="_UNKNOWN_PARTITION") as raised:
                await made.produce("t", route, batch_of([b"a", b"b", b"c"]))
            assert raised.value.kind == Kind("topic", "_UNKNOWN_PARTITION")
            assert await made.produce("t", 1, batch_of([b"after"])) == Settlement()

    with embedded() as cluster:
        run(main(cluster))
        records = consume(cluster.bootstrap, "t", 4, 4)
    assert sorted(values(records)) == [b"a", b"after", b"c", b"known now"]  # type: ignore[type-var]


def test_a_request_too_large_isolates_the_culprit() -> None:
    """The broker refuses a whole request; then one of its records, when it comes alone."""
    owner = Remembering()
    lines = [b"%d" % n for n in range(20)]

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, owner) as made:
            await made.produce("t", 0, batch_of([b"before"]))
            big = KafkaError.MSG_SIZE_TOO_LARGE
            cluster.push_errors(API_PRODUCE, [big, *[0] * 7, big])
            settlement = await made.produce("t", 0, batch_of(lines))
            assert [rejection.row for rejection in settlement.rejected] == [7]
            assert "MSG_SIZE_TOO_LARGE" in settlement.rejected[0].reason
            assert await made.produce("t", 0, batch_of([b"after"])) == Settlement()
            assert made.outstanding == 0

    with embedded() as cluster:
        run(main(cluster))
        arrived = values(consume(cluster.bootstrap, "t", 4, 21))
    assert arrived == [b"before", *lines[:7], *lines[8:], b"after"]
    assert owner.refusals == [("t", 20, KafkaError.MSG_SIZE_TOO_LARGE)]


def test_a_quarantine_that_cannot_be_made_fails_the_batch_and_is_tried_again() -> None:
    lines = [b"a", b"b", b"c"]

    async def main(cluster: EmbeddedCluster) -> None:
        properties = {**DEFAULTS, "log.queue": "true", "bootstrap.servers": cluster.bootstrap}
        made = ColumnarProducer(properties, Remembering())
        try:
            await made.produce("t", 0, batch_of([b"before"]))
            properties["ssl.key.pem"] = "being renewed"
            properties["security.protocol"] = "ssl"
            cluster.push_errors(API_PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
            with pytest.raises(ClusterError, match=r"produce to t: create producer: ssl\.key\.pem"):
                await made.produce("t", 0, batch_of(lines))
            assert made.outstanding == 0
            del properties["ssl.key.pem"], properties["security.protocol"]
            cluster.push_errors(API_PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
            assert await made.produce("t", 0, batch_of(lines)) == Settlement()
        finally:
            assert await made.close(10.0)

    with embedded() as cluster:
        run(main(cluster))
        assert values(consume(cluster.bootstrap, "t", 4, 4)) == [b"before", *lines]


def test_a_refused_request_between_others_in_flight() -> None:
    """Its records come late, in order; all others keep their order."""
    owner = Remembering()
    lines = [[b"%d-%d" % (batch, n) for n in range(200)] for batch in range(10)]

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, owner, batch_num_messages="100", linger_ms="0") as made:
            await made.produce("t", 0, batch_of([b"first"]))
            cluster.set_rtt(1, 20)
            cluster.push_errors(API_PRODUCE, [0, 0, KafkaError.MSG_SIZE_TOO_LARGE])
            receipts = [made.produce("t", 0, batch_of(batch)) for batch in lines]
            settled = await asyncio.gather(*receipts)
            assert settled == [Settlement()] * len(lines)

    with embedded() as cluster:
        run(main(cluster))
        arrived = values(consume(cluster.bootstrap, "t", 4, 2001))
    expected = [b"first", *(line for batch in lines for line in batch)]
    refused = sum(records for _, records, _ in owner.refusals)
    assert refused > 0
    start = next(i for i, line in enumerate(expected) if arrived[i] != line)
    late = expected[start : start + refused]
    others = expected[:start] + expected[start + refused :]
    is_late = set(late)
    assert [line for line in arrived if line not in is_late] == others
    assert [line for line in arrived if line in is_late] == late


def test_a_record_the_client_refuses_is_rejected_at_once() -> None:
    big = b"x" * 1_000_001
    fits = b"y" * 999_000

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            settlement = await made.produce("t", 0, batch_of([b"a", big, b"b", fits, big]))
            assert [rejection.row for rejection in settlement.rejected] == [1, 4]
            only = made.produce("t", 0, batch_of([big]))
            assert [rejection.row for rejection in (await only).rejected] == [0]
            keyed = batch_of([b"z" * 999_999, b"c"], [b"kk", b"k"])
            assert [r.row for r in (await made.produce("t", 1, keyed)).rejected] == [0]
            route = np.array([0, 1, 2], np.int32)
            mixed = made.produce("t", route, batch_of([b"d", big, b"e"]))
            assert [r.row for r in (await mixed).rejected] == [1]

    with embedded() as cluster:
        run(main(cluster))
        records = consume(cluster.bootstrap, "t", 4, 6)
    assert values(records, 0) == [b"a", b"b", fits, b"d"]
    assert values(records, 1) == [b"c"]
    assert values(records, 2) == [b"e"]


def test_brokers_down_and_up_lose_nothing() -> None:
    lines = [[b"%d-%d" % (batch, n) for n in range(100)] for batch in range(30)]
    owner = Remembering()

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, owner, linger_ms="0") as made:
            receipts = []
            for number, batch in enumerate(lines):
                if number == 10:
                    cluster.set_down()
                receipts.append(made.produce("t", number % 4, batch_of(batch)))
                await asyncio.sleep(0)
            await until(lambda: owner.troubles, "the outage is noticed")
            assert not receipts[-1].done()
            cluster.set_up()
            assert await asyncio.gather(*receipts) == [Settlement()] * len(lines)

    with embedded(brokers=3) as cluster:
        run(main(cluster))
        records = consume(cluster.bootstrap, "t", 4, 3000)
    for partition in range(4):
        expected = [line for number in range(partition, 30, 4) for line in lines[number]]
        assert values(records, partition) == expected


def test_a_fatal_error_fails_what_is_under_way() -> None:
    owner = Remembering()

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, owner) as made:
            await made.produce("t", 0, batch_of([b"a"]))
            cluster.set_down()
            receipts = [made.produce("t", 0, batch_of([b"b", b"c"])) for _ in range(3)]
            rd.test_fatal_error(made.handle.pointer, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, b"x")
            await until(lambda: made.fatal, "the fatal error is heard")
            await made.settle()
            for receipt in receipts:
                with pytest.raises(FatalProducerError, match="produce to t: test_fatal_error: x"):
                    await receipt
            with pytest.raises(FatalProducerError):
                await made.produce("t", 0, batch_of([b"d"]))
            cluster.set_up()

    with embedded() as cluster:
        run(main(cluster))
    assert [code for code, _ in owner.breaks] == [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER]


def test_the_buffer_lives_until_the_report_and_no_longer() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            await made.produce("t", 0, batch_of([b"a"]))
            cluster.set_rtt(1, 200)
            content = os.urandom(100_000)  # beyond message.copy.max.bytes: sent from our memory
            batch = batch_of([content, b"x" * 100])
            buffer = weakref.ref(batch.buffer)
            receipt = made.produce("t", 0, batch)
            del batch
            gc.collect()
            assert buffer() is not None
            await receipt
            gc.disable()  # no cycle may keep it: memory would wait for the collector
            try:
                await asyncio.sleep(0)
                assert buffer() is None
            finally:
                gc.enable()
            assert content is not None

    with embedded() as cluster:
        run(main(cluster))


def test_the_buffer_of_a_failed_batch_is_let_go() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            await made.produce("t", 0, batch_of([b"a"]))
            cluster.push_errors(API_PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
            batch = batch_of([b"b", b"c"])
            buffer = weakref.ref(batch.buffer)
            receipt = made.produce("t", 0, batch)
            del batch
            gc.disable()
            try:
                with pytest.raises(TopicError):
                    await receipt
                assert buffer() is None
            finally:
                gc.enable()

    with embedded() as cluster:
        run(main(cluster))


def test_closing_with_records_under_way_does_not_hang() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            await made.produce("t", 0, batch_of([b"a"]))
            cluster.set_down()
            receipt = made.produce("t", 0, batch_of([b"b"]))
            assert not await made.drain(0.2)
        assert not receipt.done()
        assert made.outstanding == 0

    with embedded() as cluster:
        run(main(cluster))


def test_drain_does_not_wait_for_linger() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, linger_ms="60000") as made:
            receipt = made.produce("t", 0, batch_of([b"a"]))
            assert await made.drain(20.0)
            assert receipt.result() == Settlement()
            assert await made.drain(0.0)

    with embedded() as cluster:
        run(main(cluster))


def test_a_cancelled_receipt_disturbs_nobody() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster) as made:
            receipt = made.produce("t", 0, batch_of([b"a"]))
            receipt.cancel()
            assert await made.produce("t", 0, batch_of([b"b"])) == Settlement()
            assert made.outstanding == 0

    with embedded() as cluster:
        run(main(cluster))
        assert values(consume(cluster.bootstrap, "t", 4, 2)) == [b"a", b"b"]


def test_a_full_queue_fails_the_rest_and_recovers() -> None:
    """Not with the defaults; but if it happens nothing is lost, and nothing is stuck."""

    async def main(cluster: EmbeddedCluster) -> None:
        async with producer(cluster, queue_buffering_max_messages="10", linger_ms="50") as made:
            with pytest.raises(ClusterError, match="QUEUE_FULL") as raised:
                await made.produce("t", 0, batch_of([b"%d" % n for n in range(25)]))
            assert raised.value.settled == 10
            assert await made.produce("t", 0, batch_of([b"after"])) == Settlement()

    with embedded() as cluster:
        run(main(cluster))
        expected = [b"%d" % n for n in range(10)] + [b"after"]
        assert values(consume(cluster.bootstrap, "t", 4, 11)) == expected


def test_without_descriptors_no_producer_is_made() -> None:
    async def main() -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            with pytest.raises(ClusterError, match="create producer: Too many open files"):
                ColumnarProducer({}, Remembering())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    run(main())


def test_wrong_properties_are_named() -> None:
    async def main(cluster: EmbeddedCluster) -> None:
        with pytest.raises(InputError, match=r"create producer: .*no\.such"):
            async with producer(cluster, no_such="1"):
                pass
        with pytest.raises(InputError, match=r"create producer: .*max\.in\.flight"):
            async with producer(cluster, max_in_flight="100"):
                pass

    with embedded() as cluster:
        run(main(cluster))
