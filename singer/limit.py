"""Limit: how many bytes a second go one way, on average. Pure: time is a parameter."""

from __future__ import annotations

from singer.base.config import Excess, LimitConfig


class Limit:
    """A token bucket of `burst` bytes, into which `rate` flow in a second. Times are monotonic.

    `drops`: what is more than the limit is not read later.
    """

    __slots__ = ("_at", "_level", "_rate", "burst", "drops")

    def __init__(self, rate: float, burst: int, now: float, *, drops: bool = False) -> None:
        self.burst = burst
        self.drops = drops
        self._rate = rate
        self._level = float(burst)
        self._at = now

    @classmethod
    def of(cls, config: LimitConfig | None, now: float) -> Limit | None:
        """One for each destination: a slow one takes nothing from another."""
        if config is None:
            return None
        rate = config.bytes_per_second
        return cls(rate, config.burst or rate, now, drops=config.excess is Excess.DROP)

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
