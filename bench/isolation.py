"""A stream that is published twice: what the first destination notices of a fault of the second.

Two real brokers, each in a process of its own; the second behind a proxy, in all runs alike. Runs
with a fault are compared with the run of the same round in which the second is well, and that with
another one like it, which tells what a pair is worth.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from bench import measure, running, workspace
from bench.appending import Appended, latencies_ms
from bench.proxy import Way, proxy
from bench.workspace import LINE_BYTES
from tests.support.kafka_cluster import KafkaCluster, free_ports
from tests.support.lines import line

FILES: Final = 4
BYTES_PER_SECOND: Final = 5_000_000
PARTITIONS: Final = 6
#: To hold.
LEAST_RATE: Final = 0.95
MOST_P99_MS: Final = 2.0
MOST_P99_SHARE: Final = 0.10
#: So often something is appended, a few files in turn.
_EVERY_SECONDS: Final = 0.005
_WARM_UP_SECONDS: Final = 3.0
_FAULT_SECONDS: Final = 1.0
_FLAP_SECONDS: Final = 3.0
_DELIVER_SECONDS: Final = 60.0
_TOPIC: Final = "isolated"
_FORBIDDEN: Final = "forbidden"
_ONE_BROKER: Final = {
    "min.insync.replicas": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "auto.create.topics.enable": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the second destination: its topic, or `begin` with its proxy."""

    name: str
    topic: str = _TOPIC
    begin: Callable[[Way], None] = lambda _: None
    flaps: bool = False


WELL: Final = Fault(name="well")
FAULTS: Final = (
    Fault(name="well again"),
    Fault(name="down: connections are refused", begin=Way.down),
    Fault(name="slow: round trips of 200 ms", begin=lambda way: way.round_trip(200)),
    Fault(name="refuses: no right to write", topic=_FORBIDDEN),
    Fault(name="refuses: no such topic", topic="nowhere"),
    Fault(name="flaps: down and up every 3 s", flaps=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the first destination did."""

    bytes_per_second: float
    p50_ms: float
    p99_ms: float
    core_share: float  #: of the whole agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """One fault: pairs of a run while the second is well, and one while it is not."""

    fault: Fault
    pairs: tuple[tuple[Run, Run], ...]

    def median(self, of: Callable[[Run], float], *, faulty: bool) -> float:
        return statistics.median(of(pair[faulty]) for pair in self.pairs)

    @property
    def rate(self) -> float:
        """The median of what is left of the rate."""
        return statistics.median(
            fault.bytes_per_second / well.bytes_per_second for well, fault in self.pairs
        )

    @property
    def p99_more_ms(self) -> float:
        """The median of what the 99th percentile grew by."""
        return statistics.median(fault.p99_ms - well.p99_ms for well, fault in self.pairs)

    @property
    def holds(self) -> bool:
        well = self.median(lambda run: run.p99_ms, faulty=False)
        most = max(MOST_P99_MS, MOST_P99_SHARE * well)
        return self.rate >= LEAST_RATE and self.p99_more_ms <= most


def isolation(
    *, seconds: float, pairs: int, faults: Sequence[Fault] = FAULTS, shadow: bool = False
) -> list[Isolation]:
    """Measure. Raises RuntimeError."""
    found: dict[str, list[tuple[Run, Run]]] = {fault.name: [] for fault in faults}
    with _brokers() as (first, second, way):
        _run(first, second, way, WELL, seconds=_WARM_UP_SECONDS, shadow=shadow)  # JVMs are slow
        for _ in range(pairs):
            well = _run(first, second, way, WELL, seconds=seconds, shadow=shadow)
            for fault in faults:
                run = _run(first, second, way, fault, seconds=seconds, shadow=shadow)
                found[fault.name].append((well, run))
    return [Isolation(fault=fault, pairs=tuple(found[fault.name])) for fault in faults]


@contextmanager
def _brokers() -> Iterator[tuple[str, str, Way]]:
    """The addresses of both, and the way to the second."""
    with workspace.directory() as directory:
        (port,) = free_ports(1)
        clusters = [
            KafkaCluster(os.path.join(directory, "first"), brokers=1, properties=_ONE_BROKER),
            KafkaCluster(
                os.path.join(directory, "second"),
                brokers=1,
                properties={
                    **_ONE_BROKER,
                    "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
                    "authorizer.class.name": (
                        "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
                    ),
                    "allow.everyone.if.no.acl.found": "true",
                },
            ),
        ]
        target = int(clusters[1].bootstrap.rpartition(":")[2])
        try:
            with proxy(port, target) as way:
                for cluster in clusters:
                    cluster.start_all()
                    for topic in (_TOPIC, _FORBIDDEN):
                        cluster.create_topic(
                            topic, partitions=PARTITIONS, replication_factor=1, exact_name=True
                        )
                _forbid(clusters[1])
                yield clusters[0].bootstrap, f"127.0.0.1:{port}", way
        finally:
            for cluster in clusters:
                cluster.close()


def _forbid(cluster: KafkaCluster) -> None:
    binding = AclBinding(
        ResourceType.TOPIC,
        _FORBIDDEN,
        ResourcePatternType.LITERAL,
        "User:ANONYMOUS",
        "*",
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )
    cluster.admin.create_acls([binding])[binding].result(_DELIVER_SECONDS)


def _run(first: str, second: str, way: Way, fault: Fault, *, seconds: float, shadow: bool) -> Run:
    with workspace.directory() as work:
        paths = [os.path.join(work, f"app-{number}.log") for number in range(FILES)]
        for path in paths:
            with open(path, "xb"):
                pass
        publish = [
            {"name": "first", "cluster": "main", "topic": _TOPIC},
            {"name": "second", "cluster": "other", "topic": fault.topic, "shadow": shadow},
        ]
        config = workspace.agent_config(
            work,
            first,
            os.path.join(work, "app-*.log"),
            {"compression.type": "lz4"},
            stream={"publish": publish},
            more_clusters={
                "other": {"bootstrap": [second], "properties": {"compression.type": "lz4"}}
            },
        )
        ended = threading.Event()
        flapping = threading.Thread(target=_flap, args=(way, ended))
        with running.probed(config, work, destination="first", killed=True) as (process, progress):
            running.await_found(progress, paths, _DELIVER_SECONDS)
            writer = _Writer(paths)
            try:
                writer.write(_WARM_UP_SECONDS)
                fault.begin(way)
                if fault.flaps:
                    flapping.start()
                writer.write(_FAULT_SECONDS)
                cpu, begun = measure.cpu_ns(process.pid), time.monotonic_ns()
                appended = writer.write(seconds)
                cpu, over = measure.cpu_ns(process.pid) - cpu, time.monotonic_ns()
                running.await_ends(progress, writer.ends, _DELIVER_SECONDS)
            finally:
                writer.close()
                ended.set()
                if fault.flaps:
                    flapping.join()
                way.round_trip(0)
                way.up()
    sent = sum(progress.end_at(path, over) - progress.end_at(path, begun) for path in paths)
    taken = latencies_ms(appended, progress)
    return Run(
        bytes_per_second=sent / ((over - begun) / 1e9),
        p50_ms=measure.quantile(taken, 0.5),
        p99_ms=measure.quantile(taken, 0.99),
        core_share=cpu / (over - begun),
    )


def _flap(way: Way, ended: threading.Event) -> None:
    while True:
        way.down()
        if ended.wait(_FLAP_SECONDS):
            return
        way.up()
        if ended.wait(_FLAP_SECONDS):
            return


class _Writer:
    """Appends some lines at an even rate, to each file in turn."""

    def __init__(self, paths: list[str]) -> None:
        self.ends = dict.fromkeys(paths, 0)
        self._paths = paths
        self._files = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in paths]
        lines = int(BYTES_PER_SECOND * _EVERY_SECONDS / LINE_BYTES)
        self._blocks = [
            b"".join(line(n, k * lines + i, LINE_BYTES - 1) + b"\n" for i in range(lines))
            for n, k in ((n, k) for n in range(len(paths)) for k in range(50))
        ]
        self._every_seconds = lines * LINE_BYTES / BYTES_PER_SECOND
        self._count = 0

    def write(self, seconds: float) -> list[Appended]:
        """The last line of each append."""
        appended = []
        due = time.monotonic()
        ends = due + seconds
        while due < ends:
            number = self._count % len(self._files)
            block = self._blocks[self._count % len(self._blocks)]
            self._count += 1
            path = self._paths[number]
            self.ends[path] += len(block)
            appended.append(Appended(path=path, end=self.ends[path], moment_ns=time.monotonic_ns()))
            os.write(self._files[number], block)
            due += self._every_seconds
            time.sleep(max(0.0, due - time.monotonic()))
        return appended

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
