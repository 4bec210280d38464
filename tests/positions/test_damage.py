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
from singer.positions.events import BackupFailed, PositionsCounted, PositionsRecovered
from singer.positions.query import read_positions
from tests.positions.parts import Heard, a_position, contents, opened, overwrite, until


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
        await store.mark_scanned("access", "main/web", 1)
        return await store.sight([a_position(inode, offset=inode) for inode in range(rows)])


def asides(path):
    directory = os.path.dirname(path)
    return [
        os.path.join(directory, name)
        for name in sorted(os.listdir(directory))
        if name.startswith("positions.corrupt-") and not name.endswith(("-wal", "-shm"))
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_backup_takes_the_place(tmp_path, damage):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        rows = await a_store(path)
        damage(path)
        before = contents(path)
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
                assert contents(event.aside) == before

    asyncio.run(main())


BAD_BACKUPS = [missing, garbage, empty, truncated, a_directory]


# Neither a store nor a backup: nothing tells that there ever was one, it is a first start.
@pytest.mark.parametrize(
    ("damage", "backup_damage"),
    [
        (damage, backup_damage)
        for damage in DAMAGES
        for backup_damage in BAD_BACKUPS
        if damage is not missing or backup_damage not in (missing, a_directory)
    ],
)
def test_an_empty_store_takes_the_place_when_the_backup_is_bad(tmp_path, damage, backup_damage):
    path, heard = str(tmp_path / "positions"), Heard()

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
            await until(lambda: contents(recovery.backup_path(path)), 10, "a first backup")
            await until(lambda: heard, 10, "the rows are counted")
        assert heard == [PositionsCounted(rows=0)]

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
        assert contents(f"{event.aside}-wal")

    asyncio.run(main())


def test_few_damaged_stores_are_kept(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        await a_store(path)
        for number in range(recovery.KEPT_ASIDE + 3):
            overwrite(path, 0)
            os.truncate(path, 5000 + number)
            async with opened(path):
                pass
        kept = asides(path)
        assert len(kept) == recovery.KEPT_ASIDE
        sizes = [os.stat(name).st_size for name in kept]
        assert sizes == [5000 + number for number in range(3, recovery.KEPT_ASIDE + 3)]

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
            overwrite(path, 4096)
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
        middle = os.stat(path).st_size // 2 // 4096 * 4096
        overwrite(path, middle, middle + 4096)  # the first and the last page look fine
        async with opened(path, heard) as store:
            assert not store.recovered
        assert len(heard.of(PositionsRecovered)) == 1
        assert list(read_positions(path)) == rows

    asyncio.run(main())


def test_an_old_backup_is_renewed_at_the_start_and_a_young_one_is_not(tmp_path):
    path, backup = str(tmp_path / "positions"), str(tmp_path / "positions_backup")

    async def main():
        await a_store(path)
        young = os.stat(backup).st_ino
        async with opened(path) as store:
            await asyncio.sleep(0)  # the timer asks its thread first
            await store.lookup("access", [1])
            assert os.stat(backup).st_ino == young
        os.utime(backup, (1, 1))
        async with opened(path):
            await until(lambda: os.stat(backup).st_mtime > 1, 10, "a new backup")

    asyncio.run(main())


def test_a_backup_that_fails_is_told_and_harms_nothing(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()
    os.mkdir(recovery.backup_path(path))

    async def main():
        async with opened(path, heard) as store:
            await store.sight([a_position()])
        assert len(list(read_positions(path))) == 1
        assert "positions_backup" in heard.of(BackupFailed)[0].message()
        assert contents(f"{recovery.backup_path(path)}.tmp") is None

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
