"""Opening a position store of very many rows: time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from bench import workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyPositions:
    """What the first `open` of a store takes, in a process that had none open."""

    rows: int
    open_seconds: float
    more_bytes: int  #: resident, above that before
    store_bytes: int


def many_positions(rows: int) -> ManyPositions:
    """Measure. Raises RuntimeError."""
    with workspace.directory() as work:
        path = os.path.join(work, "positions")
        _run("fill", path, str(rows))
        seconds, more_bytes = _run("open", path).split()
        store_bytes = os.stat(path).st_size
    return ManyPositions(
        rows=rows,
        open_seconds=float(seconds),
        more_bytes=int(more_bytes),
        store_bytes=store_bytes,
    )


def _run(*arguments: str) -> bytes:
    command = [sys.executable, "-m", "bench.store", *arguments]
    said = subprocess.run(command, capture_output=True, check=False, timeout=300)
    if said.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {said.stderr.decode(errors='replace')}")
    return said.stdout
