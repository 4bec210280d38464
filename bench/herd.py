"""Many agents of one cluster: how their connections come back after an outage of all brokers.

The agents are the cluster side of as many, in one process; each has a producer of its own, a
record under way, and no other. The brokers are embedded.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from singer.base.backoff import Backoff
from singer.base.batch import RecordBatch
from singer.base.clock import SystemClock
from singer.base.config import ClusterConfig, EmbeddedConfig
from singer.base.errors import ClusterError
from singer.base.events import discard
from singer.base.zone import Zone
from singer.kafka.cluster import KafkaCluster
from singer.kafka.embedded import EmbeddedCluster

_TOPIC = "t"
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """When each agent's record arrived, in seconds after the brokers were back; ascending."""

    seconds: tuple[float, ...]

    def within(self, window_seconds: float) -> int:
        """The most agents that came back within so long of each other."""
        moments = np.array(self.seconds)
        ends = np.searchsorted(moments, moments + window_seconds, side="right")
        return int((ends - np.arange(len(moments))).max())


async def returns(*, agents: int, outage_seconds: float) -> Returns:
    """Let `agents` send, all brokers go and come back, and see when each is heard again."""
    server = EmbeddedCluster(EmbeddedConfig(brokers=3, racks=(), partitions=3))
    server.create_topic(_TOPIC)
    clusters = [_agent(server.bootstrap, number) for number in range(agents)]
    try:
        for cluster in clusters:
            await cluster.start()
        await asyncio.gather(*map(_ready, clusters))
        await asyncio.gather(*(cluster.send(_TOPIC, 0, _record()) for cluster in clusters))
        server.set_down()
        receipts = [cluster.send(_TOPIC, 0, _record()) for cluster in clusters]
        await asyncio.sleep(outage_seconds)
        server.set_up()
        begun = time.monotonic()
        moments: list[float] = []
        for receipt in receipts:
            receipt.add_done_callback(partial(_note, moments, begun))
        async with asyncio.timeout(_DEADLINE_SECONDS):
            await asyncio.gather(*receipts)
        await asyncio.sleep(0)
        return Returns(seconds=tuple(sorted(moments)))
    finally:
        await asyncio.gather(*(cluster.close() for cluster in clusters))
        server.close()


async def _ready(cluster: KafkaCluster) -> None:
    """As pipelines wait: all agents of a machine that start at once take their time."""
    backoff = Backoff(0.1, 30.0)
    while True:
        try:
            await cluster.ready(_TOPIC)
        except ClusterError:
            await asyncio.sleep(backoff.next())
        else:
            return


def _note(moments: list[float], begun: float, _: object) -> None:
    moments.append(time.monotonic() - begun)


def _agent(bootstrap: str, number: int) -> KafkaCluster:
    return KafkaCluster(
        ClusterConfig(name="main"),
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
