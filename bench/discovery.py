"""Finding files: thousands at the start, and new ones beside them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from bench import running, workspace
from tests.support.lines import line

_DELIVER_SECONDS: Final = 120.0
#: Between two creations: hints of one must not answer for the next.
_SPACING_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """`found_seconds` from the agent's start until the row of the last file was on disk,
    `delivered_seconds` until each one's line was acknowledged; `created_ms` from creation to
    acknowledgement, ascending.
    """

    files: int
    directories: int
    found_seconds: float
    delivered_seconds: float
    created_ms: tuple[float, ...]


def discovery(bootstrap: str, *, files: int, directories: int, creations: int) -> Discovery:
    """Measure. Raises RuntimeError."""
    with workspace.directory() as work:
        glob, paths = workspace.log_tree(work, files, directories)
        config = workspace.agent_config(work, bootstrap, glob, {})
        with running.probed(config, work) as (_, progress):
            running.await_delivered(progress, paths, _DELIVER_SECONDS)
            time.sleep(min(5.0, files / 1000))  # what the first scan left to do
            created = _create(os.path.dirname(os.path.dirname(glob)), directories, creations)
            running.await_delivered(progress, list(created), _DELIVER_SECONDS)
    delivered_ns = max(progress.acknowledged_ns(path, 1) for path in paths)
    found_ns = max(progress.found_ns[path] for path in paths)
    return Discovery(
        files=files,
        directories=directories,
        found_seconds=(found_ns - progress.started_ns) / 1e9,
        delivered_seconds=(delivered_ns - progress.started_ns) / 1e9,
        created_ms=tuple(
            sorted(
                (progress.acknowledged_ns(path, 1) - moment) / 1e6
                for path, moment in created.items()
            )
        ),
    )


def _create(root: str, directories: int, creations: int) -> dict[str, int]:
    """Make files with a line each, in known directories; the moments (ns) before, by path."""
    moments = {}
    text = line(1, 1, workspace.LINE_BYTES - 1) + b"\n"
    for number in range(creations):
        time.sleep(_SPACING_SECONDS)
        path = os.path.join(root, f"{number * 7 % directories:04}", f"new-{number:06}.log")
        moments[path] = time.monotonic_ns()
        with open(path, "xb", buffering=0) as file:
            file.write(text)
    return moments
