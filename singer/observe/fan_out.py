"""One event to several adapters."""

from __future__ import annotations

from singer.base.events import Emit, Event


def fan_out(*emits: Emit) -> Emit:
    """An `Emit` that passes every event to each of `emits`, in order."""

    def emit(event: Event) -> None:
        for each in emits:
            each(event)

    return emit
