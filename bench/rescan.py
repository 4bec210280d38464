"""What looking at thousands of known files again costs: in the agent, and the walk by itself.

In the agent: CPU of idle agents with two intervals of `agent.rescan`; the difference, by the
rescans that one does more. It is what all of them cost together, beside the walk: comparing what
was seen with what is open.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from bench import measure, running, workspace

#: Rescans in the time measured: often, and hardly ever.
_OFTEN_SECONDS: Final = 1.0
_SELDOM_SECONDS: Final = 600.0
_SETTLE_SECONDS: Final = 12.0  # threads without work end after 10 s
_DELIVER_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescan:
    """CPU milliseconds, all threads."""

    files: int
    directories: int
    in_agent_ms: float
    walk_ms: float
    walk_known_ms: float | None  #: given what is known; None where that cannot be given


def rescan(bootstrap: str, *, files: int, directories: int, seconds: float) -> Rescan:
    """Measure. Raises RuntimeError."""
    with workspace.directory() as work:
        glob, paths = workspace.log_tree(work, files, directories)
        shares: list[float] = []
        for interval in (_OFTEN_SECONDS, _SELDOM_SECONDS):
            config = workspace.agent_config(
                work, bootstrap, glob, {}, agent={"rescan": f"{interval:g}s"}
            )
            with running.probed(config, work) as (process, progress):
                running.await_found(progress, paths, _DELIVER_SECONDS)
                if not shares:  # the second one knows them
                    running.await_delivered(progress, paths, _DELIVER_SECONDS)
                time.sleep(min(_SETTLE_SECONDS, seconds))
                shares.append(measure.core_share(process.pid, seconds))
        walk_ms, walk_known_ms = _walk(glob)
    return Rescan(
        files=files,
        directories=directories,
        in_agent_ms=(shares[0] - shares[1]) * _OFTEN_SECONDS * 1e3,
        walk_ms=walk_ms,
        walk_known_ms=walk_known_ms,
    )


def _walk(glob: str) -> tuple[float, float | None]:
    said = subprocess.run(
        [sys.executable, "-m", "bench.walks", glob],
        capture_output=True,
        check=False,
        timeout=300,
        cwd=os.getcwd(),
    )
    if said.returncode:
        raise RuntimeError(f"walk {glob}: {said.stderr.decode(errors='replace')}")
    plain, known = said.stdout.split()
    return float(plain), None if known == b"-" else float(known)
