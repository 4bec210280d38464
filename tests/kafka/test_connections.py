"""Connections: how many an agent holds, what it asks at rest, and what is told of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter

import pytest
from confluent_kafka import KafkaError

from singer.base.clock import SystemClock
from singer.base.config import (
    ClusterConfig,
    EmbeddedConfig,
    PartitionerConfig,
    PartitionerType,
    Seconds,
)
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.connections import ConnectionMeter, Connections
from singer.kafka.embedded import API_METADATA, API_PRODUCE, EmbeddedCluster
from singer.kafka.events import ConnectionsCounted
from singer.kafka.partitioners import BLOCK_BYTES
from singer.kafka.properties import settings
from singer.observe.counters import Counters
from singer.writers.kafka import KafkaWriter
from tests.kafka.support import batch_of, embedded, run, until

#: As many as a large cluster has; each leads one partition.
BROKERS = 200
#: Connections that are closed one after the other, on busy cores.
REST_SECONDS = 60.0
#: States of sockets, as the kernel writes them.
_ESTABLISHED, _LISTENING = "01", "0A"


def connections() -> int:
    """Connections between sockets of this process: to brokers, the controller's too."""
    ours = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            ours.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    with open("/proc/self/net/tcp", encoding="ascii") as table:
        rows = [row for row in map(str.split, table) if f"socket:[{row[9]}]" in ours]
    doors = {row[1] for row in rows if row[3] == _LISTENING}
    return sum(row[3] == _ESTABLISHED and row[2] in doors for row in rows)


def cluster_of(bootstrap: str, counters: Counters, **properties: str) -> KafkaCluster:
    given = {name.replace("_", "."): value for name, value in properties.items()}
    return KafkaCluster(
        ClusterConfig(name="main", properties=given),
        bootstrap=bootstrap,
        host="host",
        client_id="singer-test",
        zone=Zone(()),
        emit=counters,
        clock=SystemClock(),
    )


@pytest.mark.parametrize(
    ("config", "most"),
    [
        (PartitionerConfig(interval=Seconds(0.3)), 2),
        (PartitionerConfig(type=PartitionerType.FIXED, partitions=4), 5),
    ],
    ids=["sticky", "fixed 4"],
)
def test_at_rest_few_connections_are_held_and_nothing_is_asked(
    config: PartitionerConfig, most: int
) -> None:
    async def main(server: EmbeddedCluster) -> None:
        bootstrap = ",".join(server.bootstrap.split(",")[:3])
        cluster = cluster_of(bootstrap, Counters(), connections_max_idle_ms="1500")
        await cluster.start()
        try:
            writer = KafkaWriter(cluster, "t", config)
            await writer.ready()
            partitioner = writer.partitioner(7)
            used = set()
            for block in range(20):
                batch = batch_of([b"a"], offset=block * BLOCK_BYTES)
                partitioner.due()
                route = partitioner.assign(batch)
                used.add(route)
                await writer.send(batch, route)
                await asyncio.sleep(0.1)  # not for a result: for `sticky` to move on
            assert len(used) >= most - 1
            await until(lambda: connections() <= 1, "idle ones are closed")
            ends = time.monotonic() + REST_SECONDS
            while True:  # once for each that was closed it asks, and then no more
                server.track_requests()
                await asyncio.sleep(3.0)  # a rest, in which one is made anew
                asked = server.requests(API_METADATA)
                assert connections() <= most
                if not asked:
                    break
                assert time.monotonic() < ends, f"{asked} questions in 3 s, and no end"
        finally:
            await cluster.close()

    server = EmbeddedCluster(EmbeddedConfig(brokers=BROKERS, racks=(), partitions=BROKERS))
    try:
        server.create_topic("t")
        run(main(server))
    finally:
        server.close()


def test_the_one_connection_at_rest_is_renewed_by_each_host_at_another_time() -> None:
    idle = Counter(
        int(
            settings(
                ClusterConfig(name="main"),
                bootstrap="a:1",
                client_id=f"singer-{host}",
                agent_id=str(host),
            )["connections.max.idle.ms"]
        )
        // 5000
        for host in range(700)
    )
    assert set(idle) == set(range(62, 69))  # 310 to 345 s
    assert max(idle.values()) < 2 * min(idle.values())


def test_while_no_broker_answers_attempts_become_rare() -> None:
    async def main(server: EmbeddedCluster) -> None:
        cluster = cluster_of(server.bootstrap, Counters())
        await cluster.start()
        attempts = 0

        async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal attempts
            attempts += 1
            writer.close()

        try:
            await cluster.ready("t")
            await cluster.send("t", 0, batch_of([b"a"]))
            server.set_down()
            ports = [int(address.rsplit(":", 1)[1]) for address in server.bootstrap.split(",")]
            doors = [await asyncio.start_server(refuse, "127.0.0.1", port) for port in ports]
            receipt = cluster.send("t", 0, batch_of([b"b"]))
            await until(lambda: cluster.is_up is False, "the outage is told")
            await asyncio.sleep(3.0)  # not for a result: the first attempts come close together
            attempts = 0
            await asyncio.sleep(4.0)  # not for a result: an outage
            assert attempts <= 15  # left to librdkafka alone, 80
            for door in doors:
                door.close()
                await door.wait_closed()
            server.set_up()
            await receipt
            assert cluster.is_up
        finally:
            await cluster.close()

    server = EmbeddedCluster(EmbeddedConfig(brokers=3, racks=()))
    try:
        server.create_topic("t")
        run(main(server))
    finally:
        server.close()


def test_all_brokers_have_other_addresses_when_they_return() -> None:
    """They are found through the address of the configuration, which stays."""

    async def main(before: EmbeddedCluster, after: EmbeddedCluster) -> None:
        target = before.bootstrap

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            host, port = target.rsplit(":", 1)
            with contextlib.suppress(OSError):
                back, to = await asyncio.open_connection(host, int(port))
                await asyncio.gather(_copy(reader, to), _copy(back, writer))
            writer.close()

        door = await asyncio.start_server(forward, "127.0.0.1", 0)
        cluster = cluster_of(f"127.0.0.1:{door.sockets[0].getsockname()[1]}", Counters())
        await cluster.start()
        try:
            await cluster.ready("t")
            before.set_down()
            await until(lambda: cluster.is_up is False, "the outage is told")
            target = after.bootstrap
            await until(lambda: cluster.is_up, "they are found")
        finally:
            await cluster.close()
            door.close()

    with embedded() as before, embedded() as after:
        run(main(before, after))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def statistics(**brokers: tuple[str, int, int]) -> bytes:
    return json.dumps(
        {
            "brokers": {
                name: {"state": state, "connects": tried, "disconnects": ended}
                for name, (state, tried, ended) in brokers.items()
            }
        }
    ).encode()


def test_the_meter_tells_differences_and_forgets_brokers_that_are_gone() -> None:
    meter = ConnectionMeter()
    assert meter.read(statistics(a=("UP", 1, 0), b=("TRY_CONNECT", 3, 3))) == Connections(
        standing=1, tried=4, ended=3
    )
    assert meter.read(statistics(a=("DOWN", 1, 1), c=("UPDATE", 1, 0))) == Connections(
        standing=1, tried=1, ended=1
    )
    # Found again, b counts from its start; so does a, which was found again in between.
    assert meter.read(statistics(a=("UP", 1, 0), b=("INIT", 2, 2))) == Connections(
        standing=1, tried=3, ended=2
    )


def test_connections_are_counted() -> None:
    async def main(server: EmbeddedCluster) -> None:
        counters = Counters()
        cluster = cluster_of(server.bootstrap, counters, statistics_interval_ms="100")
        await cluster.start()
        try:
            await cluster.ready("t")
            await cluster.send("t", 0, batch_of([b"a"]))
            await until(
                lambda: counters.gauge("singer_connections") == connections() > 0,
                "those that stand are told",
            )
            assert counters.total("singer_connects_total") >= connections()
            assert counters.total("singer_tls_handshakes_total") == 0
            server.set_down()
            await until(lambda: counters.total("singer_disconnects_total"), "their end is told")
        finally:
            await cluster.close()

    server = EmbeddedCluster(EmbeddedConfig(brokers=3, racks=()))
    try:
        server.create_topic("t")
        run(main(server))
    finally:
        server.close()


def test_handshakes_are_counted_that_fail_as_well() -> None:
    async def main() -> None:
        counters = Counters()
        accepted: list[asyncio.StreamWriter] = []

        async def no_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(writer)
            writer.close()

        door = await asyncio.start_server(no_tls, "127.0.0.1", 0)
        port = door.sockets[0].getsockname()[1]
        cluster = cluster_of(
            f"127.0.0.1:{port}", counters, statistics_interval_ms="100", security_protocol="SSL"
        )
        await cluster.start()
        try:
            await until(
                lambda: counters.total("singer_tls_handshakes_total") >= 2, "they are counted"
            )
            assert accepted
        finally:
            await cluster.close()
            door.close()

    run(main())


def test_an_event_says_what_it_counts() -> None:
    event = ConnectionsCounted(cluster="main", standing=2, tried=3, ended=1, tls=True)
    assert event.message() == "cluster main: 2 connections, 3 tried, 1 ended"


def test_what_librdkafka_remedies_itself_is_counted_as_met_and_as_remedied() -> None:
    counters = Counters()

    def of(name: str, code: str) -> float:
        labels = (("class", "connection"), ("code", code))
        return counters.snapshot().get((name, labels), 0)

    async def main(brokers: EmbeddedCluster) -> None:
        cluster = cluster_of(brokers.bootstrap, counters, statistics_interval_ms="100")
        await cluster.start()
        try:
            await cluster.ready("t")
            await cluster.send("t", 0, batch_of([b"before"]))
            brokers.push_errors(API_PRODUCE, [KafkaError.NOT_ENOUGH_REPLICAS] * 2)
            await cluster.send("t", 0, batch_of([b"again and again"]))
            await until(lambda: of("delivery_errors_total", "retried") == 2, "retries are told")
            await cluster.send("t", 0, batch_of([b"behind"]))
            assert of("remedied_errors_total", "retried") == 2
            brokers.set_down()
            receipt = cluster.send("t", 0, batch_of([b"and again"]))
            met = counters.total("delivery_errors_total")
            await until(lambda: counters.total("delivery_errors_total") > met, "it is down")
            brokers.set_up()
            await receipt
            await until(
                lambda: (
                    counters.total("remedied_errors_total")
                    == counters.total("delivery_errors_total")
                ),
                "all of them are remedied",
            )
        finally:
            await cluster.close()

    with embedded(brokers=1) as brokers:
        run(main(brokers))
