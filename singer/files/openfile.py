"""OpenFile: one regular file held open, and what is known of where it is.

Owns the descriptor. The stream that opened it says where the file was seen and when it became
final; pipelines only read these facts. Loop thread only, but for what asks a remote file: that is
called through the agent's threads.
"""

from __future__ import annotations

import os
from contextlib import suppress

from singer.base.errors import ReadError
from singer.base.position import FileIdentity
from singer.files.packed import PackedSource
from singer.files.siblings import Compression
from singer.files.source import Source
from singer.files.threads import DeviceThreads


class OpenFile:
    """A descriptor and the facts about its file.

    `packed`       how it is compressed: it is read decompressed, and offsets count its content
    `path`         the path it belongs to (the row's): not changed by rotation
    `seen_at`      where it was last seen
    `opened_at`    loop time
    `final_since`  loop time since when nobody is expected to write to it any more, because it was
                   renamed away or deleted; None while it is at its path
    `deleted`      no name leads to it any more; what is unread exists only through this descriptor
    `remote`       it is on a network or user-space mount (`files.stat.is_shared`): whatever asks
                   it may hang for as long as a server is away, and inotify is silent there
    """

    __slots__ = (
        "deleted",
        "fd",
        "final_since",
        "identity",
        "opened_at",
        "packed",
        "path",
        "remote",
        "seen_at",
    )

    def __init__(
        self,
        fd: int,
        path: str,
        seen_at: str,
        identity: FileIdentity,
        *,
        remote: bool = False,
        packed: Compression | None = None,
    ) -> None:
        self.fd = fd
        self.path = path
        self.seen_at = seen_at
        self.identity = identity
        self.remote = remote
        self.packed = packed
        self.opened_at = 0.0
        self.final_since: float | None = None
        self.deleted = False

    @property
    def key(self) -> tuple[int, int]:
        """(device, inode): unique among open files."""
        return self.identity.key

    @property
    def seed(self) -> int:
        """A number that stays the file's own across restarts and renames."""
        return self.identity.inode ^ (self.identity.birth_ns or 0)

    def source(self, offset: int, tail: bytes) -> Source:
        """A cursor of its own through the content; `tail` are the bytes before `offset`."""
        if self.packed is not None:
            return PackedSource(self.fd, self.packed, offset, tail)
        return Source(self.fd, offset, tail)

    def size(self) -> int:
        """Bytes in the file now. Raises OSError. Of a remote file: for a thread."""
        return self.state()[0]

    def state(self) -> tuple[int, int]:
        """Bytes in the file now, and when it was last written to (ns). Raises OSError.

        Of a remote file: for a thread.
        """
        stat = os.fstat(self.fd)
        return stat.st_size, stat.st_mtime_ns

    def age(self, now_ns: int) -> float:
        """Seconds since it was last written to or renamed. Raises OSError."""
        stat = os.fstat(self.fd)
        return (now_ns - max(stat.st_mtime_ns, stat.st_ctime_ns)) / 1e9

    def whereabouts(self) -> tuple[int, str]:
        """How many names lead to the file, and the one the kernel knows it by. Raises OSError.

        Of a remote file: for a thread.
        """
        return os.fstat(self.fd).st_nlink, os.readlink(f"/proc/self/fd/{self.fd}")

    def close(self, threads: DeviceThreads | None = None) -> None:
        """Give the descriptor back. The file must not be read after.

        Closing a remote file asks its mount: with `threads` nobody waits for the answer.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            give_back(fd, self.identity.device, threads if self.remote else None)


def give_back(fd: int, device: int, threads: DeviceThreads | None) -> None:
    """Close the descriptor of a file; in a thread of its device, given threads."""
    if threads is None:
        os.close(fd)
    else:
        with suppress(ReadError):  # no thread to be had: the end of the process closes it
            threads.post(device, os.close, fd)
