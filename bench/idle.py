"""An agent with nothing to do: its share of a core, and its memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from bench import measure, workspace
from tests.support import child
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
        log = os.path.join(work, "agent.log")
        with open(log, "wb") as log_file:
            process = child.spawn(workspace.agent_command(config), output=log_file)
        try:
            time.sleep(_SETTLE_SECONDS)
            before, begun = measure.cpu_ns(process.pid), time.monotonic()
            time.sleep(seconds)
            used = measure.cpu_ns(process.pid) - before
            core_share = used / 1e9 / (time.monotonic() - begun)
            resident_bytes = measure.resident_bytes(process.pid)
        finally:
            status = child.end(process, 30.0)
        if status:
            raise RuntimeError(f"run the agent: status {status}:\n{child.tail(log)}")
    return Idle(files=files, core_share=core_share, resident_bytes=resident_bytes)
