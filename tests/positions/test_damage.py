"""Position stores that are broken: what is kept, what takes their place, what is said."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3

import pytest

from singer.base.errors import StateError
from singer.positions import recovery
from singer.positions.events import BackupFailed, PositionsRecovered
from singer.positions.query import read_positions
from tests.positions.parts import Heard, a_position, opened, until


def garbage(path):
    with open(path, "wb") as file:
        file.write(random.Random(1).randbytes(20_000))


def nulls(path):
    size = os.path.getsize(path)
    with open(path, "wb") as file:
        file.write(bytes(size))


def empty(path):
    os.truncate(path, 0)


def truncated(path):
    os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096)


def torn(path):
    os.truncate(path, 1000)


def missing(path):
    os.unlink(path)


def a_directory(path):
    os.unlink(path)
    os.mkdir(path)
    with open(os.path.join(path, "inside"), "w"):
        pass


def foreign(path):
    os.unlink(path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.commit()
    connection.close()


def no_tables(path):
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE positions")
    connection.close()


def no_version(path):
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM meta")
    connection.commit()
    connection.close()


DAMAGES = [
    garbage,
    nulls,
    empty,
    truncated,
    torn,
    missing,
    a_directory,
    foreign,
    no_tables,
    no_version,
]


async def a_store(path, rows=200):
    async with opened(path) as store:
        await store.mark_scanned("access", "main/web")
        return await store.sight([a_position(inode, offset=inode) for inode in range(rows)])


def asides(path):
    directory = os.path.dirname(path)
    return [
        os.path.join(directory, name)
        for name in sorted(os.listdir(directory))
        if name.startswith("positions.corrupt-")
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_backup_takes_the_place(tmp_path, damage):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        rows = await a_store(path)
        damage(path)
        before = open(path, "rb").read() if os.path.isfile(path) else None
        async with opened(path, heard) as store:
            assert store.recovered
            assert await store.lookup("access", range(200)) == rows
            assert await store.scanned("access", "main/web") is not None
        [event] = heard.of(PositionsRecovered)
        assert event.backup
        assert "records delivered since then are sent again" in event.message()
        if damage is missing:
            assert event.aside == ""
        else:
            assert [event.aside] == asides(path)
            assert event.aside in event.message()
            if before is not None and damage not in (no_tables, no_version):
                assert open(event.aside, "rb").read() == before

    asyncio.run(main())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("backup_damage", [missing, garbage, empty, truncated, a_directory])
def test_an_empty_store_takes_the_place_when_the_backup_is_bad(tmp_path, damage, backup_damage):
    path, heard = str(tmp_path / "positions"), Heard()
    if damage is missing and backup_damage in (missing, a_directory):
        pytest.skip("nothing tells that there ever was a store: a first start")

    async def main():
        await a_store(path)
        damage(path)
        backup_damage(recovery.backup_path(path))
        async with opened(path, heard) as store:
            assert store.recovered
            assert await store.lookup("access", range(200)) == []
            assert await store.scanned("access", "main/web") is None
            await store.sight([a_position()])
        [event] = heard.of(PositionsRecovered)
        assert not event.backup
        assert "files are read from their beginning" in event.message()
        assert event.backup_cause in event.message()
        assert len(list(read_positions(path))) == 1

    asyncio.run(main())


def test_a_first_start_is_no_recovery(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        async with opened(path, heard) as store:
            assert not store.recovered
            await until(lambda: recovery.has_backup(path), 10, "a first backup")
        assert heard == []

    asyncio.run(main())


def test_recovery_is_remembered_until_it_is_accepted(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        await a_store(path)
        garbage(path)
        for _ in range(2):
            async with opened(path) as store:
                assert store.recovered
        async with opened(path) as store:
            await store.accept_recovery()
            assert not store.recovered
        async with opened(path) as store:
            assert not store.recovered

    asyncio.run(main())


def test_a_store_that_vanished_after_a_recovery_is_no_first_start(tmp_path):
    """As when power fails between moving the damaged one and placing the new one."""
    path = str(tmp_path / "positions")

    async def main():
        await a_store(path)
        garbage(path)
        os.unlink(recovery.backup_path(path))
        os.rename(path, f"{path}.corrupt-20260101T000000Z")
        async with opened(path) as store:
            assert store.recovered

    asyncio.run(main())


def test_a_log_without_its_store_is_not_replayed(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        other = str(tmp_path / "other")
        async with opened(other) as store:
            await store.sight([a_position(3)])
            shutil.copyfile(f"{other}-wal", f"{path}-wal")
        async with opened(path, heard) as store:
            assert store.recovered
            assert await store.lookup("access", [3]) == []
        [event] = heard.of(PositionsRecovered)
        assert os.path.exists(f"{event.aside}-wal")

    asyncio.run(main())


def test_few_damaged_stores_are_kept(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        await a_store(path)
        for number in range(recovery.KEPT_ASIDE + 3):
            with open(path, "wb") as file:
                file.write(b"%d" % number * 5000)
            async with opened(path):
                pass
        kept = asides(path)
        assert len(kept) == recovery.KEPT_ASIDE
        with open(kept[-1], "rb") as file:
            assert file.read(1) == b"%d" % (recovery.KEPT_ASIDE + 2)

    asyncio.run(main())


def test_damage_while_running_is_recovered_and_positions_in_memory_survive(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        await a_store(path)
        async with opened(path, heard, commit_every_seconds=60) as store:
            [young] = await store.sight([a_position(1000)])
            outside = sqlite3.connect(path)  # empty the log, then break the pages
            outside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            outside.close()
            with open(path, "r+b") as file:
                file.seek(4096)
                file.write(b"\xa5" * (os.path.getsize(path) - 4096))
            moved = a_position(1000, id=young.id, offset=77)
            store.advance(moved)
            await store.flush()
            found = await store.lookup("access", [5, 1000])
            assert found == [a_position(5, id=6, offset=5), moved]
            assert store.recovered
            # Ids that are in memory are not given out again by the older store.
            [later] = await store.sight([a_position(1001)])
            assert later.id > young.id
        [event] = heard.of(PositionsRecovered)
        assert event.backup

    asyncio.run(main())


def test_damage_nobody_met_does_not_reach_the_backup(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        rows = await a_store(path, rows=2000)
        with open(path, "r+b") as file:  # a leaf in the middle; the first and last look fine
            file.seek(os.path.getsize(path) // 2 // 4096 * 4096)
            file.write(b"\xa5" * 4096)
        async with opened(path, heard) as store:
            assert not store.recovered
        assert len(heard.of(PositionsRecovered)) == 1
        assert list(read_positions(path)) == rows

    asyncio.run(main())


def test_a_backup_that_fails_is_told_and_harms_nothing(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()
    os.mkdir(recovery.backup_path(path))

    async def main():
        async with opened(path, heard) as store:
            await store.sight([a_position()])
        assert len(list(read_positions(path))) == 1
        assert "positions_backup" in heard.of(BackupFailed)[0].message()
        assert not os.path.exists(f"{recovery.backup_path(path)}.tmp")

    asyncio.run(main())


def test_an_unreadable_store_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch):
    """An error that may pass must not cost the positions."""
    path = str(tmp_path / "positions")

    async def main():
        await a_store(path)
        os.mkdir(f"{path}.new")
        garbage(path)
        with pytest.raises(StateError):
            async with opened(path):
                pass
        assert asides(path) == []
        os.rmdir(f"{path}.new")
        async with opened(path) as store:
            assert len(await store.lookup("access", range(200))) == 200

    asyncio.run(main())
