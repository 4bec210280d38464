"""Lag: how far a shadow is behind, whether that is too far, and where it may go on.

Pure but for `landing`, which reads a file and blocks: for a thread. Time is a parameter. Who looks
after the shadows of a stream is `shadows`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from singer.base.config import MaxLagConfig, ReaderConfig
from singer.base.position import FINGERPRINT_BYTES, Position
from singer.files.census import Key
from singer.files.marks import first_bytes, last_bytes
from singer.files.placement import last_line_start

#: The ledger's word for what is skipped.
REASON: Final = "lag"
#: An age is known to this part of the greatest that may be.
_AGE_PARTS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What one file has that a destination does not: `nbytes` behind `offset`, of `size`.

    `idle_seconds`: for how long nobody has written to it.
    """

    key: Key
    offset: int
    size: int
    nbytes: int
    idle_seconds: float


class Lag:
    """How far one destination of a stream is behind.

    `over`    it was too far behind, and what was under way then still is: its pipelines pass over
              what is there, and send nothing more
    `others`  by file, the furthest position of another destination
    """

    def __init__(self, config: MaxLagConfig, reader: ReaderConfig) -> None:
        self.over = False
        self.of_lines = reader.of_lines
        #: A line is a record, whatever stands before it.
        self.line_by_line = reader.of_lines and reader.quiet_after is None
        self.others: dict[Key, Position] = {}
        self._max_bytes = config.bytes
        self._max_seconds = config.age
        # By file, moments and the sizes it had then: what lies before was written before.
        self._sizes: dict[Key, deque[tuple[float, int]]] = {}

    def is_exceeded(self, files: Collection[Behind], now: float) -> bool:
        """Whether it is too far behind; to be asked again and again, with a monotonic clock."""
        if self._max_bytes is not None and sum(f.nbytes for f in files) > self._max_bytes:
            return True
        return self._max_seconds is not None and self.age(files, now) > self._max_seconds

    def age(self, files: Collection[Behind], now: float) -> float:
        """How many seconds ago the oldest byte was written that is behind: at least so many."""
        assert self._max_seconds is not None
        self._sizes = {f.key: self._sizes.get(f.key) or deque() for f in files if f.nbytes}
        oldest = now
        for file in files:
            if not file.nbytes:
                continue
            sizes = self._sizes[file.key]
            while sizes and not file.offset < sizes[0][1] <= file.size:
                sizes.popleft()  # delivered, or of before a truncation
            if not sizes or now - sizes[-1][0] >= self._max_seconds / _AGE_PARTS:
                sizes.append((now if sizes else now - file.idle_seconds, file.size))
            oldest = min(oldest, sizes[0][0])
        return now - oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Where a file is read on.

    `tail` are the bytes before `end`, `head` those from the start on that a fingerprint covers.
    """

    end: int
    resume: bytes
    tail: bytes
    head: bytes


def landing(
    fd: int, start: int, *, lag: Lag, final: bool, other: Position | None
) -> Landing | None:
    """Where a record begins, as near the end of a file as is known.

    A `final` file ends with a record. A line begins behind a newline. Else the position of another
    destination tells. None: nowhere behind `start`. Raises ReadError, OSError.
    """
    end, resume = start, b""
    size = os.fstat(fd).st_size
    if final:
        end = size
    elif other is not None and not lag.line_by_line and other.offset > start:
        end, resume = other.offset, other.resume
    elif lag.of_lines:
        end = last_line_start(fd, size)
    if end <= start:
        return None
    return Landing(
        end=end,
        resume=resume,
        tail=last_bytes(fd, end),
        head=first_bytes(fd, end)[start:] if start < FINGERPRINT_BYTES else b"",
    )
