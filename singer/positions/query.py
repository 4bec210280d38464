"""Reading a position store from outside, while an agent may be writing it; for commands."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from singer.base.errors import StateError
from singer.base.position import Position
from singer.base.promotion import Cut, Promotion
from singer.positions import promotions, schema
from singer.positions.connection import connect, translated, verify

#: Rows per look. Each look ends before its rows are handed out: an open one would keep the
#: agent from emptying its log for as long as somebody reads the first page in a pager.
_PAGE: Final = 1000

#: Keys that one statement looks for; SQLite has limits on how many parameters it takes.
_KEYS_AT_ONCE: Final = 500

_STEP: Final = "read position store"


def read_positions(path: str, stream: str | None = None) -> Iterator[Position]:
    """The rows of the store at `path`, as `Query.rows`. Raises StateError."""
    with Query(path) as query:
        yield from query.rows(stream)


def select(
    connection: sqlite3.Connection, statement: str, stream: str, keys: Iterable[object]
) -> list[Position]:
    """The rows of a stream that a SELECT_BY_... finds under one of `keys`."""
    found: list[Position] = []
    wanted = list(dict.fromkeys(keys))
    for first in range(0, len(wanted), _KEYS_AT_ONCE):
        some = wanted[first : first + _KEYS_AT_ONCE]
        places = ", ".join("?" * len(some))
        rows = connection.execute(f"{statement} ({places})", (stream, *some))
        found += map(schema.from_row, rows)
    return found


class Query:
    """What is committed in the store at `path`.

    Nothing is written and the agent is not held up. Not one moment's picture: what is added or
    moved meanwhile may be seen or not. `alone`: no agent runs, so that SQLite's side files need not
    be made where there are none. Raises StateError, as all its methods do.
    """

    def __init__(self, path: str, *, alone: bool = False) -> None:
        self._path = path
        with translated(_STEP, path):
            if not os.path.exists(path):
                raise StateError(
                    f"{_STEP}: {path!r} does not exist; name the state directory of an agent that "
                    f"has run"
                )
            self._connection = _open(path, alone=alone)

    def rows(self, stream: str | None = None) -> Iterator[Position]:
        """All rows by id; of one stream or of all."""
        last = 0
        while True:
            with translated(_STEP, self._path):
                rows = self._connection.execute(
                    schema.SELECT_PAGE, (last, stream, _PAGE)
                ).fetchall()
            yield from map(schema.from_row, rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def lookup(self, stream: str, inodes: Sequence[int]) -> list[Position]:
        """Rows of a stream by inode."""
        keys = map(schema.inode_key, inodes)
        with translated(_STEP, self._path):
            return select(self._connection, schema.SELECT_BY_INODE, stream, keys)

    def lineage(self, stream: str, paths: Sequence[str]) -> list[Position]:
        """Rows of a stream by path."""
        keys = map(schema.path_key, paths)
        with translated(_STEP, self._path):
            return select(self._connection, schema.SELECT_BY_PATH, stream, keys)

    def streams(self) -> list[str]:
        """The streams that have rows."""
        with translated(_STEP, self._path):
            found = self._connection.execute(schema.SELECT_STREAMS).fetchall()
        return sorted(stream for (stream,) in found)

    def scans(self, stream: str | None = None) -> list[schema.Scan]:
        """The first scans; of one stream or of all."""
        with translated(_STEP, self._path):
            found = self._connection.execute(schema.SELECT_SCANS, (stream,)).fetchall()
        return [schema.Scan(*row) for row in found]

    def promotions(self, stream: str | None = None) -> list[Promotion]:
        """The promotions, the oldest first; of one stream or of all."""
        with translated(_STEP, self._path):
            return promotions.promotions(self._connection, stream)

    def cuts(self, promotion: Promotion) -> list[Cut]:
        """Where a promotion, the last one of its stream, cuts files."""
        with translated(_STEP, self._path):
            return promotions.cuts(self._connection, promotion.id)

    def close(self) -> None:
        """Let go; again is allowed."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: str, *, alone: bool) -> sqlite3.Connection:
    log = f"{path}-wal"
    if alone and not os.path.exists(log):
        return _verified(connect(path, "ro", immutable=True), path)
    try:
        return _verified(connect(path, "ro"), path)
    except sqlite3.OperationalError:
        if os.path.exists(log):
            raise
        # After a clean stop there is no log, and who may not write cannot make one.
        return _verified(connect(path, "ro", immutable=True), path)


def _verified(connection: sqlite3.Connection, path: str) -> sqlite3.Connection:
    try:
        verify(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
