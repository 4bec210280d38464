"""A start on very many known files, some of them active: for the record, without a floor."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from bench import appending, measure, running, workspace

#: All of it, the first run that makes the files known included.
_MOST_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """`core_share` is CPU seconds per second."""

    files: int
    active: int
    found_seconds: float  #: by an agent that knows none, until the last row was on disk
    known_seconds: float  #: by the next agent, until the last was known again
    core_share: float
    resident_bytes: int
    latency_ms: tuple[float, ...]  #: ascending


def known(bootstrap: str, *, files: int, directories: int, active: int, seconds: float) -> Known:
    """Measure while each active file gets a line a second, all of them known again.

    Raises RuntimeError.
    """
    until = time.monotonic() + _MOST_SECONDS
    with workspace.directory() as work:
        glob, paths = workspace.log_tree(work, files, directories)
        config = workspace.agent_config(work, bootstrap, glob, {})
        with running.probed(config, work) as (_, progress):
            left = max(1.0, until - seconds - time.monotonic())
            running.await_delivered(progress, paths, left)
        found_ns = max(progress.found_ns[path] for path in paths)
        chosen = paths[:: max(1, files // active)][:active]
        with running.probed(config, work) as (process, again):
            running.await_found(again, paths, max(1.0, until - seconds - time.monotonic()))
            appending.append(chosen, lines_per_second=active, seconds=min(3.0, seconds))
            before, begun = measure.cpu_ns(process.pid), time.monotonic()
            appended = appending.append(chosen, lines_per_second=active, seconds=seconds)
            share = (measure.cpu_ns(process.pid) - before) / 1e9 / (time.monotonic() - begun)
            resident_bytes = measure.resident_bytes(process.pid)
            ends = {each.path: each.end for each in appended}
            running.await_ends(again, ends, max(10.0, until - time.monotonic()))
    return Known(
        files=files,
        active=active,
        found_seconds=(found_ns - progress.started_ns) / 1e9,
        known_seconds=(max(again.found_ns[path] for path in paths) - again.started_ns) / 1e9,
        core_share=share,
        resident_bytes=resident_bytes,
        latency_ms=appending.latencies_ms(appended, again),
    )
