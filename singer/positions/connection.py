"""SQLite connections to a position store, and what its errors mean.

Opens, verifies and translates; keeps no state. Any thread that may block.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from typing import Final, Literal
from urllib.parse import quote

from singer.base.errors import StateError
from singer.positions import schema

#: How long SQLite waits for a lock: somebody looks into the store with a tool of his own.
_BUSY_SECONDS: Final = 5.0
#: What the log is cut back to once it was copied into the store; it grows while a reader or a
#: backup holds it.
_WAL_BYTES: Final = 4 << 20

_ACCESS: Final = "make the file and its directory writable for the agent's user"
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "make room on its file system",
    sqlite3.SQLITE_IOERR: "look for a full or failing disk (df, dmesg)",
    sqlite3.SQLITE_READONLY: _ACCESS,
    sqlite3.SQLITE_CANTOPEN: _ACCESS,
    sqlite3.SQLITE_PERM: _ACCESS,
    sqlite3.SQLITE_BUSY: "end the other program that holds it locked",
}
#: The file is no database, or its structure is broken: no retry will help.
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedStoreError(StateError):
    """The file is there and is not a (whole) position store."""


def connect(
    path: str, mode: Literal["ro", "rw", "rwc"], *, immutable: bool = False
) -> sqlite3.Connection:
    """A connection to `path` in autocommit mode; nothing is read yet. Raises sqlite3.Error."""
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def open_store(path: str) -> sqlite3.Connection:
    """The connection for the writer: WAL, group commits unsynced.

    Cheap for a store of any size: no row is read. Raises sqlite3.Error, StateError.
    """
    connection = connect(path, "rw")
    try:
        verify(connection, path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def verify(connection: sqlite3.Connection, path: str) -> None:
    """Check that this is a position store that this program can use.

    Raises DamagedStoreError if it is none, StateError if its version is another one.
    """
    try:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        connection.execute(schema.SELECT_PAGE, (0, None, 1)).fetchall()
        major = int(meta["schema_major"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedStoreError("it does not tell its schema version") from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # no such table, no such column
            raise DamagedStoreError(f"it is not a position store: {error}") from error
        raise
    if major != schema.MAJOR:
        raise StateError(
            f"open position store: {path!r} has schema {major}, this singer reads {schema.MAJOR}: "
            f"install the singer that wrote it, or choose another agent.state_dir"
        )


def quick_check(connection: sqlite3.Connection) -> str:
    """What is wrong with the structure of the whole store; empty if nothing is. Reads it all."""
    try:
        finding: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    return "" if finding == "ok" else finding


def is_damage(error: Exception) -> bool:
    """Whether the error means that the store itself is broken."""
    if isinstance(error, DamagedStoreError):
        return True
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, synced: bool = False) -> Iterator[None]:
    """All or nothing. `synced`: on disk when it ends; else only safe from the process's death.

    In WAL mode `synchronous=FULL` makes the commit sync the log, with all that is in it;
    `NORMAL` syncs only when the log is copied into the store.
    """
    if synced:
        connection.execute("PRAGMA synchronous=FULL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After a full disk SQLite may have rolled back by itself.
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        raise
    finally:
        if synced:
            connection.execute("PRAGMA synchronous=NORMAL")


@contextlib.contextmanager
def translated(step: str, path: str) -> Iterator[None]:
    """Turn what SQLite and the system raise into StateError, saying which step failed."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        remedy = _REMEDIES.get(code, "see what changed on this host")
        raise StateError(f"{step}: {path!r}: {_plain(error)}; {remedy}") from error
    except OSError as error:
        remedy = "make the state directory writable for the agent's user, with room on its disk"
        raise StateError(
            f"{step}: {error.filename or path!r}: {error.strerror}; {remedy}"
        ) from error
    except DamagedStoreError as error:
        raise StateError(f"{step}: {path!r}: {error}") from error


def _plain(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    return f"{error} ({name})" if name else str(error)
