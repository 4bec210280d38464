"""Streams beside one whose broker is slow or gone: what is left of the rate they had before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from bench import running, workspace
from bench.running import Progress
from singer.base.config import EmbeddedConfig
from singer.kafka.embedded import EmbeddedCluster
from tests.support import child

_WARM_UP_SECONDS: Final = 3.0
_DELIVER_SECONDS: Final = 60.0
#: Far below what the machine can send, so that only waiting for the other broker could lower it.
_BYTES_PER_SECOND: Final = 4 << 20
#: Broker 1 leads the first topic, whose stream has the fault; 2 and 3 the others.
_BROKERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The rate of the other streams, all together, before and during a fault of one broker."""

    name: str
    before_bytes_per_second: float
    during_bytes_per_second: float

    @property
    def kept(self) -> float:
        """The share of the rate that is left."""
        return self.during_bytes_per_second / self.before_bytes_per_second


def faults(seconds: float) -> list[Fault]:
    """Measure each fault for so long. Raises RuntimeError."""
    return [
        _measure("takes 2 s for each request", seconds, round_trip_ms=2000),
        _measure("is gone", seconds, round_trip_ms=None),
    ]


def _measure(name: str, seconds: float, *, round_trip_ms: int | None) -> Fault:
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=_BROKERS))
    try:
        with workspace.directory() as work:
            paths = [os.path.join(work, f"{number}.log") for number in range(_BROKERS)]
            streams = []
            for number, path in enumerate(paths):
                with open(path, "xb"):
                    pass
                topic = f"faults-{number}"
                cluster.create_topic(topic, 1)
                cluster.set_leader(topic, 0, 1 + number)
                publish = [{"cluster": "main", "topic": topic}]
                streams.append({"name": topic, "paths": [path], "publish": publish})
            config = workspace.agent_config(
                work, cluster.bootstrap, os.path.join(work, "none"), {}, more_streams=streams
            )
            with running.probed(config, work) as (_, progress):
                writer = _write(paths, 2 * seconds + 3 * _WARM_UP_SECONDS)
                try:
                    running.await_delivered(progress, paths, _DELIVER_SECONDS)
                    time.sleep(_WARM_UP_SECONDS)
                    before = _interval(seconds)
                    if round_trip_ms is None:
                        cluster.set_down(1)
                    else:
                        cluster.set_rtt(1, round_trip_ms)
                    during = _interval(seconds)
                finally:
                    child.end(writer)
                    cluster.set_rtt(1, 0)
                    cluster.set_up(1)
            return Fault(
                name=name,
                before_bytes_per_second=_rate(progress, paths[1:], before),
                during_bytes_per_second=_rate(progress, paths[1:], during),
            )
    finally:
        cluster.close()


def _interval(seconds: float) -> tuple[int, int]:
    begun = time.monotonic_ns()
    time.sleep(seconds)
    return begun, time.monotonic_ns()


def _write(paths: list[str], seconds: float) -> subprocess.Popen[bytes]:
    rate = len(paths) * _BYTES_PER_SECOND
    command = [sys.executable, "-m", "bench.firehose", str(rate), f"{seconds:g}", *paths]
    return child.spawn(command, output=subprocess.DEVNULL)


def _rate(progress: Progress, paths: list[str], interval: tuple[int, int]) -> float:
    begun, ended = interval
    sent = sum(progress.end_at(path, ended) - progress.end_at(path, begun) for path in paths)
    return sent / ((ended - begun) / 1e9)
