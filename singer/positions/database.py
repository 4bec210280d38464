"""The position store as its thread sees it: one connection, the statements, the recovery.

Everything here blocks and belongs to one thread (`SqlitePositions` has it called in its worker).
A store that turns out to be damaged is recovered and what was asked is done once more.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from singer.base.errors import StateError
from singer.base.events import Emit
from singer.base.ports import Clock
from singer.base.position import Position
from singer.base.promotion import Cut, Ends, Promotion
from singer.base.wire.audit import Entry
from singer.positions import promotions, recovery, schema
from singer.positions.connection import (
    DamagedStoreError,
    is_damage,
    open_store,
    transaction,
    translated,
)
from singer.positions.edit import Edit
from singer.positions.events import BackupFailed
from singer.positions.query import select

T = TypeVar("T")


class Database:
    """The store at `path`; `emit` is called in the thread that calls us."""

    def __init__(self, path: str, *, boot_id: str, clock: Clock, emit: Emit) -> None:
        #: Whether the store took the place of a damaged one and nobody accepted that yet.
        self.recovered = False
        self._path = path
        self._boot = schema.boot_key(boot_id)
        self._clock = clock
        self._emit = emit
        self._connection: sqlite3.Connection | None = None
        #: Never goes back, even when an older store takes this one's place: positions that are
        #: in memory keep their ids.
        self._next_id = 1
        self._changes_backed_up = -1

    def open(self) -> None:
        """Open the store, recover or create it as need be. Raises StateError."""
        with translated("open position store", self._path):
            self._use()

    def close(self) -> None:
        """Empty the log into the store, renew the backup, let go."""
        if self._connection is None:
            return
        self.back_up()
        try:
            # Closing does the same, but silently when it fails.
            self._run("close position store", _empty_log)
        finally:
            self._let_go()

    def commit(self, positions: Iterable[Position], entries: Sequence[Entry] = ()) -> None:
        """Write positions, and entries for audit topics, in one transaction, unsynced."""
        now_ns = self._clock.now_ns()
        rows = [schema.to_row(position, now_ns, self._boot) for position in positions]

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(schema.ADVANCE, rows)
                if entries:
                    connection.execute(schema.AUDIT)
                    connection.executemany(schema.WRITE_ENTRY, entries)

        self._run("write position store", job)

    def sight(self, positions: Iterable[Position]) -> list[Position]:
        """Insert (id 0) or replace rows, synced."""
        given = tuple(positions)

        def job(connection: sqlite3.Connection) -> list[Position]:
            with transaction(connection, synced=True):
                return self._sight(connection, given)

        return self._run("write position store", job)

    def apply(self, edit: Edit) -> None:
        """Make a person's changes, all or none, synced."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection, synced=True):
                connection.executemany(schema.FORGET, [(key,) for key in edit.forget])
                for statement in schema.FORGET_DESTINATION:
                    connection.executemany(statement, edit.forget_destinations)
                self._sight(connection, edit.write)
                connection.executemany(schema.RESTORE_SCAN, edit.scans)
                for promotion in edit.cancel:
                    promotions.cancel(connection, promotion)
                for begun, cuts in edit.promote:
                    promotions.begin(connection, begun, cuts)

        self._run("write position store", job)

    def lookup(self, stream: str, inodes: Sequence[int]) -> list[Position]:
        """Rows of a stream by inode."""
        keys = [schema.inode_key(inode) for inode in inodes]
        return self._run(
            "read position store", lambda c: select(c, schema.SELECT_BY_INODE, stream, keys)
        )

    def lineage(self, stream: str, paths: Sequence[str]) -> list[Position]:
        """Rows of a stream by path, oldest first sighting first."""
        keys = [schema.path_key(path) for path in paths]
        found = self._run(
            "read position store", lambda c: select(c, schema.SELECT_BY_PATH, stream, keys)
        )
        return sorted(found, key=lambda position: (position.first_seen_ns, position.id))

    def earlier_boot(self, ids: Sequence[int]) -> set[int]:
        """Those of `ids` that were last written while another boot of the machine ran."""
        if not self._boot:
            return set()

        query = "SELECT 1 FROM positions WHERE id = ? AND boot NOT IN (0, ?)"

        def job(connection: sqlite3.Connection) -> set[int]:
            return {key for key in ids if connection.execute(query, (key, self._boot)).fetchone()}

        return self._run("read position store", job)

    def forget(self, ids: Sequence[int]) -> None:
        """Delete rows."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(schema.FORGET, [(key,) for key in ids])

        self._run("write position store", job)

    def forget_destination(self, stream: str, destination: str) -> None:
        """Delete all that is known of a destination."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                for statement in schema.FORGET_DESTINATION:
                    connection.execute(statement, (stream, destination))

        self._run("write position store", job)

    def copy(self, stream: str, destination: str, to: str) -> int:
        """Let another destination know all that one knows, synced; how many rows that is."""

        def job(connection: sqlite3.Connection) -> int:
            with transaction(connection, synced=True):
                connection.execute(schema.FORGET_ROWS, (stream, to))
                given = (stream, destination, to, self._next_id)
                rows = connection.execute(schema.COPY_ROWS, given).rowcount
                connection.execute(schema.COPY_SCAN, (stream, destination, to))
            self._next_id += rows
            return rows

        return self._run("write position store", job)

    def touch(self, ids: Sequence[int]) -> None:
        """Note that the files of these rows exist."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                now_ns = self._clock.now_ns()
                connection.executemany(
                    "UPDATE positions SET seen_ns = ? WHERE id = ?", [(now_ns, key) for key in ids]
                )

        self._run("write position store", job)

    def prune(self, before_ns: int, limit: int, spared: Collection[str] = ()) -> int:
        """Delete up to `limit` rows neither seen nor written since; how many it were.

        Rows of the streams `spared` are left alone.

        Those that were not seen for longest go first.
        """
        streams = json.dumps(sorted(spared))

        def job(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                connection.execute(schema.SEEN_INDEX)
                return connection.execute(schema.PRUNE, (before_ns, limit, streams)).rowcount

        return self._run("write position store", job)

    def count(self) -> int:
        """How many rows there are."""

        def job(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT count(*) FROM positions").fetchone()[0])

        return self._run("read position store", job)

    def scanned(self, stream: str, destination: str) -> int | None:
        """When the first scan was recorded, wall clock ns."""

        def job(connection: sqlite3.Connection) -> int | None:
            row = connection.execute(
                "SELECT scanned_ns FROM scans WHERE stream = ? AND destination = ?",
                (stream, destination),
            ).fetchone()
            return None if row is None else int(row[0])

        return self._run("read position store", job)

    def mark_scanned(self, stream: str, destination: str, begun_ns: int) -> None:
        """Record the first scan, synced; a later one changes nothing."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection, synced=True):
                connection.execute(schema.MARK_SCANNED, (stream, destination, begun_ns))

        self._run("write position store", job)

    def last_entry(self) -> int:
        """The highest number of an entry for an audit topic; 0 without any."""

        def job(connection: sqlite3.Connection) -> int:
            connection.execute(schema.AUDIT)
            (highest,) = connection.execute(schema.LAST_ENTRY).fetchone()
            return highest or 0

        return self._run("read position store", job)

    def entries(self, cluster: str, below: int, limit: int) -> list[Entry]:
        """The oldest entries of a cluster, in their order."""

        def job(connection: sqlite3.Connection) -> list[Entry]:
            connection.execute(schema.AUDIT)
            found = connection.execute(schema.SELECT_ENTRIES, (cluster, below, limit))
            return [Entry(*row) for row in found]

        return self._run("read position store", job)

    def forget_entries(self, numbers: Sequence[int]) -> None:
        """Delete entries."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(schema.FORGET_ENTRY, [(number,) for number in numbers])

        self._run("write position store", job)

    def trim_entries(self, cluster: str, most_bytes: int) -> int:
        """Delete the oldest entries of a cluster beyond so many bytes; how many it were."""

        def job(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                connection.execute(schema.AUDIT)
                return connection.execute(schema.TRIM_ENTRIES, (cluster, most_bytes)).rowcount

        return self._run("write position store", job)

    def forget_entries_except(self, clusters: Sequence[str]) -> None:
        """Delete the entries of all other clusters."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute(schema.AUDIT)
                connection.execute(schema.FORGET_ENTRIES_EXCEPT, (json.dumps(list(clusters)),))

        self._run("write position store", job)

    def promotions(self) -> list[Promotion]:
        """All promotions, the oldest first."""
        return self._run("read position store", promotions.promotions)

    def cuts(self, promotion: Promotion) -> list[Cut]:
        """Where a promotion cuts files."""
        return self._run("read position store", lambda c: promotions.cuts(c, promotion.id))

    def passed(self, promotion: Promotion, destination: str) -> int:
        """How many rows of a destination lie behind their cut."""
        return self._run(
            "read position store", lambda c: promotions.passed(c, promotion, destination)
        )

    def reached(self, promotion: Promotion, destination: str, ends: Ends) -> Ends:
        """Record, synced, where a destination was cut; the same with how many files it missed."""

        def job(connection: sqlite3.Connection) -> Ends:
            with transaction(connection, synced=True):
                return promotions.reached(connection, promotion, destination, ends)

        return self._run("write position store", job)

    def accept_recovery(self) -> None:
        """Forget, synced, that the store took the place of a damaged one."""

        def job(connection: sqlite3.Connection) -> None:
            with transaction(connection, synced=True):
                connection.execute("DELETE FROM meta WHERE key = ?", (recovery.RECOVERED,))
            self.recovered = False

        self._run("write position store", job)

    def back_up(self, *, if_older_than_seconds: float = 0.0) -> None:
        """Renew the backup if it is that old and anything changed since; failing is an event."""

        def job(connection: sqlite3.Connection) -> None:
            changes = connection.total_changes
            age_seconds = recovery.backup_age_seconds(self._path, self._clock.now_ns())
            if age_seconds is not None and (
                0 <= age_seconds < if_older_than_seconds or changes == self._changes_backed_up
            ):
                return
            recovery.back_up(connection, self._path)
            self._changes_backed_up = changes

        try:
            self._run("back up position store", job)
        except StateError as error:
            path = recovery.backup_path(self._path)
            self._emit(BackupFailed(path=path, cause=str(error)))

    def _sight(
        self, connection: sqlite3.Connection, positions: Sequence[Position]
    ) -> list[Position]:
        now_ns = self._clock.now_ns()
        placed = [position if position.id else self._numbered(position) for position in positions]
        rows = (schema.to_row(position, now_ns, self._boot) for position in placed)
        connection.executemany(schema.SIGHT, rows)
        return placed

    def _numbered(self, position: Position) -> Position:
        numbered = replace(position, id=self._next_id)
        self._next_id += 1
        return numbered

    def _run(self, step: str, job: Callable[[sqlite3.Connection], T]) -> T:
        with translated(step, self._path):
            try:
                return job(self._use())
            except (sqlite3.Error, DamagedStoreError) as error:
                if not is_damage(error):
                    raise
                self._recover(str(error))
            return job(self._use())

    def _use(self) -> sqlite3.Connection:
        """The connection; opened anew when a recovery could not be finished."""
        if self._connection is None:
            cause = recovery.damage(self._path)
            if cause is not None:
                self._recover(cause)
            else:
                recovery.create_if_missing(self._path)
            try:
                self._connect()
            except (sqlite3.Error, DamagedStoreError) as error:
                if not is_damage(error):
                    raise
                self._recover(str(error))
                self._connect()
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        if self._connection is not None:
            return
        connection = open_store(self._path)
        highest = connection.execute("SELECT max(id) FROM positions").fetchone()[0] or 0
        self._next_id = max(self._next_id, highest + 1)
        marked = connection.execute("SELECT 1 FROM meta WHERE key = ?", (recovery.RECOVERED,))
        self.recovered = marked.fetchone() is not None
        # What the last process changed after its last backup is not known: renew it once.
        self._changes_backed_up = -1
        self._connection = connection

    def _recover(self, cause: str) -> None:
        self._let_go()
        event = recovery.recover(self._path, cause, self._clock.now_ns())
        self._emit(event)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _empty_log(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
