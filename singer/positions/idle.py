"""IdleStore: the position store of an agent that does not run, for commands that change it.

Owns the lock for as long as it is open, so that no agent starts meanwhile. Looks with a `Query`,
which writes nothing, and changes through the same `Database` as the agent.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self

from singer.base.errors import StateError, StateLockedError
from singer.base.events import Emit
from singer.base.ports import Clock
from singer.base.position import Position
from singer.base.promotion import Promotion
from singer.positions import recovery
from singer.positions.database import Database
from singer.positions.edit import Edit
from singer.positions.query import Query
from singer.positions.schema import Scan
from singer.positions.state_dir import StateDir


class IdleStore:
    """The store in the state directory `directory`, made if there is none.

    With `dry_run` nothing is ever changed or made, whatever is asked. Raises StateError, and
    StateLockedError while an agent runs.
    """

    def __init__(self, directory: str, *, dry_run: bool, clock: Clock, emit: Emit) -> None:
        self._dry_run = dry_run
        self._clock = clock
        self._emit = emit
        self._path = os.path.join(directory, "positions")
        self._query: Query | None = None
        _refuse_others(directory)
        # Where no lock file is no agent ever ran, and a dry run leaves none.
        locked = not dry_run or os.path.exists(os.path.join(directory, "lock"))
        self._state = _lock(directory) if locked else None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def rows(self, stream: str | None = None) -> Iterator[Position]:
        """All rows by id; of one stream or of all."""
        return iter(()) if self._query is None else self._query.rows(stream)

    def lookup(self, stream: str, inodes: Sequence[int]) -> list[Position]:
        """Rows of a stream by inode."""
        return [] if self._query is None else self._query.lookup(stream, inodes)

    def lineage(self, stream: str, paths: Sequence[str]) -> list[Position]:
        """Rows of a stream by path."""
        return [] if self._query is None else self._query.lineage(stream, paths)

    def streams(self) -> list[str]:
        """The streams that have rows."""
        return [] if self._query is None else self._query.streams()

    def scans(self, stream: str | None = None) -> list[Scan]:
        """The first scans; of one stream or of all."""
        return [] if self._query is None else self._query.scans(stream)

    def promotions(self, stream: str | None = None) -> list[Promotion]:
        """The promotions, the oldest first; of one stream or of all."""
        return [] if self._query is None else self._query.promotions(stream)

    def apply(self, edit: Edit) -> None:
        """Make the changes, all or none, synced; a dry run and an empty edit change nothing.

        The last thing to be asked for: there is nothing to look at afterwards.
        """
        if self._dry_run or not edit:
            return
        if self._query is not None:
            self._query.close()
            self._query = None
        assert self._state is not None
        database = Database(
            self._path, boot_id=self._state.boot_id, clock=self._clock, emit=self._emit
        )
        with closing(database):
            database.open()
            database.apply(edit)

    def close(self) -> None:
        """Release the lock; again is allowed."""
        if self._query is not None:
            self._query.close()
        if self._state is not None:
            self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        try:
            damage = recovery.damage(self._path)
        except FileNotFoundError:  # no directory
            return
        if damage:
            raise StateError(
                f"change positions: the store {self._path!r} is damaged: {damage}; start the agent "
                f"once, it recovers what can be; or move the files {self._path}* away to begin "
                f"with nothing"
            )
        if os.path.exists(self._path):
            self._query = Query(self._path, alone=True)


def _lock(directory: str) -> StateDir:
    try:
        return StateDir(directory)
    except StateLockedError as error:
        raise StateLockedError(
            f"change positions: an agent runs on {directory!r}, and would write over what is "
            f"changed: stop it first (`singer positions list`, `show` and `export` work while it "
            f"runs); {error}"
        ) from error


def _refuse_others(directory: str) -> None:
    """Files that another user makes in the state directory may be closed to the agent."""
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return  # it is made, or the attempt says why not
    if owner != os.geteuid():
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise StateError(
            f"change positions: {directory!r} belongs to {name}, and what another user makes in it "
            f"the agent might not be able to read: run this as the agent's user, "
            f"for example with sudo -u '{name}'"
        )
