"""The state directory: who holds it, and where everything in it lies.

Owns the lock and the names of the files; what is in the files is their owners' business. To be
made before the loop starts: it may wait, for at most `LOCK_GRACE_SECONDS`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from types import TracebackType
from typing import Final, Self

from singer.base.errors import StateError, StateLockedError

#: How long a held lock is waited for. A process that got SIGKILL holds its locks until the
#: kernel has taken its memory apart; a supervisor starts the next one before that is over.
LOCK_GRACE_SECONDS: Final = 2.0
_LOCK_POLL_SECONDS: Final = 0.02

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def dead_letters_in(state_dir: str) -> str:
    """The dead-letter file of a state directory."""
    return os.path.join(state_dir, "dead_letters")


def boot_id() -> str:
    """What tells this run of the kernel from every other one; empty where it is not known."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class StateDir:
    """The state directory at `path`, created (mode 0700) and locked for this process.

    The lock is a `flock`, so it ends with the process however that ends, and a start right
    after kill -9 works. The pid in the lock file is information for people.

    Raises StateLockedError when another agent holds it, StateError when it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self.boot_id: Final = boot_id()
        self._lock: int | None = _acquire(path)

    @property
    def lock(self) -> str:
        """The lock file."""
        return os.path.join(self.path, "lock")

    @property
    def positions(self) -> str:
        """The position store."""
        return os.path.join(self.path, "positions")

    @property
    def positions_backup(self) -> str:
        """The last good copy of the position store."""
        return os.path.join(self.path, "positions_backup")

    @property
    def dead_letters(self) -> str:
        """The dead-letter file; older ones have `.1`, `.2`, … behind."""
        return dead_letters_in(self.path)

    @property
    def zone(self) -> str:
        """The zone that was found out last."""
        return os.path.join(self.path, "zone")

    def committed_offset(self, cluster: str) -> str:
        """Up to where the positions that a cluster keeps are in the store."""
        return os.path.join(self.path, f"committed_offset.{cluster}")

    def brokers(self, cluster: str) -> str:
        """The brokers of a cluster that its `bootstrap_file` named last."""
        return os.path.join(self.path, f"brokers-{cluster}")

    @property
    def crash_trace(self) -> str:
        """Where a crash of the process leaves its trace."""
        return os.path.join(self.path, "crash_trace")

    @property
    def crash_counts(self) -> str:
        """How often the process crashed on which file."""
        return os.path.join(self.path, "crash_counts")

    @property
    def active_mark(self) -> str:
        """Which file the process is working on."""
        return os.path.join(self.path, "active_mark")

    def close(self) -> None:
        """Release the lock; again is allowed."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _acquire(path: str) -> int:
    """Create the directory, lock it and return the lock's descriptor."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        read_only = os.access(path, os.R_OK | os.X_OK) and os.geteuid() == 0
        code = errno.EROFS if read_only else errno.EACCES
        raise _unusable(path, OSError(code, os.strerror(code)))
    lock = os.path.join(path, "lock")
    try:
        # O_NOFOLLOW: a planted symbolic link must not make us write elsewhere.
        descriptor = os.open(
            lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode=0o600
        )
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _lock(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    # Information only: a full disk must not keep the agent from starting.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _lock(descriptor: int, path: str) -> None:
    deadline = time.monotonic() + LOCK_GRACE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StateLockedError(
                    f"lock state directory: {path!r} is in use by another agent (pid {pid}); "
                    f"stop that one, or give this one its own agent.state_dir"
                ) from error
            time.sleep(_LOCK_POLL_SECONDS)
        except OSError as error:
            raise StateError(
                f"lock state directory: {path!r}: {error.strerror}; "
                f"put agent.state_dir on a local file system"
            ) from error
        else:
            return


def _unusable(path: str, error: OSError) -> StateError:
    remedy = {
        errno.EEXIST: "something that is not a directory is in its place: move it away",
        errno.ENOTDIR: "a part of the path is not a directory: correct agent.state_dir",
        errno.EACCES: "give the agent's user read and write access, or change agent.state_dir",
        errno.EPERM: "give the agent's user read and write access, or change agent.state_dir",
        errno.EROFS: "make the file system writable, or change agent.state_dir",
        errno.ENOSPC: "make room on its file system",
        errno.ELOOP: "its lock file is a symbolic link: remove it",
        errno.EISDIR: "its lock file is a directory: remove it",
    }.get(error.errno or 0, "correct that, or change agent.state_dir")
    return StateError(f"open state directory: {path!r}: {error.strerror}; {remedy}")
