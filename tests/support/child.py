"""Child processes of tests: started so that they cannot outlive the test run, ended by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

_WRAPPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "die_with_parent.py")


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    errors: IO[bytes] | int = subprocess.STDOUT,
    cwd: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` with standard output and errors going to `output` and `errors`.

    It leads a process group of its own, so that a Ctrl-C at the terminal reaches only the test
    run, which then ends it in order. Call from the main thread: the kernel takes the end of
    the *thread* that started a child for the end of its parent.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _WRAPPER, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        cwd=cwd,
        env=None if environment is None else {**os.environ, **environment},
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], deadline_seconds: float = 10.0) -> int:
    """SIGTERM, and SIGKILL when that is not heard in time; the exit status, negative: a signal."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a stopped process hears no SIGTERM
        process.terminate()
        try:
            process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(deadline_seconds)


def tail(path: str, lines: int = 40) -> str:
    """The end of a log, for messages of failures."""
    try:
        with open(path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 64 * 1024))
            text = log.read().decode(errors="backslashreplace")
    except FileNotFoundError:
        return f"({path}: not there)"
    return "\n".join(text.splitlines()[-lines:])
