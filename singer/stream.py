"""One stream: from the paths of the configuration to a running pipeline per (file, destination).

Puts its parts together, and owns what happens between them: what a look brings up is compared with
what is open (`roster`) and closed (`dormants`), asked about (`agenda`, `inquiries`), chained behind
the older files of its path, and closed when it is finished. Loop thread only.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from singer.agenda import Agenda
from singer.base.backoff import Backoff
from singer.base.config import StreamConfig
from singer.base.errors import StateError
from singer.base.events import FileGivenUp, FileLetGo, FileQuarantined, FilesWait
from singer.base.ports import PositionStore
from singer.base.position import Position
from singer.descriptors import Deleted, Descriptors
from singer.dormants import Dormant, Dormants, changed
from singer.files.census import Changes, Key
from singer.files.finding import Entry, Finding
from singer.files.openfile import OpenFile
from singer.files.siblings import compression
from singer.files.walk import Sighting, Walker
from singer.inquiries import Inquiries
from singer.lookout import Lookout
from singer.pipeline import Pipeline
from singer.rewrites import Rewrites
from singer.roster import Roster, Tracked
from singer.services import Destination, Services
from singer.shadows import Shadows
from singer.surroundings import Surroundings

#: First and longest wait before looking again whether files that wait can be opened. It takes a
#: look at all that are open, and nobody tells when one of them comes to rest.
_ROOM_BACKOFF_SECONDS: Final = (0.1, 2.0)


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
        self.scanned = asyncio.Event()  #: the first scan is over
        self._destinations = destinations
        self._services = services
        self._store = store
        self._descriptors = descriptors
        self._close_idle_seconds = close_idle_seconds
        self._quarantined: dict[int, int] = {}  # by row, the bytes that are held
        self._idle_due = 0.0  # loop time before which no file is idle for long
        self._taking_stock = asyncio.Lock()
        self._said_to_wait = 0  # files, for a descriptor
        self._room_backoff = Backoff(*_ROOM_BACKOFF_SECONDS)
        self._room_timer: asyncio.TimerHandle | None = None
        self._agenda = Agenda()
        self._lookout = Lookout(
            config.name,
            walker,
            services,
            self._report,
            rescan_seconds=rescan_seconds,
            rng=rng or random.Random(),  # noqa: S311  # jitter
        )
        self._open = Roster(config.name, services, self._lookout, walker)
        self._dormants = Dormants(services.wakeup, self._stirred)
        self._surroundings = Surroundings(
            config,
            destinations,
            store,
            walker,
            lookout=self._lookout,
            open_files=self._open,
            dormants=self._dormants,
            agenda=self._agenda,
        )
        self._inquiries = Inquiries(
            config,
            destinations,
            services,
            store,
            walker,
            surroundings=self._surroundings,
            lookout=self._lookout,
            descriptors=descriptors,
            open_files=self._open,
            agenda=self._agenda,
            admit=self._admit,
            lay=self._lay,
            positions_lost=positions_lost,
        )
        self._rewrites = Rewrites(
            config.name,
            services,
            store,
            open_files=self._open,
            inquiries=self._inquiries,
            agenda=self._agenda,
            taking_stock=self._taking_stock,
            scanned=self.scanned,
        )
        self._shadows = Shadows(destinations, services, self._open)
        descriptors.add(self)

    # --- what the agent asks ----------------------------------------------------------------

    @property
    def pipelines(self) -> Iterable[Pipeline]:
        """All pipelines of open files."""
        return self._open.pipelines

    @property
    def stocked(self) -> bool:
        """Whether all files that have something to read are known and open."""
        return (
            self.scanned.is_set()
            and not self._rewrites
            and not self._taking_stock.locked()
            and not self._agenda.due
            and not self._agenda.waiting_files
            and self._inquiries.whole
        )

    @property
    def caught_up(self) -> bool:
        """Whether every file was read to its end and everything sent is committed."""
        return self.stocked and all(tracked.quiet for tracked in self._open.values())

    def is_cut(self, destination: str) -> bool:
        """Whether all that may pass the barrier of a destination, and can be had, is committed."""
        return self.stocked and not any(
            pipeline.before_cut
            for pipeline in self.pipelines
            if pipeline.destination.name == destination
        )

    def go_on(self, destination: str) -> None:
        """The barrier of a destination is open."""
        for pipeline in self.pipelines:
            if pipeline.destination.name == destination:
                pipeline.wake()

    @property
    def hangs(self) -> bool:
        """Whether it waits for mounts that do not answer, and for nothing else."""
        whole = self.scanned.is_set() and self._inquiries.whole
        looked = whole and not self._rewrites and not self._agenda.waiting_files
        unread = [tracked for tracked in self._open.values() if not tracked.quiet]
        return (
            not self.caught_up
            and (looked or self._lookout.hangs)
            and all(self._services.threads.hangs(each.file.identity.device) for each in unread)
        )

    def start(self) -> None:
        """Begin to look for files."""
        self._lookout.start()
        self._shadows.start()

    async def stop(self) -> None:
        """Read no more: no new files, no new bytes. What is under way goes on settling."""
        self._rewrites.close()
        self._shadows.stop()
        if self._room_timer is not None:
            self._room_timer.cancel()
        await self._lookout.stop()
        await self._rewrites.stop()
        await asyncio.gather(*(pipeline.stop() for pipeline in list(self.pipelines)))

    async def settle(self) -> bool:
        """After `stop`: wait until everything sent is committed; False if some of it failed."""
        return all([await pipeline.settle() for pipeline in list(self.pipelines)])

    def close(self) -> None:
        """Give all descriptors back. No file begins anew after this."""
        self._rewrites.close()
        for tracked in self._open.values():
            tracked.file.close(self._services.threads)

    async def present_rows(self) -> set[int] | None:
        """Ids of the rows whose files exist; None if that cannot be told now. Raises StateError."""
        return await self._surroundings.present_rows(self._services.threads)

    # --- what the descriptors ask ---------------------------------------------------------------

    @property
    def open_files(self) -> int:
        """How many files are open."""
        return len(self._open) + self._inquiries.admitting

    def idle_files(self) -> Iterator[tuple[float, Key]]:
        """Since when files are idle that may be closed."""
        for key, tracked in self._open.items():
            if tracked.resting and not tracked.file.deleted:
                yield tracked.quiet_since, key

    def close_idle(self, since: float, key: Key) -> None:
        """Close a file, if it has been idle since then."""
        tracked = self._open.get(key)
        if (
            tracked is not None
            and tracked.quiet_since == since
            and tracked.resting
            and not tracked.file.deleted
        ):
            self._retire(key)

    def deleted_files(self) -> Iterator[Deleted]:
        """The open files that are deleted."""
        for key, tracked in self._open.items():
            if tracked.file.deleted and not tracked.rewriting:
                # Who writes to it still is not seen by looking at directories.
                size, _ = tracked.state()
                yield Deleted(
                    since=tracked.file.final_since or 0.0,
                    nbytes=size,
                    give_up=partial(self._give_up, key),
                )

    # --- taking stock -------------------------------------------------------------------------

    async def _report(self, changes: Changes, rotated: set[str], everywhere: bool) -> None:
        """Take stock after a look."""
        async with self._taking_stock:
            # It may be the copy that a copytruncate begins with, or came and went at its path.
            self._agenda.ask(rotated)
            census = self._lookout.census
            if everywhere:
                self._agenda.looked_everywhere()
                for key in self._open.unseen:
                    changes.setdefault(key, census.where(key))
            for key in self._open.misplaced(self._agenda.next):
                changes.setdefault(key, census.where(key))
            if everywhere:
                await self._look_after_dormants()
            await self._take_stock(changes)
        if everywhere:
            await self._sweep()
            self._descriptors.review()
            if self._inquiries.whole and not self._agenda.due:
                self.scanned.set()

    async def _take_stock(self, changes: Changes) -> None:
        """Compare what is seen with what is open and closed; find out about the rest."""
        vacated = await self._open.locate(changes)
        await self._keep_paths(self._open.take_moved())
        self._agenda.ask(vacated)
        for path in vacated:
            for destination in self._destinations:
                self._inquiries.copies.pop((path, destination), None)
        fresh: list[Sighting] = []
        for key, sighting in changes.items():
            dormant = self._dormants.get(key)
            if dormant is not None:
                if sighting is not None and sighting.path == dormant.seen_at:
                    if dormant.is_same(sighting.stat):
                        continue
                else:
                    self._agenda.ask([dormant.path])
                self._dormants.forget(key)
            # Compressed files are not read for themselves, but as rotated files of a path.
            if sighting is None or key in self._open or compression(sighting.path):
                continue
            # What waits for a descriptor is asked about when there is one.
            if not self._agenda.waits(sighting.path):
                fresh.append(sighting)
        waiting = self._agenda.waiting_files
        asked = self._agenda.take(self._descriptors.room_for(waiting) if waiting else 0)
        if fresh or asked or not self._inquiries.begun:
            await self._inquiries.ask(fresh, asked, first=not self.scanned.is_set())
        self._wait_for_room(progress=self._agenda.waiting_files < waiting)

    async def _keep_paths(self, moved: Iterable[Tracked]) -> None:
        """Let the rows say to which paths files belong now: a copy is known by that."""
        rows = [pipeline.position for tracked in moved for pipeline in tracked.pipelines.values()]
        if rows:
            with suppress(StateError):  # they are sighted again when the files are opened again
                await self._store.sight(rows)

    def _wait_for_room(self, *, progress: bool) -> None:
        """Say how many files wait for a descriptor, and see to it that they are thought of."""
        waiting = self._agenda.waiting_files
        if waiting != self._said_to_wait:
            news = not (waiting and self._said_to_wait)
            self._said_to_wait = waiting
            self._services.emit(FilesWait(stream=self.config.name, files=waiting, news=news))
        if progress:
            self._room_backoff.reset()
        if waiting and self._room_timer is None:
            self._room_timer = self._services.loop.call_later(
                self._room_backoff.next(), self._look_for_room
            )

    def _look_for_room(self) -> None:
        self._room_timer = None
        self._lookout.look_soon()

    async def _look_after_dormants(self) -> None:
        """Look at closed files that no watch and no walk tells of: rotated ones, mostly."""
        census = self._lookout.census
        unseen = {k: d for k, d in self._dormants.items() if not d.watched and k not in census}
        if not unseen:
            return
        for key in await self._lookout.in_thread(changed, unseen):
            if self._dormants.get(key) is unseen[key]:
                self._agenda.ask([unseen[key].path])
                self._dormants.forget(key)

    def _stirred(self, dormant: Dormant) -> None:
        """A closed file may have changed: look."""
        if self._lookout.census.at(dormant.seen_at) is None:
            self._agenda.ask([dormant.path])
        self._lookout.look_soon(os.path.dirname(dormant.seen_at))

    # --- opening files --------------------------------------------------------------------------

    def _admit(self, finding: Finding, positions: Mapping[str, Position]) -> None:
        """Begin to read a file, behind the older ones of its path."""
        suspect, services = finding.suspect, self._services
        file = OpenFile(
            finding.fd,
            suspect.lineage,
            suspect.path,
            next(iter(positions.values())).identity,
            remote=finding.remote,
            packed=finding.packed,
        )
        file.opened_at = services.loop.time()
        if suspect.current:
            self._open.displace(file.path, file.key)
        tracked = self._open.get(file.key) or Tracked(file=file, stat=finding.stat)
        for destination, entry in finding.entries.items():
            position = positions[destination]
            if services.breaker.quarantined(position.stream, destination, position.identity):
                tracked.left_out.add(destination)
                self._quarantine(tracked.file, position, finding.stat.size)
                continue
            tracked.pipelines[destination] = self._pipeline(tracked, position, entry)
        if tracked.file is not file:  # another destination has it already
            file.close(services.threads)
        self._dormants.forget(file.key)
        self._open.enter(tracked, current=suspect.current)
        tracked.wake()

    def _lay(self, finding: Finding) -> None:
        """Leave a file alone, of which nothing is left to read."""
        suspect = finding.suspect
        fd = None if finding.remote or finding.packed else finding.fd
        self._dormants.add(finding.key, suspect.lineage, suspect.path, finding.stat, fd=fd)

    def _pipeline(self, tracked: Tracked, position: Position, entry: Entry) -> Pipeline:
        """A way from a position on."""
        older = self._open.youngest.get(tracked.file.path)
        # Only a file that nobody writes to any more has an end to wait for.
        waits = older is not None and older is not tracked and older.file.final_since is not None
        before = older.pipelines.get(position.destination) if older and waits else None
        return Pipeline(
            self._destinations[position.destination],
            self._services,
            tracked.file,
            position,
            entry.tail,
            head=entry.head,
            after=() if before is None or before.reading_done else (before,),
            on_changed=lambda pipeline: self._rewrites.begin(tracked, pipeline),
        )

    def _quarantine(self, file: OpenFile, position: Position, size: int) -> None:
        """Leave a file alone, which may be found again and again; its bytes are counted once."""
        account = self._destinations[position.destination].account
        unread = max(0, size - position.offset)
        known = self._quarantined.get(position.id)
        self._quarantined[position.id] = unread
        account.read += unread - (known or 0)
        account.held += unread - (known or 0)
        if known is not None:
            return
        self._services.emit(
            FileQuarantined(
                stream=position.stream,
                destination=position.destination,
                path=file.seen_at,
                offset=position.offset,
            )
        )

    # --- closing files ------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Give back the descriptors of files that are finished, or idle for long."""
        now = self._services.loop.time()
        final = [tracked for tracked in self._open.values() if tracked.file.final_since is not None]
        where = await self._open.whereabouts(final)
        for tracked in final:
            tracked.file.deleted |= not where.get(tracked.file.key, (1, ""))[0]
        # Quiet begins later if anything: until the first of all is due, only final ones may be.
        everyone = now >= self._idle_due
        idle_due = now + self._close_idle_seconds
        for tracked in list(self._open.values()) if everyone else final:
            key = tracked.file.key
            if self._open.get(key) is not tracked:
                continue  # given up meanwhile
            # Nothing but our descriptor keeps the space of a deleted file from its disk.
            deleted = tracked.file.deleted
            patience = self.config.rotate_grace if deleted else self._close_idle_seconds
            due = tracked.quiet_since + patience
            if due <= now and tracked.resting:
                self._retire(key)
            else:
                idle_due = min(idle_due, due)
        if everyone:
            self._idle_due = idle_due

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
                tracked.wake()  # it grew, and the word of it is still under way
                return
        for pipeline in tracked.pipelines.values():
            pipeline.retire()
        # Where a destination is left out (quarantined), nothing says that the file is finished.
        if not tracked.served.issuperset(self._destinations):
            self._agenda.ask_later([file.path])  # somebody has still to find it
        elif not file.deleted and not tracked.left_out:
            fd = None if file.remote else file.fd
            self._dormants.add(key, file.path, file.seen_at, stat, fd=fd)
        if file.final_since is not None:
            self._services.emit(
                FileLetGo(stream=self.config.name, path=file.seen_at, size=stat.size)
            )
        self._drop(key)

    def _give_up(self, key: Key) -> None:
        """Close a deleted file whatever is left of it: a ceiling was reached."""
        tracked = self._open[key]
        size, _ = tracked.state()
        unread = max((p.give_up(size) for p in tracked.pipelines.values()), default=0)
        self._services.emit(
            FileGivenUp(stream=self.config.name, path=tracked.file.path, unread=unread)
        )
        self._drop(key)

    def _drop(self, key: Key) -> None:
        file = self._open[key].file
        if file.deleted:
            self._agenda.ask_later([file.path])  # it may have been compressed
        self._open.leave(key)
