"""Many agents at once: they do not knock together, and not often while nobody opens."""

from __future__ import annotations

import asyncio

from bench.herd import herd
from singer.base.clock import SystemClock
from singer.base.config import ClusterConfig
from singer.base.events import Event
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.events import ClientLog
from singer.kafka.properties import settings
from tests.kafka.support import batch_of, embedded, run

_WATCHED_SECONDS = 3.0


def test_agents_neither_start_nor_return_together() -> None:
    result = herd(agents=40, processes=1, outage_seconds=5.0, spread_seconds=2.0)
    assert len(result.started.moments["Produce"]) >= 40
    assert result.started.most("Produce", 0.5) <= 28, result.started  # without a spread: all
    assert len(result.back.moments["Produce"]) >= 40
    assert result.back.most("Produce", 1.0) <= 28, result.back  # left to librdkafka alone: all


def test_a_longest_back_off_below_our_shortest_is_taken() -> None:
    config = ClusterConfig(name="main", properties={"reconnect.backoff.max.ms": "500"})
    made = settings(config, bootstrap="b:1", client_id="c", agent_id="a")
    assert made["reconnect.backoff.max.ms"] == "500"
    assert "reconnect.backoff.ms" not in made


def test_brokers_that_are_gone_are_tried_rarely() -> None:
    """Whatever is under way, and whoever has questions."""
    attempts = 0

    def emit(event: Event) -> None:
        nonlocal attempts
        attempts += isinstance(event, ClientLog) and "Connecting to" in event.text

    async def main() -> int:
        nonlocal attempts
        with embedded(brokers=3) as server:
            cluster = KafkaCluster(
                ClusterConfig(name="main", properties={"debug": "broker"}),
                bootstrap=server.bootstrap,
                host="host-1",
                client_id="singer-host-1",
                zone=Zone(()),
                emit=emit,
                clock=SystemClock(),
            )
            await cluster.start()
            try:
                await cluster.ready("t")
                await cluster.send("t", 0, batch_of([b"a"]))
                server.set_down()
                cluster.send("t", 0, batch_of([b"b"]))
                await asyncio.sleep(2.0)
                attempts = 0
                await asyncio.sleep(_WATCHED_SECONDS)
                return attempts
            finally:
                await cluster.close()

    # librdkafka's own back-off, with somebody who waits for an answer: 20 a second.
    assert 1 <= run(main()) <= 4 * _WATCHED_SECONDS
