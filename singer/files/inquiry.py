"""An inquiry: what unknown files are, and from where each destination is to read them.

Owns the I/O of recognising files: opens them, reads marks, lets `identity` decide, and finds new
homes for rows whose content went elsewhere. One call handles everything a scan brought up, in a
worker thread, with plain values in and out; nothing is read of a file but its marks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from singer.base.errors import ReadError
from singer.base.position import (
    FINGERPRINT_BYTES,
    NO_MARK,
    READ_TO_END,
    TAIL_BYTES,
    FileIdentity,
    Mark,
    Position,
)
from singer.files.census import Key
from singer.files.identity import Verdict, born_before, identify, is_copy
from singer.files.marks import agrees, tail_agrees
from singer.files.packed import Examination, Known, examine
from singer.files.placement import last_line_start
from singer.files.siblings import Compression, compression
from singer.files.stat import FileStat, is_shared, stat_fd

#: A file that was written to so lately may still be growing into the copy of another.
_COPYING_NS: Final = 2_000_000_000
#: A compressed file that is not whole and was not written to for so long never will be.
_PACKING_NS: Final = 60_000_000_000
_NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A regular file that is not open here: where it is, and the path it would belong to."""

    path: str
    lineage: str
    stat: FileStat

    @property
    def current(self) -> bool:
        """Whether it is at its path, that is not rotated."""
        return self.path == self.lineage


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where one destination starts in a file: the row to keep, and the bytes before its offset.

    `tail` are the last of them (at most 256), `head` the first (at most 1024).

    `keep` says that the row in the store is right as it is; else it has to be written first.
    """

    verdict: Verdict
    position: Position
    tail: bytes
    head: bytes
    keep: bool


@dataclass(slots=True, kw_only=True)
class Finding:
    """An open file and where each destination starts in it."""

    suspect: Suspect
    fd: int
    stat: FileStat
    remote: bool  #: on a mount that may hang
    packed: Compression | None  #: then offsets count its content
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """(device, inode)."""
        return (self.stat.device, self.stat.inode)

    @property
    def is_new(self) -> bool:
        """Whether no destination has read any of it."""
        return all(entry.verdict is Verdict.NEW for entry in self.entries.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The file that is open and at its path: copytruncate makes copies of such a file."""

    key: Key
    rows: tuple[Position, ...]  #: how far each destination is through it


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The outcome: open files (the caller owns the descriptors), and what could not be opened.

    `unsettled` are paths with a file that was renamed or deleted meanwhile: none of their files is
    among the found, because younger ones must not be read before older ones. Look again.
    `copies` are siblings that hold what the file at their path holds: they are left alone, because
    the file itself is read. `unclear` are paths with a sibling that may become one.
    """

    found: tuple[Finding, ...]
    failed: tuple[tuple[Suspect, str], ...]
    unsettled: frozenset[str]
    homeless: tuple[Position, ...]  #: rows whose content is nowhere any more
    copies: tuple[Suspect, ...]
    unclear: frozenset[str]
    refused: frozenset[str]  #: paths for whose files there were no descriptors left


class _Likeness(Enum):
    """What a sibling is to the file at its path."""

    OTHER = "another file"
    COPY = "a copy of it"
    UNCLEAR = "too short to tell, or being written"
    MOVING = "unknown: that file is being rotated"


@dataclass(frozen=True, slots=True)
class _Content:
    """Evidence read from a descriptor. Raises ReadError."""

    fd: int

    def fingerprint_agrees(self, mark: Mark) -> bool:
        return agrees(self.fd, mark)

    def tail_agrees(self, offset: int, mark: Mark) -> bool:
        return tail_agrees(self.fd, offset, mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """The question for one stream.

    `rows` are all rows for the suspects' inode numbers, `orphans` rows of the suspects' paths
    whose inode was not seen. `live` are, by path, the files that are there and open; `copies`
    siblings that were found to be copies of them. `busy` are, by path, the rows of all open files,
    rotated ones too. `earlier_boot` are ids of rows from before the
    machine booted. `at_end` are destinations that see the stream for the first time and skip what
    is there. `rewritten`: the inquiry is about a live file that was truncated or rewritten.
    `open` opens a regular file, or raises ReadError.
    """

    stream: str
    destinations: tuple[str, ...]
    suspects: Sequence[Suspect]
    rows: Iterable[Position]
    orphans: Iterable[Position]
    live: Mapping[str, Live]
    copies: Collection[Key]
    busy: Mapping[str, Sequence[Position]]
    earlier_boot: Collection[int]
    at_end: frozenset[str]
    rewritten: bool
    now_ns: int
    open: Callable[[str], int]

    def answer(self) -> Findings:
        """Open and judge every suspect. Blocks; for a worker thread."""
        found: list[Finding] = []
        try:
            return self._answer(found)
        except BaseException:
            for finding in found:
                os.close(finding.fd)
            raise

    def _answer(self, found: list[Finding]) -> Findings:
        failed: list[tuple[Suspect, str]] = []
        unsettled: set[str] = set()
        refused: set[str] = set()
        homeless = list(self.orphans)
        rows: dict[tuple[str, int], list[Position]] = {}
        for row in self.rows:
            rows.setdefault((row.destination, row.identity.inode), []).append(row)
        for suspect in self.suspects:
            try:
                fd = self.open(suspect.path)
            except ReadError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    unsettled.add(suspect.lineage)
                elif getattr(error.__cause__, "errno", None) in _NO_DESCRIPTORS:
                    refused.add(suspect.lineage)
                else:
                    failed.append((suspect, str(error)))
                continue
            try:
                stat = stat_fd(fd)
                if (stat.device, stat.inode) != (suspect.stat.device, suspect.stat.inode):
                    os.close(fd)
                    unsettled.add(suspect.lineage)
                    continue
                finding = Finding(
                    suspect=suspect,
                    fd=fd,
                    stat=stat,
                    remote=is_shared(fd),
                    packed=compression(suspect.path),
                )
                moved = [] if finding.packed else self._judge(finding, rows)
            except (ReadError, OSError) as error:
                os.close(fd)
                failed.append((suspect, str(error)))
                continue
            found.append(finding)
            homeless.extend(moved)
        for finding in [f for f in found if f.suspect.lineage in unsettled | refused]:
            self._drop(finding, found)
        copies: list[Suspect] = []
        unclear: set[str] = set()
        housed: set[int] = set()
        for finding in [f for f in found if f.packed]:
            try:
                likeness = self._unpack(finding, rows, homeless, housed)
            except (ReadError, OSError) as error:
                failed.append((finding.suspect, str(error)))
                self._drop(finding, found)
                continue
            if likeness is not _Likeness.OTHER:
                self._drop(finding, found)
                if likeness is _Likeness.COPY:
                    copies.append(finding.suspect)
                else:
                    unclear.add(finding.suspect.lineage)
        nowhere = tuple(
            row
            for row in homeless
            if row.path not in unsettled | refused | unclear
            and row.id not in housed
            and not self._rehouse(row, found)
            and not self._shortened(row, found)
        )
        for finding in list(found):
            likeness = self._likeness(finding, found)
            if likeness is _Likeness.COPY:
                copies.append(finding.suspect)
                self._drop(finding, found)
            elif likeness is _Likeness.UNCLEAR:
                unclear.add(finding.suspect.lineage)
            elif likeness is _Likeness.MOVING:
                unsettled.add(finding.suspect.lineage)
        for finding in list(found):
            suspect = finding.suspect
            # Younger ones are not read before one of which is not known yet what it is.
            if suspect.lineage in unsettled or (
                suspect.lineage in unclear and not suspect.current and finding.is_new
            ):
                self._drop(finding, found)
        return Findings(
            found=tuple(found),
            failed=tuple(failed),
            unsettled=frozenset(unsettled),
            homeless=tuple(
                row
                for row in nowhere
                if row.path not in unsettled | {suspect.lineage for suspect, _ in failed}
            ),
            copies=tuple(copies),
            unclear=frozenset(unclear),
            refused=frozenset(refused),
        )

    @staticmethod
    def _drop(finding: Finding, found: list[Finding]) -> None:
        found.remove(finding)
        os.close(finding.fd)

    def _likeness(self, finding: Finding, found: Sequence[Finding]) -> _Likeness:
        """Whether a sibling without a past is the copy that copytruncate makes of the live file.

        Then what it holds is delivered from the file itself, or, once that is truncated, from where
        the row that moves here says.
        """
        suspect = finding.suspect
        if suspect.current or not finding.is_new or finding.packed:
            return _Likeness.OTHER
        known = [f for f in found if f.suspect.path == suspect.lineage and not f.is_new]
        live = self.live.get(suspect.lineage)
        try:
            if known:
                rows = [entry.position for entry in known[0].entries.values()]
                return self._compare(finding, known[0].fd, rows)
            if live is None:
                return _Likeness.OTHER
            fd = self.open(suspect.lineage)
            try:
                there = os.fstat(fd)
                if (there.st_dev, there.st_ino) != live.key:
                    return _Likeness.MOVING
                return self._compare(finding, fd, live.rows)
            finally:
                os.close(fd)
        except ReadError:
            return _Likeness.MOVING
        except OSError:
            return _Likeness.UNCLEAR

    def _compare(self, finding: Finding, live: int, rows: Sequence[Position]) -> _Likeness:
        """A copy is younger than the live file, not longer, and the same at both ends.

        While it is being written, its beginning must do. Raises OSError.
        """
        stat, there = finding.stat, stat_fd(live)
        if born_before(stat, there.birth_ns):
            return _Likeness.OTHER
        if stat.size > there.size:
            # Not its copy, unless it was cut since: then its own pipeline sees to the copy.
            cut = not self.rewritten and any(row.offset > there.size for row in rows)
            return _Likeness.UNCLEAR if cut else _Likeness.OTHER
        if not _same_ends(finding.fd, live, stat.size):
            return _Likeness.OTHER
        if stat.size >= TAIL_BYTES:
            return _Likeness.COPY
        fresh = self.now_ns - stat.mtime_ns < _COPYING_NS
        return _Likeness.UNCLEAR if fresh else _Likeness.OTHER

    def _judge(
        self, finding: Finding, rows: Mapping[tuple[str, int], Sequence[Position]]
    ) -> list[Position]:
        """Decide for every destination; returns the rows whose content is not there any more."""
        moved = []
        for destination in self.destinations:
            known = rows.get((destination, finding.stat.inode), ())
            verdict, match = identify(finding.stat, known, _Content(finding.fd))
            if verdict is Verdict.REWRITTEN and match is not None:
                moved.append(match)
            finding.entries[destination] = self._entry(finding, destination, verdict, match)
        return moved

    def _unpack(
        self,
        finding: Finding,
        rows: Mapping[tuple[str, int], Sequence[Position]],
        homeless: Sequence[Position],
        housed: set[int],
    ) -> _Likeness:
        """Say what a compressed file is, by its content: a row that is nowhere else may be its own.

        Whose content is still being read from a plain file is left alone until that is finished.
        """
        lineage, stat, packed = finding.suspect.lineage, finding.stat, finding.packed
        assert packed is not None
        own = {
            destination: row
            for destination in self.destinations
            for row in rows.get((destination, stat.inode), ())
            if row.identity.birth_ns == stat.birth_ns
        }
        lost = [row for row in homeless if row.path == lineage and row.id not in housed]
        busy = self.busy.get(lineage, ())
        known = [*own.values(), *lost, *busy]
        examined = examine(finding.fd, packed, (), whole=False)
        being_written = examined.length is None and examined.fault is None
        alike = [row for row in known if row.identity.fingerprint.agrees(examined.head)]
        if alike:
            marks = [Known(row.identity.fingerprint, row.offset, row.tail) for row in alike]
            examined = examine(finding.fd, packed, marks, whole=True)
            being_written = examined.length is None and examined.fault is None
            tails = {
                row.id: tail
                for row, tail in zip(alike, examined.tails, strict=True)
                if tail is not None and (row.offset >= TAIL_BYTES or row.offset == examined.length)
            }
        else:
            being_written &= len(examined.head) < FINGERPRINT_BYTES
            tails = {}
        if not own and any(row.id in tails for row in busy):
            return _Likeness.COPY
        if being_written and not tails and self.now_ns - stat.mtime_ns < _PACKING_NS:
            return _Likeness.UNCLEAR
        for destination in self.destinations:
            row = own.get(destination)
            if row is None or (
                row.id not in tails
                and not (
                    row.resume == READ_TO_END
                    and row.identity.fingerprint.length
                    and row.identity.fingerprint.agrees(examined.head)
                    and row.offset == examined.length
                )
            ):
                homes = [r for r in lost if r.destination == destination and r.id in tails]
                row = max(homes, key=lambda r: r.offset, default=None)
            finding.entries[destination] = self._packed_entry(
                finding, destination, row, b"" if row is None else tails.get(row.id, b""), examined
            )
            if row is not None:
                housed.add(row.id)
        return _Likeness.OTHER

    def _packed_entry(
        self,
        finding: Finding,
        destination: str,
        row: Position | None,
        tail: bytes,
        examined: Examination,
    ) -> Entry:
        stat = finding.stat
        identity = FileIdentity(device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns)
        if row is None:
            position = self._fresh(finding.suspect.lineage, destination, identity)
            return Entry(verdict=Verdict.NEW, position=position, tail=b"", head=b"", keep=False)
        kept = replace(identity, fingerprint=row.identity.fingerprint)
        ended = row.offset == examined.length
        position = replace(row, identity=kept, resume=READ_TO_END if ended else b"")
        return Entry(
            verdict=Verdict.RESUME,
            position=position,
            tail=tail,
            head=examined.head[: row.offset],
            keep=position == row,
        )

    def _fresh(self, path: str, destination: str, identity: FileIdentity) -> Position:
        """The row of a file that is read from its beginning."""
        return Position(
            stream=self.stream,
            destination=destination,
            path=path,
            identity=identity,
            offset=0,
            first_seen_ns=self.now_ns,
            updated_ns=self.now_ns,
        )

    def _rehouse(self, row: Position, found: Sequence[Finding]) -> bool:
        """Give a row whose content moved (copytruncate, restore) the sibling that holds it."""
        for finding in found:
            suspect, entry = finding.suspect, finding.entries.get(row.destination)
            if (
                entry is not None
                and entry.verdict is Verdict.NEW
                and finding.packed is None
                and suspect.lineage == row.path
                and not suspect.current
                and self._holds(finding, row)
            ):
                return True
        return False

    def _holds(self, finding: Finding, row: Position) -> bool:
        """Whether the row's content is in this file; then the row moves here."""
        try:
            if is_copy(finding.stat, row, _Content(finding.fd)):
                kept = row
            elif finding.key in self.copies and finding.stat.size < row.offset:
                # The original grew, and was delivered, after the copy was made: all of it is.
                kept = _cut_back(row, finding)
            else:
                return False
            entry = self._entry(finding, row.destination, Verdict.RESUME, kept)
        except (ReadError, OSError):
            return False  # what cannot be read cannot be the one
        finding.entries[row.destination] = entry
        return True

    def _shortened(self, row: Position, found: Sequence[Finding]) -> bool:
        """Whether a power loss cut the end of the row's file; then it is read on from there.

        Its content is nowhere else, so it is not the original of a copytruncate.
        """
        if row.id not in self.earlier_boot or not row.identity.fingerprint.length:
            return False
        for finding in found:
            entry = finding.entries.get(row.destination)
            if (
                entry is None
                or entry.verdict is not Verdict.REWRITTEN
                or finding.stat.inode != row.identity.inode
                or finding.stat.size >= row.offset
            ):
                continue
            try:
                if not _Content(finding.fd).fingerprint_agrees(row.identity.fingerprint):
                    continue
                kept = _cut_back(row, finding)
                entry = self._entry(finding, row.destination, Verdict.RESUME, kept)
            except (ReadError, OSError):
                continue
            finding.entries[row.destination] = replace(entry, keep=False)
            return True
        return False

    def _entry(
        self, finding: Finding, destination: str, verdict: Verdict, row: Position | None
    ) -> Entry:
        stat, lineage = finding.stat, finding.suspect.lineage
        identity = FileIdentity(device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns)
        if verdict is Verdict.RESUME and row is not None:
            kept = replace(identity, fingerprint=row.identity.fingerprint)
            position = replace(row, identity=kept)
            return Entry(
                verdict=verdict,
                position=position,
                tail=_before(finding.fd, row.offset),
                head=_beginning(finding.fd, row.offset),
                keep=position == row,
            )
        offset = 0
        if verdict is Verdict.NEW and destination in self.at_end:
            offset = last_line_start(finding.fd, stat.size)
        tail = _before(finding.fd, offset)
        position = replace(
            self._fresh(lineage, destination, identity),
            offset=offset,
            tail=Mark.of(tail) if tail else NO_MARK,
        )
        return Entry(
            verdict=verdict,
            position=position,
            tail=tail,
            head=_beginning(finding.fd, offset),
            keep=False,
        )


def _cut_back(row: Position, finding: Finding) -> Position:
    """The row at the end of a file that is shorter than its offset. Raises OSError."""
    size = finding.stat.size
    head = _beginning(finding.fd, size)
    return replace(
        row,
        offset=size,
        identity=replace(row.identity, fingerprint=Mark.of(head)),
        tail=Mark.of(_before(finding.fd, size)),
        resume=b"",
    )


def _same_ends(one: int, other: int, size: int) -> bool:
    """Whether two files have the same first and last bytes, going by the first `size`."""
    head, tail = min(FINGERPRINT_BYTES, size), min(TAIL_BYTES, size)
    return os.pread(one, head, 0) == os.pread(other, head, 0) and os.pread(
        one, tail, size - tail
    ) == os.pread(other, tail, size - tail)


def _beginning(fd: int, offset: int) -> bytes:
    """What a fingerprint covers of the bytes before `offset`. Raises OSError."""
    length = min(FINGERPRINT_BYTES, offset)
    return os.pread(fd, length, 0) if length else b""


def _before(fd: int, offset: int) -> bytes:
    length = min(TAIL_BYTES, offset)
    return os.pread(fd, length, offset - length) if length else b""
