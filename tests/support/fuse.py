"""A mount that hangs when the test says so, and goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

from tests.support import child
from tests.support.waiting import wait_until

_SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuse_server.py")
_MOUNT_SECONDS = 20.0
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


class HangingMount:
    """A file system in user space: what is in the real directory `backing` is at `path` as well.

    Write and rename in `backing`; read at `path`. `hang` stops all answers from then on.
    """

    def __init__(self, directory: str) -> None:
        self.backing = os.path.join(directory, "backing")
        self.path = os.path.join(directory, "mounted")
        self._hang = os.path.join(directory, "hang")
        os.makedirs(self.backing)
        os.makedirs(self.path)

    def hang(self) -> None:
        """From now on nobody who asks is answered."""
        with open(self._hang, "wb"):
            pass

    def go_on(self) -> None:
        """Answer all who wait, and who comes."""
        try:
            os.unlink(self._hang)
        except FileNotFoundError:
            raise AssertionError("the mount had to be let go: the test blocked on it") from None

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """Hang for a while."""
        self.hang()
        try:
            yield
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._hang)
            raise
        self.go_on()

    def is_mounted(self) -> bool:
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            return any(line.split(" ")[4] == self.path for line in mounts)


@contextlib.contextmanager
def hanging_mount(directory: str, *, flush: bool = False) -> Iterator[HangingMount]:
    """A mount below `directory`; skips the test where there cannot be one.

    `flush`: closing a file asks as well, as most file systems in user space want it, and hangs so
    that nothing ends it: a process that has a file open cannot end. (Of NFS none of this is true.)
    """
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("a file system in user space takes root and /dev/fuse")
    mount = HangingMount(directory)
    log_path = os.path.join(directory, "fuse.log")
    with open(log_path, "wb") as log:
        command = [
            sys.executable,
            "-I",
            "-S",
            _SERVER,
            mount.backing,
            mount.path,
            mount._hang,
            str(int(flush)),
        ]
        server = child.spawn(command, output=log)
    try:
        wait_until(
            lambda: mount.is_mounted() or server.poll() is not None, _MOUNT_SECONDS, "it mounts"
        )
        if server.poll() is not None:
            pytest.skip(f"cannot mount: {child.tail(log_path)}")
        yield mount
        assert server.poll() is None, child.tail(log_path)
    finally:
        # The end of the server answers everybody who still waits; nobody stays blocked.
        server.kill()
        server.wait()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(os.fsencode(mount.path), _MNT_DETACH | _UMOUNT_NOFOLLOW)
