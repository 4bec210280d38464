"""Become a command that the kernel kills when the process that started it is gone.

Run as a program: `python -I -S die_with_parent.py PARENT_PID COMMAND...`. It asks for
PR_SET_PDEATHSIG (prctl(2); kept over execve) and then *becomes* the command, so that the pid
is the command's own. This covers what no `finally` covers: a test run that is itself killed.
A `preexec_fn` could do the same but runs Python between fork and exec, which may deadlock once
librdkafka's threads exist.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv[1])
    command = sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_PDEATHSIG")
    # The parent may have gone before the signal was asked for.
    if os.getppid() != parent:
        sys.exit("die with parent: the parent is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
