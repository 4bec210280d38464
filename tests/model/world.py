"""The world of the model: the files that are there, and all that was ever written to them.

`Content` is what one file held between its creation, or a truncation, and the next truncation.
`File` is an inode: which content is in it, how much of that, and the names that lead to it. `World`
changes real files and keeps both. It knows nothing of the agent.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import zstandard

Span = tuple[int, int]
Key = tuple[int, int]

#: The applications' names for their logs.
NAMES: Final = ("a.log", "b.log")
#: The same in all files when the model says so: more than a fingerprint covers.
HEADER: Final = b"".join(b"# header line %d " % n + b"=" * 400 + b"\n" for n in range(3))

COMPRESS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


class Style(Enum):
    """The name that a rotated file gets; `n` is never used twice."""

    NUMBER = "{name}.{n}"
    DATE = "{name}-20240131-{n}"
    DOTTED_DATE = "{name}.2024-01-31.{n}"
    EPOCH = "{name}.{epoch}"
    ODD = "kept-{n}"  #: no rule covers it

    def of(self, name: str, n: int) -> str:
        return self.value.format(name=name, n=n, epoch=1_700_000_000 + n)


@dataclass(eq=False)
class Content:
    """Bytes in the order in which they were written.

    `path`       of the log they were written to
    `header`     how many of them, at the beginning, other contents have as well
    `cuts`       offsets at which a record may end although no line does: the end was there, without
               a newline, in a file that was not at its path
    `before`     what its file held before it was truncated
    `truncated`  it is gone from the file it was written to
    """

    path: str
    number: int
    header: int = 0
    before: Content | None = None
    truncated: bool = False
    data: bytearray = field(default_factory=bytearray)
    cuts: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{os.path.basename(self.path)}#{self.number}"

    @property
    def partial(self) -> int:
        """Bytes behind the last newline."""
        return len(self.data) - (self.data.rfind(b"\n") + 1)

    def lines(self) -> Iterator[Span]:
        """Where the lines are, without their newlines; the last may have none."""
        start = 0
        while (end := self.data.find(b"\n", start)) >= 0:
            yield start, end
            start = end + 1
        if start < len(self.data):
            yield start, len(self.data)

    def pieces(self, line: Span) -> list[int]:
        """The offsets at which a record of this line may begin or end, in order."""
        start, end = line
        return [start, *sorted(cut for cut in self.cuts if start < cut < end), end]

    def piece(self, start: int, end: int) -> bytes:
        return bytes(self.data[start:end])


@dataclass(eq=False)
class File:
    """An inode. `limit` is how much of the content it holds; None: it is written to."""

    key: Key
    born: int
    content: Content
    limit: int | None = None
    packed: bool = False

    @property
    def length(self) -> int:
        """Bytes of content in it."""
        return len(self.content.data) if self.limit is None else self.limit

    @property
    def is_copy(self) -> bool:
        return self.limit is not None and not self.packed


class World:
    """The log directory, a directory beside it for rotated files, and what is in them."""

    def __init__(self, root: str, *, headers: bool) -> None:
        self.logs = os.path.join(root, "logs")
        self.old = os.path.join(root, "old")
        self.at: dict[str, File] = {}
        self.nameless: list[File] = []  # deleted; who holds them open still has them
        self.contents: list[Content] = []
        self.headers = headers
        self._lines = 0
        self._names = 100  # chains have the numbers below
        self.probes = 0
        os.mkdir(self.logs)
        os.mkdir(self.old)

    # --- what is there ------------------------------------------------------------------------

    def path(self, name: str) -> str:
        return os.path.join(self.logs, name)

    def is_live(self, path: str) -> bool:
        """Whether the stream's glob matches."""
        return os.path.dirname(path) == self.logs and path.endswith(".log")

    def is_rotated(self, path: str) -> bool:
        """Whether the name is that of a rotated file."""
        return ".log" in os.path.basename(path) and not path.endswith(".log")

    def names(self, file: File) -> list[str]:
        return [path for path, other in self.at.items() if other is file]

    def files(self) -> list[File]:
        """All inodes, those without a name behind the others."""
        return [*dict.fromkeys(self.at.values()), *self.nameless]

    def holders(self, content: Content) -> list[File]:
        return [file for file in self.files() if file.content is content]

    def rotated(self, name: str) -> list[str]:
        """The paths with rotated names of a log, oldest first."""
        return [
            path
            for path, file in self.at.items()
            if os.path.basename(file.content.path) == name and not self.is_live(path)
        ]

    # --- bytes --------------------------------------------------------------------------------

    def line(self, size: int) -> bytes:
        """A line that was never written before: at least two bytes, and no end like another's."""
        self._lines += 1
        return b"%d:" % self._lines + (b"%d " % self._lines * size)[:size]

    def append(self, path: str, data: bytes) -> Content:
        """Write behind what is in the file; makes it, and its directory."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = self.at.get(path)
        if file is None:
            file = self._create(path)
        if not file.content.data and self.headers:
            data = HEADER + data
            file.content.header = len(HEADER)
        assert file.limit is None, "a copy is not written to"
        with open(path, "ab", buffering=0) as opened:
            opened.write(data)
        file.content.data += data
        return file.content

    def _create(self, path: str, at: str | None = None) -> File:
        with open(path, "xb"):
            file = self._file(path, self._content(at or path))
        self.at[path] = file
        return file

    def _content(self, path: str) -> Content:
        self.contents.append(Content(path, len(self.contents)))
        return self.contents[-1]

    @staticmethod
    def _file(path: str, content: Content, limit: int | None = None) -> File:
        stat = os.stat(path)
        return File((stat.st_dev, stat.st_ino), stat.st_ctime_ns, content, limit)

    def truncate(self, path: str) -> None:
        os.truncate(path, 0)
        file = self.at[path]
        before, file.content = file.content, self._content(file.content.path)
        file.content.before = before
        before.truncated = True

    def lose_end(self, path: str, length: int) -> None:
        """What a power loss does to a file that was not synced."""
        before = os.stat(path)
        os.truncate(path, length)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        content = self.at[path].content
        del content.data[length:]
        content.cuts = {cut for cut in content.cuts if cut <= length}

    # --- names --------------------------------------------------------------------------------

    def new_name(self, name: str, style: Style, *, away: bool = False) -> str:
        """A path for a rotated file of `name`, beside it or in the other directory."""
        self._names += 1
        directory = self.old if away else self.logs
        return os.path.join(directory, style.of(name, self._names))

    def rename(self, path: str, to: str) -> None:
        os.makedirs(os.path.dirname(to), exist_ok=True)
        os.rename(path, to)
        self._forget(to)
        self.at[to] = self.at.pop(path)

    def swap(self, one: str, other: str) -> None:
        aside = self.path("aside")
        os.rename(one, aside)
        os.rename(other, one)
        os.rename(aside, other)
        self.at[one], self.at[other] = self.at[other], self.at[one]

    def link(self, path: str, to: str) -> None:
        os.link(path, to)
        self.at[to] = self.at[path]

    def unlink(self, path: str) -> None:
        os.unlink(path)
        self._forget(path)

    def replace(self, path: str, data: bytes) -> Content:
        """A file made beside it takes the path in one step."""
        fresh = self.path("fresh.tmp")
        self._create(fresh, at=path)
        content = self.append(fresh, data)
        self.rename(fresh, path)
        return content

    def copy(self, path: str, to: str) -> None:
        shutil.copyfile(path, to)
        file = self.at[path]
        self.at[to] = self._file(to, file.content, file.length)

    def pack(self, path: str, suffix: str, between: Callable[[], None]) -> None:
        """Compress a file as the tools do: beside it, then the plain one is removed.

        `between` is called when the archive is half written.
        """
        file, to = self.at[path], path + suffix
        with open(path, "rb") as opened:
            packed = COMPRESS[suffix](opened.read())
        stat = os.stat(path)
        with open(to, "xb", buffering=0) as archive:
            archive.write(packed[: len(packed) // 2])
            between()
            archive.write(packed[len(packed) // 2 :])
        os.utime(to, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        self.at[to] = self._file(to, file.content, file.length)
        self.at[to].packed = True
        self.unlink(path)

    def remove_directory(self) -> None:
        """The log directory with all that is in it."""
        shutil.rmtree(self.logs)
        for path in [path for path in self.at if os.path.dirname(path) == self.logs]:
            self._forget(path)

    def _forget(self, path: str) -> None:
        file = self.at.pop(path, None)
        if file is not None and file not in self.at.values():
            self.nameless.append(file)
