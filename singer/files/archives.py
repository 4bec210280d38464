"""Archives: what a compressed rotated file is, by its content.

It is one of three things: what a row tells of that is nowhere else, and is read on from there; what
is still read from a plain file, and is left alone until that is finished; or new. Blocks, for as
long as decompressing takes; for a worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from singer.base.errors import ReadError
from singer.base.position import (
    FINGERPRINT_BYTES,
    READ_TO_END,
    TAIL_BYTES,
    FileIdentity,
    Mark,
    Position,
)
from singer.files.finding import Entry, Finding, fresh_row
from singer.files.identity import Verdict
from singer.files.likeness import Likeness
from singer.files.packed import Examination, Known, examine

#: A compressed file that is not whole and was not written to for so long never will be.
_PACKING_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A plain rotated file that is open: a descriptor, which stays the caller's, and its rows."""

    fd: int
    rows: tuple[Position, ...]

    def read_by(self) -> set[str]:
        """The destinations that have all of it. Raises OSError."""
        size = os.fstat(self.fd).st_size
        return {row.destination for row in self.rows if row.offset >= size}

    def begins(self, head: bytes) -> bool:
        """Whether these are its first bytes. Raises OSError."""
        return bool(head) and os.pread(self.fd, len(head), 0) == head

    def holds(self, end: bytes, length: int) -> bool:
        """Whether its first `length` bytes end with these. Raises OSError."""
        return os.pread(self.fd, len(end), length - len(end)) == end


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """What is known when archives are judged; see `files.inquiry.Inquiry`.

    `plains` are, by path, descriptors of the plain files that were found with them.
    """

    stream: str
    busy: Mapping[str, Sequence[Position]]
    unfinished: Mapping[str, Sequence[Unfinished]]
    plains: Mapping[str, int]
    now_ns: int
    open: Callable[[str], int]

    def judge(
        self,
        finding: Finding,
        destinations: Sequence[str],
        rows: Mapping[tuple[str, int], Sequence[Position]],
        homeless: Sequence[Position],
        housed: set[int],
    ) -> Likeness:
        """Give destinations their entries, from a row that is nowhere else or from the beginning.

        Those that still read the plain file get none for now. `rows` are by destination and inode;
        those of `homeless` that find their content here are added to `housed`, by id. COPY,
        UNCLEAR, MADE: leave it alone, for good, for now, or for as long as its plain file is there.
        Raises ReadError, OSError.
        """
        lineage, stat, packed = finding.suspect.lineage, finding.stat, finding.packed
        assert packed is not None
        own = {
            destination: row
            for destination in destinations
            for row in rows.get((destination, stat.inode), ())
            if row.identity.birth_ns == stat.birth_ns
        }
        lost = [row for row in homeless if row.path == lineage and row.id not in housed]
        # Where it is open for others, their rows tell nothing of what it is to these.
        busy = [row for row in self.busy.get(lineage, ()) if row.identity.key != finding.key]
        known = [*own.values(), *lost, *busy]
        examined = examine(finding.fd, packed, (), whole=False)
        being_written = examined.length is None and examined.fault is None
        if not own and self._is_being_made(finding, examined.head):
            return Likeness.MADE
        for plain in self.unfinished.get(lineage, ()):
            # While it has a name, it is being compressed, or was and is kept.
            if not os.fstat(plain.fd).st_nlink and plain.begins(examined.head):
                read_by = plain.read_by()
                ready = [each for each in destinations if each in read_by and each not in own]
                destinations = [each for each in destinations if each in own or each in ready]
                if not destinations:
                    return Likeness.UNCLEAR
                if ready and self._finished(finding, plain, ready):
                    destinations = [each for each in destinations if each in own]
                    if not destinations:
                        return Likeness.OTHER
        # Of which nothing was delivered tells nothing, and is no reason to decompress it all.
        alike = [
            row
            for row in known
            if row.identity.fingerprint.length and row.identity.fingerprint.agrees(examined.head)
        ]
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
        if any(row.id in tails for row in busy):
            destinations = [each for each in destinations if each in own]
            if not destinations:
                return Likeness.OTHER if finding.entries else Likeness.COPY
        if being_written and not tails and self.now_ns - stat.mtime_ns < _PACKING_NS:
            return Likeness.UNCLEAR
        for destination in destinations:
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
            finding.entries[destination] = self._entry(
                finding, destination, row, b"" if row is None else tails.get(row.id, b""), examined
            )
            if row is not None:
                housed.add(row.id)
        return Likeness.OTHER

    def _is_being_made(self, finding: Finding, head: bytes) -> bool:
        """Whether it is made of a plain file that is still there, and is read itself.

        Raises ReadError, OSError.
        """
        if finding.suspect.plain is None:
            return False
        # Whoever made it may have removed it since it was opened.
        if (plain := self.plains.get(finding.suspect.plain)) is not None:
            return os.pread(plain, len(head), 0) == head
        try:
            fd = self.open(finding.suspect.plain)
        except ReadError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        try:
            return os.pread(fd, len(head), 0) == head
        finally:
            os.close(fd)

    def _finished(self, finding: Finding, plain: Unfinished, destinations: Sequence[str]) -> bool:
        """Whether it holds what was delivered from a plain file, or less: who compressed that read
        it before its last lines were written. Then its rows say that nothing of it is left.

        Only while the plain file is open is there anything to compare it with.
        """
        assert finding.packed is not None
        examined = examine(finding.fd, finding.packed, (), whole=True)
        length = examined.length
        if length is None or not plain.holds(examined.end, length):
            return False
        if length < TAIL_BYTES and length != os.fstat(plain.fd).st_size:
            return False  # a header that many files begin with
        for destination in destinations:
            fresh = fresh_row(
                self.stream, destination, finding.suspect.lineage, _identity(finding), self.now_ns
            )
            position = replace(
                fresh,
                identity=replace(fresh.identity, fingerprint=Mark.of(examined.head)),
                offset=length,
                tail=Mark.of(examined.end),
                resume=READ_TO_END,
            )
            finding.entries[destination] = Entry(
                verdict=Verdict.RESUME,
                position=position,
                tail=examined.end,
                head=examined.head,
                keep=False,
            )
        return True

    def _entry(
        self,
        finding: Finding,
        destination: str,
        row: Position | None,
        tail: bytes,
        examined: Examination,
    ) -> Entry:
        identity = _identity(finding)
        if row is None:
            lineage = finding.suspect.lineage
            position = fresh_row(self.stream, destination, lineage, identity, self.now_ns)
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


def _identity(finding: Finding) -> FileIdentity:
    stat = finding.stat
    return FileIdentity(device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns)
