"""Lines appended to many files now and then, and how long each took to be acknowledged."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.running import Progress
from bench.workspace import LINE_BYTES
from tests.support.lines import line


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """One line: it ends at `end` of `path` and was written right after `moment_ns`."""

    path: str
    end: int
    moment_ns: int


def append(paths: Sequence[str], *, lines_per_second: float, seconds: float) -> list[Appended]:
    """Append lines at an even rate, to each file in turn; the order of the files is random."""
    order = list(paths)
    random.Random(1).shuffle(order)
    files = {path: os.open(path, os.O_WRONLY | os.O_APPEND) for path in order}
    ends = {path: os.fstat(fd).st_size for path, fd in files.items()}
    text = line(1, 1, LINE_BYTES - 1) + b"\n"
    appended = []
    due = time.monotonic()
    try:
        for number in range(int(lines_per_second * seconds)):
            path = order[number % len(order)]
            ends[path] += LINE_BYTES
            appended.append(Appended(path=path, end=ends[path], moment_ns=time.monotonic_ns()))
            os.write(files[path], text)
            due += 1 / lines_per_second
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        for fd in files.values():
            os.close(fd)
    return appended


def latencies_ms(appended: Sequence[Appended], progress: Progress) -> tuple[float, ...]:
    """From append to acknowledgement, ascending. Raises RuntimeError for a line that never was."""
    return tuple(
        sorted(
            (progress.acknowledged_ns(each.path, each.end) - each.moment_ns) / 1e6
            for each in appended
        )
    )
