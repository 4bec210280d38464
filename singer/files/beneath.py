"""Opening directories so that nobody can lead us elsewhere by a link.

Two ways. A directory that a person wrote out may be reached through symbolic links of trusted
owners. Below it no link is followed at all, nor `..`: whatever is put in the place of a directory,
meanwhile too, what is opened lies beneath. Mounts below are entered. Blocks as long as the file
system does; any thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from singer.files.stat import is_proc, stat_fd
from singer.files.trust import is_planted, is_trusted

_DIRECTORY: Final = os.O_DIRECTORY | os.O_CLOEXEC
#: One step of the way: neither reads the directory nor follows a link.
_STEP: Final = _DIRECTORY | os.O_PATH | os.O_NOFOLLOW

#: As the kernel has it (path_resolution(7)).
_MOST_LINKS: Final = 40

#: openat2(2), the same on all machines; the C library has no function for it.
_OPENAT2: Final = 437
#: RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH.
_RESOLVE: Final = 0x02 | 0x04 | 0x08
#: The kernel says EAGAIN when something is renamed meanwhile and it cannot tell whether it matters.
_MOST_TRIES: Final = 16
#: An old kernel, or a sandbox that does not know the call.
_NO_SUCH_CALL: Final = (errno.ENOSYS, errno.EPERM)


class RefusedLinkError(OSError):
    """A symbolic link is not followed, for a reason of ours: `strerror` says why and what to do."""


def open_written_out(path: str, flags: int = os.O_PATH) -> int:
    """A descriptor of the directory at the absolute `path`; `flags` are O_PATH or O_RDONLY.

    Each link on the way is looked at and read through one descriptor. Raises OSError, and
    RefusedLinkError for a link that others made.
    """
    names = _names(path)
    links = 0
    here = os.open("/", _STEP)
    try:
        while names:
            name = names.pop()
            try:
                deeper = os.open(name, _STEP, dir_fd=here)
            except NotADirectoryError:
                target = _trusted_target(here, name)
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                if is_proc(here):
                    # Such a link (/proc/1/root) leads where its text does not say.
                    deeper = os.open(name, _DIRECTORY | os.O_PATH, dir_fd=here)
                else:
                    names += _names(target)
                    if not target.startswith("/"):
                        continue
                    deeper = os.open("/", _STEP)
            os.close(here)
            here = deeper
        return os.open(".", _DIRECTORY | flags, dir_fd=here)
    finally:
        os.close(here)


def open_beneath(directory: int, path: str, flags: int = os.O_PATH) -> int:
    """A descriptor of the directory at the relative `path`, which lies beneath `directory`.

    `flags` are O_PATH or O_RDONLY. Raises OSError: ELOOP or ENOTDIR where something is a link,
    EXDEV where `path` is not relative or climbs up.
    """
    if path.startswith("/") or ".." in path.split("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    fd = _openat2(directory, path, flags)
    return _step_by_step(directory, path, flags) if fd is None else fd


def _names(path: str) -> list[str]:
    """The names on the way, the first one last."""
    return [name for name in reversed(path.split("/")) if name]


def _trusted_target(directory: int, name: str) -> str:
    """Where a link leads that may be followed."""
    link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        answer = stat_fd(link)
        if not stat.S_ISLNK(answer.mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        target = os.readlink("", dir_fd=link)
        if not is_trusted(answer.uid) or is_planted(directory, link, answer):
            where = os.readlink(f"/proc/self/fd/{link}")
            raise RefusedLinkError(
                errno.ELOOP,
                f"{where!r} is a symbolic link to {target!r} that user {answer.uid} may have "
                f"made, and on the way to a directory that is written out only links of root and "
                f"the agent's user are followed; write out the directory it leads to, or make the "
                f"link as root",
                where,
            )
        return target
    finally:
        os.close(link)


class _OpenHow(ctypes.Structure):
    """struct open_how, kernel ABI."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_OpenHow),
    ctypes.c_size_t,
)
_syscall.restype = ctypes.c_long


def _openat2(directory: int, path: str, flags: int) -> int | None:
    """As `open_beneath`; None if there is no such call here."""
    how = _OpenHow(flags=_DIRECTORY | flags, mode=0, resolve=_RESOLVE)
    code = errno.EAGAIN
    for _ in range(_MOST_TRIES):
        fd = _syscall(_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code in _NO_SUCH_CALL:
        return None
    raise OSError(code, os.strerror(code), path)


def _step_by_step(directory: int, path: str, flags: int) -> int:
    """As `open_beneath`, by calls that every kernel has."""
    here = os.open(".", _STEP, dir_fd=directory)
    try:
        for name in _steps(path):
            deeper = os.open(name, _STEP, dir_fd=here)
            os.close(here)
            here = deeper
        return os.open(".", _DIRECTORY | flags, dir_fd=here)
    finally:
        os.close(here)


def _steps(path: str) -> Iterator[str]:
    return (name for name in path.split("/") if name not in ("", "."))
