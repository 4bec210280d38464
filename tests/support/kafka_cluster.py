"""A real Apache Kafka: three KRaft brokers in three zones, as child processes.

Brokers are numbered 1 to 3; each is a controller too, so that any one of them may die. All
calls block, with a deadline, and belong to the main thread.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support import admin_requests, child
from tests.support.kafka_classpath import classpath
from tests.support.waiting import wait_until

Answer = TypeVar("Answer")

RACKS: Final = ("us-east-1a", "us-east-1b", "us-east-1c")
#: Three JVMs on two busy cores; usually about ten seconds.
START_SECONDS: Final = 120.0
#: A killed broker is noticed after `broker.session.timeout.ms`, then leaders move.
FAILOVER_SECONDS: Final = 60.0
_ADMIN_SECONDS: Final = 20.0
#: A broker that does not answer a client of the tests in this time is given up: it is paused.
_REQUEST_SECONDS: Final = 3.0
#: Any 16 bytes in base64; each cluster has its own directories, so one name serves all.
CLUSTER_ID: Final = "c2luZ2VyLXRlc3RzLTAwMQ"
#: Quick to start and small. The C1 compiler alone spares half of the start's CPU.
JVM: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class KafkaCluster:
    """Three brokers, or fewer; `start_all` and `close` frame its life."""

    def __init__(
        self,
        directory: str,
        *,
        brokers: int = len(RACKS),
        properties: Mapping[str, object] | None = None,
    ) -> None:
        """`properties` are of the brokers, above those of here."""
        self.directory = directory
        self._given = dict(properties or {})
        self._size = brokers
        self._ports = free_ports(2 * brokers)
        self._brokers: dict[int, subprocess.Popen[bytes]] = {}
        self._admin: AdminClient | None = None
        self._made: set[str] = set()
        self._names = itertools.count(1)

    # --- life ---------------------------------------------------------------------------

    @property
    def broker_ids(self) -> range:
        return range(1, self._size + 1)

    @property
    def bootstrap(self) -> str:
        """`host:port` of all brokers, comma separated."""
        return ",".join(f"127.0.0.1:{self._port(broker)}" for broker in self.broker_ids)

    def start_all(self) -> None:
        """Format, start, and wait until all brokers are in the cluster and topics can be made."""
        for broker in self.broker_ids:
            os.makedirs(self.data(broker))
        self._format(*self.broker_ids)
        for broker in self.broker_ids:
            self._spawn(broker)
        for broker in self.broker_ids:
            self._await_member(broker)
        probe = self.create_topic("probe", partitions=1, replication_factor=self._size)
        wait_until(
            lambda: len(self.replicas_in_sync(probe).get(0, ())) == self._size,
            START_SECONDS,
            self._tails,
        )

    def close(self) -> None:
        """End every broker. Their data is of no use any more, so nobody waits for a clean stop."""
        self._admin = None
        for process in self._brokers.values():
            process.kill()
        for process in self._brokers.values():
            process.wait(_ADMIN_SECONDS)
        self._brokers.clear()

    def start(self, broker: int) -> None:
        """Start a broker that was stopped or killed; back when it is in sync again."""
        assert self._brokers[broker].poll() is not None, f"broker {broker} still runs"
        self._spawn(broker)
        self._await_member(broker)

    def start_empty(self, broker: int) -> None:
        """Start a broker that is down with the same id, nothing on its disk and another port.

        Back when it is a member; its replicas are still to be copied. `data` may be a mount.
        """
        assert self._brokers[broker].poll() is not None, f"broker {broker} still runs"
        for name in os.listdir(self.data(broker)):
            path = os.path.join(self.data(broker), name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        (self._ports[2 * (broker - 1)],) = free_ports(1)
        self._format(broker)
        self.start(broker)

    def stop(self, broker: int) -> None:
        """SIGTERM: the broker hands its leaders over and goes."""
        child.end(self._brokers[broker], FAILOVER_SECONDS)

    def kill(self, broker: int) -> None:
        """SIGKILL: the broker is gone at once, and its leaders only when that is noticed."""
        self._brokers[broker].kill()
        self._brokers[broker].wait(_ADMIN_SECONDS)

    def pause(self, broker: int) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._brokers[broker].send_signal(signal.SIGSTOP)

    def resume(self, broker: int) -> None:
        """SIGCONT after `pause`."""
        self._brokers[broker].send_signal(signal.SIGCONT)

    def pid(self, broker: int) -> int:
        return self._brokers[broker].pid

    def await_end(self, broker: int) -> None:
        """Wait until a broker that lost its disk has ended by itself."""
        self._brokers[broker].wait(FAILOVER_SECONDS)

    def heal(self) -> None:
        """Bring back whatever a test left paused or down: the next one starts with three."""
        for broker, process in self._brokers.items():
            if process.poll() is None:
                self.resume(broker)
            else:
                self.start(broker)

    # --- topics -------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """A topic name nobody else uses: all tests share one cluster."""
        return f"{name}-{next(self._names)}"

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 3,
        replication_factor: int = 3,
        assignment: Sequence[Sequence[int]] | None = None,
        configs: Mapping[str, str] | None = None,
        exact_name: bool = False,
    ) -> str:
        """Create a topic and wait until every partition has a leader; its name (see `unique`).

        Leaders are dealt in turn: partition p is led by broker `p % 3 + 1`. `assignment` names the
        brokers of each partition instead, its leader first.
        """
        topic = name if exact_name else self.unique(name)
        brokers = list(self.broker_ids)
        placed = assignment or [
            [brokers[(p + r) % len(brokers)] for r in range(replication_factor)]
            for p in range(partitions)
        ]
        new = NewTopic(
            topic,
            num_partitions=len(placed),
            replica_assignment=[list(each) for each in placed],
            config=dict(configs or {}),
        )
        self._ask(self.admin.create_topics([new], request_timeout=_ADMIN_SECONDS)[topic])
        self._made.add(topic)
        wait_until(
            lambda: self.leaders(topic) == {p: each[0] for p, each in enumerate(placed)},
            _ADMIN_SECONDS,
            lambda: f"topic {topic} has its leaders: {self.leaders(topic)}",
        )
        return topic

    def leaders(self, topic: str) -> dict[int, int | None]:
        """Per partition the broker that leads it; None for none. Empty: there is no topic."""
        return {p.id: None if p.leader < 0 else p.leader for p in self._partitions(topic)}

    def replicas_in_sync(self, topic: str) -> dict[int, list[int]]:
        """Per partition the brokers that have everything."""
        return {p.id: list(p.isrs) for p in self._partitions(topic)}

    def replicas(self, topic: str) -> dict[int, list[int]]:
        """Per partition the brokers that shall have it, the preferred leader first."""
        return {p.id: list(p.replicas) for p in self._partitions(topic)}

    def racks(self) -> dict[int, str]:
        """The zone of each broker that is up."""
        nodes = self._ask(self.admin.describe_cluster(request_timeout=_ADMIN_SECONDS)).nodes
        return {node.id: node.rack for node in nodes}

    def move_leaders(self, topic: str, broker: int) -> None:
        """Make `broker` the leader of all partitions while all brokers stay up."""

        def in_order() -> bool:
            # What a broker says first may lack what the controller has by now: asked for anew.
            there = self.replicas(topic)
            wanted = {
                partition: [broker, *(other for other in brokers if other != broker)]
                for partition, brokers in there.items()
            }
            if there != wanted:
                admin_requests.reassign(self._port(broker), topic, wanted)
            return there == wanted

        wait_until(in_order, FAILOVER_SECONDS, f"the replicas of {topic} are in the new order")
        self.elect_preferred(topic)
        wait_until(
            lambda: set(self.leaders(topic).values()) == {broker},
            FAILOVER_SECONDS,
            lambda: f"broker {broker} leads {topic}: {self.leaders(topic)}",
        )

    def elect_preferred(self, topic: str) -> None:
        """Ask that each partition be led by the first of its replicas, where that is in sync."""
        running = next(b for b, process in self._brokers.items() if process.poll() is None)
        admin_requests.elect_preferred(self._port(running), topic, self.leaders(topic))

    def tool(self, main_class: str, *arguments: str) -> str:
        """Run one of Kafka's own command line tools against this cluster; what it prints."""
        command = self._java(main_class, "--bootstrap-server", self.bootstrap, *arguments)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        assert done.returncode == 0, f"{main_class}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Per partition the offset after the last record."""
        consumer = Consumer({**self.client_properties(), "group.id": "end-offsets"})
        try:
            return {
                p: consumer.get_watermark_offsets(
                    TopicPartition(topic, p), timeout=_ADMIN_SECONDS, cached=False
                )[1]
                for p in self.leaders(topic)
            }
        finally:
            consumer.close()

    # --- parts --------------------------------------------------------------------------

    def data(self, broker: int) -> str:
        """The directory that is the broker's disk."""
        return self._path(broker, "data")

    @property
    def admin(self) -> AdminClient:
        """One for the cluster's life: a client that is collected fails what it was asked."""
        if self._admin is None:
            self._admin = AdminClient(self.client_properties())
        return self._admin

    def client_properties(self) -> dict[str, Any]:
        """For clients of the tests. Their complaints about brokers we killed are not shown."""
        return {
            "bootstrap.servers": self.bootstrap,
            "allow.auto.create.topics": False,  # to ask for a topic is not to make it
            "socket.timeout.ms": int(_REQUEST_SECONDS * 1000),
            "log_level": 0,
            "error_cb": _ignore,
        }

    def _port(self, broker: int) -> int:
        return self._ports[2 * (broker - 1)]

    def _controller_port(self, broker: int) -> int:
        return self._ports[2 * (broker - 1) + 1]

    def _path(self, broker: int, name: str) -> str:
        return os.path.join(self.directory, f"broker-{broker}", name)

    def _java(self, *arguments: str) -> list[str]:
        return ["java", *JVM, "-cp", classpath(), *arguments]

    def _format(self, *brokers: int) -> None:
        processes = []
        for broker in brokers:
            with open(self._path(broker, "server.properties"), "w", encoding="utf-8") as file:
                file.write(self._properties(broker))
            command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID)
            command += ["-c", self._path(broker, "server.properties")]
            with open(self._path(broker, "format.log"), "wb") as log:
                processes.append(child.spawn(command, output=log))
        for broker, process in zip(brokers, processes, strict=True):
            try:
                status = process.wait(START_SECONDS)
            finally:
                process.kill()
            said = self._path(broker, "format.log")
            assert status == 0, f"format the storage of broker {broker}:\n{child.tail(said)}"

    def _properties(self, broker: int) -> str:
        voters = ",".join(f"{b}@127.0.0.1:{self._controller_port(b)}" for b in self.broker_ids)
        listeners = (
            f"PLAINTEXT://127.0.0.1:{self._port(broker)},"
            f"CONTROLLER://127.0.0.1:{self._controller_port(broker)}"
        )
        return "\n".join(
            f"{key}={value}"
            for key, value in {
                "process.roles": "broker,controller",
                "node.id": broker,
                "broker.rack": RACKS[broker - 1],
                "controller.quorum.voters": voters,
                "listeners": listeners,
                "controller.listener.names": "CONTROLLER",
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
                "log.dirs": self.data(broker),
                # As Kafka comes, and as many clusters are run: whoever asks for a topic makes it.
                "auto.create.topics.enable": "true",
                "auto.leader.rebalance.enable": "false",  # leaders move when a test says so
                "min.insync.replicas": 2,
                "offsets.topic.num.partitions": 1,
                "offsets.topic.replication.factor": 3,
                "transaction.state.log.num.partitions": 1,
                "transaction.state.log.replication.factor": 3,
                "transaction.state.log.min.isr": 2,
                "group.initial.rebalance.delay.ms": 0,
                "broker.session.timeout.ms": 6000,
                "broker.heartbeat.interval.ms": 1000,
                "num.network.threads": 2,
                "num.io.threads": 2,
                "log.cleaner.dedupe.buffer.size": 2 << 20,
                **self._given,
            }.items()
        )

    def _spawn(self, broker: int) -> None:
        command = self._java("kafka.Kafka", self._path(broker, "server.properties"))
        with open(self._path(broker, "broker.log"), "ab") as log:
            self._brokers[broker] = child.spawn(command, output=log, cwd=self.data(broker))

    def _await_member(self, broker: int) -> None:
        def member() -> bool:
            assert self._brokers[broker].poll() is None, f"broker {broker} ended:\n{self._tails()}"
            try:
                return broker in self.racks()
            except KafkaException:
                return False

        wait_until(member, START_SECONDS, lambda: f"broker {broker} is up:\n{self._tails()}")

    def _tails(self) -> str:
        return "\n".join(
            f"--- broker {broker}\n{child.tail(self._path(broker, 'broker.log'))}"
            for broker in self.broker_ids
        )

    def _partitions(self, topic: str) -> Sequence[Any]:
        """The cluster's ordinary metadata. Not `describe_topics`: that asks the controller,
        and while the client still takes a dead broker for it, it fails for many seconds.
        """

        def listed() -> tuple[Sequence[Any]] | None:
            try:
                metadata = self.admin.list_topics(topic, timeout=_REQUEST_SECONDS)
            except KafkaException:  # a broker that is paused or has just gone was asked
                return None
            partitions = list(metadata.topics[topic].partitions.values())
            # Brokers hear of a topic one after the other.
            return None if not partitions and topic in self._made else (partitions,)

        (partitions,) = wait_until(listed, FAILOVER_SECONDS, f"some broker knows {topic}")
        return partitions

    @staticmethod
    def _ask(future: Future[Any]) -> Any:
        return future.result(_ADMIN_SECONDS + 5.0)


def _ignore(error: object) -> None:
    """Brokers are down because tests take them down."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens at, below the range from which the kernel serves outgoing
    connections: one of those could take the port of a broker that is down for a while.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        ceiling = int(file.read().split()[0])
    candidates = list(range(max(1024, ceiling - 12_000), ceiling))
    random.Random(uuid.uuid4().int).shuffle(candidates)
    free = []
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise AssertionError(f"find {count} free ports below {ceiling}: only {len(free)}")
