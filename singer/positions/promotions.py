"""Promotions in the position store: their tables, and what is asked of them.

Everything here blocks and belongs to the thread of the connection. Stores that an older program
made have the tables from the first promotion on; older programs leave them alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from singer.base.promotion import Cut, Ends, Promotion
from singer.positions.schema import signed, unsigned

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS promotions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        stream TEXT NOT NULL,
        old TEXT NOT NULL,
        new TEXT NOT NULL,
        asked_ns INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS promotion_ends (
        promotion INTEGER NOT NULL,
        destination TEXT NOT NULL,
        reached_ns INTEGER NOT NULL,
        offsets TEXT NOT NULL,
        missed INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (promotion, destination)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS promotion_cuts (
        promotion INTEGER NOT NULL,
        path BLOB NOT NULL,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        birth_ns INTEGER,
        offset INTEGER NOT NULL,
        old_row INTEGER,
        old_seen_ns INTEGER,
        new_row INTEGER,
        new_seen_ns INTEGER,
        old_offset INTEGER NOT NULL,
        new_offset INTEGER NOT NULL
    )""",
)
_CUT: Final = (
    "path, device, inode, birth_ns, offset, old_row, old_seen_ns, new_row, new_seen_ns, "
    "old_offset, new_offset"
)
#: How many rows of a side (`old`, `new`) lie behind their cut.
_PASSED: Final = (
    "SELECT count(*) FROM promotion_cuts AS c JOIN positions AS p "
    "ON p.id = c.{side}_row AND p.first_seen_ns = c.{side}_seen_ns "
    "WHERE c.promotion = ? AND p.offset > c.offset"
)
#: How many files a side did not read as far as their cut: ?1 is the promotion, ?2 its stream, ?3
#: the destination, which had begun to read some of them only since.
_MISSED: Final = (
    "SELECT count(*) FROM promotion_cuts AS c WHERE c.promotion = ?1 "
    "AND c.offset > c.{side}_offset "
    "AND NOT EXISTS (SELECT 1 FROM positions AS p WHERE p.offset >= c.offset "
    "AND p.id = c.{side}_row AND p.first_seen_ns = c.{side}_seen_ns) "
    "AND (c.{side}_row IS NOT NULL OR NOT EXISTS (SELECT 1 FROM positions AS p "
    "WHERE p.stream = ?2 AND p.inode = c.inode AND p.device = c.device "
    "AND p.birth_ns IS c.birth_ns AND p.destination = ?3 AND p.offset >= c.offset))"
)


def begin(connection: sqlite3.Connection, promotion: Promotion, cuts: Iterable[Cut]) -> None:
    """Add a promotion with its cuts. Those of earlier ones of the stream have had their time."""
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(
        "DELETE FROM promotion_cuts WHERE promotion IN "
        "(SELECT id FROM promotions WHERE stream = ?)",
        (promotion.stream,),
    )
    added = connection.execute(
        "INSERT INTO promotions (stream, old, new, asked_ns) VALUES (?, ?, ?, ?)",
        (promotion.stream, promotion.old, promotion.new, promotion.asked_ns),
    )
    connection.executemany(
        f"INSERT INTO promotion_cuts (promotion, {_CUT}) VALUES ({', '.join('?' * 12)})",  # noqa: S608 # constants
        (
            (
                added.lastrowid,
                os.fsencode(cut.path),
                signed(cut.file[0]),
                signed(cut.file[1]),
                cut.file[2],
                cut.offset,
                *(cut.old or (None, None)),
                *(cut.new or (None, None)),
                cut.old_offset,
                cut.new_offset,
            )
            for cut in cuts
        ),
    )


def cancel(connection: sqlite3.Connection, promotion: int) -> None:
    """Delete a promotion."""
    for table, key in (("ends", "promotion"), ("cuts", "promotion")):
        connection.execute(f"DELETE FROM promotion_{table} WHERE {key} = ?", (promotion,))  # noqa: S608
    connection.execute("DELETE FROM promotions WHERE id = ?", (promotion,))


def reached(
    connection: sqlite3.Connection, promotion: Promotion, destination: str, ends: Ends
) -> Ends:
    """Record where a destination was cut; the same with how many files it missed."""
    statement = _MISSED.format(side=_side(promotion, destination))
    asked = (promotion.id, promotion.stream, destination)
    ends = replace(ends, missed=int(connection.execute(statement, asked).fetchone()[0]))
    connection.execute(
        "INSERT INTO promotion_ends (promotion, destination, reached_ns, offsets, missed) "
        "VALUES (?, ?, ?, ?, ?)",
        (promotion.id, destination, ends.reached_ns, json.dumps(dict(ends.offsets)), ends.missed),
    )
    return ends


def promotions(connection: sqlite3.Connection, stream: str | None = None) -> list[Promotion]:
    """All of them, or those of a stream, the oldest first."""
    if not connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE name = 'promotion_cuts'"
    ).fetchone():
        return []
    found = {
        row[0]: Promotion(id=row[0], stream=row[1], old=row[2], new=row[3], asked_ns=row[4])
        for row in connection.execute(
            "SELECT id, stream, old, new, asked_ns FROM promotions "
            "WHERE ?1 IS NULL OR stream = ?1 ORDER BY id",
            (stream,),
        )
    }
    for key, destination, reached_ns, offsets, missed in connection.execute(
        "SELECT promotion, destination, reached_ns, offsets, missed FROM promotion_ends"
    ):
        if key in found:
            known = {topic: tuple(ends) for topic, ends in json.loads(offsets).items()}
            ends = Ends(reached_ns=reached_ns, offsets=known, missed=missed)
            found[key] = replace(found[key], ends={**found[key].ends, destination: ends})
    return list(found.values())


def cuts(connection: sqlite3.Connection, promotion: int) -> list[Cut]:
    """Where the files are cut; nothing of promotions but the last of a stream."""
    found = connection.execute(
        f"SELECT {_CUT} FROM promotion_cuts WHERE promotion = ? ORDER BY path",  # noqa: S608
        (promotion,),
    )
    return [
        Cut(
            path=os.fsdecode(row[0]),
            file=(unsigned(row[1]), unsigned(row[2]), row[3]),
            offset=row[4],
            old=None if row[5] is None else (row[5], row[6]),
            new=None if row[7] is None else (row[7], row[8]),
            old_offset=row[9],
            new_offset=row[10],
        )
        for row in found
    ]


def passed(connection: sqlite3.Connection, promotion: Promotion, destination: str) -> int:
    """How many rows of a destination are behind their cut, and must not be before it is reached."""
    statement = _PASSED.format(side=_side(promotion, destination))
    return int(connection.execute(statement, (promotion.id,)).fetchone()[0])


def _side(promotion: Promotion, destination: str) -> str:
    return "old" if destination == promotion.old else "new"
