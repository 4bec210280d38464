"""Where a file was read up to, and how the same file is known again.

Pure values. `files` computes marks and resolves identities, `positions` keeps them.
Paths are `str` decoded with `os.fsdecode` (surrogateescape), so that names that are not UTF-8
survive a round trip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

#: A fingerprint covers at most this many bytes from the start of a file.
FINGERPRINT_BYTES: Final = 1024
#: A tail covers at most this many bytes before an offset.
TAIL_BYTES: Final = 256
#: The `resume` of a compressed file that was read to its end: its offset counts content, so its
#: size cannot tell.
READ_TO_END: Final = b"\x00end"
#: 16 bytes of BLAKE2b: a chance collision is out of reach, a row stays small.
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """The length and digest of a stretch of a file. A mark of no bytes agrees with anything."""

    length: int
    digest: bytes

    @classmethod
    def of(cls, data: bytes | memoryview) -> Mark:
        """The mark of exactly `data`."""
        return cls(len(data), blake2b(data, digest_size=_DIGEST_BYTES).digest())

    def agrees(self, data: bytes | memoryview) -> bool:
        """Whether the first `length` bytes of `data` are the marked ones."""
        return len(data) >= self.length and Mark.of(data[: self.length]) == self


NO_MARK: Final = Mark.of(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """What makes a file itself: device and inode, birth time where the file system tells it
    (statx; None elsewhere), and a fingerprint of its first bytes that grows with the file.
    """

    device: int
    inode: int
    birth_ns: int | None
    fingerprint: Mark = NO_MARK

    @property
    def key(self) -> tuple[int, int]:
        """(device, inode)."""
        return (self.device, self.inode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far one destination of one stream is through one file.

    `id`            the store's key of this row; 0 until the store has given one
    `destination`   name of the entry of `publish`
    `path`          the path of the stream this file belongs to: under rotation, the path it was
                    first seen at, not the one it was moved to
    `offset`        bytes from the file's start that are settled for good
    `tail`          mark of the (at most 256) bytes before `offset`
    `resume`        the reader's own state at `offset`, at most 1 KiB
    `first_seen_ns` and `updated_ns`: wall clock
    """

    id: int = 0
    stream: str
    destination: str
    path: str
    identity: FileIdentity
    offset: int
    tail: Mark = NO_MARK
    resume: bytes = b""
    first_seen_ns: int = 0
    updated_ns: int = 0

    def moved(
        self, offset: int, tail: Mark, resume: bytes, fingerprint: Mark, now_ns: int
    ) -> Position:
        """The same file, settled up to `offset`."""
        return replace(
            self,
            offset=offset,
            tail=tail,
            resume=resume,
            identity=replace(self.identity, fingerprint=fingerprint),
            updated_ns=now_ns,
        )
