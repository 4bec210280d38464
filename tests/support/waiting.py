"""Waiting on conditions: the only way a test lets time pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

Seen = TypeVar("Seen")

#: Short enough to be prompt, long enough to leave the cores to what is waited for.
_POLL_SECONDS: Final = 0.02


def wait_until(
    predicate: Callable[[], Seen | None],
    deadline_seconds: float,
    what: str | Callable[[], str],
) -> Seen:
    """The first true value of `predicate`; AssertionError naming `what` when none comes in time.

    `what` may be a function, called only on failure, that shows what is there instead.
    """
    ends = time.monotonic() + deadline_seconds
    while True:
        seen = predicate()
        if seen:
            return seen
        if time.monotonic() >= ends:
            named = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {deadline_seconds:g} s: {named}")
        time.sleep(_POLL_SECONDS)
