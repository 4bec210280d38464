"""Watermarks: how far the Java agent read the files of a directory, as rows of ours.

It kept a hidden file beside each log, `.<log name>.<file name of the path>`, with the inode of the
file it was in and the offset behind the last message that it committed:

    {"1":{"rec":{"1":{"i64":1234}}},"2":{"i64":5678}}

Nothing in it tells one use of an inode number from another, and the log name is not known here. So
whatever is in doubt is read again: duplicates, never loss. Watermarks are only read, so that the
way back stays open. Blocks: for a worker thread. Any thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from singer.base.errors import ReadError
from singer.base.events import Event
from singer.base.position import Position
from singer.files.events import WatermarkRefused, WatermarkTaken
from singer.files.lineage import bases, lineage_of
from singer.files.opening import explain
from singer.files.placement import place
from singer.files.siblings import compression
from singer.files.stat import FileStat, stat_fd
from singer.files.walk import Sighting, Walker

#: A watermark is one line of some 60 bytes; what is longer is something else.
_MOST_BYTES: Final = 4096
_MOST_LOOKS: Final = 8
#: An instance that ran beside the one in charge, to try something out.
_SHADOW: Final = ".shadow."
#: Thrift's JSON protocol writes the fields in the order of their numbers.
_FORMAT: Final = re.compile(
    rb"\s*".join(
        (
            *(b"", rb"\{", b'"1"', b":", rb"\{", b'"rec"', b":", rb"\{", b'"1"', b":"),
            *(rb"\{", b'"i64"', b":", rb"(-?\d{1,19})", rb"\}", rb"\}", rb"\}", b","),
            *(b'"2"', b":", rb"\{", b'"i64"', b":", rb"(\d{1,19})", rb"\}", rb"\}", b""),
        )
    )
)
_I64: Final = range(-(1 << 63), 1 << 63)


class Watermark(NamedTuple):
    """The file with this inode was read up to `offset` (bytes); on which device is not known."""

    inode: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the watermarks of a directory say.

    `rows` are new (id 0). `unsettled` are heads some of whose files were renamed meanwhile: none
    of their rows is among `rows`; list the directory again.
    """

    rows: tuple[Position, ...]
    events: tuple[Event, ...]
    unsettled: frozenset[str]


def parse(content: bytes) -> Watermark | None:
    """The watermark in the content of a file; None if it is none."""
    match = _FORMAT.fullmatch(content)
    if match is None:
        return None
    inode, offset = map(int, match.groups())
    if inode not in _I64 or offset not in _I64:
        return None
    # Java has no unsigned numbers, and some file systems use all 64 bits of an inode's.
    return Watermark(inode & (1 << 64) - 1, offset)


def heads_of(name: str) -> Iterator[str]:
    """The file names that the paths have that a file called `name` may be a watermark of.

    Several, because the names of logs have dots of their own; only the inode tells.
    """
    if name.startswith("."):
        for cut in range(2, len(name) - 1):
            if name[cut] == ".":
                yield name[cut + 1 :]


def heads(listing: Iterable[Sighting], matches: Callable[[str], bool]) -> set[str]:
    """The paths of a stream that a directory has, also those that are gone but for what was
    rotated from them; `matches` tells whether a path is one of the stream's.
    """
    return {
        path
        for sighting in listing
        for path in (sighting.path, *bases(sighting.path))
        if matches(path)
    }


def rows(
    *,
    stream: str,
    destinations: Collection[str],
    paths: Collection[str],
    listing: Sequence[Sighting],
    now_ns: int,
    open: Callable[[str], int],  # noqa: A002 # as in `Walker`
    is_rotated: Callable[[str], bool] = lambda _: False,
) -> Taken:
    """The rows of one stream in one directory, as `listing` has all its regular files.

    `paths` are the stream's paths in it (`heads`), `is_rotated` what its `rotated` globs say;
    `open` gives a descriptor to read a file with, as `Walker.open` does. Each path with a watermark
    gets, for every destination, a row for the file that the watermark is about, and rows at 0 for
    the files of that path that are younger: the Java agent did not come to them. Older ones are
    finished, and have no row.
    """
    files: dict[str, list[Sighting]] = {}
    for sighting in listing:
        head = lineage_of(sighting.path, paths, is_rotated=is_rotated)
        if head is None and sighting.path in paths:
            head = sighting.path
        if head is not None:
            files.setdefault(head, []).append(sighting)
    marks: dict[str, list[str]] = {}
    for sighting in listing:
        for name in heads_of(os.path.basename(sighting.path)):
            marks.setdefault(name, []).append(sighting.path)
    taking = _Taking(stream, tuple(destinations), files, now_ns, open)
    for head in sorted(files):
        taking.take(head, marks.get(os.path.basename(head), ()))
    return Taken(
        rows=tuple(taking.rows),
        events=tuple(taking.events),
        unsettled=frozenset(taking.unsettled),
    )


def of_stream(
    walker: Walker,
    directories: Iterable[str],
    *,
    stream: str,
    destinations: Collection[str],
    now_ns: int,
) -> Taken:
    """What the watermarks in all of a stream's directories say.

    A directory in which files are renamed is listed again, a few times.
    """
    rows_: list[Position] = []
    events: list[Event] = []
    unsettled: set[str] = set()
    for directory in sorted(directories):
        if not any(any(heads_of(name)) for name in walker.list_names(directory)):
            continue  # the rule, and names alone are had for little
        for _ in range(_MOST_LOOKS):
            listing = walker.list_directory(directory).sightings
            taken = rows(
                stream=stream,
                destinations=destinations,
                paths=heads(listing, walker.matches),
                listing=listing,
                now_ns=now_ns,
                open=walker.open,
                is_rotated=walker.is_rotated,
            )
            if not taken.unsettled:
                break
        rows_ += taken.rows
        events += taken.events
        unsettled |= taken.unsettled
    return Taken(rows=tuple(rows_), events=tuple(events), unsettled=frozenset(unsettled))


class _Claim(NamedTuple):
    """A watermark that is about a file that is there."""

    file: Sighting
    offset: int
    since_ns: int  #: files of the path that were written to since then were not read
    watermark: str

    @property
    def age(self) -> tuple[int, int]:
        """Smaller: further behind."""
        return self.file.stat.mtime_ns, self.offset


@dataclass(slots=True)
class _Taking:
    """One run of `rows`. `files` are those of each path, itself included if it is there."""

    stream: str
    destinations: tuple[str, ...]
    files: Mapping[str, Sequence[Sighting]]
    now_ns: int
    open: Callable[[str], int]
    rows: list[Position] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    unsettled: set[str] = field(default_factory=set)

    def take(self, head: str, watermarks: Sequence[str]) -> None:
        """See to one path. `watermarks` are the files that may be its."""
        real = [path for path in watermarks if not _is_shadow(path)]
        claims = list(self._claims(head, real or watermarks))
        if not claims:
            return
        # Several Java logs may have read the same files for several topics. Which of them is
        # which destination of ours nobody knows: the one that is furthest behind counts.
        claim = min(claims, key=lambda each: each.age)
        plain = {file.path for file in self.files[head] if not compression(file.path)}
        placed: list[Position] = []
        try:
            for file in self.files[head]:
                packed = compression(file.path)
                if file.path == claim.file.path:
                    placed += self._place(file, head, claim.offset)
                elif packed and file.path.removesuffix(packed.value) in plain:
                    continue  # it is being made of that one
                elif file.path == head or file.stat.mtime_ns >= claim.since_ns:
                    placed += self._place(file, head, 0)
        except ReadError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                self.unsettled.add(head)
            else:
                self._refuse(head, claim.watermark, str(error))
            return
        self.rows += placed
        self.events.append(
            WatermarkTaken(
                stream=self.stream,
                path=claim.file.path,
                offset=claim.offset,
                watermark=claim.watermark,
            )
        )

    def _claims(self, head: str, watermarks: Iterable[str]) -> Iterator[_Claim]:
        for path in sorted(watermarks):
            try:
                content, stat = self._read(path)
            except ReadError as error:
                self._refuse(head, path, str(error))
                continue
            watermark = parse(content)
            if watermark is None:
                self._refuse(head, path, "it is not a watermark, or half of one")
                continue
            file = self._file(head, watermark, stat)
            if file is not None:
                yield self._claim(file, watermark, path, stat)
            elif not self._is_of_another(head, path, watermark):
                self._refuse(
                    head, path, f"the file it is about (inode {watermark.inode}) is not there"
                )

    def _file(self, head: str, watermark: Watermark, written: FileStat) -> Sighting | None:
        """The file of the path that a watermark, `written` then, is about."""
        for file in self.files[head]:
            born = file.stat.birth_ns
            if (
                file.stat.inode == watermark.inode
                and (born is None or born <= written.mtime_ns)
                and not compression(file.path)  # the Java agent read none
            ):
                return file
        return None

    def _is_of_another(self, head: str, path: str, watermark: Watermark) -> bool:
        """Whether what ends with our file name is the watermark of a path with another one."""
        directory, name = os.path.split(path)
        return any(
            file.stat.inode == watermark.inode
            for other in heads_of(name)
            if os.path.join(directory, other) != head
            for file in self.files.get(os.path.join(directory, other), ())
        )

    @staticmethod
    def _claim(file: Sighting, watermark: Watermark, path: str, written: FileStat) -> _Claim:
        if watermark.offset <= file.stat.size:
            return _Claim(file, watermark.offset, file.stat.mtime_ns, path)
        # Truncated since. A copy of what was in it is younger than the watermark.
        return _Claim(file, 0, written.mtime_ns, path)

    def _place(self, file: Sighting, head: str, offset: int) -> list[Position]:
        """The rows of a file for all destinations. Raises ReadError."""
        fd = self.open(file.path)
        try:
            stat = stat_fd(fd)
            if stat.key != file.stat.key:
                raise ReadError(f"open {file.path!r}: moved meanwhile") from FileNotFoundError()
            row = place(
                fd,
                stat,
                offset if offset <= stat.size else 0,  # truncated meanwhile
                stream=self.stream,
                destination="",
                path=head,
                now_ns=self.now_ns,
            )
        finally:
            os.close(fd)
        return [replace(row, destination=destination) for destination in self.destinations]

    def _read(self, path: str) -> tuple[bytes, FileStat]:
        """The content of a small file, and when it was written. Raises ReadError."""
        fd = self.open(path)
        try:
            return os.pread(fd, _MOST_BYTES, 0), stat_fd(fd)
        except OSError as error:
            raise ReadError(f"read {path!r}: {explain(error)}") from error
        finally:
            os.close(fd)

    def _refuse(self, head: str, watermark: str, cause: str) -> None:
        self.events.append(
            WatermarkRefused(stream=self.stream, path=head, watermark=watermark, cause=cause)
        )


def _is_shadow(path: str) -> bool:
    return os.path.basename(path).startswith(_SHADOW)
