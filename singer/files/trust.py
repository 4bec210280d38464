"""Trust: whose links are followed, and which files may be another's in disguise.

Who may write to a directory may put symbolic links there, and hard links to files of others. The
agent can read more than they can, so it must not be led. All answers are about open descriptors:
what is checked is what is read. Any thread.
"""

from __future__ import annotations

import os
from typing import Final

from singer.files.stat import FileStat, stat_fd

_ROOT: Final = 0
_WRITABLE_BY_OTHERS: Final = 0o022
#: What the kernel appends to the name of a descriptor whose directory entry was removed.
_DELETED: Final = " (deleted)"


def is_trusted(owner: int) -> bool:
    """Whether what this user made is as good as ours: root, and the agent's effective user."""
    return owner in (_ROOT, os.geteuid())


def is_planted(directory: int, fd: int, stat: FileStat) -> bool:
    """Whether `fd`, opened by a name in the open `directory`, may be a hard link made by others.

    `stat` is what the kernel says of it since it is open. That is so if users that are not trusted
    may write to the directory and the file has other names; but a user may link what he owns.
    Raises OSError.
    """
    above = stat_fd(directory)
    if is_trusted(above.uid) and not above.mode & _WRITABLE_BY_OTHERS:
        return False
    if stat.uid == above.uid != _ROOT:
        return False
    # Linked, opened by us, unlinked again: then the count is that of the other name. But a removed
    # entry stays removed for the descriptor it was opened by, whatever is linked anew; so if it is
    # there after the count was taken, it was there when it was.
    return stat.links > 1 or (stat.links == 1 and _is_removed(fd))


def planted(stat: FileStat) -> str:
    """Why such a file is not read, and what to do."""
    return (
        f"may be a hard link to another user's file: it belongs to user {stat.uid}, and others can "
        f"write to its directory; remove its other names, or let only root and the agent's user "
        f"write to the directory"
    )


def _is_removed(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").endswith(_DELETED)
