"""The tables of the position store, their version, and how a Position becomes a row.

Pure: SQL text and conversions. Within a major version columns and tables are only added, each
with a default, and every statement names its columns; so an older program works on a newer
store and leaves alone what it does not know. Another major version means that it cannot.
"""
# ruff: noqa: S608 - the statements are put together from the constants of this module only

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from singer.base.position import FileIdentity, Mark, Position


class Scan(NamedTuple):
    """The first scan of a destination of a stream, and when it was (wall clock, ns)."""

    stream: str
    destination: str
    scanned_ns: int


#: A store of another major version is refused; a newer minor one is used as it is.
MAJOR: Final = 1
MINOR: Final = 0

#: By when a file was last seen. Stores that an older program made have none until they are pruned;
#: to an older program it is nothing but an index more.
SEEN_INDEX: Final = "CREATE INDEX IF NOT EXISTS positions_seen ON positions (seen_ns)"

#: What is to be said in audit topics. Stores that an older program made have none until then.
AUDIT: Final = (
    "CREATE TABLE IF NOT EXISTS audit_entries "
    "(number INTEGER PRIMARY KEY, cluster TEXT NOT NULL, key BLOB NOT NULL, head BLOB NOT NULL, "
    "file BLOB NOT NULL, field INTEGER NOT NULL, content BLOB NOT NULL)"
)
#: An entry grows: what tells of which file and where it goes stays.
WRITE_ENTRY: Final = (
    "INSERT INTO audit_entries (number, cluster, key, head, file, field, content) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (number) DO UPDATE SET content = excluded.content"
)
LAST_ENTRY: Final = "SELECT max(number) FROM audit_entries"
#: ?1: a cluster; ?2: the number that they are below; ?3: how many.
SELECT_ENTRIES: Final = (
    "SELECT number, cluster, key, head, file, field, content FROM audit_entries "
    "WHERE cluster = ?1 AND number < ?2 ORDER BY number LIMIT ?3"
)
FORGET_ENTRY: Final = "DELETE FROM audit_entries WHERE number = ?"
FORGET_ENTRIES_EXCEPT: Final = (
    "DELETE FROM audit_entries WHERE cluster NOT IN (SELECT value FROM json_each(?1))"
)
#: ?1: a cluster; ?2: bytes that may stay. The newest stay.
TRIM_ENTRIES: Final = (
    "DELETE FROM audit_entries WHERE number IN (SELECT number FROM (SELECT number, "
    "sum(length(key) + length(head) + length(file) + length(content)) "
    "OVER (ORDER BY number DESC) AS newer FROM audit_entries WHERE cluster = ?1) WHERE newer > ?2)"
)

TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """CREATE TABLE positions (
        id INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        destination TEXT NOT NULL,
        path BLOB NOT NULL,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        birth_ns INTEGER,
        fingerprint_length INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        offset INTEGER NOT NULL,
        tail_length INTEGER NOT NULL,
        tail BLOB NOT NULL,
        resume BLOB NOT NULL,
        first_seen_ns INTEGER NOT NULL,
        updated_ns INTEGER NOT NULL,
        seen_ns INTEGER NOT NULL,
        boot INTEGER NOT NULL
    )""",
    "CREATE INDEX positions_inode ON positions (stream, inode)",
    "CREATE INDEX positions_path ON positions (stream, path)",
    SEEN_INDEX,
    """CREATE TABLE scans (
        stream TEXT NOT NULL,
        destination TEXT NOT NULL,
        scanned_ns INTEGER NOT NULL,
        PRIMARY KEY (stream, destination)
    ) WITHOUT ROWID""",
    f"INSERT INTO meta (key, value) VALUES ('schema_major', {MAJOR}), ('schema_minor', {MINOR})",
)

#: The columns a Position is made of, in the order of `to_row` and `from_row`.
_COLUMNS: Final = (
    "id, stream, destination, path, device, inode, birth_ns, fingerprint_length, fingerprint, "
    "offset, tail_length, tail, resume, first_seen_ns, updated_ns"
)

#: For `IN (…)` with as many parameters as there are keys.
SELECT_BY_INODE: Final = f"SELECT {_COLUMNS} FROM positions WHERE stream = ? AND inode IN"
SELECT_BY_PATH: Final = f"SELECT {_COLUMNS} FROM positions WHERE stream = ? AND path IN"
#: ?1: the last id seen; ?2: a stream or NULL for all; ?3: how many.
SELECT_PAGE: Final = (
    f"SELECT {_COLUMNS} FROM positions WHERE id > ?1 AND (?2 IS NULL OR stream = ?2) "
    "ORDER BY id LIMIT ?3"
)
SELECT_STREAMS: Final = "SELECT DISTINCT stream FROM positions"
SELECT_SCANS: Final = (
    "SELECT stream, destination, scanned_ns FROM scans WHERE ?1 IS NULL OR stream = ?1"
)
#: ?1: a time; ?2: how many. Those gone longest first.
PRUNE: Final = (
    "DELETE FROM positions WHERE id IN (SELECT id FROM positions "
    "WHERE seen_ns < ?1 AND updated_ns < ?1 AND stream NOT IN (SELECT value FROM json_each(?3)) "
    "ORDER BY seen_ns LIMIT ?2)"
)
FORGET: Final = "DELETE FROM positions WHERE id = ?"
#: All that is known of a destination of a stream.
FORGET_ROWS: Final = "DELETE FROM positions WHERE stream = ? AND destination = ?"
FORGET_DESTINATION: Final = (
    FORGET_ROWS,
    "DELETE FROM scans WHERE stream = ? AND destination = ?",
)
#: A first scan: a later one changes nothing.
MARK_SCANNED: Final = (
    "INSERT INTO scans (stream, destination, scanned_ns) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
)
#: ?1: a stream; ?2: a destination; ?3: whose the copies are; ?4: the first of their ids.
COPY_ROWS: Final = (
    f"INSERT INTO positions ({_COLUMNS}, seen_ns, boot) "
    "SELECT ?4 - 1 + row_number() OVER (ORDER BY id), stream, ?3, "
    f"{_COLUMNS.split(', ', 3)[3]}, seen_ns, boot FROM positions "
    "WHERE stream = ?1 AND destination = ?2"
)
COPY_SCAN: Final = (
    "INSERT INTO scans (stream, destination, scanned_ns) "
    "SELECT stream, ?3, scanned_ns FROM scans WHERE stream = ?1 AND destination = ?2"
)
RESTORE_SCAN: Final = (
    "INSERT INTO scans (stream, destination, scanned_ns) VALUES (?, ?, ?) "
    "ON CONFLICT (stream, destination) DO UPDATE SET scanned_ns = excluded.scanned_ns"
)

_INSERT: Final = (
    f"INSERT INTO positions ({_COLUMNS}, seen_ns, boot) "
    f"VALUES ({', '.join('?' * 17)}) ON CONFLICT (id) DO UPDATE SET "
)
#: What a group commit changes. A row that is not there (the store was replaced while we ran) is
#: inserted. Columns with an index are left out, so that the indexes are not written again; that
#: goes for `seen_ns` as well: `updated_ns` says as much.
ADVANCE: Final = _INSERT + ", ".join(
    f"{column} = excluded.{column}"
    for column in (
        "fingerprint_length",
        "fingerprint",
        "offset",
        "tail_length",
        "tail",
        "resume",
        "updated_ns",
        "boot",
    )
)
#: What a sighting changes: everything.
SIGHT: Final = _INSERT + ", ".join(
    f"{column} = excluded.{column}" for column in [*_COLUMNS.split(", ")[1:], "seen_ns", "boot"]
)


def to_row(position: Position, seen_ns: int, boot: int) -> tuple[object, ...]:
    """The values of ADVANCE and SIGHT."""
    identity, tail = position.identity, position.tail
    return (
        position.id,
        position.stream,
        position.destination,
        os.fsencode(position.path),
        signed(identity.device),
        signed(identity.inode),
        identity.birth_ns,
        identity.fingerprint.length,
        identity.fingerprint.digest,
        position.offset,
        tail.length,
        tail.digest,
        position.resume,
        position.first_seen_ns,
        position.updated_ns,
        seen_ns,
        boot,
    )


def from_row(row: Sequence[Any]) -> Position:
    """The Position of a row of SELECT."""
    return Position(
        id=row[0],
        stream=row[1],
        destination=row[2],
        path=os.fsdecode(row[3]),
        identity=FileIdentity(
            device=unsigned(row[4]),
            inode=unsigned(row[5]),
            birth_ns=row[6],
            fingerprint=Mark(row[7], row[8]),
        ),
        offset=row[9],
        tail=Mark(row[10], row[11]),
        resume=row[12],
        first_seen_ns=row[13],
        updated_ns=row[14],
    )


def inode_key(inode: int) -> int:
    """An inode as the column `inode` holds it."""
    return signed(inode)


def path_key(path: str) -> bytes:
    """A path as the column `path` holds it."""
    return os.fsencode(path)


def boot_key(boot_id: str) -> int:
    """A boot id (a UUID) as the column `boot` holds it; 0 for an unknown one."""
    try:
        return UUID(boot_id).int & (1 << 62) - 1
    except ValueError:
        return 0


def signed(value: int) -> int:
    """A device or inode, which may use all 64 bits, as a column holds it: signed."""
    return value - (1 << 64) if value >= 1 << 63 else value


def unsigned(value: int) -> int:
    """A device or inode of a column."""
    return value & (1 << 64) - 1
