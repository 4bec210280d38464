"""What librdkafka says it sent of each topic: as it came, and as it went out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from singer.base.clock import SystemClock
from singer.base.config import ClusterConfig
from singer.base.events import Event
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.events import Compressed
from singer.observe.counters import Counters
from tests.kafka.support import Bootstrapped, batch_of, embedded, run, until
from tests.support.lines import line

LINES = [line(1, number, 625) for number in range(1000)]
NBYTES = sum(map(len, LINES))
HEADS = 61 + 8  # of a batch, and more than those of a record


@contextlib.asynccontextmanager
async def measured(
    server: Bootstrapped, events: list[Event], counters: Counters, **properties: str
) -> AsyncIterator[KafkaCluster]:
    def emit(event: Event) -> None:
        events.append(event)
        counters(event)

    given = {name.replace("_", "."): value for name, value in properties.items()}
    cluster = KafkaCluster(
        ClusterConfig(
            name="main",
            properties={"statistics.interval.ms": "100", **given},
            allow_uncompressed="to compare",
        ),
        bootstrap=server.bootstrap,
        host="host",
        client_id="singer-test",
        zone=Zone(()),
        emit=emit,
        clock=SystemClock(),
    )
    await cluster.start()
    try:
        await cluster.ready("t")
        yield cluster
    finally:
        await cluster.close()


async def compressed(server: Bootstrapped, counters: Counters, **properties: str) -> Compressed:
    """What was sent of all lines in one batch."""
    events: list[Event] = []
    async with measured(server, events, counters, **properties) as cluster:
        cluster.published("t", "access", "main/t")
        await cluster.send("t", 1, batch_of(LINES))
        await until(lambda: any(isinstance(e, Compressed) for e in events), "it was measured")
        (told,) = [event for event in events if isinstance(event, Compressed)]
        return told


def test_every_byte_is_counted_before_and_after() -> None:
    async def main() -> None:
        with embedded() as server:
            plain = await compressed(server, Counters(), compression_type="none")
            assert (plain.records, plain.nbytes) == (1000, NBYTES)
            assert NBYTES < plain.sent_bytes < NBYTES + 1000 * HEADS
            counters = Counters()
            zstd = await compressed(server, counters)
            assert (zstd.records, zstd.nbytes) == (1000, NBYTES)
            assert zstd.ratio > 2.5
            labels = (("destination", "main/t"), ("stream", "access"), ("topic", "t"))
            assert counters.gauges()["singer_compression_ratio", labels] == zstd.ratio
            assert counters.gauges()["singer_batch_records", labels] == 1000 / zstd.batches
            assert counters.total("singer_sent_bytes_total") == zstd.sent_bytes
            assert counters.total("singer_sent_uncompressed_bytes_total") == NBYTES

    run(main())


def test_what_is_counted_from_the_start_is_told_in_parts() -> None:
    async def main() -> None:
        events: list[Event] = []
        counters = Counters()
        with embedded() as server:
            async with measured(server, events, counters) as cluster:
                for number in range(1, 4):
                    await cluster.send("t", number % 2, batch_of(LINES[:10]))
                    await until(
                        lambda: counters.total("singer_sent_records_total") >= 10 * number,  # noqa: B023
                        "it was measured",
                    )
        size = sum(map(len, LINES[:10]))
        told = [event for event in events if isinstance(event, Compressed)]
        assert [(event.records, event.nbytes) for event in told] == [(10, size)] * 3

    run(main())
