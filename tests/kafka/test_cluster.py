"""A cluster as the agent sees it: up, down, replaced, and its topics."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from confluent_kafka import KafkaError

from singer.base.clock import SystemClock
from singer.base.config import ClusterConfig, EmbeddedConfig, Secret
from singer.base.errors import (
    ClusterError,
    FatalProducerError,
    InputError,
    InvariantError,
    TopicError,
)
from singer.base.events import Event, InternalError
from singer.base.ports import Settlement
from singer.base.zone import Zone
from singer.kafka import librdkafka as rd
from singer.kafka.cluster import KafkaCluster
from singer.kafka.embedded import API_METADATA, API_PRODUCE, EmbeddedCluster
from singer.kafka.events import (
    ClientLeftBehind,
    ClientLog,
    ClusterDown,
    ClusterUp,
    CredentialsRenewed,
    LocalityFound,
    LocalityLost,
    ProducerBroken,
    ProducerNotReplaced,
    ProducerRetired,
    RequestRefused,
)
from tests.kafka.support import batch_of, consume, embedded, run, until, values

#: A certificate nobody has the key of any more.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUV7bg8YYvnRUejnAsBVn6S/h7D2gwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIwNzE3MDlaGA8yMTI2MTAyOTA3MTcw
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLnj
Zz2yUVQvu823eEUBzys/81NimD9BnkEI9EHOjmXKTL1p/l0xuUVVNlZaomf1wl1Y
ilYLJlLdo7UDae/9nB2jUzBRMB0GA1UdDgQWBBQZecYJOtqOy6KLEbCnebYX5OvZ
NjAfBgNVHSMEGDAWgBQZecYJOtqOy6KLEbCnebYX5OvZNjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCVvICSuD/aNezBgZyQLM2qPobnewHcUQvT
bQdFI01NhAIhALGlYvMrEWVXkuv1JGZE9SHw7IUEFu1p4J3YAmUVe7Yb
-----END CERTIFICATE-----
"""


class JumpingClock(SystemClock):
    """Real time that a test may push ahead, or stop with an error."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.fault: Exception | None = None

    def monotonic(self) -> float:
        if self.fault is not None:
            raise self.fault
        return super().monotonic() + self.ahead


class Harness:
    """A KafkaCluster with what it told."""

    def __init__(
        self,
        bootstrap: str,
        *,
        zones: tuple[str, ...] = (),
        properties: Mapping[str, str] | None = None,
        create: EmbeddedCluster | None = None,
    ) -> None:
        self.events: list[Event] = []
        self.clock = JumpingClock()
        self.cluster = KafkaCluster(
            ClusterConfig(name="main", properties=properties or {}),
            bootstrap=bootstrap,
            host="host",
            client_id="singer-test",
            zone=Zone(zones),
            emit=self.events.append,
            clock=self.clock,
            embedded=create,
        )

    def heard(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]


def break_producer(cluster: KafkaCluster) -> None:
    rd.test_fatal_error(cluster.producer.handle.pointer, 45, b"lost count")


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """Python can start no thread, as under a limit of processes."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


@contextlib.asynccontextmanager
async def started(harness: Harness) -> AsyncIterator[KafkaCluster]:
    await harness.cluster.start()
    try:
        yield harness.cluster
    finally:
        await harness.cluster.close()


def test_ready_send_drain() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
            assert cluster.topology("t").leaders.tolist() == [1, 2, 3, 1]
            receipts = [cluster.send("t", p, batch_of([b"%d" % p])) for p in range(4)]
            assert await cluster.drain(20.0)
            assert [receipt.result() for receipt in receipts] == [Settlement()] * 4
        assert next(type(e) for e in harness.events if not isinstance(e, ClientLog)) is ClusterUp
        assert not harness.heard(ClusterDown)

    with embedded(brokers=3) as server:
        run(main(server))
        assert len(consume(server.bootstrap, "t", 4, 4)) == 4


def test_a_cluster_that_is_not_there_is_told_once_and_does_not_hold_up_the_start() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        bootstrap = f"127.0.0.1:{taken.getsockname()[1]}"

        async def main() -> None:
            harness = Harness(bootstrap)
            before = time.monotonic()
            async with started(harness) as cluster:
                assert time.monotonic() - before < 1.0
                await until(lambda: harness.heard(ClusterDown), "the outage is told")
                (down,) = harness.heard(ClusterDown)
                assert f"connect to cluster main at {bootstrap}: " in down.message()
                assert "Connection refused" in down.message()
                receipt = cluster.send("t", 0, batch_of([b"a"]))
                await asyncio.sleep(2.0)  # librdkafka tries, and fails, several times
                assert len(harness.heard(ClusterDown)) == 1
                assert not receipt.done()
                closing = time.monotonic()
            assert time.monotonic() - closing < 8.0

        run(main())


def test_ready_gives_up_when_no_broker_answers() -> None:
    async def main() -> None:
        harness = Harness("127.0.0.1:1")
        async with started(harness) as cluster:
            with pytest.raises(ClusterError, match="describe topic t: "):
                await cluster.ready("t")

    run(main())


def test_down_and_up_again_are_each_told_once() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()
            for outages in (1, 2):
                server.set_down()
                receipt = cluster.send("t", 0, batch_of([b"b"]))
                await until(
                    lambda n=outages: len(harness.heard(ClusterDown)) == n, "the outage is told"
                )
                assert cluster.is_up is False
                server.set_up()
                assert await receipt == Settlement()
                assert cluster.is_up is True
                assert len(harness.heard(ClusterUp)) == outages + 1

    with embedded(brokers=2) as server:
        run(main(server))
        assert values(consume(server.bootstrap, "t", 4, 3)) == [b"a", b"b", b"b"]


def test_recovery_is_noticed_although_nothing_is_sent() -> None:
    async def main(server: EmbeddedCluster) -> None:
        server.set_down()
        harness = Harness(server.bootstrap)
        async with started(harness):
            await until(lambda: harness.heard(ClusterDown), "the outage is told")
            server.set_up()
            await until(lambda: harness.heard(ClusterUp), "the recovery is told")

    with embedded() as server:
        run(main(server))


def test_an_absent_topic_is_named_with_what_was_meant() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            with pytest.raises(TopicError) as raised:
                await cluster.ready("web.acess")
            assert str(raised.value) == (
                f"describe topic web.acess: it does not exist on main ({server.bootstrap}):"
                " create it, or correct topic in publish (did you mean web.access?)"
            )
            server.track_requests()
            for _ in range(20):  # twenty files that wait for the same topic
                with pytest.raises(TopicError, match=r"web\.access"):
                    await cluster.ready("web.acess")
            assert server.requests(API_METADATA) == 0
            await cluster.ready("web.access")
            server.create_topic("web.acess", 3)
            harness.clock.ahead += 10.0
            await cluster.ready("web.acess")
            assert len(cluster.topology("web.acess").leaders) == 3

    with embedded(topics=("web.access", "other")) as server:
        run(main(server))


def test_embedded_clusters_make_their_topics() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap, create=server)
        async with started(harness) as cluster:
            await asyncio.gather(*(cluster.ready("new") for _ in range(5)))
            assert cluster.topology("new").leaders.tolist() == [1, 2, 3, 1, 2, 3]
            assert await cluster.send("new", 5, batch_of([b"a"])) == Settlement()

    server = EmbeddedCluster(EmbeddedConfig())
    try:
        run(main(server))
    finally:
        server.close()


def test_a_topic_that_may_not_be_written_is_asked_for_again() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
            server.push_errors(API_PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
            with pytest.raises(TopicError, match="grant this client WRITE"):
                await cluster.send("t", 0, batch_of([b"a"]))
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()

    with embedded() as server:
        run(main(server))
        assert values(consume(server.bootstrap, "t", 4, 1)) == [b"a"]


def test_after_a_fatal_error_a_new_producer_goes_on() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()
            for round_number in range(2):
                broken = cluster.producer
                receipt = cluster.send("t", 0, batch_of([b"b"]))
                rd.test_fatal_error(broken.handle.pointer, 45, b"lost count")
                with contextlib.suppress(FatalProducerError):
                    await receipt  # it may just have been acknowledged
                await until(lambda old=broken: old.fatal, "the error is heard")
                with pytest.raises(FatalProducerError, match="lost count"):
                    await cluster.send("t", 0, batch_of([b"too early"]))
                await cluster.ready("t")
                assert cluster.producer is not broken
                assert await cluster.send("t", 1, batch_of([b"c"])) == Settlement()
                assert len(harness.heard(ProducerBroken)) == round_number + 1

    with embedded() as server:
        run(main(server))
        records = consume(server.bootstrap, "t", 4, 3)
    assert values(records, 1) == [b"c", b"c"]
    assert b"too early" not in values(records)


def test_a_producer_that_cannot_be_replaced_is_tried_again(tmp_path: pathlib.Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text(CERTIFICATE)
    properties = {"security.protocol": "ssl", "ssl.ca.location": str(certificate)}

    async def main() -> None:
        harness = Harness("127.0.0.1:1", properties=properties)
        async with started(harness) as cluster:
            broken = cluster.producer
            certificate.unlink()  # as while it is renewed
            break_producer(cluster)
            await until(lambda: len(harness.heard(ProducerNotReplaced)) > 1, "it is tried twice")
            first, *_ = harness.heard(ProducerNotReplaced)
            assert first.message().startswith("replace producer of cluster main: create producer: ")
            assert "correct the cluster's properties" in first.message()
            with pytest.raises(FatalProducerError, match="lost count"):
                await cluster.send("t", 0, batch_of([b"a"]))
            with pytest.raises(
                ClusterError, match=r"produce to t: create producer: ssl\.ca\.location"
            ):
                await cluster.ready("t")
            assert await cluster.drain(0.0)
            certificate.write_text(CERTIFICATE)
            await until(lambda: cluster.producer is not broken, "it is replaced")
            renewed = cluster.producer
            harness.clock.ahead += 200.0  # it lived long enough to count as sound
            break_producer(cluster)  # and a broken one is noticed again
            await until(lambda: cluster.producer is not renewed, "it is replaced again")
            assert len(harness.heard(ProducerBroken)) == 2

    run(main())


def test_close_ends_the_tries_to_replace_a_producer(tmp_path: pathlib.Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text(CERTIFICATE)
    properties = {"security.protocol": "ssl", "ssl.ca.location": str(certificate)}

    async def main() -> None:
        before = asyncio.all_tasks()
        harness = Harness("127.0.0.1:1", properties=properties)
        async with started(harness) as cluster:
            certificate.unlink()
            break_producer(cluster)
            await until(lambda: harness.heard(ProducerNotReplaced), "it is tried")
            waiting = asyncio.ensure_future(cluster.ready("t"))
            await asyncio.sleep(0)
        with pytest.raises(ClusterError):
            await waiting
        cluster.broken(45, "too late")
        cluster.trouble(-187, "too late")
        assert asyncio.all_tasks() == before

    run(main())


def test_a_changed_password_hands_over_in_order(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    properties = {"sasl.password": Secret("one", files=(str(file),), again=file.read_text)}

    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap, properties=properties)
        async with started(harness) as cluster:
            await cluster.ready("t")
            receipts = []
            for renewals in (1, 2):
                old = cluster.producer
                file.write_text("more" * renewals)
                while len(harness.heard(CredentialsRenewed)) < renewals:
                    line = b"%d" % len(receipts)
                    receipts.append(cluster.send("t", 0, batch_of([line])))
                    await asyncio.sleep(0.01)
                assert cluster.producer is not old
            assert await cluster.drain(20.0)
            assert {receipt.result() for receipt in receipts} == {Settlement()}
            count.append(len(receipts))
        assert not harness.heard(ClusterDown)

    count: list[int] = []
    with embedded() as server:
        run(main(server))
        arrived = values(consume(server.bootstrap, "t", 4, count[0]), 0)
    assert arrived == [b"%d" % n for n in range(count[0])]


def test_a_handover_while_nobody_answers_fails_what_waits(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "password"
    file.write_text("one")
    properties = {"sasl.password": Secret("one", files=(str(file),), again=file.read_text)}

    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap, properties=properties)
        async with started(harness) as cluster:
            await cluster.ready("t")
            server.set_down()
            receipt = cluster.send("t", 0, batch_of([b"lost"]))
            await until(lambda: harness.heard(ClusterDown), "the outage is told")
            file.write_text("other")
            with pytest.raises(ClusterError, match="produce to t: "):
                await receipt
            await until(lambda: harness.heard(CredentialsRenewed), "the new one is in use")
            server.set_up()
            assert await cluster.send("t", 0, batch_of([b"again"])) == Settlement()

    with embedded() as server:
        run(main(server))
        assert values(consume(server.bootstrap, "t", 4, 1))[-1] == b"again"


def test_without_threads_questions_fail_and_are_asked_again() -> None:
    async def main(server: EmbeddedCluster) -> None:
        server.set_down()
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await until(lambda: harness.heard(ClusterDown), "the outage is told")
            with no_threads():
                receipt = cluster.send("t", 0, batch_of([b"a"]))
                assert not await cluster.drain(2.0)  # longer than until the next probe
                with pytest.raises(ClusterError, match="start thread"):
                    await cluster.producer.handle.call("probe", lambda: None)
            server.set_up()
            await until(lambda: cluster.is_up, "the recovery is told")
            assert await receipt == Settlement()
            with no_threads():
                break_producer(cluster)
                await until(lambda: harness.heard(ClientLeftBehind), "the old one does not end")
            await until(lambda: cluster.producer.fatal is None, "it is replaced")
            await cluster.ready("t")
            assert await cluster.send("t", 1, batch_of([b"b"])) == Settlement()

    with embedded() as server:
        run(main(server))


def test_the_watch_survives_a_bug() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            topology = cluster.topology("t")
            await cluster.ready("t")
            harness.clock.fault = InvariantError("look: the clock is broken")
            await until(lambda: harness.heard(InternalError), "the bug is told")
            harness.clock.fault = None
            server.set_leader("t", 0, 2)
            await cluster.send("t", 1, batch_of([b"flowing"]))
            harness.clock.ahead += 400.0
            await until(lambda: topology.leaders[0] == 2, "the watch goes on")

    with embedded(brokers=2) as server:
        run(main(server))


def test_local_partitions_leave_and_return_with_their_leaders() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap, zones=("zone-b", "id-b"))
        async with started(harness) as cluster:
            topology = cluster.topology("t", local=True)
            await cluster.ready("t")
            assert topology.candidates(cluster.zone.names, local=True).partitions.tolist() == [1]
            assert len(harness.heard(LocalityFound)) == 1

            async def look() -> None:
                version = topology.version
                await cluster.send("t", 0, batch_of([b"flowing"]))
                harness.clock.ahead += 80.0
                await until(lambda: topology.version > version, "the move is noticed")

            server.set_leader("t", 1, 1)
            await look()
            candidates = topology.candidates(cluster.zone.names, local=True)
            assert candidates.partitions.tolist() == [0, 1, 2, 3]
            assert candidates.fallback
            (lost,) = harness.heard(LocalityLost)
            assert "zone-b, id-b; racks of the leaders: zone-a, zone-c" in lost.message()
            server.set_leader("t", 3, 2)
            await look()
            assert topology.candidates(cluster.zone.names, local=True).partitions.tolist() == [3]
            assert len(harness.heard(LocalityFound)) == 2
            assert len(harness.heard(LocalityLost)) == 1

    with embedded(brokers=3) as server:
        run(main(server))


def test_racks_of_brokers_that_lead_for_the_first_time_are_asked_for() -> None:
    async def main(server: EmbeddedCluster) -> None:
        server.set_leader("t", 0, 1)
        server.set_leader("t", 1, 1)
        harness = Harness(server.bootstrap, zones=("zone-b",))
        async with started(harness) as cluster:
            topology = cluster.topology("t", local=True)
            await cluster.ready("t")
            assert topology.candidates(cluster.zone.names, local=True).fallback
            server.set_leader("t", 1, 2)
            await cluster.send("t", 0, batch_of([b"flowing"]))
            harness.clock.ahead += 80.0
            await until(lambda: topology.racks.get(2) == "zone-b", "the rack is known")
            assert topology.candidates(cluster.zone.names, local=True).partitions.tolist() == [1]

    with embedded(brokers=2, partitions=2) as server:
        run(main(server))


def test_at_rest_nothing_is_asked() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            cluster.topology("t", local=True)
            await cluster.ready("t")
            await cluster.send("t", 0, batch_of([b"a"]))
            harness.clock.ahead += 400.0
            looked = cluster.topology("t")
            server.set_leader("t", 0, 2)
            await until(lambda: looked.leaders[0] == 2, "the last look while data flowed")
            server.track_requests()
            harness.clock.ahead += 3000.0
            await asyncio.sleep(2.5)  # two looks of the watch
            assert server.requests(API_METADATA) == 0

    with embedded(brokers=2) as server:
        run(main(server))


def test_a_partition_without_a_leader_is_noticed_while_data_flows() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            topology = cluster.topology("t")
            await cluster.ready("t")
            server.set_leader("t", 0, -1)
            await cluster.send("t", 1, batch_of([b"a"]))
            harness.clock.ahead += 400.0
            await until(lambda: topology.is_leaderless(0), "the loss of the leader is noticed")
            assert topology.candidates((), local=False).partitions.tolist() == [1, 2, 3]
            server.set_leader("t", 0, 1)
            await cluster.send("t", 1, batch_of([b"b"]))
            # No jump: a missing leader is looked for every few seconds, not every few minutes.
            await until(lambda: not topology.is_leaderless(0), "the new leader is noticed")

    with embedded() as server:
        run(main(server))


def test_a_leader_that_moved_from_a_dead_broker_is_noticed_while_records_wait() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            topology = cluster.topology("t")
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()
            server.set_down(1)
            receipt = cluster.send("t", 0, batch_of([b"b"]))
            await asyncio.sleep(1.0)  # not for a result: the broker is to be dead for a while
            assert not receipt.done()
            server.set_leader("t", 0, 2)
            await until(lambda: topology.leaders[0] == 2, "the new leader is noticed")
            assert await receipt == Settlement()
            assert not harness.heard(ClusterDown)  # one broker is not the cluster

    with embedded(brokers=2, partitions=2) as server:
        run(main(server))
        assert values(consume(server.bootstrap, "t", 2, 2)) == [b"a", b"b"]


def test_a_refused_request_is_told() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
            server.push_errors(API_PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
            assert await cluster.send("t", 0, batch_of([b"a", b"b"])) == Settlement()
            (refused,) = harness.heard(RequestRefused)
            assert "2 records are sent one by one" in refused.message()
            assert "batch.size" in refused.message()

    with embedded() as server:
        run(main(server))


def test_refused_properties_stop_the_start() -> None:
    with pytest.raises(InputError, match="acks must stay all"):
        Harness("127.0.0.1:1", properties={"acks": "0"})


def test_after_close_batches_fail() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness(server.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
        with pytest.raises(FatalProducerError, match="closed"):
            await cluster.send("t", 0, batch_of([b"a"]))
        assert await cluster.drain(1.0)
        await cluster.close()

    with embedded() as server:
        run(main(server))


# --- brokers that are elsewhere ---------------------------------------------------------------


def test_brokers_beside_those_of_before_are_made_known_to_the_living_producer() -> None:
    async def main(server: EmbeddedCluster) -> None:
        first, *others = server.bootstrap.split(",")
        harness = Harness("127.0.0.1:1," + first)
        async with started(harness) as cluster:
            await cluster.ready("t")
            before = cluster.producer
            cluster.relocate(",".join((first, *others)))
            cluster.relocate(",".join((first, *others)))
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()
            assert cluster.producer is before
        assert not harness.heard(ProducerRetired)

    with embedded(brokers=3) as server:
        run(main(server))


def test_another_cluster_gets_another_producer_and_what_was_under_way_fails_to_be_sent_again() -> (
    None
):
    async def main(old: EmbeddedCluster, new: EmbeddedCluster) -> None:
        harness = Harness(old.bootstrap)
        async with started(harness) as cluster:
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()
            old.set_down()
            receipt = cluster.send("t", 0, batch_of([b"b"]))
            await until(lambda: harness.heard(ClusterDown), "the outage is told")
            cluster.relocate(new.bootstrap)
            with pytest.raises(FatalProducerError, match="the brokers are at "):
                await receipt
            await cluster.ready("t")
            assert cluster.topology("t").leaders.tolist() == [1, 1]
            assert await cluster.send("t", 1, batch_of([b"b"])) == Settlement()
        (retired,) = harness.heard(ProducerRetired)
        assert new.bootstrap in retired.message()
        assert not harness.heard(ProducerBroken)
        assert [up.bootstrap for up in harness.heard(ClusterUp)] == [old.bootstrap, new.bootstrap]

    with embedded() as old, embedded(partitions=2) as new:
        run(main(old, new))
        assert values(consume(new.bootstrap, "t", 2, 1)) == [b"b"]


def test_a_cluster_that_is_up_is_left_once_what_is_under_way_has_arrived() -> None:
    async def main(old: EmbeddedCluster, new: EmbeddedCluster) -> None:
        harness = Harness(old.bootstrap, properties={"linger.ms": "500"})
        async with started(harness) as cluster:
            await cluster.ready("t")
            receipt = cluster.send("t", 0, batch_of([b"a"]))
            cluster.relocate(new.bootstrap)
            assert await receipt == Settlement()
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"b"])) == Settlement()

    with embedded() as old, embedded() as new:
        run(main(old, new))
        assert values(consume(old.bootstrap, "t", 4, 1)) == [b"a"]
        assert values(consume(new.bootstrap, "t", 4, 1)) == [b"b"]


def test_a_cluster_nobody_knows_a_broker_of_begins_when_one_is_named() -> None:
    async def main(server: EmbeddedCluster) -> None:
        harness = Harness("")
        async with started(harness) as cluster:
            cluster.relocate("")
            assert cluster.is_up is None
            cluster.relocate(server.bootstrap)
            await cluster.ready("t")
            assert await cluster.send("t", 0, batch_of([b"a"])) == Settlement()

    with embedded() as server:
        run(main(server))
