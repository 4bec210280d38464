"""The demo's application: writes log lines at a rate and rotates its files by renaming them.

`LogFile` is one file and its rotated predecessors; `Generator` owns all of them in a daemon
thread and publishes what it wrote as immutable values that any thread may read.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from singer.base.errors import WorldError
from singer.demo import lines

#: Between two writes: short enough that latency shows the agent and not our own batching.
_TICK_SECONDS: Final = 0.01
#: Each file is rotated so often; the files take turns.
_ROTATE_SECONDS: Final = 3.0
#: After a stall no more than this is written at once: it has to fit in memory.
_LINES_AT_ONCE: Final = 10_000
#: Rotated files of each log that are kept in any case.
_KEEP: Final = 4
#: Ending takes one tick; this much means that the disk hangs.
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written so far."""

    lines: tuple[int, ...]  #: to each file
    nbytes: int
    rotations: int


class LogFile:
    """A log file as an application has it: append, rotate. One thread.

    Raises WorldError for what the disk refuses.
    """

    def __init__(
        self,
        path: str,
        rng: random.Random,
        *,
        form: lines.Format = lines.Format.TEXT,
        keep: int = _KEEP,
    ) -> None:
        self.path = path
        self._form = form
        self.lines = 0
        self.nbytes = 0
        self._name = os.path.basename(path).removesuffix(".log")
        self._rng = rng
        self._keep = keep
        #: For path.1, path.2, ...: how many lines had been written when it was rotated.
        self._rotated: deque[int] = deque()
        self._descriptor = self._open()

    def write(self, count: int) -> None:
        """Append `count` lines in one piece."""
        data = lines.compose(
            self._name, self.lines, count, time.time_ns(), self._rng, form=self._form
        )
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _refused("write", self.path, error) from error
        self.lines += count
        self.nbytes += len(data)

    def rotate(self, delivered: int) -> None:
        """Rename path.1 to path.2 and so on, path to path.1; begin anew.

        All lines before number `delivered` arrived: only such files are ever deleted.
        """
        try:
            while len(self._rotated) >= self._keep and self._rotated[-1] <= delivered:
                os.unlink(f"{self.path}.{len(self._rotated)}")
                self._rotated.pop()
            for number in range(len(self._rotated), 0, -1):
                os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
            os.rename(self.path, f"{self.path}.1")
        except OSError as error:
            raise _refused("rotate", self.path, error) from error
        self._rotated.appendleft(self.lines)
        os.close(self._descriptor)
        self._descriptor = self._open()

    def close(self) -> None:
        """Close the file; all of them stay."""
        os.close(self._descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _refused("open", self.path, error) from error


class Generator:
    """Writes `rate` lines a second to the files, by turns, from `begin` until `end`."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        forms: Sequence[lines.Format] | None = None,
        rate: float,
        complete: Callable[[], Sequence[int]],
        rng: random.Random,
        rotate_seconds: float = _ROTATE_SECONDS,
    ) -> None:
        """One line goes to each file at once. `complete` tells for each file the line number
        up to which all arrived; it is called from the thread.
        """
        self._rate = rate
        self._rotate_seconds = rotate_seconds
        self._complete = complete
        forms = forms or [lines.Format.TEXT] * len(paths)
        self._files = [
            LogFile(path, rng, form=form) for path, form in zip(paths, forms, strict=True)
        ]
        for file in self._files:
            file.write(1)
        self._rotations = 0
        self._ending = threading.Event()
        self._failure: WorldError | None = None
        self._thread = threading.Thread(target=self._run, name="demo-generator", daemon=True)
        #: Replaced as a whole after each write.
        self.written = self._sum()

    def begin(self) -> None:
        """Start to write."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> Written:
        """Write no more; returns all that was written."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(_END_SECONDS)
        return self.written

    def _run(self) -> None:
        try:
            self._write()
        except WorldError as error:
            self._failure = error
        finally:
            for file in self._files:
                file.close()

    def _write(self) -> None:
        began = time.monotonic()
        turn = done = 0
        rotated = 0
        while not self._ending.wait(_TICK_SECONDS):
            elapsed = time.monotonic() - began
            due = min(int(elapsed * self._rate) - done, _LINES_AT_ONCE)
            if due > 0:
                self._files[turn % len(self._files)].write(due)
                turn += 1
                done += due
            # One file after the other, each once in `rotate_seconds`.
            if elapsed * len(self._files) >= (rotated + 1) * self._rotate_seconds:
                which = rotated % len(self._files)
                self._files[which].rotate(self._complete()[which])
                rotated += 1
                self._rotations = rotated
            self.written = self._sum()

    def _sum(self) -> Written:
        return Written(
            lines=tuple(file.lines for file in self._files),
            nbytes=sum(file.nbytes for file in self._files),
            rotations=self._rotations,
        )


def _refused(step: str, path: str, error: OSError) -> WorldError:
    cause = (error.strerror or str(error)).lower()
    return WorldError(f"{step} demo log {path}: {cause}: free space there, or set TMPDIR")
