"""From append to acknowledgement, one line at a time, and the first line after silence.

The lines are appended by this process, the agent runs in a second and the broker in a third. A
line is acknowledged when the agent moves its position past the line's end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench import measure, running, workspace
from tests.support.lines import line

_LINE_BYTES: Final = 150
#: The first second has connections and pages not seen before.
_WARM_UP_LINES: Final = 1000
_DRAIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When lines are appended: so many at a steady rate, then one after each silence."""

    lines: int
    lines_per_second: int
    silences: int
    silence_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds, ascending."""

    steady_ms: tuple[float, ...]
    after_silence_ms: tuple[float, ...]

    def steady(self, quantile: float) -> float:
        """The latency that this share of the steady lines did not exceed."""
        return measure.quantile(self.steady_ms, quantile)


def latency(bootstrap: str, schedule: Schedule) -> Latency:
    """Measure. Raises RuntimeError when the agent fails or does not deliver everything."""
    with workspace.directory() as work:
        path = os.path.join(work, "app.log")
        config = workspace.agent_config(work, bootstrap, path, {"linger.ms": "0"})
        with (
            open(path, "ab", buffering=0) as file,
            running.probed(config, work) as (_, progress),
        ):
            appended = _append(file.write, schedule)
            running.await_ends(progress, {path: len(appended) * _LINE_BYTES}, _DRAIN_SECONDS)
    taken = [
        (progress.acknowledged_ns(path, number * _LINE_BYTES) - moment) / 1e6
        for number, moment in enumerate(appended, start=1)
    ]
    steady = _WARM_UP_LINES + schedule.lines
    return Latency(
        steady_ms=tuple(sorted(taken[_WARM_UP_LINES:steady])),
        after_silence_ms=tuple(sorted(taken[steady:])),
    )


def _append(write: Callable[[bytes], object], schedule: Schedule) -> list[int]:
    """The moments (monotonic ns) right before each line was appended."""
    appended: list[int] = []

    def append() -> None:
        text = line(1, len(appended), _LINE_BYTES - 1) + b"\n"
        appended.append(time.monotonic_ns())
        write(text)

    due = time.monotonic()
    for _ in range(_WARM_UP_LINES + schedule.lines):
        append()
        due += 1 / schedule.lines_per_second
        time.sleep(max(0.0, due - time.monotonic()))
    for _ in range(schedule.silences):
        time.sleep(schedule.silence_seconds)
        append()
    return appended
