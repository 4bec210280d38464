"""Inquiries: what a stream asks about files, and what it does with the answers but for reading.

Owns what is known of the first scan, and the order of things: the rows of what was found are on
disk before a file is admitted, so before its first byte is read. `files.inquiry` judges files,
`surroundings` says which. One inquiry at a time; loop thread only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NoReturn, TypeAlias

from singer.agenda import Agenda
from singer.base.backoff import Backoff
from singer.base.config import Start, StreamConfig
from singer.base.errors import ReadError, StateError
from singer.base.events import DestinationBegins, FileFound, FileGone, ScanFailed
from singer.base.ports import PositionStore
from singer.base.position import Position
from singer.descriptors import Descriptors
from singer.files import watermarks
from singer.files.archives import Unfinished
from singer.files.census import Key
from singer.files.finding import Finding, Suspect
from singer.files.inquiry import Findings, Inquiry
from singer.files.likeness import Live
from singer.files.openfile import give_back
from singer.files.opening import explain
from singer.files.siblings import compression
from singer.files.walk import Sighting, Walker
from singer.lookout import Lookout
from singer.roster import Roster
from singer.services import Services
from singer.surroundings import History, Question, Surroundings

#: The kernel stamps files with a clock that is up to a tick behind the one we read.
_TICK_NS: Final = 20_000_000
#: First and longest wait before the position store is asked again.
_STORE_BACKOFF_SECONDS: Final = (0.2, 30.0)
#: How soon to look again when a rotation was under way.
_ROTATION_SECONDS: Final = 0.005
#: How soon to look again when the system had no descriptor left.
_DESCRIPTOR_SECONDS: Final = 0.1
#: Files that are asked about at once: each is held open until its row is on disk.
_ASKED_AT_ONCE: Final = 512

#: Begins to read a file from its rows, by destination; takes the descriptor over, or raises.
Admit: TypeAlias = Callable[[Finding, Mapping[str, Position]], None]
#: Leaves a file alone, of which nothing is left to read, until it changes. The descriptor is not
#: taken over.
Lay: TypeAlias = Callable[[Finding], None]


class Inquiries:
    """Finds out about the files of one stream.

    `whole`   False: the last inquiry failed, and is still to be made
    `copies`  by path and destination, copies of what it reads there: it leaves them alone
    """

    def __init__(
        self,
        config: StreamConfig,
        destinations: Collection[str],
        services: Services,
        store: PositionStore,
        walker: Walker,
        *,
        surroundings: Surroundings,
        lookout: Lookout,
        descriptors: Descriptors,
        open_files: Roster,
        agenda: Agenda,
        admit: Admit,
        lay: Lay,
        positions_lost: bool,
    ) -> None:
        self.whole = True
        self.copies: dict[tuple[str, str], set[Key]] = {}
        self.admitting = 0  #: files that are open, and not admitted yet
        self._config = config
        self._destinations = frozenset(destinations)
        self._starts = {each.name: each.start for each in config.publish if each.start}
        self._services = services
        self._store = store
        self._walker = walker
        self._surroundings = surroundings
        self._lookout = lookout
        self._descriptors = descriptors
        self._open = open_files
        self._agenda = agenda
        self._admit = admit
        self._lay = lay
        self._positions_lost = positions_lost
        self._backoff = Backoff(*_STORE_BACKOFF_SECONDS)
        self._first_scan_of: frozenset[str] | None = None
        # When the stream was first looked at: before the first look, for what is rotated during it
        # is ours, and is read before its successors.
        self._since_ns = self._begun_ns = self.now_ns()
        self._told: set[Key] = set()  # were found, and wait for a descriptor
        self._met: dict[tuple[int, int | None], str] = {}  # see `History`

    @property
    def begun(self) -> bool:
        """Whether the first one succeeded."""
        return self._first_scan_of is not None

    async def ask(self, fresh: list[Sighting], paths: Collection[str], *, first: bool) -> None:
        """Find out what is fresh, and all files of `paths`, and begin to read them.

        What it does not come to is on the agenda. `first`: nothing was found out in this run yet.
        """
        try:
            suspects = self._surroundings.suspect(fresh)
            try:
                await self._ask(suspects, paths, None, first=first)
            except BaseException:
                self._agenda.ask(paths)
                # What is fresh now is not again: its paths are looked at in full next time.
                self._agenda.ask(suspect.lineage for suspect in suspects.values())
                raise
        except (StateError, ReadError) as error:
            self.whole = False
            self._services.loop.call_later(self.failed(error), self._lookout.look_soon)
        else:
            self.whole = True
            self._backoff.reset()

    async def ask_for(self, homeless: Position, path: str, *, first: bool) -> float:
        """Find the content that left an open file (truncated, rewritten): a copy beside it.

        For the row's destination alone. Returns 0.0, or in how many seconds to ask again: a
        rotation is under way there, or there is no descriptor. Raises StateError, ReadError.
        """
        again, refused = await self._ask({}, {path}, homeless, first=first)
        if path in again:
            return _ROTATION_SECONDS
        return _DESCRIPTOR_SECONDS if path in refused else 0.0

    def failed(self, error: StateError | ReadError) -> float:
        """Say that an inquiry failed; seconds to wait before the next attempt."""
        delay = self._backoff.next()
        self._services.emit(
            ScanFailed(stream=self._config.name, cause=str(error), retry_seconds=delay)
        )
        return delay

    def now_ns(self) -> int:
        """Wall clock, not ahead of the times of files."""
        return self._services.clock.now_ns() - _TICK_NS

    def close(self, finding: Finding) -> None:
        """Give back the descriptor of a file that is not admitted."""
        threads = self._services.threads if finding.remote else None
        give_back(finding.fd, finding.stat.device, threads)

    # --- one inquiry --------------------------------------------------------------------------

    async def _ask(
        self,
        suspects: dict[Key, Suspect],
        paths: Collection[str],
        homeless: Position | None,
        *,
        first: bool,
    ) -> tuple[Collection[str], Collection[str]]:
        """Ask about suspects, and about all files of `paths`.

        With `homeless` only its destination is asked about. Returns the paths that have to be
        looked at again, and those for whose files the system had no descriptors.
        """
        first_scan_of = await self._begin()
        destinations = self._destinations if homeless is None else {homeless.destination}
        history = History(
            since_ns=self._since_ns, lost=self._positions_lost, first=first, met=self._met
        )
        question = await self._surroundings.look(suspects, paths, destinations, history)
        self._agenda.ask_later(question.unseen)
        inquiry = await self._inquiry(question, destinations, homeless)
        admitted: list[tuple[Finding, dict[str, Position]]] = []
        again: set[str] = set()
        refused: set[str] = set()
        left = list(question.suspects.values())
        orphans: Sequence[Position] = question.orphans if homeless is None else (homeless,)
        try:
            while True:
                refused.clear()
                for some, bereft in _portions(left, orphans):
                    findings = await self._answer(replace(inquiry, suspects=some, orphans=bereft))
                    gone = tuple(row for row in findings.homeless if row.id not in question.hidden)
                    findings = replace(findings, homeless=gone)
                    try:
                        entries = await self._make_durable(findings, homeless)
                    except BaseException:
                        for finding in findings.found:
                            self.close(finding)
                        raise
                    again |= findings.unsettled
                    if first_scan_of:
                        self._met |= {
                            (suspect.stat.inode, suspect.stat.birth_ns): suspect.lineage
                            for suspect in some
                            if suspect.lineage in findings.unsettled
                        }
                    self._note(findings)
                    self._tell(findings.found, entries)
                    # What a file that begins anew needs is opened whatever the ceiling: it would
                    # wait for others that wait for theirs.
                    kept = self._keep_what_fits if homeless is None else self._keep
                    admitted += kept(findings.found, entries)
                    self.admitting = len(admitted)
                    if not first_scan_of:
                        self._begin_to_read(admitted)
                    refused |= findings.refused
                    if findings.refused:
                        self._descriptors.refused()
                        for suspect in some:
                            if suspect.lineage in findings.refused:
                                self._agenda.wait(suspect.lineage, 1)  # at least
                if not (first_scan_of and refused):
                    break
                # What has no row when the first look is over would be history.
                orphans = ()
                before, left = left, [each for each in left if each.lineage in refused]
                if len(left) == len(before):
                    self._out_of_descriptors(len(left))
                self._put_off(admitted)
            for destination in first_scan_of:
                await self._store.mark_scanned(self._config.name, destination, self._begun_ns)
            self._first_scan_of = frozenset()
            self._positions_lost = False  # from here on there is a past
            if homeless is None and not again:
                self._met.clear()
            if again:
                self._agenda.ask(again)
                self._lookout.look_soon(*map(os.path.dirname, again))
            self._begin_to_read(admitted)
        except BaseException:
            for finding, _ in admitted:
                self.close(finding)
            self._agenda.ask(suspect.lineage for suspect in question.suspects.values())
            raise
        finally:
            self.admitting = 0
            if not self._agenda.waiting_files:
                self._told.clear()
        return again, refused

    def _out_of_descriptors(self, files: int) -> NoReturn:
        raise ReadError(
            f"open {files} files of stream {self._config.name}: the system has no descriptors "
            "left; raise the limit (LimitNOFILE, ulimit -n)"
        )

    def _put_off(self, admitted: list[tuple[Finding, dict[str, Position]]]) -> None:
        """Close files whose rows are on disk, for the descriptors; they wait for others."""
        for finding, _ in admitted:
            self.close(finding)
            self._agenda.wait(finding.suspect.lineage, 1)  # at least
        admitted.clear()

    def _begin_to_read(self, admitted: list[tuple[Finding, dict[str, Position]]]) -> None:
        """Hand files over, the oldest first; those that are left in the list were not taken."""
        admitted.sort(key=lambda each: _age(each[0]), reverse=True)
        while admitted:
            self._admit(*admitted[-1])
            admitted.pop()
            self.admitting = len(admitted)

    async def _answer(self, portion: Inquiry) -> Findings:
        asked = replace(portion, unfinished=self._unfinished(portion.suspects))
        return await self._lookout.in_thread(_answer, asked, self._walker)

    async def _begin(self) -> frozenset[str]:
        """The destinations that see the stream for the first time."""
        if self._first_scan_of is None:
            name, store = self._config.name, self._store
            scans = {d: await store.scanned(name, d) for d in self._destinations}
            for destination in [d for d, when in scans.items() if when is None]:
                like = self._model(destination, scans)
                if scans.get(like) is not None:
                    rows = await store.copy(name, like, destination)
                    scans[destination] = scans[like]
                    self._services.emit(
                        DestinationBegins(
                            stream=name, destination=destination, like=like, rows=rows
                        )
                    )
            self._first_scan_of = frozenset(d for d, when in scans.items() if when is None)
            seen = [when for when in scans.values() if when is not None]
            self._since_ns = min(seen, default=self._begun_ns)
            if not seen and not self._positions_lost:
                await self._take_watermarks(self._first_scan_of)
        return self._first_scan_of

    def _model(self, destination: str, scans: Mapping[str, int | None]) -> str:
        """The destination that a new one begins like: itself, if like no other."""
        while scans.get(destination) is None and (start := self._starts.get(destination)):
            if start.like is None:
                break
            destination = start.like
        return destination

    def _begins_at_end(self, destination: str) -> bool:
        """Whether a destination that is new skips what is there."""
        start = self._starts.get(self._model(destination, {}))
        return (self._config.start if start is None else start.at) is Start.END

    async def _take_watermarks(self, destinations: frozenset[str]) -> None:
        """Go on where the Java agent stopped, if it was here: its marks become rows of ours."""
        taken = await self._lookout.in_thread(
            partial(
                watermarks.of_stream,
                self._walker,
                self._lookout.directories,
                stream=self._config.name,
                destinations=destinations,
                now_ns=self.now_ns(),
            )
        )
        inodes = sorted({row.identity.inode for row in taken.rows})
        known = {
            (row.destination, row.identity.inode)
            for row in await self._store.lookup(self._config.name, inodes)
        }
        fresh = [r for r in taken.rows if (r.destination, r.identity.inode) not in known]
        if fresh:
            await self._store.sight(fresh)
        for event in taken.events:
            self._services.emit(event)

    async def _inquiry(
        self, question: Question, destinations: Collection[str], homeless: Position | None
    ) -> Inquiry:
        """What is asked of every portion of the suspects."""
        assert self._first_scan_of is not None
        at_end = filter(self._begins_at_end, () if self._positions_lost else self._first_scan_of)
        paths = {suspect.lineage for suspect in question.suspects.values()}
        return Inquiry(
            stream=self._config.name,
            destinations=tuple(sorted(destinations)),  # rows come in the same order every time
            suspects=(),
            rows=question.rows,
            orphans=(),
            served={key: self._open[key].served for key in question.suspects if key in self._open},
            live=self._live(question),
            copies={
                destination: {
                    key for path in paths for key in self.copies.get((path, destination), ())
                }
                for destination in destinations
            },
            busy=self._busy(paths, homeless),
            unfinished={},
            rewriting={} if homeless else self._rewriting(paths),
            earlier_boot=await self._earlier_boot(question.rows),
            at_end=frozenset(at_end),
            of_lines=self._config.reader.of_lines,
            now_ns=self.now_ns(),
            open=self._walker.open,
        )

    def _live(self, question: Question) -> dict[str, Live]:
        """The files that are at the paths, and how far they were read by who still reads them."""
        live: dict[str, Live] = {}
        for path in {suspect.lineage for suspect in question.suspects.values()}:
            if (tracked := self._open.at.get(path)) is not None:
                read = [p.read_position for p in tracked.pipelines.values() if not p.changed]
                live[path] = Live(key=tracked.file.key, read=tuple(read))
            elif rows := question.resting.get(path):
                identity = rows[0].identity
                live[path] = Live(key=identity.key, read=tuple(rows))
        return live

    def _busy(self, paths: Collection[str], homeless: Position | None) -> dict[str, list[Position]]:
        """By path, the rows of its open files, less the one whose content left its file."""
        return {
            path: [
                pipeline.position
                for tracked in self._open.of_path(path)
                for pipeline in tracked.pipelines.values()
                if homeless is None or pipeline.position.id != homeless.id
            ]
            for path in paths
        }

    def _rewriting(self, paths: Collection[str]) -> dict[str, set[str]]:
        """By path, the destinations that begin one of its files anew."""
        return {
            path: {each for tracked in self._open.of_path(path) for each in tracked.rewriting}
            for path in paths
        }

    def _unfinished(self, suspects: Collection[Suspect]) -> dict[str, list[Unfinished]]:
        """By path, the open plain rotated files whose archive may be among the suspects.

        Descriptors are the caller's, since the files may be closed meanwhile. Raises ReadError.
        """
        packed = {suspect.lineage for suspect in suspects if compression(suspect.path)}
        unfinished: dict[str, list[Unfinished]] = {}
        try:
            for path in packed:
                for tracked in self._open.of_path(path):
                    file = tracked.file
                    if file.final_since is not None and not file.packed:
                        rows = tuple(pipeline.position for pipeline in tracked.pipelines.values())
                        plain = Unfinished(fd=os.dup(file.fd), rows=rows)
                        unfinished.setdefault(path, []).append(plain)
        except OSError as error:
            _close_all(unfinished)
            raise ReadError(f"compare archives with open files: {explain(error)}") from error
        return unfinished

    async def _earlier_boot(self, rows: Collection[Position]) -> set[int]:
        """Which rows are from before the machine booted; asked only of files that were not open."""
        return await self._store.earlier_boot([row.id for row in rows]) if rows else set()

    # --- what becomes of the answer -------------------------------------------------------------

    async def _make_durable(
        self, findings: Findings, homeless: Position | None
    ) -> dict[tuple[int, str], Position]:
        """Write the rows that are new or moved, synced; by descriptor and destination.

        Rows whose content is nowhere are forgotten, but for the one the caller uses again.
        """
        entries = {
            (finding.fd, destination): entry
            for finding in findings.found
            for destination, entry in finding.entries.items()
        }
        changed = [key for key, entry in entries.items() if not entry.keep]
        if changed:
            saved = await self._store.sight([entries[key].position for key in changed])
        else:
            saved = []
        kept = 0 if homeless is None else homeless.id
        if gone := [row.id for row in findings.homeless if row.id != kept]:
            await self._store.forget(gone)
        positions = {key: entry.position for key, entry in entries.items()}
        return positions | dict(zip(changed, saved, strict=True))

    def _note(self, findings: Findings) -> None:
        """Remember what an inquiry found besides files to read, and say what is for people."""
        self._agenda.ask_later(findings.unclear | findings.made)
        for suspect, destination in findings.copies:
            key = suspect.stat.key
            self.copies.setdefault((suspect.lineage, destination), set()).add(key)
        for suspect, cause in findings.failed:
            self._lookout.complain(suspect.path, cause)
            self._agenda.ask_later([suspect.lineage])
        for row in findings.homeless:
            self._services.emit(
                FileGone(
                    stream=self._config.name,
                    destination=row.destination,
                    path=row.path,
                    offset=row.offset,
                )
            )

    def _tell(self, found: Iterable[Finding], entries: Mapping[tuple[int, str], Position]) -> None:
        """Say which files were found, once for those that have to wait."""
        for finding in found:
            if finding.key in self._told or finding.is_finished(self._destinations):
                continue
            for destination, entry in finding.entries.items():
                self._services.emit(
                    FileFound(
                        stream=self._config.name,
                        destination=destination,
                        path=finding.suspect.path,
                        offset=entries[finding.fd, destination].offset,
                        size=finding.stat.size,
                        verdict=entry.verdict.value,
                    )
                )

    def _keep(
        self, found: Iterable[Finding], entries: Mapping[tuple[int, str], Position]
    ) -> Iterator[tuple[Finding, dict[str, Position]]]:
        """Files and their rows."""
        for finding in found:
            yield finding, {d: entries[finding.fd, d] for d in finding.entries}

    def _keep_what_fits(
        self, found: Iterable[Finding], entries: Mapping[tuple[int, str], Position]
    ) -> Iterator[tuple[Finding, dict[str, Position]]]:
        """The files for which there are descriptors; the others are closed and wait.

        Of one path the oldest come first: a younger one must not be read before an older one.
        Where nothing is left to read, nothing has to wait, nor be closed for it.
        """
        lineages: dict[str, list[Finding]] = {}
        for finding in found:
            lineages.setdefault(finding.suspect.lineage, []).append(finding)
        at_rest = [
            lineages.pop(path)
            for path, files in list(lineages.items())
            if all(self._is_read(finding) for finding in files)
        ]
        free = self._descriptors.free - sum(map(len, lineages.values()))
        for finding in (finding for files in at_rest for finding in files):
            self._told.discard(finding.key)
            if finding.is_finished(self._destinations) or free <= 0:
                self._lay(finding)
                self.close(finding)
            else:
                free -= 1
                yield from self._keep([finding], entries)
        room = self._descriptors.room_for(sum(map(len, lineages.values())))
        for path, files in lineages.items():
            files.sort(key=_age)
            yield from self._keep(files[:room], entries)
            self._told.difference_update(finding.key for finding in files[:room])
            for finding in files[room:]:
                self._told.add(finding.key)
                self.close(finding)
            if files[room:]:
                self._agenda.wait(path, len(files[room:]))
            room = max(0, room - len(files))

    def _is_read(self, finding: Finding) -> bool:
        """Whether nothing of it is left to read, to nobody."""
        return finding.is_finished(self._destinations) or finding.is_at_rest(self._destinations)


def _age(finding: Finding) -> tuple[bool, int, str]:
    """The order in which files of one path are read."""
    return finding.suspect.current, finding.stat.mtime_ns, finding.suspect.path


def _answer(inquiry: Inquiry, walker: Walker) -> Findings:
    """Blocks. The way to the files is taken once for all of them; unfinished ones are closed."""
    try:
        with walker.opener() as open_:
            return replace(inquiry, open=open_).answer()
    finally:
        _close_all(inquiry.unfinished)


def _close_all(unfinished: Mapping[str, Iterable[Unfinished]]) -> None:
    for some in unfinished.values():
        for plain in some:
            os.close(plain.fd)


def _portions(
    suspects: Iterable[Suspect], orphans: Iterable[Position]
) -> Iterator[tuple[list[Suspect], list[Position]]]:
    """Suspects and rows in portions, all of one path in the same."""
    by_path: dict[str, tuple[list[Suspect], list[Position]]] = {}
    for suspect in suspects:
        by_path.setdefault(suspect.lineage, ([], []))[0].append(suspect)
    for row in orphans:
        by_path.setdefault(row.path, ([], []))[1].append(row)
    some: list[Suspect] = []
    bereft: list[Position] = []
    for _, (files, rows) in sorted(by_path.items()):  # files of one directory are opened faster
        some += files
        bereft += rows
        if len(some) >= _ASKED_AT_ONCE:
            yield some, bereft
            some, bereft = [], []
    if some or bereft:
        yield some, bereft
