"""A Kafka cluster in a process of its own.

`python -m bench.broker ROUND_TRIP_MS BROKERS PARTITIONS TOPIC...`; each broker has its own rack.

Prints its addresses and serves until it is killed. The embedded cluster keeps the last 5 MiB of
a partition, in memory: what is measured is the producer, not a disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import child

#: As in the measurements of other agents that the figures are compared with.
PARTITIONS = 6


@contextmanager
def broker(
    *topics: str, round_trip_ms: int = 0, brokers: int = 1, partitions: int = PARTITIONS
) -> Iterator[str]:
    """The addresses of a cluster with these topics, for as long as the context is open."""
    numbers = [str(number) for number in (round_trip_ms, brokers, partitions)]
    command = [sys.executable, "-m", "bench.broker", *numbers, *topics]
    process = child.spawn(command, output=subprocess.PIPE, errors=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        with process.stdout as output:
            bootstrap = output.readline().decode().strip()
            if not bootstrap:
                raise RuntimeError(f"start the broker: {' '.join(command)} printed no address")
            yield bootstrap
    finally:
        child.end(process)


def _serve(round_trip_ms: int, brokers: int, partitions: int, topics: list[str]) -> None:
    from singer.base.config import EmbeddedConfig  # noqa: PLC0415  (keeps the parent small)
    from singer.kafka.embedded import EmbeddedCluster  # noqa: PLC0415

    racks = tuple(f"zone-{number}" for number in range(1, brokers + 1))
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=brokers, racks=racks, partitions=partitions))
    for topic in topics:
        cluster.create_topic(topic)
    if round_trip_ms:
        cluster.set_rtt(-1, round_trip_ms)
    print(cluster.bootstrap, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    milliseconds, count, parts = map(int, sys.argv[1:4])
    _serve(milliseconds, count, parts, sys.argv[4:])
