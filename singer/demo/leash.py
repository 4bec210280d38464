"""Become a command that the kernel kills when the process that started it is gone.

Run as a program: `python -I -S leash.py PARENT_PID COMMAND...`. It asks for PR_SET_PDEATHSIG
(prctl(2); kept over execve) and then *becomes* the command, so that the pid is the command's own.
This covers what no `finally` covers: a demo that is itself killed. A `preexec_fn` would run
Python between fork and exec, which may deadlock once librdkafka's threads exist.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

#: From linux/prctl.h.
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Put on the leash, look whether the parent is still there, become the command."""
    parent = int(sys.argv[1])
    command = sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_PDEATHSIG")
    # The parent may have gone before the signal was asked for.
    if os.getppid() != parent:
        sys.exit("leash: the parent is gone")
    os.execv(command[0], command)  # noqa: S606 # to become it is the purpose


if __name__ == "__main__":
    main()
