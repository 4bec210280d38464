"""The store of an agent that does not run."""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest

from singer.base.clock import SystemClock
from singer.base.errors import StateError, StateLockedError
from singer.base.events import discard
from singer.positions import recovery
from singer.positions.edit import Edit
from singer.positions.idle import IdleStore
from singer.positions.query import read_positions
from singer.positions.schema import Scan
from singer.positions.sqlite import SqlitePositions
from singer.positions.state_dir import StateDir
from tests.positions.parts import a_position, contents, opened, overwrite


def idle(directory, *, dry_run=False):
    return IdleStore(str(directory), dry_run=dry_run, clock=SystemClock(), emit=discard)


def fill(directory, *positions):
    async def main():
        async with opened(os.path.join(directory, "positions")) as store:
            rows = await store.sight(positions)
            await store.mark_scanned("access", "main/web", 1)
            return rows

    return asyncio.run(main())


def everything(directory):
    return {name: contents(os.path.join(directory, name)) for name in os.listdir(directory)}


def rows_of(directory):
    return list(read_positions(os.path.join(directory, "positions")))


def test_looks_and_changes(tmp_path):
    one, two, three = fill(tmp_path, a_position(1), a_position(2, path="/b"), a_position(3))
    moved, new = a_position(2, id=two.id, offset=9), a_position(4, stream="t")
    with idle(tmp_path) as store:
        assert list(store.rows("access")) == [one, two, three]
        assert store.streams() == ["access"]
        assert store.lookup("access", [2]) == [two]
        assert store.lineage("access", ["/b"]) == [two]
        [scan] = store.scans()
        assert (scan.stream, scan.destination) == ("access", "main/web")
        assert store.scans("other") == []
        store.apply(
            Edit(
                forget=(one.id,),
                write=(moved, new),
                scans=(Scan("t", "d", 7), scan._replace(scanned_ns=5)),
            )
        )
    assert [(row.identity.inode, row.offset, row.id) for row in rows_of(tmp_path)] == [
        (2, 9, two.id),
        (3, 0, three.id),
        (4, 0, three.id + 1),
    ]
    with idle(tmp_path) as store:
        assert sorted(store.scans()) == [Scan("access", "main/web", 5), Scan("t", "d", 7)]
        store.apply(Edit(forget_destinations=(("access", "main/web"),)))
    with idle(tmp_path) as store:
        assert store.scans() == [Scan("t", "d", 7)]
        assert [row.stream for row in store.rows()] == ["t"]


def test_a_change_is_in_the_backup_too(tmp_path):
    fill(tmp_path, a_position(1))
    with idle(tmp_path) as store:
        store.apply(Edit(write=(a_position(2),)))
    backup = recovery.backup_path(str(tmp_path / "positions"))
    assert [row.identity.inode for row in read_positions(backup)] == [1, 2]


def test_makes_what_is_missing(tmp_path):
    with idle(tmp_path / "state") as store:
        assert (list(store.rows()), store.scans(), store.streams()) == ([], [], [])
        assert (store.lookup("s", [1]), store.lineage("s", ["/"])) == ([], [])
        store.apply(Edit(write=(a_position(1),)))
    assert [row.id for row in rows_of(tmp_path / "state")] == [1]


def test_a_dry_run_makes_nothing(tmp_path):
    with idle(tmp_path / "state", dry_run=True) as store:
        store.apply(Edit(write=(a_position(1),)))
    assert os.listdir(tmp_path) == []
    with idle(tmp_path, dry_run=True) as store:
        store.apply(Edit(write=(a_position(1),)))
    assert os.listdir(tmp_path) == []


def test_a_dry_run_changes_nothing(tmp_path):
    [row] = fill(tmp_path, a_position(1))
    before = everything(tmp_path)
    with idle(tmp_path, dry_run=True) as store:
        assert list(store.rows()) == [row]
        store.apply(Edit(forget=(row.id,), forget_destinations=(("access", "main/web"),)))
    assert everything(tmp_path) == before


def test_an_edit_of_nothing_changes_nothing(tmp_path):
    fill(tmp_path, a_position(1))
    before = everything(tmp_path)
    with idle(tmp_path) as store:
        store.apply(Edit())
    assert everything(tmp_path) | {"lock": None} == before | {"lock": None}


def test_all_or_nothing(tmp_path):
    [row] = fill(tmp_path, a_position(1))
    with idle(tmp_path) as store, pytest.raises(StateError):
        store.apply(Edit(forget=(row.id,), write=(a_position(2, offset=1.5j),)))
    assert [row.identity.inode for row in rows_of(tmp_path)] == [1]


@pytest.mark.parametrize("dry_run", [False, True])
def test_refuses_while_an_agent_runs_and_keeps_one_from_starting(tmp_path, monkeypatch, dry_run):
    monkeypatch.setattr("singer.positions.state_dir.LOCK_GRACE_SECONDS", 0.05)
    with StateDir(str(tmp_path)), pytest.raises(StateLockedError) as caught:
        idle(tmp_path, dry_run=dry_run)
    assert "an agent runs on" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    with idle(tmp_path, dry_run=dry_run), pytest.raises(StateLockedError):
        StateDir(str(tmp_path))
    StateDir(str(tmp_path)).close()


def test_refuses_a_store_that_is_missing(tmp_path):
    fill(tmp_path, a_position(1))
    os.unlink(tmp_path / "positions")
    before = everything(tmp_path)
    with pytest.raises(StateError, match="damaged: it is missing; start the agent once"):
        idle(tmp_path, dry_run=True)
    assert everything(tmp_path) == before
    with pytest.raises(StateError, match="damaged"):
        idle(tmp_path)
    StateDir(str(tmp_path)).close()  # the lock is free again


def test_refuses_a_store_that_is_none(tmp_path):
    fill(tmp_path, a_position(1))
    overwrite(str(tmp_path / "positions"), 0, 100)
    before = everything(tmp_path)
    with pytest.raises(StateError, match="read position store"):
        idle(tmp_path)
    assert everything(tmp_path) | {"lock": None} == before | {"lock": None}
    StateDir(str(tmp_path)).close()


def test_what_a_killed_agent_left_in_its_log_counts(tmp_path):
    """Its last commits are not in the database file yet."""
    path = str(tmp_path / "positions")

    async def main():
        store = SqlitePositions(path, emit=discard, clock=SystemClock())
        await store.open()
        await store.sight([a_position(1)])
        shutil.copytree(
            tmp_path, tmp_path.parent / "killed", ignore=shutil.ignore_patterns("*-shm", "*backup*")
        )
        await store.close()

    asyncio.run(main())
    killed = tmp_path.parent / "killed"
    assert (killed / "positions-wal").stat().st_size
    before = contents(str(killed / "positions")), contents(str(killed / "positions-wal"))
    with idle(killed, dry_run=True) as store:
        assert [row.identity.inode for row in store.rows()] == [1]
    assert (contents(str(killed / "positions")), contents(str(killed / "positions-wal"))) == before
    with idle(killed) as store:
        store.apply(Edit(write=(a_position(2),)))
    assert [row.identity.inode for row in rows_of(killed)] == [1, 2]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory away needs root")
def test_refuses_the_directory_of_another_user(tmp_path):
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(StateError, match=r"belongs to #12345.*sudo -u"):
        idle(tmp_path)
    assert os.listdir(tmp_path) == []
