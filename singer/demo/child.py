"""The agent as the demo's child process: started, killed, started again, stopped; never left.

Main thread only: the kernel takes the end of the *thread* that started a child for the end of
its parent (see `leash`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from enum import Enum
from typing import Final

from singer.base.errors import InvariantError, WorldError
from singer.demo import leash

#: The agent's own `drain_deadline` is 20 s; it ends by itself soon after.
_STOP_SECONDS: Final = 25.0
#: The demo itself was interrupted: somebody waits for their prompt.
_HURRY_SECONDS: Final = 3.0
#: A process that got SIGKILL is gone at once, unless its disk hangs.
_KILL_SECONDS: Final = 10.0
#: What is shown of the log of an agent that ended by itself.
_TAIL_LINES: Final = 12
_TAIL_BYTES: Final = 16384


class State(Enum):
    """What the agent is doing, as far as the demo had a hand in it."""

    RUNNING = "running"
    KILLED = "killed"
    RESTARTED = "restarted"
    STOPPED = "stopped"


class Agent:
    """`singer run -c CONFIG` with its log in a file."""

    def __init__(self, config_path: str, log_path: str) -> None:
        self.state = State.STOPPED
        self.log_path = log_path
        self._config_path = config_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running agent, or of the last one; None before the first start."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, or start it again."""
        command = [sys.executable, "-m", "singer", "run", "-c", self._config_path]
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command]
        with open(self.log_path, "ab") as log:
            # Its own session: Ctrl-C is for the demo, which then stops the agent in order.
            self._process = subprocess.Popen(
                leashed, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.state = State.RESTARTED if self.state is State.KILLED else State.RUNNING

    def check(self) -> None:
        """Raise WorldError, with its last words, if it ended without being asked."""
        if self.state in (State.RUNNING, State.RESTARTED) and self._last.poll() is not None:
            raise WorldError(f"run the agent: {_ending(self._last.returncode)}:\n{self.tail()}")

    def kill(self) -> None:
        """SIGKILL."""
        self._last.kill()
        self._last.wait(_KILL_SECONDS)
        self.state = State.KILLED

    def stop(self, deadline_seconds: float = _STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL if that is not enough; the exit status, negative: a signal."""
        process = self._last
        process.terminate()
        try:
            process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_KILL_SECONDS)
        self.state = State.STOPPED
        return process.returncode

    def close(self) -> None:
        """End it, in whatever state; what the demo does on its way out."""
        if self._process is not None and self._process.poll() is None:
            self.stop(_HURRY_SECONDS)

    def tail(self) -> str:
        """Its last log lines."""
        with contextlib.suppress(OSError), open(self.log_path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
            last = log.read().decode(errors="backslashreplace").splitlines()[-_TAIL_LINES:]
            return "\n".join(last)
        return "(it logged nothing)"

    @property
    def _last(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise InvariantError("demo: the agent was never started")
        return self._process


def _ending(status: int) -> str:
    if status < 0:
        return f"signal {-status} ended it"
    return f"it ended by itself with status {status}"
