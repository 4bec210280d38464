"""SqlitePositions: the position store of the agent, for the loop.

Owns the positions that are not committed yet, the timers and the alarm; the file itself belongs
to one daemon thread that runs a `Database`. Loop thread only.

Guarantees: `advance` is safe from the death of the process once a group commit (`flush`)
contains it, and from power loss once SQLite has synced its log; that can only roll positions
back. What `sight`, `mark_scanned` wrote is on disk when they return. A store that cannot be
written keeps all newer positions in memory, at most one per row, and is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar

from singer.base.errors import InvariantError, StateError
from singer.base.events import Emit, Event
from singer.base.ports import Clock
from singer.base.position import Position
from singer.base.promotion import Cut, Ends, Promotion
from singer.base.wire.audit import Entry
from singer.positions.database import Database
from singer.positions.edit import Edit
from singer.positions.events import (
    AuditEntriesLost,
    PositionsCommitted,
    PositionsCounted,
    PositionsOverCeiling,
    PositionsPruned,
    PositionWritesFailing,
    PositionWritesResumed,
)
from singer.positions.state_dir import boot_id as current_boot_id
from singer.positions.worker import Worker

T = TypeVar("T")

#: A request to the store's thread that takes longer has met a hung disk.
DEADLINE_SECONDS: Final = 60.0
#: The longest pause between two attempts to write a store that cannot be written.
BACKOFF_MAX_SECONDS: Final = 30.0
#: Rows touched or deleted in one transaction, so that upkeep of a huge store does not hold up
#: commits.
UPKEEP_ROWS: Final = 5000
#: A damaged store costs at most the deliveries since the last backup, sent again.
BACKUP_EVERY_SECONDS: Final = 3600.0
#: Entries for audit topics that are kept in memory while the store cannot be written. They take
#: half a kilobyte each, as a rule, and three at most.
ENTRIES_IN_MIND: Final = 10_000


class SqlitePositions:
    """The positions at `path`; serves `base.ports.PositionStore`.

    `commit_every_seconds` is how long an advance may wait for others to be committed with.
    `boot_id` tells which boot of the machine writes; None: the running one. `jitter` returns
    numbers in [0, 1).
    """

    def __init__(
        self,
        path: str,
        *,
        emit: Emit,
        clock: Clock,
        commit_every_seconds: float = 0.2,
        boot_id: str | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._path = path
        self._emit = emit
        self._clock = clock
        self._commit_every_seconds = commit_every_seconds
        self._boot_id = current_boot_id() if boot_id is None else boot_id
        self._jitter = jitter
        self._pending: dict[int, Position] = {}
        self._in_flight: dict[int, Position] = {}
        self._taking: Callable[[], list[Entry]] = list
        self._entries: dict[int, Entry] = {}  # taken, and not written yet
        self._dirty = asyncio.Event()
        #: Held while something is written, so that one id is never in two writes whose order
        #: a failure could turn round.
        self._writing = asyncio.Lock()
        self._failures = 0
        self._failing_since = 0.0
        self._worker: Worker | None = None
        self._database: Database | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open the store, recovering or creating it. Raises StateError."""
        loop = asyncio.get_running_loop()

        def emit_on_loop(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(self._emit, event)

        database = Database(self._path, boot_id=self._boot_id, clock=self._clock, emit=emit_on_loop)
        self._worker, self._database = Worker("positions"), database
        try:
            await self._call(database.open)
        except BaseException:
            self._end()
            raise
        self._tasks = [
            asyncio.create_task(self._commit_in_groups(), name="commit positions"),
            asyncio.create_task(self._count(), name="count positions"),
            asyncio.create_task(self._back_up_at_times(), name="back up positions"),
        ]
        for task in self._tasks:
            task.add_done_callback(_surface)

    async def close(self) -> None:
        """Commit what is pending, renew the backup, let go; again is allowed.

        Raises StateError when positions could not be committed: their records are sent again.
        """
        if self._worker is None:
            return
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.flush()
        finally:
            try:
                await self._call(self._store.close)
            finally:
                self._end()

    @property
    def recovered(self) -> bool:
        """Whether the store took the place of a damaged one, and that was not accepted yet.

        Positions may then be older than they were (duplicates) or missing: a stream whose first
        scan is not recorded must start at the beginning of its files. Survives restarts.
        """
        return self._database is not None and self._database.recovered

    async def accept_recovery(self) -> None:
        """All streams have recorded their scans again: `recovered` ends. Raises StateError."""
        async with self._writing:
            await self._write(self._store.accept_recovery)

    # --- Committer --------------------------------------------------------------------------

    def advance(self, position: Position) -> None:
        """Remember `position` for the next group commit."""
        if not position.id:
            raise InvariantError(f"advance position: {position.path!r} was never sighted")
        self._pending[position.id] = position
        self._dirty.set()

    async def flush(self) -> None:
        """Return once everything advanced before is committed. Raises StateError."""
        async with self._writing:
            await self._commit()

    # --- PositionStore ----------------------------------------------------------------------

    async def lookup(self, stream: str, inodes: Sequence[int]) -> list[Position]:
        """All rows of `stream` whose inode is one of `inodes`, any device. Raises StateError."""
        return await self._read(partial(self._store.lookup, stream, tuple(inodes)))

    async def lineage(self, stream: str, paths: Sequence[str]) -> list[Position]:
        """All rows of `stream` whose path is one of `paths`, oldest first sighting first.

        Raises StateError.
        """
        return await self._read(partial(self._store.lineage, stream, tuple(paths)))

    async def earlier_boot(self, ids: Sequence[int]) -> set[int]:
        """Those of `ids` that were last written before the machine booted.

        A file that is shorter than such a row's offset lost its end in a power loss. Raises
        StateError.
        """
        fresh = self._in_flight.keys() | self._pending.keys()
        return await self._call(partial(self._store.earlier_boot, tuple(ids))) - fresh

    async def sight(self, positions: Sequence[Position]) -> list[Position]:
        """Insert (id 0) or replace (by id) rows; synced to disk when this returns.

        Returns them with their ids. Raises StateError: then nothing of it is to be relied on.
        """
        async with self._writing:
            # What was advanced before is replaced, and goes first, because what audits say of it
            # must not come later; what is advanced from now on is newer.
            await self._commit()
            return await self._write(partial(self._store.sight, tuple(positions)))

    async def forget(self, ids: Sequence[int]) -> None:
        """Delete rows. Their files must not be advanced any more. Raises StateError."""
        async with self._writing:
            self._drop(ids)
            await self._write(partial(self._store.forget, tuple(ids)))

    async def forget_destination(self, stream: str, destination: str) -> None:
        """Delete all rows and the scan of one destination of a stream. Raises StateError."""
        async with self._writing:
            self._drop(
                [
                    position.id
                    for position in self._pending.values()
                    if (position.stream, position.destination) == (stream, destination)
                ]
            )
            await self._write(partial(self._store.forget_destination, stream, destination))

    async def copy(self, stream: str, destination: str, to: str) -> int:
        """See PositionStore. Raises StateError."""
        async with self._writing:
            await self._commit()
            return await self._write(partial(self._store.copy, stream, destination, to))

    async def touch(self, ids: Sequence[int]) -> None:
        """Note that the files of these rows exist now. Raises StateError."""
        for first in range(0, len(ids), UPKEEP_ROWS):
            async with self._writing:
                some = tuple(ids[first : first + UPKEEP_ROWS])
                await self._write(partial(self._store.touch, some))

    async def prune(
        self,
        older_than_ns: int,
        *,
        keep: Collection[int] = (),
        kept_since_ns: int,
        spared: Collection[str] = (),
        max_rows: int,
    ) -> None:
        """Delete the rows of files gone since `older_than_ns` (wall clock), and at more than
        `max_rows` rows those gone longest. Raises StateError.

        `keep` are the ids of all rows whose files were seen since `kept_since_ns`: they are touched
        first, so neither a long idle file nor a clock that jumped loses its row. Of the streams
        `spared`, whose files could not be looked at, no row is deleted.
        """
        await self.touch(tuple(keep))
        old = await self._prune(spared, older_than_ns)
        rows = await self._call(self._store.count)
        early = await self._prune(spared, kept_since_ns, rows - max_rows)
        rows -= early
        if old or early:
            self._emit(PositionsPruned(rows=old + early, early=early))
        if rows > max_rows:
            self._emit(PositionsOverCeiling(rows=rows, max_rows=max_rows))
        self._emit(PositionsCounted(rows=rows))

    async def scanned(self, stream: str, destination: str) -> int | None:
        """When (wall clock ns) the first scan was recorded; None: never. Raises StateError."""
        return await self._call(partial(self._store.scanned, stream, destination))

    async def mark_scanned(self, stream: str, destination: str, begun_ns: int) -> None:
        """Record, synced, that the first scan is over, and when it began. Raises StateError."""
        async with self._writing:
            await self._write(partial(self._store.mark_scanned, stream, destination, begun_ns))

    # --- AuditJournal -----------------------------------------------------------------------

    def keep(self, taking: Callable[[], list[Entry]]) -> None:
        """See AuditJournal."""
        self._taking = taking

    async def last_entry(self) -> int:
        """See AuditJournal."""
        return await self._call(self._store.last_entry)

    async def entries(self, cluster: str, below: int, limit: int) -> list[Entry]:
        """See AuditJournal."""
        return await self._call(partial(self._store.entries, cluster, below, limit))

    async def forget_entries(self, numbers: Sequence[int]) -> None:
        """See AuditJournal."""
        async with self._writing:
            await self._write(partial(self._store.forget_entries, tuple(numbers)))

    async def trim_entries(self, cluster: str, most_bytes: int) -> int:
        """See AuditJournal."""
        async with self._writing:
            return await self._write(partial(self._store.trim_entries, cluster, most_bytes))

    async def forget_entries_except(self, clusters: Sequence[str]) -> None:
        """See AuditJournal."""
        async with self._writing:
            await self._write(partial(self._store.forget_entries_except, tuple(clusters)))

    # --- promotions -------------------------------------------------------------------------

    async def promotions(self) -> list[Promotion]:
        """All promotions, the oldest first. Raises StateError."""
        return await self._call(self._store.promotions)

    async def cuts(self, promotion: Promotion) -> list[Cut]:
        """Where a promotion, the last one of its stream, cuts files. Raises StateError."""
        return await self._call(partial(self._store.cuts, promotion))

    async def passed(self, promotion: Promotion, destination: str) -> int:
        """How many files a destination is through beyond their cut. Raises StateError."""
        return await self._call(partial(self._store.passed, promotion, destination))

    async def reached(self, promotion: Promotion, destination: str, ends: Ends) -> Ends:
        """Record where a destination was cut; synced to disk, with all that was advanced before.

        Returns the same with how many files it missed. Raises StateError.
        """
        async with self._writing:
            await self._commit()
            return await self._write(partial(self._store.reached, promotion, destination, ends))

    async def cancel(self, promotion: Promotion) -> None:
        """Delete a promotion; synced. Raises StateError."""
        async with self._writing:
            await self._write(partial(self._store.apply, Edit(cancel=(promotion.id,))))

    # --- inside -----------------------------------------------------------------------------

    @property
    def _store(self) -> Database:
        if self._database is None:
            raise InvariantError(f"use position store: {self._path!r} is not open")
        return self._database

    async def _call(self, function: Callable[[], T]) -> T:
        if self._worker is None:
            raise InvariantError(f"use position store: {self._path!r} is not open")
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._worker.call(function)
        except TimeoutError as error:
            raise StateError(
                f"use position store: {self._path!r} did not answer within "
                f"{DEADLINE_SECONDS:.0f} s; look for a hung disk (dmesg)"
            ) from error

    async def _read(self, function: Callable[[], list[Position]]) -> list[Position]:
        """Rows as they will be once everything advanced is committed."""
        fresh = self._in_flight | self._pending
        return [fresh.get(row.id, row) for row in await self._call(function)]

    async def _write(self, function: Callable[[], T]) -> T:
        """Write, and raise or end the alarm."""
        try:
            result = await self._call(function)
        except StateError as error:
            if not self._failures:
                self._failing_since = self._clock.monotonic()
                self._emit(PositionWritesFailing(path=self._path, cause=str(error)))
            self._failures += 1
            raise
        if self._failures:
            self._failures = 0
            seconds = self._clock.monotonic() - self._failing_since
            self._emit(PositionWritesResumed(path=self._path, seconds=seconds))
        return result

    async def _commit(self) -> None:
        entries = self._entries | {entry.number: entry for entry in self._taking()}
        if not self._pending and not entries:
            return
        self._in_flight, self._pending = self._pending, {}
        self._entries = {}
        try:
            rows = tuple(self._in_flight.values())
            await self._write(partial(self._store.commit, rows, tuple(entries.values())))
        except BaseException:
            self._pending = self._in_flight | self._pending
            self._keep_in_mind(entries)
            raise
        else:
            self._emit(PositionsCommitted(rows=len(self._in_flight)))
        finally:
            self._in_flight = {}

    def _keep_in_mind(self, entries: dict[int, Entry]) -> None:
        """What cannot be written now; the oldest give way to what is newer."""
        lost = sorted(entries)[: max(0, len(entries) - ENTRIES_IN_MIND)]
        for number in lost:
            del entries[number]
        self._entries = entries
        if lost:
            self._emit(AuditEntriesLost(path=self._path, entries=len(lost)))

    async def _prune(self, spared: Collection[str], before_ns: int, most: float = math.inf) -> int:
        """Delete up to `most` rows of files gone since `before_ns`; how many it were."""
        total = 0
        while total < most:
            limit = int(min(UPKEEP_ROWS, most - total))
            async with self._writing:
                rows = await self._write(partial(self._store.prune, before_ns, limit, spared))
            total += rows
            if rows < limit:
                break
        return total

    def _drop(self, ids: Collection[int]) -> dict[int, Position]:
        """Take what is pending of `ids` out."""
        return {key: self._pending.pop(key) for key in ids if key in self._pending}

    async def _commit_in_groups(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self._pause_seconds())
            self._dirty.clear()
            try:
                await self.flush()
            except StateError:  # the alarm is raised, the positions are still pending
                self._dirty.set()

    def _pause_seconds(self) -> float:
        if not self._failures:
            return self._commit_every_seconds
        # The exponent is cut where the ceiling is long reached, before it overflows.
        backoff = self._commit_every_seconds * 2.0 ** min(self._failures, 16)
        return min(backoff, BACKOFF_MAX_SECONDS) * (0.5 + self._jitter() / 2)

    async def _count(self) -> None:
        # Beside the start, not in it: on a cold disk it takes as long as all the rest.
        with contextlib.suppress(StateError):
            self._emit(PositionsCounted(rows=await self._call(self._store.count)))

    async def _back_up_at_times(self) -> None:
        # At once where there is none, or an old one: an agent that is killed again and again
        # would else never come to it.
        await self._back_up(if_older_than_seconds=BACKUP_EVERY_SECONDS)
        while True:
            await asyncio.sleep(BACKUP_EVERY_SECONDS * (0.5 + self._jitter()))
            await self._back_up(if_older_than_seconds=0.0)

    async def _back_up(self, *, if_older_than_seconds: float) -> None:
        # A deadline that passed is the next write's alarm.
        with contextlib.suppress(StateError):
            await self._call(
                partial(self._store.back_up, if_older_than_seconds=if_older_than_seconds)
            )

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._worker = self._database = None


def _surface(task: asyncio.Task[None]) -> None:
    """A timer ends only when it is cancelled; whatever else ended it is a bug to be seen now."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": task.get_name(), "exception": error})
