"""Back-off: growing, jittered delays between attempts. Pure but for the randomness it is given."""

from __future__ import annotations

import random


class Backoff:
    """Delays of about `first`, 2 x `first`, ... up to `most` seconds, each within +-50 %.

    The jitter keeps ten thousand agents from knocking at the same moment.
    """

    __slots__ = ("_attempt", "_first", "_most", "_uniform")

    def __init__(
        self, first_seconds: float, most_seconds: float, rng: random.Random | None = None
    ) -> None:
        self._first = first_seconds
        self._most = most_seconds
        # By default the module's own: seeding one for each file costs more than all of its jitter.
        self._uniform = (rng or random).uniform
        self._attempt = 0

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = min(self._most, self._first * 2.0 ** min(self._attempt, 30))
        self._attempt += 1
        return delay * self._uniform(0.5, 1.5)

    def reset(self) -> None:
        """Something worked: begin anew."""
        self._attempt = 0

    @property
    def attempts(self) -> int:
        """Attempts since the last success."""
        return self._attempt
