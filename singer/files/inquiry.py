"""An inquiry: what unknown files are, and from where each destination is to read them.

Owns the I/O of recognising files: opens them, reads marks, lets `identity` decide, and finds new
homes for rows whose content went elsewhere. One call handles everything a scan brought up, in a
worker thread, with plain values in and out; nothing is read of a file but its marks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from singer.base.errors import ReadError
from singer.base.position import (
    NO_MARK,
    FileIdentity,
    Mark,
    Position,
)
from singer.files.archives import Archives, Unfinished
from singer.files.census import Key
from singer.files.finding import Entry, Finding, Suspect, fresh_row
from singer.files.identity import Verdict, identify, is_copy
from singer.files.likeness import Likeness, Live, compare, outdated
from singer.files.marks import agrees, first_bytes, last_bytes, tail_agrees
from singer.files.placement import last_line_start
from singer.files.siblings import compression
from singer.files.stat import is_shared, stat_fd

_NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The outcome: open files (the caller owns the descriptors), and what could not be opened.

    `unsettled` are paths with a file that was renamed or deleted meanwhile: none of their files is
    among the found, because younger ones must not be read before older ones. Look again.
    `copies` are siblings that hold what the file at their path holds, each with a destination that
    leaves it alone, because it reads the file itself. `unclear` are paths with a sibling that may
    become one.
    """

    found: tuple[Finding, ...]
    failed: tuple[tuple[Suspect, str], ...]
    unsettled: frozenset[str]
    homeless: tuple[Position, ...]  #: rows whose content is nowhere any more
    copies: tuple[tuple[Suspect, str], ...]
    unclear: frozenset[str]
    made: frozenset[str]  #: paths with an archive of a plain file that is there as well
    refused: frozenset[str]  #: paths for whose files there were no descriptors left


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
    whose inode was not seen. `served` are, by file, destinations that are not asked about it: it is
    open for them. `live` are, by path, the known files that are there; `copies`, by destination,
    siblings that were found to be copies of what it reads there. `busy` are, by path, the rows of
    all open files, rotated ones too, and `unfinished` the plain rotated ones among these files.
    `rewriting` are, by path, destinations that begin an open file of it anew, and ask about its
    siblings themselves. `earlier_boot` are ids of rows from before the machine booted. `at_end` are
    destinations that see the stream for the first time and skip what is there: `of_lines`, up to
    the last unfinished line. `open` opens a regular file, or raises ReadError.
    """

    stream: str
    destinations: tuple[str, ...]
    suspects: Sequence[Suspect]
    rows: Iterable[Position]
    orphans: Iterable[Position]
    served: Mapping[Key, Collection[str]]
    live: Mapping[str, Live]
    copies: Mapping[str, Collection[Key]]
    busy: Mapping[str, Sequence[Position]]
    unfinished: Mapping[str, Sequence[Unfinished]]
    rewriting: Mapping[str, Collection[str]]
    earlier_boot: Collection[int]
    at_end: frozenset[str]
    of_lines: bool
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
        shared: dict[int, bool] = {}  # by device
        homeless = list(self.orphans)
        births = {suspect.stat.key: suspect.stat.birth_ns for suspect in self.suspects}
        rows: dict[tuple[str, int], list[Position]] = {}
        for row in self.rows:
            rows.setdefault((row.destination, row.identity.inode), []).append(row)
        for suspect in self.suspects:
            try:
                fd = self.open(suspect.path)
            except ReadError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    unsettled.add(suspect.lineage)
                elif _errno(error) in _NO_DESCRIPTORS:
                    refused.add(suspect.lineage)
                else:
                    failed.append((suspect, str(error)))
                continue
            try:
                stat = stat_fd(fd)
                if stat.key != suspect.stat.key:
                    os.close(fd)
                    unsettled.add(suspect.lineage)
                    continue
                if stat.device not in shared:
                    shared[stat.device] = is_shared(fd)
                finding = Finding(
                    suspect=suspect,
                    fd=fd,
                    stat=stat,
                    remote=shared[stat.device],
                    packed=compression(suspect.path),
                )
                moved = [] if finding.packed else self._judge(finding, rows, births)
            except (ReadError, OSError) as error:
                os.close(fd)
                failed.append((suspect, str(error)))
                continue
            found.append(finding)
            homeless.extend(moved)
        for finding in [f for f in found if f.suspect.lineage in unsettled | refused]:
            self._drop(finding, found)
        copies: list[tuple[Suspect, str]] = []
        unclear: set[str] = set()
        withheld: set[tuple[str, str]] = set()  # the same, for one destination
        made: set[str] = set()
        housed: set[int] = set()
        archives = Archives(
            stream=self.stream,
            busy=self.busy,
            unfinished=self.unfinished,
            plains={each.suspect.path: each.fd for each in found if not each.packed},
            now_ns=self.now_ns,
            open=self.open,
        )
        for finding in [f for f in found if f.packed]:
            try:
                asked = self._asked(finding)
                likeness = archives.judge(finding, asked, rows, homeless, housed)
            except (ReadError, OSError) as error:
                failed.append((finding.suspect, str(error)))
                self._drop(finding, found)
                continue
            if likeness is Likeness.OTHER:
                lineage = finding.suspect.lineage
                withheld |= {(lineage, each) for each in asked if each not in finding.entries}
            else:
                self._drop(finding, found)
                if likeness is Likeness.COPY:
                    copies += [(finding.suspect, destination) for destination in asked]
                elif likeness is Likeness.MADE:
                    made.add(finding.suspect.lineage)
                else:
                    unclear.add(finding.suspect.lineage)
        nowhere = tuple(
            row
            for row in homeless
            if row.path not in unsettled | refused
            and row.id not in housed
            and not self._rehouse(row, found)
            and row.path not in unclear
            and (row.path, row.destination) not in withheld
            and not self._shortened(row, found)
        )
        for finding in list(found):
            lineage = finding.suspect.lineage
            if not self._leave_to_rewrites(finding):
                unclear.add(lineage)
                self._drop(finding, found)
                continue
            try:
                likeness, behind = self._likeness(finding, found)
                withheld |= {(lineage, destination) for destination in behind}
            except (ReadError, OSError) as error:
                if _errno(error) in _NO_DESCRIPTORS:
                    refused.add(lineage)
                else:
                    failed.append((finding.suspect, str(error)))
                    self._drop(finding, found)
                continue
            if likeness is Likeness.COPY:
                leave = finding.new_to
                copies += [(finding.suspect, destination) for destination in leave - behind]
                self._keep_from(finding, leave)
            elif likeness is Likeness.UNCLEAR:
                unclear.add(lineage)
            elif likeness is Likeness.MOVING:
                unsettled.add(lineage)
        for finding in list(found):
            suspect = finding.suspect
            # Younger ones are not read before one of which is not known yet what it is.
            if not suspect.current and suspect.lineage in unclear:
                self._keep_from(finding, finding.new_to)
            elif not suspect.current:
                self._keep_from(finding, {d for path, d in withheld if path == suspect.lineage})
            if not finding.entries or suspect.lineage in unsettled | refused:
                self._drop(finding, found)
        return Findings(
            found=tuple(found),
            failed=tuple(failed),
            unsettled=frozenset(unsettled),
            homeless=tuple(
                row
                for row in nowhere
                if row.path not in unsettled | refused | {s.lineage for s, _ in failed}
            ),
            copies=tuple(copies),
            unclear=frozenset(unclear | {path for path, _ in withheld}),
            made=frozenset(made),
            refused=frozenset(refused),
        )

    @staticmethod
    def _drop(finding: Finding, found: list[Finding]) -> None:
        found.remove(finding)
        os.close(finding.fd)

    def _asked(self, finding: Finding) -> list[str]:
        """The destinations that are asked about a file."""
        served = self.served.get(finding.key, ())
        return [destination for destination in self.destinations if destination not in served]

    def _likeness(
        self, finding: Finding, found: Sequence[Finding]
    ) -> tuple[Likeness, AbstractSet[str]]:
        """What a sibling without a past is to the file at its path; and to whom that is not said.

        Raises OSError, ReadError.
        """
        suspect = finding.suspect
        if suspect.current or not finding.new_to or finding.packed:
            return Likeness.OTHER, frozenset()
        known = [f for f in found if f.suspect.path == suspect.lineage and not f.is_new]
        if known:
            rows = [entry.position for entry in known[0].entries.values()]
            behind = outdated(finding, known[0].fd, rows)
            return compare(finding, known[0].fd, self.now_ns), behind
        live = self.live.get(suspect.lineage)
        if live is None:
            return Likeness.OTHER, frozenset()
        try:
            fd = self.open(suspect.lineage)
        except ReadError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return Likeness.MOVING, frozenset()
            raise
        try:
            there = os.fstat(fd)
            if (there.st_dev, there.st_ino) != live.key:
                return Likeness.MOVING, frozenset()
            return compare(finding, fd, self.now_ns), outdated(finding, fd, live.read)
        finally:
            os.close(fd)

    def _leave_to_rewrites(self, finding: Finding) -> bool:
        """Leave a sibling to destinations that begin the file of its path anew: it may be a copy.

        They find it themselves, once all that they were sent is settled. False: to all of them.
        """
        suspect = finding.suspect
        if not suspect.current:
            self._keep_from(finding, self.rewriting.get(suspect.lineage, ()))
        return bool(finding.entries)

    @staticmethod
    def _keep_from(finding: Finding, destinations: Iterable[str]) -> None:
        """Do not let these destinations read a file, unless they know it."""
        for destination in destinations:
            entry = finding.entries.get(destination)
            if entry is not None and entry.verdict is Verdict.NEW:
                del finding.entries[destination]

    def _judge(
        self,
        finding: Finding,
        rows: Mapping[tuple[str, int], Sequence[Position]],
        births: Mapping[Key, int | None],
    ) -> list[Position]:
        """Decide for every destination; returns the rows whose content is not there any more.

        `births` are the birth times of the suspects.
        """
        moved = []
        for destination in self._asked(finding):
            # The row of a file that is a suspect itself tells nothing of its like on another
            # device, the clone of a disk.
            known = [
                row
                for row in rows.get((destination, finding.stat.inode), ())
                if row.identity.key == finding.key
                or row.identity.birth_ns is None
                or births.get(row.identity.key) != row.identity.birth_ns
            ]
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
            elif (
                finding.key in self.copies.get(row.destination, ())
                and finding.stat.size < row.offset
            ):
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

        Its content is nowhere else, so it is not the original of a copytruncate. Where it was
        written to since its row was, nobody knows which bytes are new: it is read from the
        beginning.
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
                or finding.stat.mtime_ns > row.updated_ns
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
            path = lineage if finding.suspect.current else row.path
            position = replace(row, identity=kept, path=path)
            return Entry(
                verdict=verdict,
                position=position,
                tail=last_bytes(finding.fd, row.offset),
                head=first_bytes(finding.fd, row.offset),
                keep=position == row,
            )
        offset = 0
        if verdict is Verdict.NEW and destination in self.at_end:
            offset = last_line_start(finding.fd, stat.size) if self.of_lines else stat.size
        tail = last_bytes(finding.fd, offset)
        position = replace(
            fresh_row(self.stream, destination, lineage, identity, self.now_ns),
            offset=offset,
            tail=Mark.of(tail) if tail else NO_MARK,
        )
        return Entry(
            verdict=verdict,
            position=position,
            tail=tail,
            head=first_bytes(finding.fd, offset),
            keep=False,
        )


def _errno(error: ReadError | OSError) -> int | None:
    """What the kernel said."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def _cut_back(row: Position, finding: Finding) -> Position:
    """The row at the end of a file that is shorter than its offset. Raises OSError."""
    size = finding.stat.size
    head = first_bytes(finding.fd, size)
    return replace(
        row,
        offset=size,
        identity=replace(row.identity, fingerprint=Mark.of(head)),
        tail=Mark.of(last_bytes(finding.fd, size)),
        resume=b"",
    )
