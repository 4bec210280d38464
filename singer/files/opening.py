"""Opening log files, and nothing but regular files, without any effect on what is there instead.

Opening a FIFO would let its writer go on, opening a device may rewind a tape. So the name is first
taken without opening what it leads to (O_PATH), then looked at, and only a regular file is opened
for reading, through the name the kernel gives to what was taken: nobody can put something else in
its place in between. Blocks as long as the file system does; any thread.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from singer.base.errors import ReadError
from singer.files.beneath import RefusedLinkError
from singer.files.stat import FileStat, stat_fd
from singer.files.trust import is_planted, planted

_TAKE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: a mandatory lease or lock must not make us wait.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

_PERMISSION: Final = "let the agent's user read the file and search its directories"
_REMEDIES: Final = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.ENOENT: "it was moved or deleted since it was seen",
    errno.ENOTDIR: "something in the path is not a directory: correct the stream's paths",
    errno.EMFILE: "raise the agent's limit of open files (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "raise fs.file-max (sysctl)",
}


def open_in(directory: int, name: str, path: str) -> int:
    """A descriptor to read the regular file `name` in the open `directory`; no link is followed.

    `path` is what messages call it. Refuses what may be a hard link that others made to a file of
    somebody else. Raises ReadError, whose `__cause__` is the OSError, if there was one
    (FileNotFoundError when the file is gone).
    """
    try:
        taken = os.open(name, _TAKE, dir_fd=directory)
        try:
            stat = stat_fd(taken)
            if not stat.is_regular:
                raise ReadError(f"open {path!r}: {special(stat)}")
            if is_planted(directory, taken, stat):
                raise ReadError(f"open {path!r}: {planted(stat)}")
            return _reopen(taken)
        finally:
            os.close(taken)
    except OSError as error:
        raise ReadError(f"open {path!r}: {explain(error)}") from error


def special(stat: FileStat) -> str:
    """Why what is there is not read, and what to do."""
    remedy = (
        "name the file it leads to in the stream's paths"
        if stat.kind == "a symbolic link"
        else "add /* to read the files in it"
        if stat.is_directory
        else "correct the stream's paths or exclude it"
    )
    return f"is {stat.kind}, and only regular files are read; {remedy}"


def explain(error: OSError) -> str:
    """The cause in words and, where there is one, what to do."""
    if isinstance(error, RefusedLinkError):
        return str(error.strerror)
    if error.errno == errno.ELOOP:
        return (
            "a symbolic link is in the way; write out the directory it leads to in the stream's "
            "paths, or set follow_symlinks"
        )
    cause = (error.strerror or str(error)).lower()
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{cause}; {remedy}" if remedy else cause


def _reopen(taken: int) -> int:
    name = f"/proc/self/fd/{taken}"
    try:
        # Reading logs should not write to the disk; allowed for one's own files and for root.
        return os.open(name, _READ | os.O_NOATIME)
    except PermissionError:
        return os.open(name, _READ)
