"""The machine's clock, for everything that takes a `base.ports.Clock`."""

from __future__ import annotations

import time


class SystemClock:
    """Real time."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
