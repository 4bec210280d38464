"""A small file that others change while we run: read again whenever it is another one.

Owns when to read; what is in it is its owner's business. Blocks for as long as the file's mount
does: for a thread, one at a time.
"""

from __future__ import annotations

import os

from singer.base.smallfile import read_small_file


class WatchedFile:
    """The file at `path`; it is looked at when `news` is called."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._seen: tuple[int, int, int] | None = None

    def news(self) -> bytes | None:
        """The contents, if it is another file or was changed since the last call.

        Raises ValueError with a phrase that fits behind the path, once for as long as nothing
        changes: a file that is gone is news too.
        """
        try:
            stat = os.stat(self.path)
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except OSError:
            seen = (0, 0, 0)
        if seen == self._seen:
            return None
        self._seen = seen  # before it is read: what changes meanwhile is news again
        return read_small_file(self.path, self._max_bytes)
