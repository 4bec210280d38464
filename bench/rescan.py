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


#: What is left out where directories of any depth are walked, as people write it.
_EXCLUDES: Final = ("*.gz", "**/archive/**")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """CPU milliseconds, all threads, for one way to write the paths."""

    paths: str
    in_agent_ms: float
    walk_ms: float
    walk_known_ms: float  #: given what is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescan:
    """What rescans of the same files cost, by how their paths are written."""

    files: int
    directories: int
    shapes: tuple[Shape, ...]


def rescan(bootstrap: str, *, files: int, directories: int, seconds: float) -> Rescan:
    """Measure. Raises RuntimeError."""
    with workspace.directory() as work:
        glob, paths = workspace.log_tree(work, files, directories)
        root = os.path.dirname(os.path.dirname(glob))

        def core_share(glob: str, excludes: tuple[str, ...], interval_seconds: float) -> float:
            config = workspace.agent_config(
                work,
                bootstrap,
                glob,
                {},
                agent={"rescan": f"{interval_seconds:g}s"},
                stream={"exclude": excludes},
            )
            with running.probed(config, work) as (process, progress):
                running.await_found(progress, paths, _DELIVER_SECONDS)
                time.sleep(min(_SETTLE_SECONDS, seconds))
                return measure.core_share(process.pid, seconds)

        seldom = core_share(glob, (), _SELDOM_SECONDS)
        shapes = []
        for name, excludes in (("*/*.log", ()), ("**/*.log", _EXCLUDES)):
            written = os.path.join(root, name)
            often = core_share(written, excludes, _OFTEN_SECONDS)
            walk_ms, walk_known_ms = _walk(written, *excludes)
            shapes.append(
                Shape(
                    paths=name if not excludes else f"{name} less {', '.join(excludes)}",
                    in_agent_ms=(often - seldom) * _OFTEN_SECONDS * 1e3,
                    walk_ms=walk_ms,
                    walk_known_ms=walk_known_ms,
                )
            )
    return Rescan(files=files, directories=directories, shapes=tuple(shapes))


def _walk(*globs: str) -> tuple[float, float]:
    said = subprocess.run(
        [sys.executable, "-m", "bench.walks", *globs],
        capture_output=True,
        check=False,
        timeout=300,
        cwd=os.getcwd(),
    )
    if said.returncode:
        raise RuntimeError(f"walk {globs[0]}: {said.stderr.decode(errors='replace')}")
    plain, known = said.stdout.split()
    return float(plain), float(known)
