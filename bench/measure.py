"""One child process run to its end: wall, CPU and peak memory, as the kernel accounts them."""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support import child


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run took. `cpu_seconds` is user and system time of all threads (wait4(2))."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: Sequence[str], log_path: str, deadline_seconds: float) -> Usage:
    """Run `command` to its end. Raises RuntimeError, with the end of its log, unless it is 0."""
    with open(log_path, "wb") as log:
        begun = time.monotonic()
        process = child.spawn(command, output=log)
    descriptor = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], deadline_seconds)
        if not ended:
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = time.monotonic() - begun
    finally:
        os.close(descriptor)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        what = f"status {process.returncode}" if ended else f"no end in {deadline_seconds:g} s"
        raise RuntimeError(f"run {command[0]}: {what}:\n{child.tail(log_path)}")
    return Usage(
        wall_seconds=wall_seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def median(usages: Iterable[Usage]) -> Usage:
    """The median of each figure."""
    every = list(usages)
    return Usage(
        wall_seconds=statistics.median(usage.wall_seconds for usage in every),
        cpu_seconds=statistics.median(usage.cpu_seconds for usage in every),
        peak_bytes=int(statistics.median(usage.peak_bytes for usage in every)),
    )


def cpu_ns(pid: int) -> int:
    """CPU a live process has used up to now, all its threads, those that ended included."""
    # clock_getcpuclockid(3): the process's clock, by the kernel's own scheduler.
    return time.clock_gettime_ns(~pid << 3 | 2)


def core_share(pid: int, seconds: float) -> float:
    """CPU seconds per second that a live process uses during the next `seconds`."""
    before, begun = cpu_ns(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_ns(pid) - before) / 1e9 / (time.monotonic() - begun)


def quantile(ascending: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)]


def resident_bytes(pid: int) -> int:
    """Memory a live process has in RAM now."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
