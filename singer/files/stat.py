"""FileStat: what the kernel says about a file, birth time included.

Owns the call to statx(2), which Python 3.11 does not offer. Where it is missing (an old C library,
a sandbox that forbids it) plain stat takes its place, without birth times. Any thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import stat
import sys
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, NamedTuple

_NO_FOLLOW: Final = 0x100  # AT_SYMLINK_NOFOLLOW
_EMPTY_PATH: Final = 0x1000  # AT_EMPTY_PATH
_CWD: Final = -100  # AT_FDCWD
_WANTED: Final = 0xFFF  # STATX_BASIC_STATS | STATX_BTIME
_BIRTH: Final = 0x800  # STATX_BTIME

#: struct statx up to the device numbers: mask, nlink, uid, mode, ino, size, birth, change and
#: modification time (seconds, nanoseconds), dev_major, dev_minor. Its layout is kernel ABI.
_STATX: Final = Struct("=I12xII4xH2xQQ16x16xqI4xqI4xqI4x8xII")
_StatxBuffer = ctypes.c_char * 256
#: os.fsencode without its checks: a third of the price of a call, for each file of a walk.
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
_NO_SUCH_CALL: Final = (errno.ENOSYS, errno.EPERM)

#: File systems that others change without our kernel's notice: inotify is silent there.
#: nfs, smb, cifs, smb2, fuse, 9p, ceph, afs, coda, lustre, gfs2, ocfs2; from linux/magic.h.
_SHARED_TYPES: Final = frozenset(
    {
        0x6969,
        0x517B,
        0xFF534D42,
        0xFE534D42,
        0x65735546,
        0x01021997,
        0x00C36400,
        0x5346414F,
        0x73757245,
        0x0BD00BD0,
        0x01161970,
        0x7461636F,
    }
)
_PROC_TYPE: Final = 0x9FA0
#: Blanks and the like in a mount point.
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_StatfsBuffer = ctypes.c_char * 256

_KINDS: Final = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class FileStat(NamedTuple):
    """One answer of the kernel. A tuple, because a rescan makes tens of thousands of them.

    Times are nanoseconds since 1970; `birth_ns` is None where the file system does not tell.
    `mode` is the whole st_mode, `uid` the owner.
    """

    device: int
    inode: int
    birth_ns: int | None
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int
    mode: int
    uid: int

    @property
    def key(self) -> tuple[int, int]:
        """(device, inode)."""
        return (self.device, self.inode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a file that may be opened and read."""
        return stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def kind(self) -> str:
        """`a regular file`, `a directory`, `a FIFO`, ... for messages."""
        return next((name for test, name in _KINDS if test(self.mode)), "a special file")


def stat_path(path: str, *, directory: int | None = None) -> FileStat:
    """The file at `path` itself: a symbolic link is not followed. Raises OSError.

    A relative `path` begins at the open directory `directory`.
    """
    if _statx is not None:
        name = path.encode(_ENCODING, _ERRORS)
        answer = _call(_CWD if directory is None else directory, name, _NO_FOLLOW)
        if answer is not None:
            return answer
    return _of(os.stat(path, dir_fd=directory, follow_symlinks=False))


def stat_fd(fd: int) -> FileStat:
    """The file behind a descriptor. Raises OSError.

    For the size alone `os.fstat` costs a third.
    """
    if _statx is not None:
        answer = _call(fd, b"", _EMPTY_PATH)
        if answer is not None:
            return answer
    return _of(os.fstat(fd))


def stat_again(name: str, directory: int, known: FileStat | None) -> FileStat:
    """As `stat_path`, but `known` itself where that is still the answer, at half the price.

    Birth times need not be asked for again: a new file has another change time.
    """
    if known is None:
        return stat_path(name, directory=directory)
    now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (
        now.st_ino == known.inode
        and now.st_size == known.size
        and now.st_ctime_ns == known.ctime_ns
        and now.st_mtime_ns == known.mtime_ns
        and now.st_dev == known.device
        and now.st_mode == known.mode
        and now.st_nlink == known.links
        and now.st_uid == known.uid
    ):
        return known
    return stat_path(name, directory=directory)


def is_shared(fd: int) -> bool:
    """Whether the file may grow without inotify noticing: on a network or user-space mount."""
    return _file_system(fd) in _SHARED_TYPES


def is_proc(fd: int) -> bool:
    """Whether the file is one of /proc, where links do not lead where their text says."""
    return _file_system(fd) == _PROC_TYPE


def _file_system(fd: int) -> int | None:
    """The type of the file system (statfs(2)); None if it cannot be told."""
    buffer = _StatfsBuffer()
    if _fstatfs is None or _fstatfs(fd, buffer) != 0:
        return None
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def mount_point(device: int) -> str | None:
    """Where the file system with this st_dev is mounted; asks the kernel, never the mount."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as mounts:
        for mount in mounts:
            # id, parent, major:minor, root, mount point; proc_pid_mountinfo(5)
            fields = mount.split(b" ", 5)
            if fields[2].decode() == number:
                return os.fsdecode(_OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), fields[4]))
    return None


def _call(fd: int, path: bytes, flags: int) -> FileStat | None:
    """Call statx; None if there is no such call here."""
    buffer = _StatxBuffer()
    assert _statx is not None
    if _statx(fd, path, flags, _WANTED, buffer) != 0:
        code = ctypes.get_errno()
        if code in _NO_SUCH_CALL:
            return None
        raise OSError(code, os.strerror(code), os.fsdecode(path) or None)
    (
        mask,
        links,
        uid,
        mode,
        inode,
        size,
        birth_s,
        birth_ns,
        change_s,
        change_ns,
        modify_s,
        modify_ns,
        major,
        minor,
    ) = _STATX.unpack_from(buffer)
    born = birth_s * 1_000_000_000 + birth_ns if mask & _BIRTH else 0
    return FileStat(
        os.makedev(major, minor),
        inode,
        born or None,
        size,
        modify_s * 1_000_000_000 + modify_ns,
        change_s * 1_000_000_000 + change_ns,
        links,
        mode,
        uid,
    )


def _of(answer: os.stat_result) -> FileStat:
    return FileStat(
        answer.st_dev,
        answer.st_ino,
        None,
        answer.st_size,
        answer.st_mtime_ns,
        answer.st_ctime_ns,
        answer.st_nlink,
        answer.st_mode,
        answer.st_uid,
    )


def _function(name: str, *argument_types: Any) -> Callable[..., int] | None:
    """A function of the C library that returns an int; None where it has no such function."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = argument_types
        function.restype = ctypes.c_int
    return function


_statx = _function(
    "statx", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
)
_fstatfs = _function("fstatfs", ctypes.c_int, ctypes.c_void_p)
