"""An application that logs numbered lines in real time, and reopens its log as programs do.

As a program (`python -m tests.support.application PATH LINES_A_SECOND REOPENS`) it appends the
lines of `lines.line` to PATH, some at a time, each batch in one write, until SIGTERM; then it
writes how many there were to standard output. `Application` runs it as a child.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support import child
from tests.support.lines import line
from tests.support.waiting import wait_until

#: How often it writes: a batch is what it has to say since the last one.
_EVERY_SECONDS: Final = 0.004
_START_SECONDS: Final = 30.0


class Reopens(Enum):
    """When the log is opened anew."""

    NEVER = "never"  #: copytruncate is made for such programs
    ON_SIGHUP = "on-sighup"  #: daemons, told by `postrotate`
    WHEN_MOVED = "when-moved"  #: it looks before each write, as Python's WatchedFileHandler does


class Application:
    """The program as a child process; its lineage is 0.

    Leaving the context ends it; `written` are then all lines it wrote.
    """

    def __init__(self, log: Path, *, lines_a_second: int, reopens: Reopens) -> None:
        self._log = log
        self._command = [
            *(sys.executable, "-m", "tests.support.application"),
            *(str(log), str(lines_a_second), reopens.value),
        ]
        self.written: list[bytes] = []

    def __enter__(self) -> Self:
        self._process = child.spawn(
            self._command, output=subprocess.PIPE, errors=subprocess.PIPE, cwd=os.getcwd()
        )
        wait_until(self.has_written, _START_SECONDS, "the application writes")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        count, said = self._process.communicate(timeout=_START_SECONDS)
        assert self._process.returncode == 0, said.decode()
        self.written = [line(0, number) for number in range(int(count))]

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_written(self, nbytes: int = 1) -> bool:
        """Whether there are so many bytes in the log now."""
        try:
            return self._log.stat().st_size >= nbytes
        except FileNotFoundError:
            return False


class _Program:
    def __init__(self, path: str, lines_a_second: int, reopens: Reopens) -> None:
        self._path = path
        self._rate = lines_a_second
        self._reopens = reopens
        self._hung_up = self._stop = False
        line(0, 0)  # makes the text that lines are cut from, before time counts
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGTERM, self._on_stop)

    def _on_hangup(self, *_: object) -> None:
        self._hung_up = True

    def _on_stop(self, *_: object) -> None:
        self._stop = True

    def run(self) -> int:
        count, begun, file = 0, time.monotonic(), self._open()
        while not self._stop:
            time.sleep(_EVERY_SECONDS)
            if self._has_to_reopen(file):
                file.close()
                file = self._open()
            due = int((time.monotonic() - begun) * self._rate)
            batch = b"".join(line(0, number) + b"\n" for number in range(count, due))
            written = file.write(batch)
            assert written == len(batch), "a log file takes it all at once"
            count = max(count, due)
        file.close()
        return count

    def _has_to_reopen(self, file: io.FileIO) -> bool:
        if self._reopens is Reopens.ON_SIGHUP:
            hung_up, self._hung_up = self._hung_up, False
            return hung_up
        if self._reopens is Reopens.WHEN_MOVED:
            try:
                return os.stat(self._path).st_ino != os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                return True
        return False

    def _open(self) -> io.FileIO:
        return io.FileIO(self._path, "ab")


if __name__ == "__main__":
    program = _Program(sys.argv[1], int(sys.argv[2]), Reopens(sys.argv[3]))
    sys.stdout.write(str(program.run()))
