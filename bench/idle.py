"""An agent with nothing to do: its share of a core, and its memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from bench import measure, running, workspace
from tests.support.lines import line

#: Everything delivered, threads asleep, the memory of the start given back.
_SETTLE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """`core_share` is CPU seconds per second."""

    files: int
    core_share: float
    resident_bytes: int


def idle(bootstrap: str, *, files: int, seconds: float) -> Idle:
    """Measure over `seconds`, after the files' few lines were delivered."""
    with workspace.directory() as work:
        for number in range(files):
            with open(os.path.join(work, f"app-{number}.log"), "wb") as file:
                file.write(b"".join(line(number, n) + b"\n" for n in range(10)))
        paths = os.path.join(work, "app-*.log")
        config = workspace.agent_config(work, bootstrap, paths, {})
        with running.agent(config, work) as process:
            time.sleep(_SETTLE_SECONDS)
            core_share = measure.core_share(process.pid, seconds)
            resident_bytes = measure.resident_bytes(process.pid)
    return Idle(files=files, core_share=core_share, resident_bytes=resident_bytes)
