"""The position store in good health."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.errors import InvariantError, StateError
from singer.base.ports import PositionStore
from singer.base.position import FileIdentity, Mark, Position
from singer.positions import connection, recovery, schema
from singer.positions.events import (
    PositionsCommitted,
    PositionsCounted,
    PositionsOverCeiling,
    PositionsPruned,
)
from singer.positions.query import read_positions
from tests.positions.parts import Heard, a_position, opened, until

UNSIGNED = st.integers(0, 2**64 - 1)
SIZE = st.integers(0, 2**63 - 1)
MARKS = st.builds(Mark, st.integers(0, 1024), st.binary(max_size=16))
PATHS = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
POSITIONS = st.builds(
    Position,
    stream=NAMES,
    destination=NAMES,
    path=PATHS,
    identity=st.builds(
        FileIdentity,
        device=UNSIGNED,
        inode=UNSIGNED,
        birth_ns=st.none() | st.integers(-(2**63), 2**63 - 1),
        fingerprint=MARKS,
    ),
    offset=SIZE,
    tail=MARKS,
    resume=st.binary(max_size=1024),
    first_seen_ns=SIZE,
    updated_ns=SIZE,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(POSITIONS, min_size=1, max_size=4), POSITIONS)
def test_rows_come_back_as_they_went(positions, later):
    async def main(path):
        async with opened(path) as store:
            sighted = await store.sight(positions)
            for before, after in zip(positions, sighted, strict=True):
                assert a_position_like(before, after.id) == after
                assert after in await store.lookup(after.stream, [after.identity.inode])
                assert after in await store.lineage(after.stream, [after.path])
            moved = sighted[0].moved(
                later.offset,
                later.tail,
                later.resume,
                later.identity.fingerprint,
                later.updated_ns,
            )
            store.advance(moved)
        assert list(read_positions(path)) == [moved, *sighted[1:]]

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(os.path.join(directory, "positions")))


def a_position_like(position, key):
    return Position(**{name: getattr(position, name) for name in Position.__slots__} | {"id": key})


def test_serves_the_port(tmp_path):
    async def main():
        async with opened(str(tmp_path / "positions")) as store:
            port: PositionStore = store
            assert await port.sight([]) == []

    asyncio.run(main())


def test_commits_in_groups_without_being_asked(tmp_path):
    path, heard = str(tmp_path / "positions"), Heard()

    async def main():
        async with opened(path, heard, commit_every_seconds=0.02) as store:
            [row] = await store.sight([a_position()])
            for offset in range(1, 200):
                store.advance(a_position(id=row.id, offset=offset))
            await until(lambda: heard.of(PositionsCommitted), 10, "a group commit")
            assert [found.offset for found in read_positions(path)] == [199]
            assert [event.rows for event in heard.of(PositionsCommitted)] == [1]

    asyncio.run(main())


def test_says_nothing_when_nothing_moves(tmp_path):
    heard = Heard()

    async def main():
        async with opened(str(tmp_path / "positions"), heard, commit_every_seconds=0.001) as store:
            await store.flush()
            await until(lambda: heard, 10, "the rows are counted")

    asyncio.run(main())
    assert heard == [PositionsCounted(rows=0)]


def test_lookups_show_what_is_not_committed_yet(tmp_path):
    async def main():
        async with opened(str(tmp_path / "positions"), commit_every_seconds=60) as store:
            [row] = await store.sight([a_position()])
            moved = a_position(id=row.id, offset=99)
            store.advance(moved)
            assert await store.lookup("access", [7, 7, 8]) == [moved]
            assert await store.lineage("access", [moved.path]) == [moved]
            assert await store.lookup("other", [7]) == []

    asyncio.run(main())


def test_lineage_is_oldest_first(tmp_path):
    async def main():
        async with opened(str(tmp_path / "positions")) as store:
            rows = await store.sight(
                [
                    a_position(1, path="/b", first_seen_ns=30),
                    a_position(2, path="/a", first_seen_ns=20),
                    a_position(3, path="/b", first_seen_ns=10),
                    a_position(4, path="/c", first_seen_ns=5),
                ]
            )
            found = await store.lineage("access", ["/a", "/b"])
            assert found == [rows[2], rows[1], rows[0]]

    asyncio.run(main())


def test_a_sighting_replaces_what_was_advanced_before_it(tmp_path):
    async def main():
        path = str(tmp_path / "positions")
        async with opened(path, commit_every_seconds=60) as store:
            [row] = await store.sight([a_position()])
            store.advance(a_position(id=row.id, offset=50))
            sighted = a_position(8, id=row.id, offset=0, path="/elsewhere")
            assert await store.sight([sighted]) == [sighted]
            await store.flush()
            assert list(read_positions(path)) == [sighted]
            assert await store.lookup("access", [7]) == []

    asyncio.run(main())


def test_advance_wants_a_sighted_row(tmp_path):
    async def main():
        async with opened(str(tmp_path / "positions")) as store:
            with pytest.raises(InvariantError, match="never sighted"):
                store.advance(a_position())

    asyncio.run(main())


def test_a_closed_store_says_so(tmp_path):
    async def main():
        async with opened(str(tmp_path / "positions")) as store:
            pass
        await store.close()
        with pytest.raises(InvariantError, match="not open"):
            await store.lookup("access", [1])

    asyncio.run(main())


def test_flushes_and_advances_at_once_lose_nothing(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path, commit_every_seconds=0.001) as store:
            rows = await store.sight([a_position(inode) for inode in range(20)])

            async def move(row):
                for offset in range(1, 40):
                    store.advance(a_position(row.identity.inode, id=row.id, offset=offset))
                    if offset % 7 == 0:
                        await store.flush()
                        committed = {p.id: p.offset for p in read_positions(path)}
                        assert committed[row.id] >= offset
                    await asyncio.sleep(0)

            await asyncio.gather(*map(move, rows))
        assert [position.offset for position in read_positions(path)] == [39] * 20

    asyncio.run(main())


def test_a_flush_that_is_given_up_loses_nothing(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path, commit_every_seconds=60) as store:
            [row] = await store.sight([a_position()])
            store.advance(a_position(id=row.id, offset=5))
            task = asyncio.create_task(store.flush())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.flush()
            assert [position.offset for position in read_positions(path)] == [5]

    asyncio.run(main())


def test_the_first_scan_is_remembered_once(tmp_path):
    class Clock:
        now = 100

        def now_ns(self):
            return self.now

        def monotonic(self):
            return 0.0

    async def main():
        clock, path = Clock(), str(tmp_path / "positions")
        async with opened(path, clock=clock) as store:
            assert await store.scanned("access", "main/web") is None
            await store.mark_scanned("access", "main/web", 100)
            await store.mark_scanned("access", "main/web", 200)
        async with opened(path, clock=clock) as store:
            assert await store.scanned("access", "main/web") == 100
            assert await store.scanned("access", "canary/web") is None

    asyncio.run(main())


def test_forgets_rows_and_destinations(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path, commit_every_seconds=60) as store:
            rows = await store.sight(
                [a_position(1), a_position(2), a_position(3, destination="demo/web")]
            )
            for name in ("main/web", "demo/web"):
                await store.mark_scanned("access", name, 1)
            for row in rows:
                store.advance(row.moved(9, row.tail, b"", row.identity.fingerprint, 9))
            await store.forget([rows[0].id])
            await store.forget_destination("access", "demo/web")
            await store.flush()
            assert [position.id for position in read_positions(path)] == [rows[1].id]
            assert await store.scanned("access", "demo/web") is None
            assert await store.scanned("access", "main/web") is not None

    asyncio.run(main())


def test_another_destination_knows_what_one_knows(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path, commit_every_seconds=60) as store:
            some = [a_position(path="/a", inode=number) for number in range(3)]
            rows = await store.sight([*some, a_position(destination="demo/web")])
            await store.mark_scanned("access", "main/web", 77)
            await store.mark_scanned("other", "main/web", 78)
            moved = rows[1].moved(9, rows[1].tail, b"state", rows[1].identity.fingerprint, 9)
            store.advance(moved)
            # Rows of a first look that was not finished count for nothing.
            await store.sight([a_position(destination="new", path="/left")])
            assert await store.copy("access", "main/web", "new") == 3
            assert await store.scanned("access", "new") == 77
            found = list(read_positions(path))
            copies = [row for row in found if row.destination == "new"]
            assert [(row.offset, row.resume) for row in copies] == [
                (row.offset, row.resume) for row in (rows[0], moved, rows[2])
            ]
            assert len({row.id for row in found}) == len(found) == 7
            (fresh,) = await store.sight([a_position(destination="new", path="/b")])
            assert fresh.id not in {row.id for row in found}

    asyncio.run(main())


class SetClock:
    """Wall clock, ns, as the test says."""

    def __init__(self, now):
        self.now = now

    def now_ns(self):
        return self.now

    def monotonic(self):
        return 0.0


def test_prunes_what_is_gone_for_long(tmp_path):
    path, heard, clock = str(tmp_path / "positions"), Heard(), SetClock(1000)

    async def main():
        async with opened(path, heard, clock=clock) as store:
            idle, gone, touched = await store.sight([a_position(i, updated_ns=1) for i in range(3)])
            clock.now = 5000
            [young] = await store.sight([a_position(9, updated_ns=4000)])
            await store.touch([touched.id])
            more = {"keep": [idle.id], "kept_since_ns": 5000, "max_rows": 100}
            await store.prune(900, **more)
            assert not heard.of(PositionsPruned)
            await store.prune(3000, **more)
            left = [position.id for position in read_positions(path)]
            assert left == [idle.id, touched.id, young.id]
            assert gone.id not in left
            assert heard.of(PositionsPruned) == [PositionsPruned(rows=1)]
            assert [event.rows for event in heard.of(PositionsCounted)][-2:] == [4, 3]

    asyncio.run(main())


def test_prunes_nothing_of_streams_that_could_not_be_looked_at(tmp_path):
    path, clock = str(tmp_path / "positions"), SetClock(1000)

    async def main():
        async with opened(path, clock=clock) as store:
            rows = [a_position(i, stream=name, updated_ns=1) for i, name in enumerate("abc")]
            kept, _, also_kept = await store.sight(rows)
            clock.now = 5000
            await store.prune(3000, kept_since_ns=5000, spared=["c", "a"], max_rows=0)
            assert [row.id for row in read_positions(path)] == [kept.id, also_kept.id]

    asyncio.run(main())


def test_an_advance_is_a_sign_of_life(tmp_path):
    path, clock = str(tmp_path / "positions"), SetClock(1000)

    async def main():
        async with opened(path, clock=clock) as store:
            read, idle = await store.sight([a_position(i, updated_ns=1) for i in range(2)])
            store.advance(a_position(0, id=read.id, offset=9, updated_ns=4000))
            await store.flush()
            await store.prune(3000, kept_since_ns=3000, max_rows=0)
            assert [row.id for row in read_positions(path)] == [read.id]
            assert idle.id != read.id

    asyncio.run(main())


class TestCeiling:
    """`max_rows` rows, but never one less than there are files."""

    def upkeep(self, tmp_path, *, ages, keep, max_rows):
        """Rows by id that were last seen at `ages`; what is left after an upkeep at 10,000."""
        path, heard, clock = str(tmp_path / "positions"), Heard(), SetClock(0)

        async def main():
            async with opened(path, heard, clock=clock) as store:
                for age in ages:
                    clock.now = age
                    await store.sight([a_position(age, updated_ns=age)])
                clock.now = 10_000
                await store.prune(0, keep=keep, kept_since_ns=10_000, max_rows=max_rows)

        asyncio.run(main())
        return [row.id for row in read_positions(path)], heard

    def test_what_is_gone_longest_goes_first(self, tmp_path):
        left, heard = self.upkeep(tmp_path, ages=[50, 10, 40, 20, 30], keep=[], max_rows=2)
        assert left == [1, 3]
        assert heard.of(PositionsPruned) == [PositionsPruned(rows=3, early=3)]
        assert not heard.of(PositionsOverCeiling)
        assert heard.of(PositionsCounted)[-1].rows == 2

    def test_files_that_exist_are_kept_and_it_is_said_once(self, tmp_path):
        left, heard = self.upkeep(tmp_path, ages=[10, 20, 30, 40], keep=[1, 2, 4], max_rows=2)
        assert left == [1, 2, 4]
        assert heard.of(PositionsPruned) == [PositionsPruned(rows=1, early=1)]
        (said,) = heard.of(PositionsOverCeiling)
        assert (said.rows, said.max_rows) == (3, 2)
        assert "agent.max_positions" in said.message()

    def test_at_the_ceiling_nothing_happens(self, tmp_path):
        left, heard = self.upkeep(tmp_path, ages=[10, 20], keep=[], max_rows=2)
        assert left == [1, 2]
        assert not heard.of(PositionsPruned)
        assert not heard.of(PositionsOverCeiling)

    def test_more_than_one_transaction_of_them(self, tmp_path, monkeypatch):
        monkeypatch.setattr("singer.positions.sqlite.UPKEEP_ROWS", 2)
        left, heard = self.upkeep(tmp_path, ages=range(10, 18), keep=[1, 3, 5], max_rows=4)
        assert left == [1, 3, 5, 8]
        assert heard.of(PositionsPruned) == [PositionsPruned(rows=4, early=4)]

    def test_a_file_that_was_met_during_the_upkeep_is_kept(self, tmp_path):
        path, clock = str(tmp_path / "positions"), SetClock(100)

        async def main():
            async with opened(path, clock=clock) as store:
                await store.sight([a_position(1, updated_ns=100)])
                clock.now = 201  # behind the look at the files, before the rows are dropped
                await store.sight([a_position(2, updated_ns=201)])
                clock.now = 300
                await store.prune(0, keep=[], kept_since_ns=200, max_rows=0)
            assert [row.identity.inode for row in read_positions(path)] == [2]

        asyncio.run(main())


def test_a_store_without_the_index_gets_it_when_it_is_pruned(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path) as store:
            await store.sight([a_position()])
        older = sqlite3.connect(path)
        older.execute("DROP INDEX positions_seen")
        older.commit()
        older.close()
        async with opened(path) as store:
            await store.prune(0, kept_since_ns=0, max_rows=9)
        older = sqlite3.connect(path)
        plan = older.execute(f"EXPLAIN QUERY PLAN {schema.PRUNE}", (1, 1, "[]")).fetchall()
        older.close()
        assert "USING INDEX positions_seen" in str(plan)
        assert "TEMP B-TREE" not in str(plan)

    asyncio.run(main())


def test_ids_of_an_older_boot_are_known(tmp_path):
    path = str(tmp_path / "positions")
    first, second = "890c1078-223d-44a3-866b-103c50d06ad0", "990c1078-223d-44a3-866b-103c50d06ad1"

    async def main():
        async with opened(path, boot_id=first) as store:
            ids = [row.id for row in await store.sight([a_position(i) for i in range(3)])]
            assert await store.earlier_boot(ids) == set()
        async with opened(path, boot_id=second, commit_every_seconds=60) as store:
            assert await store.earlier_boot(ids) == set(ids)
            store.advance(a_position(0, id=ids[0], offset=1))
            assert await store.earlier_boot(ids) == set(ids[1:])
            await store.flush()
            assert await store.earlier_boot(ids) == set(ids[1:])
        async with opened(path, boot_id="") as store:
            assert await store.earlier_boot(ids) == set()

    asyncio.run(main())


def test_a_newer_minor_version_is_used_as_it_is(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path) as store:
            [row] = await store.sight([a_position()])
        newer = sqlite3.connect(path)
        newer.execute("ALTER TABLE positions ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")
        newer.execute("CREATE TABLE colours (name TEXT)")
        newer.execute("UPDATE positions SET colour = 'red'")
        newer.execute("UPDATE meta SET value = 99 WHERE key = 'schema_minor'")
        newer.commit()
        newer.close()
        async with opened(path) as store:
            assert await store.lookup("access", [7]) == [row]
            store.advance(a_position(id=row.id, offset=4))
            await store.sight([a_position(8), a_position(id=row.id, offset=5)])
        assert [position.offset for position in read_positions(path)] == [5, 0]
        newer = sqlite3.connect(path)
        colours = newer.execute("SELECT colour FROM positions ORDER BY id").fetchall()
        newer.close()
        assert colours == [("red",), ("grey",)]

    asyncio.run(main())


def test_another_major_version_is_refused_and_left_alone(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path) as store:
            await store.sight([a_position()])
        newer = sqlite3.connect(path)
        newer.execute("UPDATE meta SET value = 2 WHERE key = 'schema_major'")
        newer.commit()
        newer.close()
        with pytest.raises(StateError, match=f"schema 2, this singer reads {schema.MAJOR}"):
            async with opened(path):
                pass
        with pytest.raises(StateError, match="schema 2"):
            list(read_positions(path))
        assert not [name for name in os.listdir(tmp_path) if "corrupt" in name]

    asyncio.run(main())


def test_lookups_use_the_indexes(tmp_path):
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path):
            connection = sqlite3.connect(path)
            for query in (schema.SELECT_BY_INODE, schema.SELECT_BY_PATH):
                explain = f"EXPLAIN QUERY PLAN {query} (?, ?)"
                plan = connection.execute(explain, ("a", 1, 2)).fetchall()
                assert "USING INDEX" in str(plan)
            connection.close()

    asyncio.run(main())


def test_names_with_odd_characters_work(tmp_path):
    path = os.path.join(str(tmp_path), "st?ate#%41" + os.fsdecode(b"\xff"))
    os.mkdir(path)

    async def main():
        async with opened(os.path.join(path, "positions")) as store:
            await store.sight([a_position()])
        assert len(list(read_positions(os.path.join(path, "positions")))) == 1

    asyncio.run(main())
    assert {"positions", "positions_backup"} <= set(os.listdir(path))


def test_a_directory_that_is_not_there_is_named(tmp_path):
    path = str(tmp_path / "nowhere" / "positions")

    async def main():
        with pytest.raises(StateError, match="open position store") as caught:
            async with opened(path):
                pass
        assert "nowhere" in str(caught.value)

    asyncio.run(main())


def test_only_synced_transactions_sync_the_log(tmp_path):
    path = str(tmp_path / "positions")
    recovery.create_if_missing(path)
    store = connection.open_store(path)
    try:
        seen = []
        for synced in (False, True, False):
            with connection.transaction(store, synced=synced):
                seen.append(store.execute("PRAGMA synchronous").fetchone()[0])
        assert seen == [1, 2, 1]  # NORMAL, FULL, NORMAL
        assert store.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    finally:
        store.close()
