"""Poller: timers for files whose growth nobody reports. Reads nothing; loop thread only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, TypeVar

#: The first look at a file, and the pace of one that does not grow.
POLL_SECONDS: Final = (0.01, 1.0)
#: All files together are looked at this often at most: 1000 looks cost about 5 % of a core.
_POLLS_PER_SECOND: Final = 1000.0

_Party = TypeVar("_Party")


@dataclass(slots=True, eq=False)
class _Pace:
    interval_seconds: float
    size: int
    timer: asyncio.TimerHandle | None = None


class Poller:
    """Calls back once per `start`, the later the longer a file has not changed its size."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._paces: dict[Hashable, _Pace] = {}

    def __len__(self) -> int:
        return len(self._paces)

    def start(
        self, key: Hashable, size: int, callback: Callable[[_Party], object], party: _Party
    ) -> None:
        """Call `callback(party)` in a while. `size` is that of the file now, and sets the pace."""
        first, most = POLL_SECONDS
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = _Pace(first, size)
        elif size != pace.size:
            pace.interval_seconds, pace.size = first, size
        elif pace.timer is None:  # it was called and found nothing
            pace.interval_seconds = min(2 * pace.interval_seconds, most)
        self.pause(key)
        delay = max(pace.interval_seconds, len(self._paces) / _POLLS_PER_SECOND)
        pace.timer = self._loop.call_later(delay, self._due, pace, callback, party)

    def pause(self, key: Hashable) -> None:
        """Something else called: no callback until the next `start`."""
        pace = self._paces.get(key)
        if pace is not None and pace.timer is not None:
            pace.timer.cancel()
            pace.timer = None

    def stop(self, key: Hashable) -> None:
        """Forget `key`."""
        self.pause(key)
        self._paces.pop(key, None)

    def close(self) -> None:
        """Forget everything."""
        for key in list(self._paces):
            self.stop(key)

    @staticmethod
    def _due(pace: _Pace, callback: Callable[[_Party], object], party: _Party) -> None:
        pace.timer = None
        callback(party)
