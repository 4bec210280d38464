"""Many agents of one cluster: what its brokers hear when all start at once, or come back at once.

The agents are the cluster side of as many, in a few processes; each has a producer of its own and
sends one record. The brokers are embedded, in one more process. Everything is on one machine, so
it is told how busy that was: what comes late because of it is no merit of the agents.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from singer.base.backoff import Backoff
from singer.base.batch import RecordBatch
from singer.base.clock import SystemClock
from singer.base.config import ClusterConfig, EmbeddedConfig
from singer.base.errors import ClusterError
from singer.base.events import discard
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.embedded import API_METADATA, API_PRODUCE, API_VERSIONS, EmbeddedCluster
from tests.support import child

#: What is told apart of what brokers are asked. Each connection to an embedded broker begins with
#: ApiVersions twice, because it does not know the version that is tried first.
KINDS: Final = {"ApiVersions": API_VERSIONS, "Metadata": API_METADATA, "Produce": API_PRODUCE}

_TOPIC: Final = "t"
_BROKERS: Final = 3
#: Between the order to start and the start: all processes have heard it by then.
_HEARD_SECONDS: Final = 0.5
_DEADLINE_SECONDS: Final = 180.0
_SAMPLE_SECONDS: Final = 0.1
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Herd:
    """Agents that start and return; `properties` are those of the cluster besides our defaults.

    `back` comes after an outage, towards whose end each agent tried to connect `tries_per_second`.
    """

    agents: int
    spread_seconds: float
    properties: Mapping[str, str]
    started: Rush
    back: Rush
    tries_per_second: float

    def by_chance(self, window_seconds: float) -> int:
        """The most that would start within so long if nothing but chance chose the moments."""
        rng = np.random.default_rng(1)
        draws = rng.uniform(0.0, self.spread_seconds, (99, self.agents))
        return int(np.median([_fullest(np.sort(draw), window_seconds)[1] for draw in draws]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rush:
    """What the brokers heard after something that all agents met at the same moment.

    `moments` has, by kind, the seconds since then, ascending; `busy` (seconds, share) how much of
    the machine's processors was taken in the time before each moment.
    """

    moments: dict[str, NDArray[np.float64]]
    busy: list[tuple[float, float]]

    def most(self, kind: str, window_seconds: float) -> int:
        """The most that came within so long."""
        return _fullest(self.moments[kind], window_seconds)[1]

    def busy_at_most(self, kind: str, window_seconds: float) -> float:
        """How busy the machine was, 0 to 1, when the most came."""
        begun, _ = _fullest(self.moments[kind], window_seconds)
        ended = begun + max(window_seconds, _SAMPLE_SECONDS) + _SAMPLE_SECONDS
        shares = [share for moment, share in self.busy if begun <= moment <= ended]
        return max(shares, default=0.0)


def _fullest(moments: NDArray[np.float64], window_seconds: float) -> tuple[float, int]:
    """When the most moments lie within so long, and how many."""
    if not len(moments):
        return 0.0, 0
    ends = np.searchsorted(moments, moments + window_seconds, side="right")
    counts = ends - np.arange(len(moments))
    return float(moments[counts.argmax()]), int(counts.max())


def herd(
    *,
    agents: int,
    processes: int,
    outage_seconds: float,
    spread_seconds: float,
    properties: Mapping[str, str] = _NOTHING,
) -> Herd:
    """Let all agents start, and return after an outage of all brokers. Raises RuntimeError."""
    with _brokers() as (brokers, bootstrap), _herd(agents, processes, bootstrap) as parts:
        _ask(brokers, "track")
        at = time.monotonic() + _HEARD_SECONDS
        with _busy(at) as busy:
            _tell(parts, (at, spread_seconds, dict(properties)))
        started = Rush(moments=_heard(brokers, at), busy=busy)
        _ask(brokers, "down")
        _tell(parts, "send")
        time.sleep(outage_seconds / 2)
        tries = _tries()
        time.sleep(outage_seconds / 2)
        tries = _tries() - tries
        _ask(brokers, "track")
        at = time.monotonic()
        with _busy(at) as busy:
            _ask(brokers, "up")
            _tell(parts, "wait")
        back = Rush(moments=_heard(brokers, at), busy=busy)
        return Herd(
            agents=agents,
            spread_seconds=spread_seconds,
            properties=properties,
            started=started,
            back=back,
            tries_per_second=tries / (outage_seconds / 2) / agents,
        )


# --- the brokers ---------------------------------------------------------------------------------


@contextmanager
def _brokers() -> Iterator[tuple[Connection, str]]:
    with _processes(()) as (pipe,):
        yield pipe, _answer(pipe)


def _serve(pipe: Connection) -> None:
    server = EmbeddedCluster(EmbeddedConfig(brokers=_BROKERS, racks=(), partitions=_BROKERS))
    server.create_topic(_TOPIC)
    acts = {"track": server.track_requests, "down": server.set_down, "up": server.set_up}
    pipe.send(server.bootstrap)
    while True:
        word = pipe.recv()
        pipe.send(server.request_log() if word == "log" else acts[word]())


def _heard(brokers: Connection, since: float) -> dict[str, NDArray[np.float64]]:
    log = _ask(brokers, "log")
    return {
        name: np.sort(np.array([moment - since for key, moment in log if key == kind]))
        for name, kind in KINDS.items()
    }


# --- the agents ----------------------------------------------------------------------------------


@contextmanager
def _herd(agents: int, processes: int, bootstrap: str) -> Iterator[list[Connection]]:
    with _processes(*((bootstrap, n, agents, processes) for n in range(processes))) as pipes:
        for pipe in pipes:
            _answer(pipe)
        yield pipes


async def _live(pipe: Connection, bootstrap: str, numbers: range) -> None:
    """Those with these numbers, from one word of the pipe to the next."""
    loop = asyncio.get_running_loop()
    clusters: list[KafkaCluster] = []

    async def hear(said: object = None) -> Any:
        pipe.send(said)
        return await loop.run_in_executor(None, pipe.recv)

    try:
        at, spread_seconds, properties = await hear()
        clusters += (_agent(bootstrap, number, properties) for number in numbers)
        await asyncio.sleep(at - time.monotonic())
        await asyncio.gather(*(_start(cluster, spread_seconds) for cluster in clusters))
        await hear()
        receipts = [_send(cluster) for cluster in clusters]
        await hear()
        await asyncio.gather(*receipts)
        pipe.send(None)
    finally:
        await asyncio.gather(*(cluster.close() for cluster in clusters))


async def _start(cluster: KafkaCluster, spread_seconds: float) -> None:
    """As an agent with something to send does."""
    await cluster.start(spread_seconds=spread_seconds)
    backoff = Backoff(0.1, 30.0)
    while True:
        try:
            await cluster.ready(_TOPIC)
        except ClusterError:
            await asyncio.sleep(backoff.next())
        else:
            await _send(cluster)
            return


def _send(cluster: KafkaCluster) -> asyncio.Future[Any]:
    return cluster.send(_TOPIC, hash(cluster.host) % _BROKERS, _record())


def _agent(bootstrap: str, number: int, properties: Mapping[str, str]) -> KafkaCluster:
    return KafkaCluster(
        ClusterConfig(name="main", properties=properties),
        bootstrap=bootstrap,
        host=f"host-{number}",
        client_id=f"singer-host-{number}",
        zone=Zone(()),
        emit=discard,
        clock=SystemClock(),
    )


def _record() -> RecordBatch:
    return RecordBatch(
        buffer=np.frombuffer(bytearray(b"a\n"), np.uint8),
        starts=np.zeros(1, np.int64),
        lengths=np.ones(1, np.int32),
        ends=np.full(1, 2, np.int64),
        span=(0, 2),
    )


# --- processes -----------------------------------------------------------------------------------


@contextmanager
def _processes(*arguments: tuple[object, ...]) -> Iterator[list[Connection]]:
    """A process of this module for each tuple of arguments, and the pipes to them."""
    with Listener(family="AF_UNIX", backlog=len(arguments)) as listener, ExitStack() as stack:
        pipes = []
        for given in arguments:
            words = [str(word) for word in (listener.address, *given)]
            command = [sys.executable, "-m", "bench.herd", *words]
            process = child.spawn(command, output=subprocess.DEVNULL, errors=subprocess.DEVNULL)
            stack.callback(child.end, process)
            pipes.append(stack.enter_context(listener.accept()))
        yield pipes


def _tell(pipes: list[Connection], words: object) -> None:
    """Say something to all, and wait for what all answer."""
    for pipe in pipes:
        pipe.send(words)
    for pipe in pipes:
        _answer(pipe)


def _ask(pipe: Connection, words: object) -> Any:
    pipe.send(words)
    return _answer(pipe)


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(_DEADLINE_SECONDS):
        raise RuntimeError(f"a process of the herd said nothing for {_DEADLINE_SECONDS:g} s")
    return pipe.recv()


# --- the machine ---------------------------------------------------------------------------------


@contextmanager
def _busy(since: float) -> Iterator[list[tuple[float, float]]]:
    """How much of all processors was taken, sampled for as long as the context is open."""
    samples: list[tuple[float, float]] = []
    ended = threading.Event()

    def sample() -> None:
        before = _ticks()
        while not ended.wait(_SAMPLE_SECONDS):
            now = _ticks()
            total, idle = now[0] - before[0], now[1] - before[1]
            if total:
                samples.append((time.monotonic() - since, 1 - idle / total))
            before = now

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _tries() -> int:
    """Attempts to connect of the whole machine since boot; not only ours."""
    with open("/proc/net/snmp", encoding="ascii") as file:
        names, values = (line.split() for line in file if line.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])


def _ticks() -> tuple[int, int]:
    """Of all processors since boot: all, and those in which nothing ran."""
    with open("/proc/stat", encoding="ascii") as file:
        numbers = [int(word) for word in file.readline().split()[1:9]]
    return sum(numbers), numbers[3] + numbers[4]


if __name__ == "__main__":
    with Client(sys.argv[1], family="AF_UNIX") as parent:
        if len(sys.argv) == 2:
            _serve(parent)
        else:
            asyncio.run(_live(parent, sys.argv[2], range(*map(int, sys.argv[3:]))))
