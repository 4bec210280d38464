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

    __slots__ = ("_line", "limit", "used")

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.used = 0
        self._line: deque[tuple[asyncio.Future[None], int]] = deque()

    def has_room(self, cost: int) -> bool:
        """Whether `cost` more bytes fit now."""
        return not self.used or self.used + cost <= self.limit

    @property
    def has_line(self) -> bool:
        """Whether somebody waits: who comes later has to wait as well."""
        return bool(self._line)

    async def wait(self, cost: int) -> None:
        """Wait in line until there is room for `cost` bytes."""
        turn = asyncio.get_running_loop().create_future()
        self._line.append((turn, cost))
        try:
            await turn
        except asyncio.CancelledError:
            self.call_next()  # the turn was ours, or we stood in the way
            raise

    def call_next(self) -> None:
        """Let the first in line look, if it fits; nobody is called in vain."""
        while self._line:
            turn, cost = self._line[0]
            if not turn.done() and not self.has_room(cost):
                return
            self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return


async def acquire(ceilings: Sequence[Ceiling], cost: int) -> None:
    """Charge `cost` bytes to all of `ceilings`, as soon as all have room for it."""
    called: Ceiling | None = None
    while True:
        full = None
        for ceiling in ceilings:
            if not ceiling.has_room(cost) or (ceiling.has_line and ceiling is not called):
                full = ceiling
                break
        if full is None:
            charge(ceilings, cost)
        if called is not None and called is not full:
            called.call_next()  # the next in line may fit beside us, or where we did not
        if full is None:
            return
        await full.wait(cost)
        called = full


def charge(ceilings: Sequence[Ceiling], cost: int) -> None:
    """Add `cost` bytes (negative: give back) without asking."""
    for ceiling in ceilings:
        ceiling.used += cost
        if cost < 0:
            ceiling.call_next()


class Room:
    """Bytes that were acquired for a while; others may have them while nothing comes of it."""

    __slots__ = ("_ceilings", "_cost", "_lent")

    def __init__(self, ceilings: Sequence[Ceiling], cost: int) -> None:
        self._ceilings = ceilings
        self._cost = cost
        self._lent = False

    def lend(self) -> None:
        """Give it back, for good or for now; again is allowed and changes nothing."""
        if not self._lent:
            self._lent = True
            charge(self._ceilings, -self._cost)

    def take_again(self) -> bool:
        """Whether it is ours: it was never lent, or all ceilings have room for it now."""
        if self._lent and all(ceiling.has_room(self._cost) for ceiling in self._ceilings):
            self._lent = False
            charge(self._ceilings, self._cost)
        return not self._lent


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
