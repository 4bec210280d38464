"""One stream: from the paths of the configuration to a running pipeline per (file, destination).

Owns which files of the stream are open, which are known and closed, in which order files of one
path are read, and when descriptors are given back. Rows of first sightings are on disk before a
pipeline exists, so before a file's first byte is read. Loop thread only.

Longer than a module should be: which files are open, closed, final and at their paths is one state,
and finding out about new ones asks all of it. What needs none of it is in `lookout` (where to look,
and when), `descriptors` (how many may be open) and `files`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from singer.base.backoff import Backoff
from singer.base.config import Rotated, Start, StreamConfig
from singer.base.errors import ReadError, StateError
from singer.base.events import (
    FileFound,
    FileGivenUp,
    FileGone,
    FileLetGo,
    FileQuarantined,
    FileRewritten,
    FileRotated,
    FilesWait,
    ScanFailed,
)
from singer.base.ports import PositionStore
from singer.base.position import NO_MARK, READ_TO_END, Position
from singer.descriptors import Deleted, Descriptors
from singer.files import watermarks
from singer.files.census import Changes, Key
from singer.files.inquiry import Entry, Finding, Findings, Inquiry, Live, Suspect
from singer.files.lineage import bases, lineage_of
from singer.files.openfile import OpenFile
from singer.files.siblings import compression
from singer.files.stat import FileStat
from singer.files.walk import Sighting, Walker
from singer.lookout import Lookout
from singer.pipeline import Pipeline
from singer.services import Destination, Services

#: The kernel stamps files with a clock that is up to a tick behind the one we read.
_TICK_NS: Final = 20_000_000
#: First and longest wait before the position store is asked again.
_STORE_BACKOFF_SECONDS: Final = (0.2, 30.0)
#: How soon to look again when a rotation was under way.
_ROTATION_SECONDS: Final = 0.005
#: How soon to try again to open files that wait for a descriptor.
_ROOM_SECONDS: Final = 0.1
#: Files that are asked about at once: each is held open until its row is on disk.
_ASKED_AT_ONCE: Final = 256


@dataclass(slots=True, kw_only=True, eq=False)
class _Tracked:
    """A file that is open."""

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

    @property
    def resting(self) -> bool:
        return not self.rewriting and all(p.resting for p in self.pipelines.values())

    @property
    def quiet_since(self) -> float:
        since = [pipeline.idle_since for pipeline in self.pipelines.values()]
        return max([self.file.opened_at, self.file.final_since or 0.0, *since])


@dataclass(slots=True, kw_only=True, eq=False)
class _Dormant:
    """A file that was read to its end and closed: to be asked about again when it changes."""

    path: str  # that it belongs to
    seen_at: str
    birth_ns: int | None
    size: int
    mtime_ns: int
    watched: bool = False

    def is_same(self, stat: FileStat) -> bool:
        return (self.birth_ns, self.size, self.mtime_ns) == (
            stat.birth_ns,
            stat.size,
            stat.mtime_ns,
        )


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
        descriptors: Descriptors,
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
        self._descriptors = descriptors
        self._close_idle_seconds = close_idle_seconds
        self._positions_lost = positions_lost
        self._lookout = Lookout(
            config.name,
            walker,
            services,
            self._report,
            rescan_seconds=rescan_seconds,
            rng=rng or random.Random(),  # noqa: S311  # jitter
        )
        self._open: dict[Key, _Tracked] = {}
        self._at: dict[str, _Tracked] = {}  # by path, the open file that is there now
        self._youngest: dict[str, _Tracked] = {}  # by path, the last of its chain
        self._dormant: dict[Key, _Dormant] = {}
        self._dormant_at: dict[str, Key] = {}  # by path, the closed file that is there now
        self._unseen: set[Key] = set()  # open, at their paths as far as is known, and not seen
        self._waiting: dict[str, None] = {}  # paths whose files wait for a descriptor
        self._wait_was_said = False
        self._scan_is_whole = True  # else the last inquiry failed, and is still to be made
        self._admitting = 0  # files that are open, and whose pipelines do not exist yet
        self._copies: dict[str, set[Key]] = {}  # by path, copies of the file that is there
        self._blind: set[str] = set()  # directories that could not be listed at the last inquiry
        self._vacated: set[str] = set()
        self._look_again: set[str] = set()
        self._stock_taking = asyncio.Lock()
        self._store_backoff = Backoff(*_STORE_BACKOFF_SECONDS)
        self._first_scan_of: frozenset[str] | None = None
        self._since_ns: int | None = None  # when the stream was first looked at
        self._stopping = False
        self._rewrites: set[asyncio.Task[None]] = set()
        self.scanned = asyncio.Event()  #: the first scan is over
        descriptors.add(self)

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
            and not self._waiting
            and self._scan_is_whole
            and all(tracked.quiet for tracked in self._open.values())
        )

    def start(self) -> None:
        """Begin to look for files."""
        self._lookout.start()

    async def stop(self) -> None:
        """Read no more: no new files, no new bytes. What is under way goes on settling."""
        self._stopping = True
        await self._lookout.stop()
        for task in self._rewrites:
            task.cancel()
        if self._rewrites:
            await asyncio.wait(self._rewrites)
        await asyncio.gather(*(pipeline.stop() for pipeline in list(self.pipelines)))

    async def settle(self) -> bool:
        """After `stop`: wait until everything sent is committed; False if some of it failed."""
        return all([await pipeline.settle() for pipeline in list(self.pipelines)])

    def close(self) -> None:
        """Give all descriptors back."""
        for tracked in self._open.values():
            tracked.file.close(self._services.threads)

    async def present_rows(self) -> set[int] | None:
        """Ids of the rows whose files exist; None if that cannot be told now. Raises StateError."""
        inodes: set[int] = set()
        for directory in sorted({*self._lookout.census.directories, *self.config.rotated_dirs}):
            listing = await self._lookout.in_thread(self._walker.list_directory, directory)
            if listing.fault:
                return None
            inodes.update(sighting.stat.inode for sighting in listing.sightings)
        inodes.update(tracked.file.identity.inode for tracked in self._open.values())
        return {row.id for row in await self._store.lookup(self.config.name, sorted(inodes))}

    # --- what the descriptors ask ---------------------------------------------------------------

    @property
    def open_files(self) -> int:
        """How many files are open."""
        return len(self._open) + self._admitting

    def idle_files(self) -> Iterator[tuple[float, partial[None]]]:
        """Since when files are idle that may be closed, and how to close them."""
        for key, tracked in self._open.items():
            if tracked.resting and not tracked.file.deleted:
                yield tracked.quiet_since, partial(self._retire, key)

    def deleted_files(self) -> Iterator[Deleted]:
        """The open files that are deleted."""
        for key, tracked in self._open.items():
            if tracked.file.deleted and not tracked.rewriting:
                yield Deleted(
                    since=tracked.file.final_since or 0.0,
                    nbytes=tracked.stat.size,
                    give_up=partial(self._give_up, key),
                )

    # --- taking stock -------------------------------------------------------------------------

    async def _report(self, changes: Changes, rotated: set[str], everywhere: bool) -> None:
        """Take stock after a look."""
        async with self._stock_taking:
            # It may be the copy that a copytruncate begins with, or came and went at its path.
            self._vacated |= rotated
            if everywhere:
                self._vacated |= self._look_again
                self._look_again.clear()
                census = self._lookout.census
                for key in self._unseen:
                    changes.setdefault(key, census.where(key))
                for key in [k for k, d in self._dormant.items() if not d.watched]:
                    if key not in census:
                        self._forget_dormant(key)
            await self._take_stock(changes)
        if everywhere:
            await self._sweep()
            self._descriptors.review()
            if self._scan_is_whole:
                self.scanned.set()

    async def _take_stock(self, changes: Changes) -> None:
        """Compare what is seen with what is open; find out about the rest."""
        await self._locate({key: where for key, where in changes.items() if key in self._open})
        fresh: list[Sighting] = []
        for key, sighting in changes.items():
            dormant = self._dormant.get(key)
            if dormant is not None:
                if sighting is not None and sighting.path == dormant.seen_at:
                    if dormant.is_same(sighting.stat):
                        continue
                else:
                    self._vacated.add(dormant.path)
                self._forget_dormant(key)
            # Compressed files are not read for themselves, but as rotated files of a path.
            if sighting is not None and key not in self._open and not compression(sighting.path):
                fresh.append(sighting)
        if self._waiting:
            self._vacated.update(self._waiting)
        if fresh or self._vacated or self._first_scan_of is None:
            try:
                await self._inquire(fresh)
                self._scan_is_whole = True
                self._store_backoff.reset()
            except (StateError, ReadError) as error:
                # What is fresh now is not again: its paths are looked at in full next time.
                self._scan_is_whole = False
                paths = {sighting.path for sighting in fresh} | self._at.keys()
                self._vacated.update(self._lineage(s.path, paths) or s.path for s in fresh)
                self._services.loop.call_later(self._scan_failed(error), self._lookout.look_soon)

    async def _locate(self, changes: Changes) -> None:
        """Say where open files are now, and whether they are still the ones at their paths."""
        taken = self._lookout.census.at
        lost = [self._open[key].file for key, where in changes.items() if where is None]
        left = await self._ask_where(lost)
        was_at: dict[str, _Tracked] = {}
        is_at: dict[str, _Tracked] = {}
        for key, sighting in changes.items():
            tracked = self._open.get(key)
            if tracked is None:
                continue
            file = tracked.file
            if self._at.get(file.path) is tracked:
                was_at[file.path] = tracked
            if sighting is None:
                links, where = left.get(key, (1, file.seen_at))
                if file.final_since is not None:
                    pass
                elif links and where == file.seen_at and taken(where) is None:
                    self._unseen.add(key)  # its directory cannot be read just now
                else:
                    self._unseen.discard(key)
                    file.deleted = not links
                    if links:
                        file.seen_at = where
                    self._finalise(tracked)
            else:
                self._unseen.discard(key)
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
                is_at[file.path] = tracked
        for path in was_at:
            del self._at[path]
        self._at |= is_at
        gone = {path for path, tracked in was_at.items() if self._at.get(path) is not tracked}
        self._vacated |= gone
        for path in gone:
            self._copies.pop(path, None)

    def _revive(self, tracked: _Tracked) -> None:
        """A file is at its path, or back there."""
        if tracked.file.final_since is not None:
            tracked.file.final_since = None
            for pipeline in tracked.pipelines.values():
                pipeline.finish_reading()  # who waits for its end would wait for ever

    def _scan_failed(self, error: StateError | ReadError) -> float:
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
    ) -> Collection[str]:
        """Find out what files are, make their rows durable, and begin to read them.

        `homeless` is a row whose content left its file (truncated while open): then only its
        destination is asked about. Returns the paths that have to be looked at again.
        """
        name, store = self.config.name, self._store
        if self._waiting:
            self._descriptors.room_for(len(self._waiting))  # looking takes some as well
        if self._first_scan_of is None:
            scans = {d: await store.scanned(name, d) for d in self._destinations}
            self._first_scan_of = frozenset(d for d, when in scans.items() if when is None)
            self._since_ns = min((when for when in scans.values() if when), default=None)
            if self._since_ns is None and not self._positions_lost:
                await self._take_watermarks(self._first_scan_of)
        destinations = self._destinations.keys() if homeless is None else {homeless.destination}
        named: dict[str, Any] = dict.fromkeys(sighting.path for sighting in fresh)
        paths = ChainMap[str, Any](named, self._at, self._dormant_at)
        suspects = {
            (s.stat.device, s.stat.inode): Suspect(
                path=s.path, lineage=self._lineage(s.path, paths) or s.path, stat=s.stat
            )
            for s in fresh
        }
        asked, self._vacated = self._vacated, set()
        try:
            return await self._ask(suspects, asked, homeless, destinations)
        except BaseException:
            self._vacated |= asked
            raise

    async def _ask(
        self,
        suspects: dict[Key, Suspect],
        asked: set[str],
        homeless: Position | None,
        destinations: Collection[str],
    ) -> Collection[str]:
        """Ask about suspects, and about all files of the paths `asked`."""
        name, store = self.config.name, self._store
        assert self._first_scan_of is not None
        by_path = await self._past(suspects, asked, destinations)
        rows = await store.lookup(name, sorted({inode for _, inode in suspects}))
        self._drop_finished(suspects, rows)
        known = {
            *((suspect.stat.inode, suspect.stat.birth_ns) for suspect in suspects.values()),
            *((key[1], self._open[key].stat.birth_ns) for key in self._open),
            *((key[1], self._dormant[key].birth_ns) for key in self._dormant),
        }
        orphans = [
            row
            for row in (row for rows_of_path in by_path.values() for row in rows_of_path)
            if (row.identity.inode, row.identity.birth_ns) not in known
            and row.destination in self._destinations
            # What cannot be seen now may be where it was.
            and not self._blind & {os.path.dirname(row.path), *self.config.rotated_dirs}
        ]
        at_end = self.config.start is Start.END and not self._positions_lost
        inquiry = Inquiry(
            stream=name,
            destinations=tuple(destinations),
            suspects=(),
            rows=rows,
            orphans=(),
            live=self._live({suspect.lineage for suspect in suspects.values()}, homeless),
            copies=frozenset().union(*self._copies.values()),
            busy=self._busy(),
            earlier_boot=await self._earlier_boot(rows),
            at_end=self._first_scan_of if at_end else frozenset(),
            rewritten=homeless is not None,
            now_ns=self._now_ns(),
            open=self._walker.open,
        )
        admitted: list[tuple[Finding, dict[str, Position]]] = []
        again: set[str] = set()
        try:
            for some, bereft in _portions(
                suspects.values(), orphans if homeless is None else (homeless,)
            ):
                portion = replace(inquiry, suspects=some, orphans=bereft)
                findings = await self._lookout.in_thread(portion.answer)
                try:
                    entries = await self._make_durable(findings, homeless)
                except BaseException:
                    for finding in findings.found:
                        self._close(finding)
                    raise
                again |= findings.unsettled
                self._note(findings)
                admitted += self._keep_what_fits(findings.found, entries)
                self._admitting = len(admitted)
                self._wait_for_room(findings.refused)
            for destination in self._first_scan_of:
                await store.mark_scanned(name, destination)
                self._since_ns = self._since_ns or self._now_ns()
        except BaseException:
            for finding, _ in admitted:
                self._close(finding)
            self._vacated.update(suspect.lineage for suspect in suspects.values())
            raise
        finally:
            self._admitting = 0
        self._first_scan_of = frozenset()
        self._positions_lost = False  # from here on there is a past
        self._vacated |= again
        self._lookout.look_soon(*map(os.path.dirname, again))
        admitted.sort(key=lambda f: (f[0].suspect.current, f[0].stat.mtime_ns, f[0].suspect.path))
        for finding, positions in admitted:
            self._admit(finding, positions)
        return again

    async def _take_watermarks(self, destinations: frozenset[str]) -> None:
        """Go on where the Java agent stopped, if it was here: its marks become rows of ours."""
        taken = await self._lookout.in_thread(
            partial(
                watermarks.of_stream,
                self._walker,
                self._lookout.directories,
                stream=self.config.name,
                destinations=destinations,
                now_ns=self._now_ns(),
            )
        )
        inodes = sorted({row.identity.inode for row in taken.rows})
        known = {
            (row.destination, row.identity.inode)
            for row in await self._store.lookup(self.config.name, inodes)
        }
        fresh = [r for r in taken.rows if (r.destination, r.identity.inode) not in known]
        if fresh:
            await self._store.sight(fresh)
        for event in taken.events:
            self._services.emit(event)

    def _note(self, findings: Findings) -> None:
        """Remember what an inquiry found besides files to read, and say what is for people."""
        self._look_again |= findings.unclear
        for suspect in findings.copies:
            key = (suspect.stat.device, suspect.stat.inode)
            self._copies.setdefault(suspect.lineage, set()).add(key)
        for suspect, cause in findings.failed:
            self._lookout.complain(suspect.path, cause)
            self._look_again.add(suspect.lineage)
        for row in findings.homeless:
            self._services.emit(
                FileGone(
                    stream=self.config.name,
                    destination=row.destination,
                    path=row.path,
                    offset=row.offset,
                )
            )

    def _keep_what_fits(
        self, found: Iterable[Finding], entries: Mapping[tuple[int, str], Position]
    ) -> Iterator[tuple[Finding, dict[str, Position]]]:
        """The files for which there are descriptors; the others are closed and wait.

        Files of one path stay together: a younger one must not be read before an older one.
        """
        lineages: dict[str, list[Finding]] = {}
        for finding in found:
            lineages.setdefault(finding.suspect.lineage, []).append(finding)
        room = self._descriptors.room_for(sum(map(len, lineages.values())))
        for path, files in lineages.items():
            self._waiting.pop(path, None)
            if len(files) <= room or room == self._descriptors.most:
                room -= len(files)
                for finding in files:
                    yield finding, {d: entries[finding.fd, d] for d in finding.entries}
            else:
                self._waiting[path] = None
                for finding in files:
                    self._close(finding)

    def _wait_for_room(self, refused: Collection[str]) -> None:
        """See to it that files without a descriptor are asked about again."""
        if refused:
            self._descriptors.refused()
            self._waiting.update(dict.fromkeys(refused))
        if self._waiting:
            self._services.loop.call_later(_ROOM_SECONDS, self._lookout.look_soon)
        if bool(self._waiting) != self._wait_was_said:
            self._wait_was_said = bool(self._waiting)
            self._services.emit(FilesWait(stream=self.config.name, files=len(self._waiting)))

    def _busy(self) -> dict[str, list[Position]]:
        """The rows of rotated files that are still open, by path, and of those at their paths."""
        busy: dict[str, list[Position]] = {}
        for tracked in self._open.values():
            rows = busy.setdefault(tracked.file.path, [])
            rows += (pipeline.position for pipeline in tracked.pipelines.values())
        return busy

    def _close(self, finding: Finding) -> None:
        if finding.remote:
            self._services.threads.post(finding.stat.device, os.close, finding.fd)
        else:
            os.close(finding.fd)

    async def _earlier_boot(self, rows: Collection[Position]) -> set[int]:
        """Which rows are from before the machine booted; asked only of files that were not open."""
        return await self._store.earlier_boot([row.id for row in rows]) if rows else set()

    def _live(self, paths: Collection[str], homeless: Position | None) -> dict[str, Live]:
        """The files that are at these paths, less the row whose content left."""
        return {
            path: Live(
                key=tracked.file.key,
                rows=tuple(
                    pipeline.position
                    for pipeline in tracked.pipelines.values()
                    if homeless is None or pipeline.position.id != homeless.id
                ),
            )
            for path in paths
            if (tracked := self._at.get(path)) is not None
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
        self._blind.clear()
        for directory in sorted(directories):
            listing = await self._lookout.in_thread(self._walker.list_directory, directory)
            if listing.fault:
                self._blind.add(directory)
            for sighting in listing.sightings:
                key = (sighting.stat.device, sighting.stat.inode)
                tracked, dormant = self._open.get(key), self._dormant.get(key)
                if (tracked is None or tracked.lacks(destinations)) and (
                    dormant is None or not dormant.is_same(sighting.stat)
                ):
                    found.append(sighting)
        return found

    async def _past(
        self,
        suspects: dict[Key, Suspect],
        asked: set[str],
        destinations: Collection[str],
    ) -> dict[str, list[Position]]:
        """The rows of all paths in question; adds their rotated files to the suspects.

        A file with a known inode is one of ours whatever its name; a sibling by name without a
        row is, if it was written to since the stream was first looked at. At the first look of a
        run nothing is known of what happened meanwhile, and a path may be gone but for its rotated
        files: all files beside are looked at.
        """
        name, store = self.config.name, self._store
        first = not self.scanned.is_set()
        paths = {suspect.lineage for suspect in suspects.values()} | asked
        beside: list[Sighting] = []
        if first:
            directories = {*self._lookout.directories, *self.config.rotated_dirs}
            beside = await self._list(directories, destinations)
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
        present = {sighting.path for sighting in beside}
        present.update(t.file.seen_at for t in self._open.values() if not t.file.deleted)
        for sighting in beside:
            stat = sighting.stat
            key = (stat.device, stat.inode)
            if key in suspects:  # seen twice: where it was seen last counts
                suspects[key] = replace(suspects[key], path=sighting.path, stat=stat)
                continue
            packed = compression(sighting.path)
            if packed and sighting.path.removesuffix(packed.value) in present:
                self._look_again.update(base for base in bases(sighting.path) if base in paths)
                continue  # it is being made of that one, which is read
            if sighting.path in paths and not packed:
                lineage: str | None = sighting.path
            elif all_of_them or (self._since_ns is not None and stat.mtime_ns >= self._since_ns):
                lineage = self._lineage(sighting.path, paths)
            else:
                lineage = None  # from before our time
            # The content of a compressed file tells more than a number that may have been reused.
            lineage = (packed and lineage) or home.get(stat.inode, lineage)
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
                and (row.offset == stat.size or row.resume == READ_TO_END)
                and stat.mtime_ns <= row.updated_ns  # else it may be as long, and another
            }
            if not suspect.current and done >= self._destinations.keys():
                self._fall_asleep(key, suspect.lineage, suspect.path, stat)
                del suspects[key]

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

    def _admit(self, finding: Finding, positions: Mapping[str, Position]) -> None:
        """Begin to read a file, behind the older ones of its path."""
        suspect, services = finding.suspect, self._services
        if finding.packed and all(p.resume == READ_TO_END for p in positions.values()):
            self._close(finding)
            self._fall_asleep(finding.key, suspect.lineage, suspect.path, finding.stat)
            return
        first = next(iter(positions.values()))
        file = OpenFile(
            finding.fd,
            suspect.lineage,
            suspect.path,
            first.identity,
            remote=finding.remote,
            packed=finding.packed,
        )
        file.opened_at = services.loop.time()
        tracked = self._open.get(file.key)
        if tracked is not None:  # another destination has it already
            file.close(services.threads)
            file = tracked.file
        else:
            tracked = _Tracked(file=file, stat=finding.stat)
        older = self._youngest.get(file.path)
        for destination, entry in finding.entries.items():
            position = positions[destination]
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
                self._quarantine(file, position, finding.stat.size)
                continue
            tracked.pipelines[destination] = self._pipeline(tracked, position, entry, older)
        self._open[file.key] = tracked
        self._forget_dormant(file.key)
        young = self._youngest.get(file.path)
        if suspect.current or young is None or young.file.final_since is not None:
            self._youngest[file.path] = tracked
        if suspect.current:
            self._at[file.path] = tracked
        else:
            self._finalise(tracked)
        for pipeline in tracked.pipelines.values():
            pipeline.wake()

    def _pipeline(
        self, tracked: _Tracked, position: Position, entry: Entry | None, older: _Tracked | None
    ) -> Pipeline:
        """A way from a position on; without an entry, from the beginning."""
        # Only a file that nobody writes to any more has an end to wait for.
        waits = older is not None and older is not tracked and older.file.final_since is not None
        before = older.pipelines.get(position.destination) if older and waits else None
        return Pipeline(
            self._destinations[position.destination],
            self._services,
            tracked.file,
            position,
            entry.tail if entry else b"",
            head=entry.head if entry else b"",
            after=() if before is None or before.reading_done else (before,),
            on_changed=lambda pipeline: self._rewritten(tracked, pipeline),
        )

    def _quarantine(self, file: OpenFile, position: Position, size: int) -> None:
        account = self._destinations[position.destination].account
        unread = max(0, size - position.offset)
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
                await asyncio.sleep(_ROTATION_SECONDS)
            except (StateError, ReadError) as error:
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
        tracked.pipelines[position.destination] = self._pipeline(tracked, saved, None, older)
        self._youngest[file.path] = tracked
        if all(p.position.offset == 0 or p is old for p in tracked.pipelines.values()):
            self._copies.pop(file.path, None)  # what was copied is not in it any more
        # What was written, copied and truncated again while this went on is in a sibling by now.
        self._look_again.add(file.path)
        return True

    def _has_moved(self, position: Position, file: OpenFile) -> bool:
        return any(p.position.id == position.id and p.file is not file for p in self.pipelines)

    # --- closing files ------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Give back the descriptors of files that are finished, or idle for long."""
        now = self._services.loop.time()
        final = [tracked for tracked in self._open.values() if tracked.file.final_since is not None]
        where = await self._ask_where([tracked.file for tracked in final])
        for tracked in final:
            tracked.file.deleted |= not where.get(tracked.file.key, (1, ""))[0]
        for key, tracked in list(self._open.items()):
            file = tracked.file
            if not tracked.resting:
                continue
            # Nothing but our descriptor keeps the space of a deleted file from its disk.
            patience = self.config.rotate_grace if file.deleted else self._close_idle_seconds
            if now - tracked.quiet_since >= patience:
                self._retire(key)

    async def _ask_where(self, files: list[OpenFile]) -> dict[Key, tuple[int, str]]:
        return await self._lookout.in_thread(_whereabouts, files) if files else {}

    def _retire(self, key: Key) -> None:
        """Close a file at rest; when it changes, it is opened again."""
        tracked = self._open[key]
        file = tracked.file
        stat = tracked.stat
        if not file.remote:  # else that of the last look must do: it is not asked here
            size, written_ns = file.state()
            stat = stat._replace(size=size, mtime_ns=written_ns)
            if file.packed is None and any(
                pipeline.read_offset != size for pipeline in tracked.pipelines.values()
            ):
                for pipeline in tracked.pipelines.values():
                    pipeline.wake()  # it grew, and the word of it is still under way
                return
        for pipeline in tracked.pipelines.values():
            pipeline.retire()
        # Where a destination is left out (quarantined), nothing says that the file is finished.
        if not file.deleted and tracked.pipelines.keys() >= self._destinations.keys():
            fd = None if file.remote else file.fd
            self._fall_asleep(key, file.path, file.seen_at, stat, fd=fd)
        if file.final_since is not None:
            self._services.emit(
                FileLetGo(stream=self.config.name, path=file.seen_at, size=stat.size)
            )
        self._drop(key)

    def _give_up(self, key: Key) -> None:
        """Close a deleted file whatever is left of it: a ceiling was reached."""
        tracked = self._open[key]
        size = tracked.stat.size if tracked.file.remote else tracked.file.size()
        unread = max((p.give_up(size) for p in tracked.pipelines.values()), default=0)
        self._services.emit(
            FileGivenUp(stream=self.config.name, path=tracked.file.path, unread=unread)
        )
        self._drop(key)

    def _drop(self, key: Key) -> None:
        tracked = self._open.pop(key)
        path = tracked.file.path
        if tracked.file.deleted:
            self._look_again.add(path)  # it may have been compressed
        self._unseen.discard(key)
        if self._youngest.get(path) is tracked:
            del self._youngest[path]
        if self._at.get(path) is tracked:
            del self._at[path]
        tracked.file.close(self._services.threads)

    def _fall_asleep(
        self,
        key: Key,
        path: str,
        seen_at: str,
        stat: FileStat,
        *,
        fd: int | None = None,
    ) -> None:
        """Remember a file that is read to its end, to notice when it changes."""
        dormant = _Dormant(
            path=path,
            seen_at=seen_at,
            birth_ns=stat.birth_ns,
            size=stat.size,
            mtime_ns=stat.mtime_ns,
        )
        self._forget_dormant(key)
        self._dormant[key] = dormant
        if path == seen_at:
            self._dormant_at[path] = key
        if fd is not None:
            dormant.watched = self._services.wakeup.arm(fd, dormant, self._stirred)
            if not dormant.watched:
                self._services.wakeup.disarm(dormant)

    def _stirred(self, dormant: _Dormant) -> None:
        """A closed file may have changed: look."""
        dormant.watched = False
        if self._lookout.census.at(dormant.seen_at) is None:
            self._vacated.add(dormant.path)
        self._lookout.look_soon(os.path.dirname(dormant.seen_at))

    def _forget_dormant(self, key: Key) -> None:
        dormant = self._dormant.pop(key, None)
        if dormant is not None:
            self._services.wakeup.disarm(dormant)
            if self._dormant_at.get(dormant.path) == key:
                del self._dormant_at[dormant.path]


def _whereabouts(files: Iterable[OpenFile]) -> dict[Key, tuple[int, str]]:
    """By file, how many names lead to it, and the one the kernel knows. Blocks.

    What cannot be told (a stale handle, a file that was closed meanwhile) is as it was.
    """
    found = {}
    for file in files:
        try:
            found[file.key] = file.whereabouts()
        except OSError:
            found[file.key] = (1, file.seen_at)
    return found


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
    for files, rows in by_path.values():
        some += files
        bereft += rows
        if len(some) >= _ASKED_AT_ONCE:
            yield some, bereft
            some, bereft = [], []
    if some or bereft:
        yield some, bereft
