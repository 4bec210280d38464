"""Small files beside firehoses: what their lines wait, and what the firehoses deliver.

A firehose is a file that always has more to read: it is written faster than it can be sent. All
streams go to one topic, so with `sticky` to one partition.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from bench import appending, running, workspace
from bench.running import Progress
from tests.support import child

_WARM_UP_SECONDS: Final = 3.0
_DELIVER_SECONDS: Final = 120.0
#: Of all firehoses together: more than two cores can send.
_FIREHOSE_BYTES_PER_SECOND: Final = 400 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """`latency_ms` of the small files' lines, ascending; the firehoses' rate, all together."""

    firehoses: int
    priorities: tuple[str, str]  #: of the firehoses, of the small files
    round_trip_ms: int
    latency_ms: tuple[float, ...]
    bytes_per_second: float
    unread_bytes: int  #: of the firehoses at the end: what they still had to read


def fairness(
    bootstrap: str,
    *,
    small: int,
    firehoses: int,
    priorities: tuple[str, str],
    round_trip_ms: int,
    lines_per_second: float,
    seconds: float,
) -> Fairness:
    """Measure. Raises RuntimeError."""
    with workspace.directory() as work:
        glob, paths = workspace.log_tree(work, small, max(1, small // 50))
        hoses = [os.path.join(work, f"firehose-{number}.log") for number in range(firehoses)]
        for path in hoses:
            with open(path, "xb"):
                pass
        firehose = {
            "name": "firehose",
            "paths": [os.path.join(work, "firehose-*.log")],
            "priority": priorities[0],
        }
        config = workspace.agent_config(
            work, bootstrap, glob, {}, stream={"priority": priorities[1]}, more_streams=[firehose]
        )
        with running.probed(config, work) as (_, progress):
            running.await_delivered(progress, paths, _DELIVER_SECONDS)
            writer = _write(hoses, seconds + 2 * _WARM_UP_SECONDS) if hoses else None
            try:
                time.sleep(min(_WARM_UP_SECONDS, seconds))
                begun = time.monotonic_ns()
                appended = appending.append(
                    paths, lines_per_second=lines_per_second, seconds=seconds
                )
                ended = time.monotonic_ns()
                written = sum(os.stat(path).st_size for path in hoses)
            finally:
                if writer is not None:
                    child.end(writer)
            ends = {each.path: each.end for each in appended}
            running.await_ends(progress, ends, _DELIVER_SECONDS)
    return Fairness(
        firehoses=firehoses,
        priorities=priorities,
        round_trip_ms=round_trip_ms,
        latency_ms=appending.latencies_ms(appended, progress),
        bytes_per_second=sum(_rate(progress, path, begun, ended) for path in hoses),
        unread_bytes=written - sum(progress.end_at(path, ended) for path in hoses),
    )


def _write(paths: list[str], seconds: float) -> subprocess.Popen[bytes]:
    arguments = [str(_FIREHOSE_BYTES_PER_SECOND), f"{seconds:g}", *paths]
    command = [sys.executable, "-m", "bench.firehose", *arguments]
    return child.spawn(command, output=subprocess.DEVNULL)


def _rate(progress: Progress, path: str, begun_ns: int, ended_ns: int) -> float:
    sent = progress.end_at(path, ended_ns) - progress.end_at(path, begun_ns)
    return sent / ((ended_ns - begun_ns) / 1e9)
