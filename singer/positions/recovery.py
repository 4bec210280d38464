"""A position store that is damaged: noticed, moved aside, replaced; and the copies it is
replaced with.

Functions over paths, for the thread that owns the store, while it holds no connection to it
(`back_up` apart). A new store is built beside the old one and renamed into place when it is
complete and synced, so an empty or half written `positions` is always damage. They raise OSError,
sqlite3.Error and StateError.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
from typing import Final

from singer.base.errors import StateError
from singer.positions import schema
from singer.positions.connection import (
    DamagedStoreError,
    connect,
    is_damage,
    quick_check,
    transaction,
    verify,
)
from singer.positions.durable import move_into_place, sync_directory
from singer.positions.events import PositionsRecovered

#: Damaged stores that are kept for a person to look at; without a limit a dying disk fills up.
KEPT_ASIDE: Final = 3
#: What SQLite puts beside a database.
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_ASIDE: Final = ".corrupt-"
#: The row of `meta` that says that this store replaced a damaged one.
RECOVERED: Final = "recovered_ns"


def backup_path(path: str) -> str:
    """Where the last good copy of the store at `path` lies."""
    return f"{path}_backup"


def backup_age_seconds(path: str, now_ns: int) -> float | None:
    """How old the copy of the store at `path` is; None if there is none."""
    try:
        return (now_ns - os.stat(backup_path(path)).st_mtime_ns) / 1e9
    except FileNotFoundError:
        return None


def create_if_missing(path: str) -> None:
    """The first store at `path`, empty. To be asked for `damage` before."""
    if _kind(path):
        return
    new = _prepare(path)
    _build_empty(new, recovered_ns=None)
    move_into_place(new, path)


def damage(path: str) -> str | None:
    """What is wrong with the store at `path`, as far as a look from outside tells.

    None: nothing, or it is not there and never was.
    """
    for side in ("-wal", "-shm"):
        if _kind(path + side) not in ("", "regular file"):
            return f"its {side} is not a regular file"
    kind = _kind(path)
    if kind == "":
        # Where its traces are it has been; positions that vanished must not look like a
        # first start, which may skip what is in the files.
        traces = _kind(backup_path(path)) == "regular file" or _kind(f"{path}-wal") or _asides(path)
        return "it is missing" if traces else None
    if kind != "regular file":
        return "it is not a regular file"
    return "it is empty" if os.stat(path).st_size == 0 else None


def recover(path: str, cause: str, now_ns: int) -> PositionsRecovered:
    """Put the last good copy, or an empty store, in the place of the damaged one."""
    new = _prepare(path)
    backup_cause = _build_from_backup(new, path, now_ns)
    if backup_cause:
        _remove(new)
        _build_empty(new, recovered_ns=now_ns)
    aside = _move_aside(path, now_ns)
    move_into_place(new, path)
    return PositionsRecovered(
        path=path, cause=cause, aside=aside, backup=not backup_cause, backup_cause=backup_cause
    )


def back_up(connection: sqlite3.Connection, path: str) -> None:
    """Renew the backup of the store at `path`, which `connection` is open on.

    The copy is checked before it replaces the last one: damage that nobody has noticed yet must
    not reach the backup. Raises DamagedStoreError when it is the store that is damaged.
    """
    target = backup_path(path)
    temporary = f"{target}.tmp"
    _remove(temporary)
    try:
        _copy(connection, temporary)
        move_into_place(temporary, target)
    except BaseException:
        _remove(temporary)
        raise


def _copy(connection: sqlite3.Connection, target: str) -> None:
    copy = connect(target, "rwc")
    with contextlib.closing(copy):
        copy.execute("PRAGMA synchronous=OFF")  # the caller syncs it once
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        finding = quick_check(copy)
    if finding and (own := quick_check(connection)):
        raise DamagedStoreError(own)
    if finding:
        raise StateError(f"back up position store: the copy {target!r} is bad: {finding}")


def _build_empty(new: str, *, recovered_ns: int | None) -> None:
    connection = connect(new, "rwc")
    with contextlib.closing(connection), transaction(connection):
        for statement in schema.TABLES:
            connection.execute(statement)
        if recovered_ns is not None:
            _mark_recovered(connection, recovered_ns)


def _build_from_backup(new: str, path: str, now_ns: int) -> str:
    """Copy and check the backup; the reason why it cannot be used, else nothing."""
    backup = backup_path(path)
    if _kind(backup) != "regular file":
        return "there is none" if _kind(backup) == "" else "it is not a regular file"
    shutil.copyfile(backup, new)
    connection = connect(new, "rw")
    with contextlib.closing(connection):
        try:
            verify(connection, backup)
            if finding := quick_check(connection):
                return finding
            connection.execute("PRAGMA journal_mode=DELETE")
            with transaction(connection):
                _mark_recovered(connection, now_ns)
        except (DamagedStoreError, sqlite3.DatabaseError) as error:
            if not is_damage(error):
                raise
            return str(error)
    return ""


def _mark_recovered(connection: sqlite3.Connection, now_ns: int) -> None:
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (RECOVERED, now_ns),
    )


def _move_aside(path: str, now_ns: int) -> str:
    """Rename the store and its side files; where it lies now, or nothing if it was missing."""
    aside = _aside(path, now_ns)
    while any(os.path.lexists(aside + side) for side in ("", *_SIDE_FILES)):
        now_ns += 1
        aside = _aside(path, now_ns)
    moved = ""
    # The store first: without its log it might open, older than it was and without a word.
    for side in ("", *_SIDE_FILES):
        if os.path.lexists(path + side):
            os.rename(path + side, aside + side)
            moved = aside
    sync_directory(os.path.dirname(path) or ".")
    for old in _asides(path)[:-KEPT_ASIDE]:
        _remove(old)
    return moved


def _aside(path: str, now_ns: int) -> str:
    """The name of a store moved aside at that time; names sort by time."""
    seconds, fraction_ns = divmod(now_ns, 1_000_000_000)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{path}{_ASIDE}{stamp}.{fraction_ns:09}Z"


def _asides(path: str) -> list[str]:
    """The stores that were moved aside, oldest first."""
    directory, name = os.path.split(path)
    return sorted(
        os.path.join(directory, entry)
        for entry in os.listdir(directory or ".")
        if entry.startswith(name + _ASIDE) and not entry.endswith(_SIDE_FILES)
    )


def _prepare(path: str) -> str:
    """The name under which a new store is built; what an earlier attempt left is removed."""
    new = f"{path}.new"
    _remove(new)
    return new


def _remove(path: str) -> None:
    for side in ("", *_SIDE_FILES):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            os.unlink(path + side)


def _kind(path: str) -> str:
    """Empty: nothing is there."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ""
    return "regular file" if stat.S_ISREG(mode) else "something else"
