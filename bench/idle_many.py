"""Thousands of idle files: the share of a core, and the memory above that of one idle file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from bench import measure, running, workspace

#: Everything delivered and committed, the memory of the start given back, idle threads ended.
_SETTLE_SECONDS: Final = 15.0
_DELIVER_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleMany:
    """`core_share` is CPU seconds per second."""

    files: int
    directories: int
    core_share: float
    resident_bytes: int
    alone_bytes: int  #: resident with one file


def idle_many(bootstrap: str, *, files: int, directories: int, seconds: float) -> IdleMany:
    """Measure over `seconds` each. Raises RuntimeError."""
    _, alone_bytes = _one(bootstrap, 1, 1, 0.0)
    core_share, resident_bytes = _one(bootstrap, files, directories, seconds)
    return IdleMany(
        files=files,
        directories=directories,
        core_share=core_share,
        resident_bytes=resident_bytes,
        alone_bytes=alone_bytes,
    )


def _one(bootstrap: str, files: int, directories: int, seconds: float) -> tuple[float, int]:
    with workspace.directory() as work:
        glob, paths = workspace.log_tree(work, files, directories)
        config = workspace.agent_config(work, bootstrap, glob, {})
        with running.probed(config, work) as (process, progress):
            running.await_delivered(progress, paths, _DELIVER_SECONDS)
            time.sleep(_SETTLE_SECONDS if seconds > 1 else seconds)
            share = measure.core_share(process.pid, seconds) if seconds else 0.0
            return share, measure.resident_bytes(process.pid)
