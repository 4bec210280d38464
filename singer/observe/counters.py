"""Events as counters in memory, for whoever exposes them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TypeAlias

from singer.base.events import Event

#: The name of a counter and its labels, sorted by name.
Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Counters:
    """An `Emit` that adds up `Event.counts()`. Callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[Key] = Counter()

    def __call__(self, event: Event) -> None:
        """Add what the event counts."""
        counts = event.counts()
        if not counts:
            return
        with self._lock:
            for name, amount, labels in counts:
                self._totals[name, tuple(sorted(labels))] += amount

    def snapshot(self) -> dict[Key, int]:
        """All totals so far."""
        with self._lock:
            return dict(self._totals)

    def total(self, name: str) -> int:
        """The sum of `name` over all labels."""
        return sum(amount for (each, _), amount in self.snapshot().items() if each == name)
