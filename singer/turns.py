"""Turns: whose window is read next, when more can be read than is read.

One loop serves all files, and a turn is one window read, framed and sent: a millisecond during
which nothing else happens. Turns are given one at a time, by start-time fair queueing (Goyal, Vin,
Cheng, SIGCOMM 1996). Each party has a mark on a common clock of bytes: where it stands. A turn
moves its mark on by what it read, divided by its weight; who stands furthest back comes next, and
the clock is where the last one stood that had a turn. Whoever was idle stands behind all who are
busy, so it comes next, and is moved up to the clock then: rest is not saved up.

`Order` decides and knows nothing of loops; `Turns` lets the others wait. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final

from singer.base.config import Priority

WEIGHTS: Final[Mapping[Priority, float]] = MappingProxyType(
    {Priority.HIGH: 4.0, Priority.NORMAL: 1.0, Priority.LOW: 0.25}
)
#: What a turn costs besides the bytes it reads: the time of about as many. Without it, a thousand
#: files with a line each would count for nothing.
TURN_BYTES: Final = 64 << 10


class Share:
    """One party. `nbytes` is what it read in the turn it has; it adds them up itself."""

    __slots__ = ("mark", "nbytes", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.mark = 0.0  #: where it stands, in bytes for its weight
        self.nbytes = 0


class Order:
    """Who is next. Each share asks at most once at a time."""

    __slots__ = ("_asked", "_count", "_line", "now")

    def __init__(self) -> None:
        self.now = 0.0  #: where the last share stood that had a turn
        self._line: list[tuple[float, int, Share]] = []
        self._asked: dict[Share, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, share: Share) -> None:
        """Stand in line."""
        self._count += 1  # among equals, first come first served
        self._asked[share] = self._count
        heappush(self._line, (share.mark, self._count, share))

    def withdraw(self, share: Share) -> None:
        """Leave the line, if it stands there."""
        self._asked.pop(share, None)

    def next(self) -> Share | None:
        """Take the next share out of the line."""
        while self._line:
            _, number, share = heappop(self._line)
            if self._asked.get(share) == number:
                del self._asked[share]
                return share
        return None

    def charge(self, share: Share, nbytes: int) -> None:
        """A turn of this share is over, in which it read so much."""
        self.now = max(self.now, share.mark)
        share.mark = self.now + (nbytes + TURN_BYTES) / share.weight


class Turns:
    """One turn at a time. Between `begin` and `end` a party must wait for nothing else.

    Between two turns the loop comes round: who just heard that its file grew asks in time for the
    next. Else all who are ready at once would have theirs before it.
    """

    def __init__(self) -> None:
        self._order = Order()
        self._free = True
        self._running: Share | None = None
        self._waiting: dict[Share, asyncio.Future[None]] = {}

    def share(self, priority: Priority) -> Share:
        """A new party."""
        return Share(WEIGHTS[priority])

    async def begin(self, share: Share) -> None:
        """Wait for a turn; nothing happens if `share` has it."""
        if self._running is share:
            return
        if self._free:  # then nobody waits
            self._free, self._running = False, share
            return
        self._order.ask(share)
        turn = self._waiting[share] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            self._order.withdraw(share)
            self._waiting.pop(share, None)
            self.end(share)  # it may have been given the turn meanwhile
            raise

    def end(self, share: Share) -> None:
        """Give the turn back; nothing happens if `share` does not have it.

        What reads nothing, because it has to wait first, costs nothing and keeps its place.
        """
        if self._running is not share:
            return
        self._running = None
        if share.nbytes:
            self._order.charge(share, share.nbytes)
            share.nbytes = 0
            asyncio.get_running_loop().call_soon(self._give)
        else:
            self._give()

    def _give(self) -> None:
        """Give the turn to whoever is next."""
        while (share := self._order.next()) is not None:
            turn = self._waiting.pop(share)
            if not turn.done():  # else it was cancelled, and has not heard of it yet
                self._running = share
                turn.set_result(None)
                return
        self._free = True
