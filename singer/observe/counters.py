"""Events as counters and gauges in memory, for whoever exposes them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TypeAlias

from singer.base.events import Event

#: The name of a counter or gauge and its labels, sorted by name.
Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Counters:
    """An `Emit` that adds up `Event.counts()` and keeps the latest of `Event.gauges()`.

    Callable from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[Key] = Counter()
        self._gauges: dict[Key, float] = {}

    def __call__(self, event: Event) -> None:
        """Add what the event counts, note what it measured."""
        counts, gauges = event.counts(), event.gauges()
        if not (counts or gauges):
            return
        with self._lock:
            for name, amount, labels in counts:
                self._totals[name, tuple(sorted(labels))] += amount
            for name, value, labels in gauges:
                self._gauges[name, tuple(sorted(labels))] = value

    def snapshot(self) -> dict[Key, int]:
        """All totals so far."""
        with self._lock:
            return dict(self._totals)

    def total(self, name: str) -> int:
        """The sum of `name` over all labels."""
        return sum(amount for (each, _), amount in self.snapshot().items() if each == name)

    def gauges(self) -> dict[Key, float]:
        """The latest value of every gauge."""
        with self._lock:
            return dict(self._gauges)

    def gauge(self, name: str) -> float | None:
        """The sum of `name` over all labels; None if it was never set."""
        values = [value for (each, _), value in self.gauges().items() if each == name]
        return sum(values) if values else None
