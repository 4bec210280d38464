"""Source: one cursor through one open file; windows of bytes in an append-only buffer.

Owns the buffer and the running check for truncation: every read begins with the (at most) 256
bytes before it and compares them with those that were read last time, so that a file that was
truncated and has grown past the cursor again is noticed. Knows nothing of paths, rotation or
threads; `read` may be called on the loop (`nowait=True`, page cache only) or in a thread, but
never twice at the same time.

The buffer is append-only because sent records are borrowed from it until the broker's
acknowledgement: bytes that were shown are never moved or overwritten. When it is full, what is
still held is copied to a new one.
"""

from __future__ import annotations

import errno
import os
from enum import Enum
from typing import Final

import numpy as np

from singer.base.batch import Bytes
from singer.base.position import TAIL_BYTES

#: One window: large enough that the cost per window vanishes, small enough for fair turns.
WINDOW_BYTES: Final = 1 << 20
#: A buffer for a file that grows line by line; 4 pages cost no more than one to hand out.
_MIN_BUFFER_BYTES: Final = 16 << 10

_EMPTY: Final[Bytes] = np.empty(0, dtype=np.uint8)


class Outcome(Enum):
    """What became of a read."""

    GREW = "grew"  #: new bytes are in the window
    END = "end"  #: the file ends at the cursor
    COLD = "cold"  #: not in the page cache: read again in a thread
    CHANGED = "changed"  #: what lies before the cursor is not what was read: truncated, rewritten


class Source:
    """A cursor at `offset` (first byte not consumed); `read_offset` is how far was read.

    `tail` are the (at most 256) bytes before `offset`, as they were when the cursor was set.
    """

    __slots__ = (
        "_before",
        "_begin",
        "_buffer",
        "_end",
        "_nowait",
        "fd",
        "offset",
        "scanned",
        "tail",
    )

    def __init__(self, fd: int, offset: int, tail: bytes) -> None:
        self.fd = fd
        self._before = np.empty(TAIL_BYTES, dtype=np.uint8)
        self._nowait = hasattr(os, "RWF_NOWAIT")
        self.reset(offset, tail)

    @property
    def read_offset(self) -> int:
        """File offset behind the last byte read."""
        return self.offset + self.held

    @property
    def held(self) -> int:
        """Bytes read and not consumed yet."""
        return self._end - self._begin

    @property
    def complete(self) -> bool:
        """Whether what was read to the end is all there is: a plain file has no unseen rest."""
        return True

    @property
    def fault(self) -> str | None:
        """Why what follows can never be read, and what to do; None: it can."""
        return None

    @property
    def window(self) -> Bytes:
        """The bytes read and not consumed yet: a view, valid for as long as it is kept."""
        return self._buffer[self._begin : self._end]

    def reset(self, offset: int, tail: bytes) -> None:
        """Set the cursor; what was read is forgotten."""
        self.offset = offset
        self.tail = tail
        self.scanned = 0
        self._buffer = _EMPTY
        self._begin = self._end = 0

    def relax(self) -> None:
        """Give the buffer back while there is nothing in it: idle files cost no memory."""
        if not self.held:
            self._buffer = _EMPTY
            self._begin = self._end = 0

    def unread(self, size: int) -> int:
        """How many bytes a file of `size` bytes has behind the cursor; negative: truncated."""
        return size - self.read_offset

    def read(self, want: int, *, nowait: bool) -> Outcome:
        """Read up to `want` more bytes behind the window; 0 only checks. Raises OSError."""
        self._make_room(want)
        before = self._tail_of_read()
        position = self.read_offset
        view = self._buffer[self._end : self._end + want]
        check = self._before[: len(before)]
        flags = os.RWF_NOWAIT if nowait and self._nowait else 0
        if nowait and not flags:
            return Outcome.COLD
        try:
            count = os.preadv(self.fd, [check.data, view.data], position - len(before), flags)
        except BlockingIOError:
            return Outcome.COLD
        except OSError as error:
            if flags and error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                self._nowait = False  # this file system cannot tell: always use a thread
                return Outcome.COLD
            raise
        if count < len(before):
            # Without waiting, a short read may just be the end of what is cached.
            return Outcome.COLD if nowait else Outcome.CHANGED
        if check.tobytes() != before:
            return Outcome.CHANGED
        fresh = count - len(before)
        if not fresh:
            return Outcome.COLD if nowait and want else Outcome.END
        self._end += fresh
        return Outcome.GREW

    def fork(self, held: int) -> Source:
        """A source of its own with the first `held` bytes of the window.

        For when a thread may still be reading into this one, and nobody waits for it any more.
        """
        fork: Source = self._anew()
        fork._buffer = self.window[:held].copy()  # ours
        fork._end = held
        fork.scanned = min(self.scanned, held)
        return fork

    def read_cold(self, want: int) -> Outcome:
        """Read in a thread, waiting for the disk. Raises OSError."""
        return self.read(want, nowait=False)

    def consume(self, count: int, scanned: int) -> None:
        """`count` bytes of the window are accounted for; `scanned` of it were looked at."""
        self.tail = self.tail_after(self.window, self.tail, count)
        self._begin += count
        self.offset += count
        self.scanned = scanned - count

    @staticmethod
    def tail_after(window: Bytes, tail: bytes, count: int) -> bytes:
        """The tail at `count` bytes into `window`, which follows `tail`."""
        last = window[max(0, count - TAIL_BYTES) : count].tobytes()
        return last if len(last) == TAIL_BYTES else (tail + last)[-TAIL_BYTES:]

    def _anew(self) -> Source:
        return Source(self.fd, self.offset, self.tail)

    def _tail_of_read(self) -> bytes:
        return self.tail_after(self.window, self.tail, self.held) if self.held else self.tail

    def _make_room(self, want: int) -> None:
        if len(self._buffer) - self._end >= want:
            return
        held = self.held
        # Doubling keeps the copying of a line that grows for ever linear.
        size = max(_MIN_BUFFER_BYTES, held + want, 2 * held)
        buffer = np.empty(size, dtype=np.uint8)
        buffer[:held] = self.window
        self._buffer, self._begin, self._end = buffer, 0, held
