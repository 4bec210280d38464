"""An inquiry: what unknown files are, and from where each destination is to read them.

Owns the I/O of recognising files: opens them, reads marks, lets `identity` decide, and finds new
homes for rows whose content went elsewhere. One call handles everything a scan brought up, in a
worker thread, with plain values in and out; nothing is read of a file but its marks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from singer.base.errors import ReadError
from singer.base.position import (
    NO_MARK,
    TAIL_BYTES,
    FileIdentity,
    Mark,
    Position,
)
from singer.files.identity import Verdict, identify, is_copy
from singer.files.marks import agrees, tail_agrees
from singer.files.opening import open_regular
from singer.files.stat import FileStat, stat_fd

#: A file that was written to so lately may still be growing into the copy of another.
_COPYING_NS: Final = 2_000_000_000
#: How far back `start: end` looks for the beginning of the last line.
_LINE_SEARCH_BYTES: Final = 1 << 20


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

    `keep` says that the row in the store is right as it is; else it has to be written first.
    """

    verdict: Verdict
    position: Position
    tail: bytes
    keep: bool


@dataclass(slots=True, kw_only=True)
class Finding:
    """An open file and where each destination starts in it."""

    suspect: Suspect
    fd: int
    stat: FileStat
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The outcome: open files (the caller owns the descriptors), and what could not be opened.

    `unsettled` are paths with a file that was renamed or deleted meanwhile: none of their files is
    among the found, because younger ones must not be read before older ones. Look again.
    """

    found: tuple[Finding, ...]
    failed: tuple[tuple[Suspect, str], ...]
    unsettled: frozenset[str]
    homeless: tuple[Position, ...]  #: rows whose content is nowhere any more


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
    whose inode was not seen. `live` are, by path, the rows of the file that is there and open.
    `at_end` are destinations that see the stream for the first time and skip what is there.
    """

    stream: str
    destinations: tuple[str, ...]
    suspects: Sequence[Suspect]
    rows: Iterable[Position]
    orphans: Iterable[Position]
    live: Mapping[str, Sequence[Position]]
    at_end: frozenset[str]
    now_ns: int

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
        homeless = list(self.orphans)
        rows: dict[tuple[str, int], list[Position]] = {}
        for row in self.rows:
            rows.setdefault((row.destination, row.identity.inode), []).append(row)
        for suspect in self.suspects:
            try:
                fd = open_regular(suspect.path)
            except ReadError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    unsettled.add(suspect.lineage)
                else:
                    failed.append((suspect, str(error)))
                continue
            try:
                stat = stat_fd(fd)
                if (stat.device, stat.inode) != (suspect.stat.device, suspect.stat.inode):
                    os.close(fd)
                    unsettled.add(suspect.lineage)
                    continue
                finding = Finding(suspect=suspect, fd=fd, stat=stat)
                moved = self._judge(finding, rows)
            except (ReadError, OSError) as error:
                os.close(fd)
                failed.append((suspect, str(error)))
                continue
            found.append(finding)
            homeless.extend(moved)
        for finding in [f for f in found if f.suspect.lineage in unsettled]:
            self._drop(finding, found)
        nowhere = tuple(
            row for row in homeless if row.path not in unsettled and not self._rehouse(row, found)
        )
        for finding in [f for f in found if self._is_copy_of_live(f)]:
            self._drop(finding, found)
        return Findings(
            found=tuple(found),
            failed=tuple(failed),
            unsettled=frozenset(unsettled),
            homeless=nowhere,
        )

    @staticmethod
    def _drop(finding: Finding, found: list[Finding]) -> None:
        found.remove(finding)
        os.close(finding.fd)

    def _is_copy_of_live(self, finding: Finding) -> bool:
        """Whether a sibling without a past holds what was read from the file at its path.

        Then it is the copy that copytruncate makes: what it holds is delivered from the file
        itself, or, once that is truncated, from where the row that moves here says. While it is
        being written, its beginning must do.
        """
        suspect, stat = finding.suspect, finding.stat
        if suspect.current or any(e.verdict is not Verdict.NEW for e in finding.entries.values()):
            return False
        content = _Content(finding.fd)
        try:
            for row in self.live.get(suspect.lineage, ()):
                mark = row.identity.fingerprint
                growing = self.now_ns - stat.mtime_ns < _COPYING_NS and stat.size < row.offset
                if is_copy(stat, row, content) or (
                    growing and mark.length and content.fingerprint_agrees(mark)
                ):
                    return True
        except ReadError:
            return False
        return False

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

    def _rehouse(self, row: Position, found: Sequence[Finding]) -> bool:
        """Give a row whose content moved (copytruncate, restore) the sibling that holds it."""
        for finding in found:
            suspect, entry = finding.suspect, finding.entries.get(row.destination)
            if (
                entry is not None
                and entry.verdict is Verdict.NEW
                and suspect.lineage == row.path
                and not suspect.current
                and self._holds(finding, row)
            ):
                return True
        return False

    def _holds(self, finding: Finding, row: Position) -> bool:
        """Whether the row's content is in this file; then the row moves here."""
        try:
            if not is_copy(finding.stat, row, _Content(finding.fd)):
                return False
            entry = self._entry(finding, row.destination, Verdict.RESUME, row)
        except (ReadError, OSError):
            return False  # what cannot be read cannot be the one
        finding.entries[row.destination] = entry
        return True

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
                keep=position == row,
            )
        offset = 0
        if verdict is Verdict.NEW and destination in self.at_end:
            offset = _last_line_start(finding.fd, stat.size)
        tail = _before(finding.fd, offset)
        position = Position(
            stream=self.stream,
            destination=destination,
            path=lineage,
            identity=identity,
            offset=offset,
            tail=Mark.of(tail) if tail else NO_MARK,
            first_seen_ns=self.now_ns,
            updated_ns=self.now_ns,
        )
        return Entry(verdict=verdict, position=position, tail=tail, keep=False)


def _before(fd: int, offset: int) -> bytes:
    length = min(TAIL_BYTES, offset)
    return os.pread(fd, length, offset - length) if length else b""


def _last_line_start(fd: int, size: int) -> int:
    """Where the unfinished last line begins, so that `start: end` never cuts one in two."""
    length = min(_LINE_SEARCH_BYTES, size)
    return size - length + os.pread(fd, length, size - length).rfind(b"\n") + 1
