"""One stream: from the paths of the configuration to a running pipeline per (file, destination).

Owns which files of the stream are open, where they were last seen, in which order files of one
path are read, and when descriptors are given back. Discovery by walk is the truth; directory
events only say which directory to look at sooner. Rows of first sightings are on disk before a
pipeline exists, so before a file's first byte is read. Loop thread only.

Longer than a module should be: which files are open, closed, final and at their paths is one state,
and finding out about new ones asks all of it. What needs none of it is in `files`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from singer.base.backoff import Backoff
from singer.base.config import Rotated, Start, StreamConfig
from singer.base.errors import StateError
from singer.base.events import (
    FileFound,
    FileGone,
    FileLetGo,
    FileQuarantined,
    FileRewritten,
    FileRotated,
    FileUnreadable,
    InternalError,
    ScanFailed,
)
from singer.base.ports import PositionStore
from singer.base.position import NO_MARK, Position
from singer.files.inquiry import Finding, Findings, Inquiry, Suspect
from singer.files.lineage import bases, lineage_of
from singer.files.openfile import OpenFile
from singer.files.siblings import compression
from singer.files.stat import FileStat
from singer.files.walk import Sighting, Walker
from singer.pipeline import Pipeline
from singer.services import Destination, Services

#: After a directory event, wait this long for its neighbours: a rotation is several events.
_HINT_SECONDS: Final = 0.005
#: At most this share of the time is spent on looking at directories because of events.
_HINT_DUTY: Final = 0.1
#: The kernel stamps files with a clock that is up to a tick behind the one we read.
_TICK_NS: Final = 20_000_000
#: First and longest wait before the position store is asked again.
_STORE_BACKOFF_SECONDS: Final = (0.2, 30.0)


_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True, eq=False)
class _Tracked:
    file: OpenFile
    stat: FileStat  # from the last look
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    rewriting: set[str] = field(default_factory=set)  # destinations that begin anew

    def lacks(self, destinations: Collection[str]) -> bool:
        """Whether one asking destination alone does not read it: its turn to find a copy."""
        return len(destinations) == 1 and not self.pipelines.keys() >= set(destinations)

    @property
    def quiet(self) -> bool:
        return all(pipeline.at_end and pipeline.settled for pipeline in self.pipelines.values())


class Stream:
    """All files of one stream. `destinations` are keyed by name."""

    def __init__(
        self,
        config: StreamConfig,
        destinations: dict[str, Destination],
        services: Services,
        store: PositionStore,
        walker: Walker,
        *,
        rescan_seconds: float,
        close_idle_seconds: float,
        positions_lost: bool,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self._destinations = destinations
        self._services = services
        self._store = store
        self._walker = walker
        self._rescan_seconds = rescan_seconds
        self._close_idle_seconds = close_idle_seconds
        self._positions_lost = positions_lost
        self._random = rng or random.Random()  # noqa: S311  # jitter
        self._open: dict[tuple[int, int], _Tracked] = {}
        self._at: dict[str, _Tracked] = {}  # by path, the file that is there now
        self._youngest: dict[str, _Tracked] = {}  # by path, the last of its chain
        self._closed: dict[tuple[int, int], tuple[int | None, int]] = {}  # birth and size
        self._seen: dict[str, dict[str, Sighting]] = {}  # by directory, from the last look
        self._walked: frozenset[str] = frozenset()  # directories of the last walk
        self._watched: set[str] = set()
        self._complaints: dict[str, str] = {}
        self._complained: dict[str, str] = {}
        self._vacated: set[str] = set()
        self._look_again: set[str] = set()
        self._stock_taking = asyncio.Lock()
        self._store_backoff = Backoff(*_STORE_BACKOFF_SECONDS)
        self._hinted: set[str] = set()
        self._hint = asyncio.Event()
        self._first_scan_of: frozenset[str] | None = None
        self._since_ns: int | None = None  # when the stream was first looked at
        self._stopping = False
        self._rewrites: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.scanned = asyncio.Event()  #: the first scan is over

    # --- what the agent asks ----------------------------------------------------------------

    @property
    def pipelines(self) -> Iterable[Pipeline]:
        """All pipelines of open files."""
        return (p for tracked in self._open.values() for p in tracked.pipelines.values())

    @property
    def caught_up(self) -> bool:
        """Whether every file was read to its end and everything sent is committed."""
        return (
            self.scanned.is_set()
            and not self._rewrites
            and all(tracked.quiet for tracked in self._open.values())
        )

    def start(self) -> None:
        """Begin to look for files."""
        self._task = self._services.spawn(self._look_out())

    async def stop(self) -> None:
        """Read no more: no new files, no new bytes. What is under way goes on settling."""
        self._stopping = True
        tasks = [task for task in (self._task, *self._rewrites) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for directory in self._watched:
            self._services.wakeup.unwatch_directory(directory, self)
        await asyncio.gather(*(pipeline.stop() for pipeline in list(self.pipelines)))

    async def settle(self) -> bool:
        """After `stop`: wait until everything sent is committed; False if some of it failed."""
        return all([await pipeline.settle() for pipeline in list(self.pipelines)])

    def close(self) -> None:
        """Give all descriptors back."""
        for tracked in self._open.values():
            tracked.file.close()

    async def present_rows(self) -> set[int] | None:
        """Ids of the rows whose files exist; None if that cannot be told now. Raises StateError."""
        inodes: set[int] = set()
        for directory in sorted(self._seen.keys() | set(self.config.rotated_dirs)):
            listing = await self._in_thread(self._walker.list_directory, directory)
            if listing.fault:
                return None
            inodes.update(sighting.stat.inode for sighting in listing.sightings)
        inodes.update(tracked.file.identity.inode for tracked in self._open.values())
        return {row.id for row in await self._store.lookup(self.config.name, sorted(inodes))}

    # --- looking ------------------------------------------------------------------------------

    async def _look_out(self) -> None:
        while True:
            try:
                await self._look_out_once()
            except Exception as error:  # noqa: BLE001  # a bug here must not stop discovery
                self._services.emit(InternalError.of("look for files", error))
                await asyncio.sleep(self._store_backoff.next())

    async def _look_out_once(self) -> None:
        """Look everywhere; then, until the next time, where something happens."""
        loop = self._services.loop
        await self._look_everywhere()
        until = loop.time() + self._rescan_seconds * self._random.uniform(0.8, 1.2)
        while (left := until - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._hint.wait()
            except TimeoutError:
                break
            await asyncio.sleep(_HINT_SECONDS)
            begun = loop.time()
            await self._look_at(self._take_hints())
            await asyncio.sleep((loop.time() - begun) * (1 / _HINT_DUTY - 1))

    async def _look_everywhere(self) -> None:
        self._take_hints()
        walk = await self._in_thread(self._walker.walk)
        self._walked = walk.directories
        for directory in self._watched - walk.directories:
            self._services.wakeup.unwatch_directory(directory, self)
        self._watched &= walk.directories
        for directory in walk.directories:
            self._watch(directory)
        self._complaints, self._complained = {}, self._complaints
        for path, cause in walk.faults:
            self._complain(path, cause)
        self._seen = {}
        for sighting in walk.sightings:
            self._seen.setdefault(os.path.dirname(sighting.path), {})[sighting.path] = sighting
        async with self._stock_taking:
            self._vacated |= self._look_again
            self._look_again.clear()
            await self._take_stock()
        await self._sweep()
        self.scanned.set()

    async def _look_at(self, directories: set[str]) -> None:
        for directory in directories:
            listing = await self._in_thread(self._walker.list_directory, directory)
            if listing.subdirectories - self._walked:
                await self._look_everywhere()  # a new directory may hold files of ours
                return
            self._seen[directory] = {
                sighting.path: sighting
                for sighting in listing.sightings
                if self._walker.matches(sighting.path)
            }
        async with self._stock_taking:
            await self._take_stock()

    async def _in_thread(self, function: Callable[..., _T], *arguments: str) -> _T:
        # A hung mount holds up the looks of this stream, not those of others.
        return await self._services.threads.run(("look", self.config.name), function, *arguments)

    def _watch(self, directory: str) -> None:
        if self._services.wakeup.watch_directory(directory, self, self._directory_changed):
            self._watched.add(directory)

    def _directory_changed(self, directory: str) -> None:
        self._hinted.add(directory)
        self._hint.set()

    def _take_hints(self) -> set[str]:
        hinted, self._hinted = self._hinted, set()
        self._hint.clear()
        return hinted

    def _complain(self, path: str, cause: str) -> None:
        """Say what cannot be read, once for as long as it lasts."""
        if self._complained.get(path) != cause and self._complaints.get(path) != cause:
            self._services.emit(FileUnreadable(stream=self.config.name, path=path, cause=cause))
        self._complaints[path] = cause

    # --- taking stock -------------------------------------------------------------------------

    async def _take_stock(self) -> None:
        """Compare what was seen with what is open; find out about the rest."""
        sightings = {
            path: sighting for entries in self._seen.values() for path, sighting in entries.items()
        }
        claimed: dict[tuple[int, int], Sighting] = {}
        fresh: list[Sighting] = []
        for path in sorted(sightings):
            stat = sightings[path].stat
            key = (stat.device, stat.inode)
            if key in claimed or compression(path):
                continue  # a hard link is one file; compressed files are not read as text
            claimed[key] = sightings[path]
            if key not in self._open and self._closed.get(key) != (stat.birth_ns, stat.size):
                fresh.append(sightings[path])
        self._locate(claimed)
        for key in self._closed.keys() - claimed.keys():
            del self._closed[key]
        if fresh or self._vacated or self._first_scan_of is None:
            try:
                await self._inquire(fresh)
                self._store_backoff.reset()
            except StateError as error:
                self._services.loop.call_later(self._scan_failed(error), self._hint.set)

    def _locate(self, claimed: dict[tuple[int, int], Sighting]) -> None:
        """Say of every open file where it is now, and whether it is still the one at its path."""
        taken = {sighting.path for sighting in claimed.values()}
        at: dict[str, _Tracked] = {}
        for key, tracked in self._open.items():
            file, sighting = tracked.file, claimed.get(key)
            if sighting is None:
                if file.final_since is None and self._has_left(file, taken):
                    self._finalise(tracked)
            else:
                file.seen_at = sighting.path
                if sighting.path != file.path and sighting.path in self._at:
                    file.path = sighting.path  # swapped with another file of the stream
                if sighting.path == file.path:
                    self._revive(tracked)
                else:
                    self._finalise(tracked)
                if sighting.stat != tracked.stat:
                    tracked.stat = sighting.stat
                    for pipeline in tracked.pipelines.values():
                        pipeline.wake()
            if file.final_since is None:
                at[file.path] = tracked
        self._vacated |= {path for path, tracked in self._at.items() if at.get(path) != tracked}
        self._at = at

    @staticmethod
    def _has_left(file: OpenFile, taken: set[str]) -> bool:
        """Whether a file that was not seen is really gone from where it was seen last."""
        links, where = file.whereabouts()
        if links and where == file.seen_at and where not in taken:
            return False  # its directory cannot be read just now
        file.deleted = not links
        if links:
            file.seen_at = where
        return True

    def _revive(self, tracked: _Tracked) -> None:
        """A file is at its path, or back there."""
        if tracked.file.final_since is not None:
            tracked.file.final_since = None
            for pipeline in tracked.pipelines.values():
                pipeline.finish_reading()  # who waits for its end would wait for ever

    def _scan_failed(self, error: StateError) -> float:
        """Say so; seconds to wait before the next attempt."""
        delay = self._store_backoff.next()
        self._services.emit(
            ScanFailed(stream=self.config.name, cause=str(error), retry_seconds=delay)
        )
        return delay

    def _finalise(self, tracked: _Tracked) -> None:
        file = tracked.file
        if file.final_since is not None:
            return
        file.final_since = self._services.loop.time()
        self._services.emit(
            FileRotated(
                stream=self.config.name,
                path=file.path,
                to=None if file.deleted else file.seen_at,
            )
        )
        for pipeline in tracked.pipelines.values():
            pipeline.wake()

    # --- finding out about files --------------------------------------------------------------

    async def _inquire(
        self, fresh: list[Sighting], homeless: Position | None = None
    ) -> frozenset[str]:
        """Find out what files are, make their rows durable, and begin to read them.

        `homeless` is a row whose content left its file (truncated while open): then only its
        destination is asked about. Returns the paths that have to be looked at again.
        """
        name, store = self.config.name, self._store
        if self._first_scan_of is None:
            scans = {d: await store.scanned(name, d) for d in self._destinations}
            self._first_scan_of = frozenset(d for d, when in scans.items() if when is None)
            self._since_ns = min((when for when in scans.values() if when), default=None)
        destinations = self._destinations.keys() if homeless is None else {homeless.destination}
        paths = {sighting.path for sighting in fresh} | self._at.keys()
        suspects = {
            (s.stat.device, s.stat.inode): Suspect(
                path=s.path, lineage=self._lineage(s.path, paths) or s.path, stat=s.stat
            )
            for s in fresh
        }
        by_path = await self._past(suspects, destinations)
        rows = await store.lookup(name, sorted({inode for _, inode in suspects}))
        self._drop_finished(suspects, rows)
        known = {inode for _, inode in (*suspects, *self._open, *self._closed)}
        orphans = [
            row
            for row in (row for rows_of_path in by_path.values() for row in rows_of_path)
            if row.identity.inode not in known and row.destination in self._destinations
        ]
        at_end = self.config.start is Start.END and not self._positions_lost
        inquiry = Inquiry(
            stream=name,
            destinations=tuple(destinations),
            suspects=tuple(suspects.values()),
            rows=rows,
            orphans=orphans if homeless is None else (homeless,),
            live=self._live(homeless),
            at_end=self._first_scan_of if at_end else frozenset(),
            now_ns=self._now_ns(),
        )
        findings = await self._in_thread(inquiry.answer)
        try:
            entries = await self._make_durable(findings, 0 if homeless is None else homeless.id)
        except BaseException:
            for finding in findings.found:
                os.close(finding.fd)
            raise
        self._positions_lost = False  # from here on there is a past
        self._vacated = set(findings.unsettled)
        for path in self._vacated:
            self._directory_changed(os.path.dirname(path))
        for suspect, cause in findings.failed:
            self._complain(suspect.path, cause)
        for row in findings.homeless:
            self._services.emit(
                FileGone(stream=name, destination=row.destination, path=row.path, offset=row.offset)
            )
        for finding in sorted(
            findings.found, key=lambda f: (f.suspect.current, f.stat.mtime_ns, f.suspect.path)
        ):
            self._admit(finding, entries)
        return findings.unsettled

    def _live(self, homeless: Position | None) -> dict[str, list[Position]]:
        """The rows of the files that are at their paths, but for one whose content left."""
        return {
            path: [
                pipeline.position
                for pipeline in tracked.pipelines.values()
                if homeless is None or pipeline.position.id != homeless.id
            ]
            for path, tracked in self._at.items()
        }

    def _now_ns(self) -> int:
        return self._services.clock.now_ns() - _TICK_NS

    def _lineage(self, path: str, paths: Collection[str]) -> str | None:
        return lineage_of(
            path,
            paths,
            rotated_dirs=self.config.rotated_dirs,
            is_rotated=self._walker.is_rotated,
        )

    async def _list(
        self, directories: Iterable[str], destinations: Collection[str]
    ) -> list[Sighting]:
        """All regular files of some directories that some destination could read and does not."""
        found = []
        for directory in sorted(directories):
            listing = await self._in_thread(self._walker.list_directory, directory)
            for sighting in listing.sightings:
                stat = sighting.stat
                key = (stat.device, stat.inode)
                tracked = self._open.get(key)
                if (
                    (tracked is None or tracked.lacks(destinations))
                    and self._closed.get(key) != (stat.birth_ns, stat.size)
                    and not compression(sighting.path)
                ):
                    found.append(sighting)
        return found

    async def _past(
        self, suspects: dict[tuple[int, int], Suspect], destinations: Collection[str]
    ) -> dict[str, list[Position]]:
        """The rows of all paths in question; adds their rotated files to the suspects.

        A file with a known inode is one of ours whatever its name; a sibling by name without a
        row is, if it was written to since the stream was first looked at. At the first look of a
        run nothing is known of what happened meanwhile, and a path may be gone but for its rotated
        files: all files beside are looked at.
        """
        name, store = self.config.name, self._store
        first = not self.scanned.is_set()
        paths = {suspect.lineage for suspect in suspects.values()} | self._vacated
        beside: list[Sighting] = []
        if first:
            beside = await self._list({*self._walked, *self.config.rotated_dirs}, destinations)
            for sighting in beside:
                paths.update(base for base in bases(sighting.path) if self._walker.matches(base))
        by_path: dict[str, list[Position]] = {}
        for row in await store.lineage(name, sorted(paths)):
            by_path.setdefault(row.path, []).append(row)
        # Without a past that we should have had, nothing says which of the old ones are history.
        all_of_them = self.config.rotated_files is Rotated.ALL or self._positions_lost
        home = {row.identity.inode: path for path in by_path for row in by_path[path]}
        if first:
            rows = await store.lookup(name, sorted({s.stat.inode for s in beside}))
            home |= {row.identity.inode: row.path for row in rows}
        elif paths:
            directories = {*map(os.path.dirname, paths), *self.config.rotated_dirs}
            beside = await self._list(directories, destinations)
        for sighting in beside:
            stat = sighting.stat
            key = (stat.device, stat.inode)
            if key in suspects:  # seen twice: where it was seen last counts
                suspects[key] = replace(suspects[key], path=sighting.path, stat=stat)
                continue
            lineage = self._lineage(sighting.path, paths)
            if not all_of_them and (self._since_ns is None or stat.mtime_ns < self._since_ns):
                lineage = None  # from before our time
            lineage = home.get(stat.inode, lineage)
            if lineage is not None:
                suspects[key] = Suspect(path=sighting.path, lineage=lineage, stat=stat)
        return by_path

    def _drop_finished(
        self, suspects: dict[tuple[int, int], Suspect], rows: list[Position]
    ) -> None:
        """Leave out rotated files that every destination has read to the end."""
        for key, suspect in list(suspects.items()):
            stat = suspect.stat
            done = {
                row.destination
                for row in rows
                if (row.identity.device, row.identity.inode) == key
                and row.identity.birth_ns == stat.birth_ns
                and row.offset == stat.size
                and stat.mtime_ns <= row.updated_ns  # else it may be as long, and another
            }
            if not suspect.current and done >= self._destinations.keys():
                self._closed[key] = (stat.birth_ns, stat.size)
                del suspects[key]

    async def _make_durable(
        self, findings: Findings, keep_id: int
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
        saved = await self._store.sight([entries[key].position for key in changed])
        await self._store.forget([row.id for row in findings.homeless if row.id != keep_id])
        for destination in self._first_scan_of or ():
            await self._store.mark_scanned(self.config.name, destination)
            self._since_ns = self._since_ns or self._now_ns()
        self._first_scan_of = frozenset()
        positions = {key: entry.position for key, entry in entries.items()}
        return positions | dict(zip(changed, saved, strict=True))

    def _admit(self, finding: Finding, positions: dict[tuple[int, str], Position]) -> None:
        """Begin to read a file, behind the older ones of its path."""
        suspect, services = finding.suspect, self._services
        first = positions[finding.fd, next(iter(finding.entries))]
        file = OpenFile(finding.fd, suspect.lineage, suspect.path, first.identity)
        tracked = self._open.get(file.key)
        if tracked is not None:  # another destination has it already
            file.close()
            file = tracked.file
        else:
            tracked = _Tracked(file=file, stat=finding.stat)
        older = self._youngest.get(file.path)
        for destination, entry in finding.entries.items():
            position = positions[finding.fd, destination]
            self._services.emit(
                FileFound(
                    stream=self.config.name,
                    destination=destination,
                    path=suspect.path,
                    offset=position.offset,
                    size=finding.stat.size,
                    verdict=entry.verdict.value,
                )
            )
            if services.breaker.quarantined(position.stream, destination, position.identity):
                self._quarantine(file, position)
                continue
            tracked.pipelines[destination] = self._pipeline(tracked, position, entry.tail, older)
        self._open[file.key] = tracked
        self._youngest[file.path] = tracked
        if suspect.current:
            self._at[file.path] = tracked
        else:
            self._finalise(tracked)
        for pipeline in tracked.pipelines.values():
            pipeline.wake()

    def _pipeline(
        self, tracked: _Tracked, position: Position, tail: bytes, older: _Tracked | None
    ) -> Pipeline:
        # Only a file that nobody writes to any more has an end to wait for.
        waits = older is not None and older is not tracked and older.file.final_since is not None
        before = older.pipelines.get(position.destination) if older and waits else None
        return Pipeline(
            self._destinations[position.destination],
            self._services,
            tracked.file,
            position,
            tail,
            after=() if before is None or before.reading_done else (before,),
            on_changed=lambda pipeline: self._rewritten(tracked, pipeline),
        )

    def _quarantine(self, file: OpenFile, position: Position) -> None:
        account = self._destinations[position.destination].account
        unread = max(0, file.size() - position.offset)
        account.read += unread
        account.held += unread
        self._services.emit(
            FileQuarantined(
                stream=position.stream,
                destination=position.destination,
                path=file.seen_at,
                offset=position.offset,
            )
        )

    # --- files that change under the reader ---------------------------------------------------

    def _rewritten(self, tracked: _Tracked, pipeline: Pipeline) -> None:
        """A pipeline found that its file was truncated or rewritten; it reads no more."""
        destination = pipeline.position.destination
        if self._stopping or destination in tracked.rewriting:
            return
        tracked.rewriting.add(destination)
        task = self._services.spawn(self._begin_anew(tracked, pipeline))
        self._rewrites.add(task)
        task.add_done_callback(self._rewrites.discard)

    async def _begin_anew(self, tracked: _Tracked, old: Pipeline) -> None:
        """Finish what was read, look for a copy of the rest, and read the file from its start.

        For one destination alone: another may be down, and what it was sent not settled.
        """
        await old.stop()
        await old.settle()
        while True:
            try:
                async with self._stock_taking:
                    if await self._replace(tracked, old):
                        break
                await asyncio.sleep(_HINT_SECONDS)
            except StateError as error:
                await asyncio.sleep(self._scan_failed(error))
        tracked.rewriting.discard(old.position.destination)
        tracked.pipelines[old.position.destination].wake()

    async def _replace(self, tracked: _Tracked, old: Pipeline) -> bool:
        """A new pipeline in place of `old`; False if a rotation was under way: look again."""
        file, now_ns, position = tracked.file, self._now_ns(), old.position
        await self._store.flush()  # else an older commit could follow the rows written below
        self._vacated.add(file.path)
        copied = self._has_moved(position, file)  # by an attempt that did not come to its end
        if not copied:
            if file.path in await self._inquire([], position):
                return False
            copied = self._has_moved(position, file)
        fresh = replace(
            position,
            id=0 if copied else position.id,
            identity=replace(file.identity, fingerprint=NO_MARK),
            offset=0,
            tail=NO_MARK,
            resume=b"",
            first_seen_ns=now_ns,
            updated_ns=now_ns,
        )
        (saved,) = await self._store.sight([fresh])
        old.abandon(None if copied else "truncated")
        self._services.emit(
            FileRewritten(
                stream=self.config.name,
                destination=position.destination,
                path=file.seen_at,
                offset=position.offset,
                copied=copied,
            )
        )
        older = self._youngest.get(file.path)
        tracked.pipelines[position.destination] = self._pipeline(tracked, saved, b"", older)
        self._youngest[file.path] = tracked
        # What was written, copied and truncated again while this went on is in a sibling by now.
        self._look_again.add(file.path)
        return True

    def _has_moved(self, position: Position, file: OpenFile) -> bool:
        return any(p.position.id == position.id and p.file is not file for p in self.pipelines)

    async def _sweep(self) -> None:
        """Give back the descriptors of rotated and deleted files that are finished."""
        now = self._services.loop.time()
        for key, tracked in list(self._open.items()):
            file = tracked.file
            if file.final_since is None or not tracked.quiet or tracked.rewriting:
                continue
            file.deleted = file.deleted or not file.whereabouts()[0]
            quiet_since = max(
                [file.final_since, *(p.idle_since for p in tracked.pipelines.values())]
            )
            patience = self.config.rotate_grace if file.deleted else self._close_idle_seconds
            if now - quiet_since < patience or any(p.held for p in tracked.pipelines.values()):
                continue
            size = file.size()
            await asyncio.gather(*(p.stop() for p in tracked.pipelines.values()))
            del self._open[key]
            if self._youngest.get(file.path) is tracked:
                del self._youngest[file.path]
            if not file.deleted and tracked.pipelines.keys() >= self._destinations.keys():
                self._closed[key] = (file.identity.birth_ns, size)
            self._services.emit(FileLetGo(stream=self.config.name, path=file.seen_at, size=size))
            file.close()
