"""Catching up: backlog goes to a cluster no faster than it may, and in an order.

After an outage every agent has a lot to send at once, to brokers that have just come back. What is
fresh does not stand in this line. Loop thread only.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import Final

from singer.base.config import CatchUpConfig, CatchUpOrder
from singer.base.ports import Clock
from singer.limit import Limit

#: A file with so much to be read has a backlog. Of an archive no more is known beforehand.
BACKLOG_BYTES: Final = 1 << 20
#: What may go at once after a pause, in seconds' worth.
_BURST_SECONDS: Final = 0.1


class CatchUp:
    """The line for one cluster."""

    def __init__(self, config: CatchUpConfig, clock: Clock) -> None:
        rate = config.max_bytes_per_second
        self._clock = clock
        self._limit = Limit(rate, max(1, int(rate * _BURST_SECONDS)), clock.monotonic())
        self._sign = 1 if config.order is CatchUpOrder.OLDEST_FIRST else -1
        self._line: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, written_ns: int, nbytes: int) -> None:
        """Return once so many bytes of a file that was last written to then may be read."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1  # among equals, first come first served
        heappush(self._line, (self._sign * written_ns, self._count, nbytes, future))
        self._serve()
        await future

    def _serve(self) -> None:
        """Let those go whose turn it is, and come back for the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._line:
            *_, nbytes, future = self._line[0]
            if future.done():  # nobody waits any more
                heappop(self._line)
                continue
            now = self._clock.monotonic()
            if wait := self._limit.wait(now):
                self._timer = asyncio.get_running_loop().call_later(wait, self._serve)
                return
            heappop(self._line)
            self._limit.spend(nbytes, now)
            future.set_result(None)
