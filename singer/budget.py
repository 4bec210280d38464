"""The memory budget: ceilings on the bytes of records under way, and fair waiting for room.

Owns who may take how much memory. A `Ceiling` bounds one thing (the agent, the shadows, a
cluster, a partition, one file's way to one destination); a batch is charged to all that apply,
or waits at the first that is full without holding anything of the others, so that a stalled
partition cannot keep memory from its neighbours. Waiters of one ceiling are served first come,
first served. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Final

#: One (file, destination) never has more than this under way, whatever the budget: it bounds
#: what a kill -9 makes the agent send twice.
FILE_CEILING_BYTES: Final = 16 << 20
#: Shares of the budget; the rest is room for the others when one of them is stuck.
_SHADOW_SHARE: Final = 0.25
_CLUSTER_SHARE: Final = 0.75
_PARTITION_SHARE: Final = 0.25


class Ceiling:
    """At most `limit` bytes at a time. Something larger passes alone, else it never would."""

    __slots__ = ("_waiters", "limit", "used")

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.used = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def has_room(self, cost: int) -> bool:
        """Whether `cost` more bytes fit now."""
        return not self.used or self.used + cost <= self.limit

    async def wait(self) -> None:
        """Wait for a turn to look again."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake_one()  # the turn was ours already: pass it on
            raise

    def wake_one(self) -> None:
        """Give the next waiter a look, if there is any room at all."""
        while self._waiters and self.used < self.limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def has_room(ceilings: Sequence[Ceiling], cost: int) -> bool:
    """Whether `cost` bytes fit under all of `ceilings`."""
    return all(ceiling.has_room(cost) for ceiling in ceilings)


async def acquire(ceilings: Sequence[Ceiling], cost: int) -> None:
    """Charge `cost` bytes to all of `ceilings`, as soon as all have room for it."""
    woken: Ceiling | None = None
    while True:
        full = next((ceiling for ceiling in ceilings if not ceiling.has_room(cost)), None)
        if full is None:
            charge(ceilings, cost)
        if woken is not None:
            woken.wake_one()  # the next in line may fit where we did not, or beside us
        if full is None:
            return
        await full.wait()
        woken = full


def charge(ceilings: Sequence[Ceiling], cost: int) -> None:
    """Add `cost` bytes (negative: give back) without asking."""
    for ceiling in ceilings:
        ceiling.used += cost
        if cost < 0:
            ceiling.wake_one()


class Budget:
    """All ceilings of one agent."""

    def __init__(self, limit_bytes: int, *, clusters: int) -> None:
        self.total = Ceiling(limit_bytes)
        self._shadows = Ceiling(int(limit_bytes * _SHADOW_SHARE))
        share = _CLUSTER_SHARE if clusters > 1 else 1.0
        self._cluster_bytes = int(limit_bytes * share)
        self._clusters: dict[str, Ceiling] = {}
        self._partitions: dict[Hashable, Ceiling] = {}

    def destination(self, cluster: str, *, shadow: bool) -> tuple[Ceiling, ...]:
        """What every batch to this cluster is charged to."""
        ceiling = self._clusters.setdefault(cluster, Ceiling(self._cluster_bytes))
        return (ceiling, self._shadows, self.total) if shadow else (ceiling, self.total)

    def partition(self, cluster: str, topic: str, partition: int) -> Ceiling:
        """What batches to this partition are charged to as well."""
        key = (cluster, topic, partition)
        if key not in self._partitions:
            self._partitions[key] = Ceiling(int(self._cluster_bytes * _PARTITION_SHARE))
        return self._partitions[key]

    def file(self) -> Ceiling:
        """A ceiling for one (file, destination)."""
        return Ceiling(min(FILE_CEILING_BYTES, max(1, self.total.limit // 4)))
