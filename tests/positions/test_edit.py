"""What becomes of rows that are added to a store that has some."""

from __future__ import annotations

from dataclasses import replace

import pytest

from singer.positions.edit import Edit, is_same_file, merge
from singer.positions.schema import Scan
from tests.positions.parts import a_position

ROW = a_position()


def of(identity=None, **changes):
    return replace(ROW, identity=replace(ROW.identity, **identity or {}), **changes)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (ROW, True),
        (of(offset=99, path="/elsewhere", updated_ns=9, id=4), True),
        (of({"birth_ns": None}), True),
        (of({"birth_ns": 2}), False),
        (of({"inode": 8}), False),
        (of({"device": 8}), False),
        (of(stream="other"), False),
        (of(destination="other"), False),
    ],
)
def test_one_file(other, same):
    assert is_same_file(ROW, other) is same
    assert is_same_file(other, ROW) is same


def merged(rows, known, *, scans=(), recorded=(), prefer_added=False):
    return merge(
        rows,
        scans,
        lookup=lambda stream, inodes: [
            row for row in known if row.stream == stream and row.identity.inode in inodes
        ],
        recorded=recorded,
        prefer_added=prefer_added,
    )


def test_what_is_there_stays():
    known, new = replace(ROW, id=3, offset=1), a_position(8)
    found = merged([ROW, new], [known])
    assert (found.added, found.replaced, found.kept) == ((new,), (), (known,))
    assert found.edit == Edit(write=(new,))


def test_what_stays_is_counted_once():
    known = replace(ROW, id=3)
    assert merged([ROW, ROW], [known]).kept == (known,)


def test_what_is_there_gives_way():
    known, given = replace(ROW, id=3, offset=1), replace(ROW, offset=2)
    twin = replace(known, id=4, identity=replace(ROW.identity, birth_ns=None))
    found = merged([given], [known, twin], prefer_added=True)
    assert (found.added, found.replaced, found.kept) == ((), (((known, twin), given),), ())
    assert found.edit == Edit(forget=(3, 4), write=(given,))


def test_what_is_as_it_should_be_stays():
    known = replace(ROW, id=3)
    found = merged([ROW], [known], prefer_added=True)
    assert (found.kept, found.edit) == ((known,), Edit())
    assert not found.edit


def test_scans():
    mine, theirs, new = Scan("s", "a", 1), Scan("s", "a", 2), Scan("s", "b", 3)
    found = merged([], [], scans=[theirs, new], recorded=[mine])
    assert (found.added_scans, found.kept_scans) == ((new,), (mine,))
    found = merged([], [], scans=[theirs, new], recorded=[mine], prefer_added=True)
    assert (found.added_scans, found.kept_scans) == ((theirs, new), ())
    assert found.edit == Edit(scans=(theirs, new))
    found = merged([], [], scans=[mine], recorded=[mine], prefer_added=True)
    assert not found.edit
