"""OpenFile: one regular file held open, and what is known of where it is.

Owns the descriptor. The stream that opened it says where the file was seen and when it became
final; pipelines only read these facts. Loop thread only.
"""

from __future__ import annotations

import os

from singer.base.position import FileIdentity
from singer.files.source import Source


class OpenFile:
    """A descriptor and the facts about its file.

    `path`         the path it belongs to (the row's): not changed by rotation
    `seen_at`      where it was last seen
    `opened_at`    loop time
    `final_since`  loop time since when nobody is expected to write to it any more, because it was
                   renamed away or deleted; None while it is at its path
    `deleted`      no name leads to it any more; what is unread exists only through this descriptor
    """

    __slots__ = ("deleted", "fd", "final_since", "identity", "opened_at", "path", "seen_at")

    def __init__(self, fd: int, path: str, seen_at: str, identity: FileIdentity) -> None:
        self.fd = fd
        self.path = path
        self.seen_at = seen_at
        self.identity = identity
        self.opened_at = 0.0
        self.final_since: float | None = None
        self.deleted = False

    @property
    def key(self) -> tuple[int, int]:
        """(device, inode): unique among open files."""
        return (self.identity.device, self.identity.inode)

    @property
    def seed(self) -> int:
        """A number that stays the file's own across restarts and renames."""
        return self.identity.inode ^ (self.identity.birth_ns or 0)

    def source(self, offset: int, tail: bytes) -> Source:
        """A cursor of its own through the content; `tail` are the bytes before `offset`."""
        return Source(self.fd, offset, tail)

    def size(self) -> int:
        """Bytes in the file now. Raises OSError."""
        return self.state()[0]

    def state(self) -> tuple[int, int]:
        """Bytes in the file now, and when it was last written to (ns). Raises OSError."""
        stat = os.fstat(self.fd)
        return stat.st_size, stat.st_mtime_ns

    def whereabouts(self) -> tuple[int, str]:
        """How many names lead to the file, and the one the kernel knows it by. Raises OSError."""
        return os.fstat(self.fd).st_nlink, os.readlink(f"/proc/self/fd/{self.fd}")

    def close(self) -> None:
        """Give the descriptor back. The file must not be read after."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
