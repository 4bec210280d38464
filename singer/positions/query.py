"""Reading a position store from outside, while an agent may be writing it; for commands."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from typing import Final

from singer.base.errors import StateError
from singer.base.position import Position
from singer.positions import schema
from singer.positions.connection import connect, translated, verify

#: Rows per look. Each look ends before its rows are handed out: an open one would keep the
#: agent from emptying its log for as long as somebody reads the first page in a pager.
_PAGE: Final = 1000

_STEP: Final = "read position store"


def read_positions(path: str, stream: str | None = None) -> Iterator[Position]:
    """The rows of the store at `path` as committed, by id; of one stream or of all.

    Nothing is written and the agent is not held up. Not one moment's picture: rows that are
    added or moved meanwhile may be seen or not. Raises StateError.
    """
    with translated(_STEP, path):
        if not os.path.exists(path):
            raise StateError(
                f"{_STEP}: {path!r} does not exist; name the state directory of an agent that "
                f"has run"
            )
        connection = _open(path)
    with contextlib.closing(connection):
        last = 0
        while True:
            with translated(_STEP, path):
                rows = connection.execute(schema.SELECT_PAGE, (last, stream, _PAGE)).fetchall()
            yield from map(schema.from_row, rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]


def _open(path: str) -> sqlite3.Connection:
    connection = connect(path, "ro")
    try:
        verify(connection, path)
    except sqlite3.OperationalError:
        connection.close()
        if os.path.exists(f"{path}-wal"):
            raise
        # After a clean stop there is no log, and who may not write cannot make one.
        connection = connect(path, "ro", immutable=True)
        verify(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
