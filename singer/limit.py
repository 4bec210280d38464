"""Limit: how many bytes a second go one way, on average. Pure: time is a parameter."""

from __future__ import annotations


class Limit:
    """A token bucket of `burst` bytes, into which `rate` flow in a second. Times are monotonic."""

    __slots__ = ("_at", "_level", "_rate", "burst")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.burst = burst
        self._rate = rate
        self._level = float(burst)
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until something may be spent."""
        self._fill(now)
        return max(0.0, -self._level / self._rate)

    def spend(self, nbytes: int, now: float) -> None:
        """So many bytes were taken; the next wait for what was too much."""
        self._fill(now)
        self._level -= nbytes

    def _fill(self, now: float) -> None:
        self._level = min(self.burst, self._level + self._rate * (now - self._at))
        self._at = now
