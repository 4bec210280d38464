"""The memory budget: ceilings on the bytes of records under way, and fair waiting for room.

Owns who may take how much memory. A `Ceiling` bounds one thing (the agent, the shadows, a
cluster, a partition, one file's way to one destination); a batch is charged to all that apply,
or waits at the first that is full without holding anything of the others, so that a stalled
partition cannot keep memory from its neighbours. Waiters of one ceiling are served by rank, the
lowest first; among equals, first come, first served. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from heapq import heappop, heappush
from typing import Final

from singer.base.config import Priority

#: One (file, destination) never has more than this under way, whatever the budget: it bounds
#: what a kill -9 makes the agent send twice.
FILE_CEILING_BYTES: Final = 16 << 20
#: And this much of it while other files of its cluster have something under way: that is what their
#: lines wait for. Measured: half of it again halves what a distant broker is sent.
_SHARED_SHARE: Final = 0.5
#: Shares of the budget; the rest is room for the others when one of them is stuck.
_SHADOW_SHARE: Final = 0.25
_CLUSTER_SHARE: Final = 0.75
_PARTITION_SHARE: Final = 0.25
#: The partition of what goes to several. All of such a batch stays until its last record is
#: settled, so a stuck partition keeps it all: in room of its own, not in that of the others.
SEVERAL: Final = -1
#: What streams of low priority take together: the rest is room for the others at once.
_LOW_SHARE: Final = 0.5
#: What they take of a partition's ceiling, and beside it: what others send there meanwhile waits
#: until the broker took it.
_LOW_PARTITION_SHARE: Final = 0.25


class Ceiling:
    """At most `limit` bytes at a time. Something larger passes alone, else it never would."""

    __slots__ = ("_count", "_line", "limit", "used")

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.used = 0
        self._line: list[tuple[float, int, asyncio.Future[None], int]] = []
        self._count = 0

    def add(self, cost: int) -> None:
        """Charge `cost` bytes (negative: give back) without asking."""
        self.used += cost
        if cost < 0:
            self.call_next()

    def has_room(self, cost: int) -> bool:
        """Whether `cost` more bytes fit now."""
        return not self.used or self.used + cost <= self.limit

    def comes_after(self, rank: float) -> bool:
        """Whether somebody waits who comes before `rank`: then `rank` has to wait as well."""
        return bool(self._line) and self._line[0][0] <= rank

    async def wait(self, cost: int, rank: float) -> None:
        """Wait in line until there is room for `cost` bytes."""
        turn = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._line, (rank, self._count, turn, cost))
        try:
            await turn
        except asyncio.CancelledError:
            self.call_next()  # the turn was ours, or we stood in the way
            raise

    def call_next(self) -> None:
        """Let the first in line look, if it fits; nobody is called in vain."""
        while self._line:
            _, _, turn, cost = self._line[0]
            if not turn.done() and not self.has_room(cost):
                return
            heappop(self._line)
            if not turn.done():
                turn.set_result(None)
                return


def blocked(
    ceilings: Sequence[Ceiling], cost: int, rank: float, *, called: Ceiling | None = None
) -> Ceiling | None:
    """The first of `ceilings` at which `cost` bytes have to wait; None: all have room.

    `called`: the one whose line it was called from.
    """
    for ceiling in ceilings:
        if not ceiling.has_room(cost) or (ceiling is not called and ceiling.comes_after(rank)):
            return ceiling
    return None


async def acquire(ceilings: Sequence[Ceiling], cost: int, rank: float = 0.0) -> None:
    """Charge `cost` bytes to all of `ceilings`, as soon as all have room for it."""
    called: Ceiling | None = None
    while True:
        full = blocked(ceilings, cost, rank, called=called)
        if full is None:
            charge(ceilings, cost)
        if called is not None and called is not full:
            called.call_next()  # the next in line may fit beside us, or where we did not
        if full is None:
            return
        await full.wait(cost, rank)
        called = full


def charge(ceilings: Sequence[Ceiling], cost: int) -> None:
    """Add `cost` bytes (negative: give back) without asking."""
    for ceiling in ceilings:
        ceiling.add(cost)


class FileCeiling(Ceiling):
    """What one file's way to one destination may have under way: less when others are active."""

    __slots__ = ("_active", "_most")

    def __init__(self, most_bytes: int, active: set[FileCeiling]) -> None:
        """`active` holds those of the cluster that have something under way."""
        self._most = most_bytes
        self._active = active
        super().__init__(most_bytes)

    def add(self, cost: int) -> None:
        """Charge `cost` bytes (negative: give back) without asking."""
        if self.used + cost:
            self._active.add(self)
        else:
            self._active.discard(self)
        alone = len(self._active) <= (self in self._active)
        self.limit = self._most if alone else int(self._most * _SHARED_SHARE)
        super().add(cost)


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
        self._low = Ceiling(int(limit_bytes * _LOW_SHARE))
        share = _CLUSTER_SHARE if clusters > 1 else 1.0
        self._cluster_bytes = int(limit_bytes * share)
        self._clusters: dict[str, Ceiling] = {}
        self._partitions: dict[Hashable, Ceiling] = {}
        self._active: dict[str, set[FileCeiling]] = {}

    def destination(
        self, cluster: str, *, shadow: bool, priority: Priority = Priority.NORMAL
    ) -> tuple[Ceiling, ...]:
        """What every batch to this cluster is charged to."""
        ceilings = [self._clusters.setdefault(cluster, Ceiling(self._cluster_bytes))]
        if shadow:
            ceilings.append(self._shadows)
        if priority is Priority.LOW:
            ceilings.append(self._low)
        return (*ceilings, self.total)

    def partition(
        self, cluster: str, topic: str, partition: int, *, priority: Priority = Priority.NORMAL
    ) -> Ceiling:
        """What batches to this partition (SEVERAL: to more than one) are charged to as well."""
        low = priority is Priority.LOW
        key = (cluster, topic, partition, low)
        if key not in self._partitions:
            share = _PARTITION_SHARE * (_LOW_PARTITION_SHARE if low else 1.0)
            self._partitions[key] = Ceiling(int(self._cluster_bytes * share))
        return self._partitions[key]

    def file(self, cluster: str) -> Ceiling:
        """A ceiling for one (file, destination) of this cluster."""
        most_bytes = min(FILE_CEILING_BYTES, max(1, self.total.limit // 4))
        return FileCeiling(most_bytes, self._active.setdefault(cluster, set()))
