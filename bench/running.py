"""An agent that runs for as long as a context is open, and what it said of its progress."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from bench import workspace
from tests.support import child
from tests.support.waiting import wait_until

_START_SECONDS: Final = 30.0
_DRAIN_SECONDS: Final = 60.0


class Progress:
    """What the probe noted up to the last `read`: moments are monotonic nanoseconds."""

    def __init__(self, path: str) -> None:
        self.started_ns = 0
        self.found_ns: dict[str, int] = {}  #: by path, when its row was on disk
        self.sent: list[tuple[int, ...]] = []  #: (ns, records, batches, bytes, compressed bytes)
        self._path = path
        self._offset = 0
        self._moments: dict[str, list[int]] = defaultdict(list)
        self._ends: dict[str, list[int]] = defaultdict(list)

    def read(self) -> None:
        """Take in what was noted since."""
        try:
            with open(self._path, "rb") as noted:
                noted.seek(self._offset)
                fresh = noted.read()
        except FileNotFoundError:
            return
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._offset += len(whole)
        for row in whole.decode(errors="surrogateescape").splitlines():
            kind, moment, end, path = row.split(" ", 3)
            if kind == "acknowledged":
                self._moments[path].append(int(moment))
                self._ends[path].append(int(end))
            elif kind == "found":
                self.found_ns.setdefault(path, int(moment))
            elif kind == "sent":
                self.sent.append((int(moment), *map(int, path.split())))
            else:
                self.started_ns = int(moment)

    @property
    def delivered(self) -> set[str]:
        """Paths of which something was acknowledged."""
        return set(self._ends)

    def end(self, path: str) -> int:
        """The offset up to which a file is acknowledged."""
        return self._ends[path][-1] if path in self._ends else 0

    def acknowledged_ns(self, path: str, end: int) -> int:
        """When the file's first `end` bytes were. Raises RuntimeError when they never were."""
        index = bisect_left(self._ends[path], end)
        if index == len(self._ends[path]):
            raise RuntimeError(f"deliver {path}: its first {end} bytes never were")
        return self._moments[path][index]

    def end_at(self, path: str, moment_ns: int) -> int:
        """The offset up to which a file was acknowledged at a moment."""
        index = bisect_left(self._moments[path], moment_ns)
        return self._ends[path][index - 1] if index else 0


@contextmanager
def agent(config: str, work: str) -> Iterator[subprocess.Popen[bytes]]:
    """`singer run`; ended and looked after when the context closes."""
    with _running(workspace.agent_command(config), work) as process:
        yield process


@contextmanager
def probed(
    config: str, work: str, *, destination: str = "", killed: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], Progress]]:
    """The same agent with an ear for its progress; all of it is read after the context.

    Of one destination only, if given. `killed`: at the end, as it may never come to rest.
    """
    out = os.path.join(work, "progress")
    progress = Progress(out)
    command = [sys.executable, "-m", "bench.probe", config, out, destination]
    with _running(command, work, killed=killed) as process:
        yield process, progress
    progress.read()


def await_found(progress: Progress, paths: Iterable[str], deadline_seconds: float) -> None:
    """Wait until each file's row was on disk. Raises RuntimeError."""
    left = set(paths)

    def done() -> bool:
        progress.read()
        left.difference_update(progress.found_ns)
        return not left

    _await(done, deadline_seconds, lambda: f"{len(left)} files were not found")


def await_delivered(progress: Progress, paths: Iterable[str], deadline_seconds: float) -> None:
    """Wait until something of each file is acknowledged. Raises RuntimeError."""
    await_ends(progress, dict.fromkeys(paths, 1), deadline_seconds)


def await_ends(progress: Progress, ends: Mapping[str, int], deadline_seconds: float) -> None:
    """Wait until these files are acknowledged up to these offsets. Raises RuntimeError."""
    left = set(ends)

    def done() -> bool:
        progress.read()
        left.difference_update([path for path in left if progress.end(path) >= ends[path]])
        return not left

    _await(done, deadline_seconds, lambda: f"{len(ends) - len(left)} of {len(ends)} files")


def _await(done: Callable[[], bool], deadline_seconds: float, what: Callable[[], str]) -> None:
    try:
        wait_until(done, deadline_seconds, what)
    except AssertionError as error:
        raise RuntimeError(f"deliver: {error}") from error


@contextmanager
def _running(
    command: list[str], work: str, *, killed: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    log = os.path.join(work, "agent.log")
    with open(log, "wb") as log_file:
        process = child.spawn(command, output=log_file)
    try:
        ends = time.monotonic() + _START_SECONDS
        while not _has_started(log):
            if process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"start the agent: it did not:\n{child.tail(log)}")
            time.sleep(0.01)
        yield process
    finally:
        if killed:
            process.kill()
        status = child.end(process, _DRAIN_SECONDS)
    if status and not killed:
        raise RuntimeError(f"run the agent: status {status}:\n{child.tail(log)}")


def _has_started(log: str) -> bool:
    with open(log, "rb") as said:
        return b"event=agent-started" in said.read(64 << 10)
