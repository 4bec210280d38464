"""A log file as an application has it: whole records appended, rotated by renaming.

Owns the descriptor and the lock. Several threads and several processes may write the same file:
every piece is one `write` to a descriptor in append mode, which the kernel does not mix with
others, and rotation is done by one of them, under `flock`. Who has the old file open still notices
within a tenth of a second; what it writes there meanwhile is read like the rest.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
import weakref
from contextlib import suppress
from enum import Enum
from typing import Final

#: How long another process's rotation may go unnoticed, and the size be only our own count.
_LOOK_SECONDS: Final = 0.1
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OnFull(Enum):
    """What becomes of a record for which the disk has no room."""

    RAISE = "raise"
    DROP = "drop"  #: it is counted in `dropped`


class LogFullError(OSError):
    """The disk has no room for a record; nothing of it is in the file."""


class LogFile:
    """Appends whole pieces. `written` and `dropped` count pieces of this process.

    `unrotated` counts how often the file was to be renamed and could not be: it grows beyond
    `max_bytes` then, and the next piece tries again.

    `max_bytes` and `rotate_seconds` say when the file is renamed to path.1, path.1 to path.2 and so
    on; `backups` of those are kept. None: never.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | None = 256 << 20,
        rotate_seconds: float | None = None,
        backups: int = 10,
        on_full: OnFull = OnFull.RAISE,
    ) -> None:
        self.path = os.fspath(path)
        self.written = 0
        self.dropped = 0
        self.unrotated = 0
        #: Held around what makes a piece, where the order of pieces matters. A handler of a signal
        #: may log while the thread that it interrupts holds it.
        self.lock = threading.RLock()
        self._max_bytes = max_bytes
        self._rotate_seconds = rotate_seconds
        self._backups = backups
        self._on_full = on_full
        self._fd = -1
        self._identity = (-1, -1)
        self._rotating = False
        self._open()
        _FILES.add(self)

    def append(self, data: bytes) -> None:
        """Write a piece at once; the lock is held. Raises LogFullError by policy, OSError."""
        now = time.monotonic()
        try:
            if now >= self._look_at or self._size + len(data) > self._limit:
                self._look(len(data), now)
            count = os.write(self._fd, data)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            self._full(data, error)
            return
        if count < len(data):
            self._take_back(count)
            self._full(data, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            return
        self._size += count
        self.written += 1

    def close(self) -> None:
        """Give the descriptor back."""
        with self.lock:
            before, self._fd = self._fd, -1
            self._give_back(before)

    # --- rotation -----------------------------------------------------------------------------

    @property
    def _limit(self) -> float:
        return float("inf") if self._max_bytes is None else self._max_bytes

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o644)
        before, self._fd = self._fd, fd
        self._give_back(before)
        stat = os.fstat(fd)
        self._identity, self._size = _identity(stat), stat.st_size
        self._opened = time.monotonic()
        self._look_at = self._opened + _LOOK_SECONDS

    def _look(self, more: int, now: float) -> None:
        """Has somebody rotated the file, and has it to be?"""
        self._look_at = now + _LOOK_SECONDS
        if self._fd < 0:
            return  # closed
        if not (self._is_ours(self._fd) and self._is_there()):
            self._open()
        self._size = os.fstat(self._fd).st_size
        due = self._rotate_seconds is not None and now - self._opened >= self._rotate_seconds
        if self._size and (due or self._size + more > self._limit) and self._rotate():
            self._open()

    def _rotate(self) -> bool:
        """Whether the path leads elsewhere now. No record waits for it, nor is lost for it."""
        if self._rotating:
            return False  # a signal came in the middle of it
        self._rotating = True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if self._is_there():  # who held the lock before may have done it
                    self._rename()
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except BlockingIOError:
            return False  # another process is about it
        except OSError:
            self.unrotated += 1
            return False
        finally:
            self._rotating = False
        return True

    def _is_there(self) -> bool:
        """Whether the path still leads to what is open."""
        try:
            return _identity(os.stat(self.path)) == self._identity
        except FileNotFoundError:
            return False

    def _is_ours(self, fd: int) -> bool:
        """Whether a descriptor is what we opened: daemons close all, and open others."""
        try:
            return _identity(os.fstat(fd)) == self._identity
        except OSError:
            return False

    def _give_back(self, fd: int) -> None:
        if self._is_ours(fd):
            os.close(fd)

    def _rename(self) -> None:
        last = 0
        while last < self._backups and os.path.exists(f"{self.path}.{last + 1}"):
            last += 1
        if not self._backups:
            os.unlink(self.path)
            return
        if last == self._backups:
            last -= 1  # the oldest is replaced
        for number in range(last, 0, -1):
            os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.rename(self.path, f"{self.path}.1")

    # --- a full disk --------------------------------------------------------------------------

    def _take_back(self, count: int) -> None:
        """Cut off the part of a piece that was written, if nothing was written behind it.

        If another process wrote behind it, the part stays: a reader gives up just that.
        """
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            end = os.lseek(self._fd, 0, os.SEEK_CUR)
            if os.fstat(self._fd).st_size == end:
                os.ftruncate(self._fd, end - count)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _full(self, data: bytes, error: OSError) -> None:
        self.dropped += 1
        if self._on_full is OnFull.RAISE:
            raise LogFullError(
                error.errno,
                f"append {len(data)} bytes to {self.path}: {os.strerror(error.errno or 0).lower()}"
                ": free space there; nothing of the record was written",
            ) from error

    def _forked(self) -> None:
        """In the child: the lock may have been held by a thread that is not there.

        The descriptor is the parent's own, and so would `flock` be.
        """
        self.lock = threading.RLock()
        self.written = self.dropped = self.unrotated = 0
        self._rotating = False
        if self._fd >= 0:
            with suppress(OSError):  # with the next piece, then
                self._open()


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


_FILES: Final[weakref.WeakSet[LogFile]] = weakref.WeakSet()


def _after_fork() -> None:
    for file in list(_FILES):
        file._forked()  # noqa: SLF001  # of this module


os.register_at_fork(after_in_child=_after_fork)
