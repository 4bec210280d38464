from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest

from singer.base.errors import StateError
from singer.positions import query
from singer.positions.query import read_positions
from tests.positions.parts import a_position, mounted, opened


def test_reads_one_stream_in_pages_while_the_agent_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(query, "_PAGE", 3)
    path = str(tmp_path / "positions")

    async def main():
        async with opened(path, commit_every_seconds=0.001) as store:
            rows = await store.sight(
                [a_position(i, stream="odd" if i % 2 else "even") for i in range(20)]
            )
            found = read_positions(path, "odd")
            first = next(found)
            # Nothing is held while somebody looks at the first page: the log can be emptied.
            store.advance(a_position(3, id=rows[3].id, stream="odd", offset=5))
            await store.flush()
            writer = sqlite3.connect(path)
            assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            writer.close()
            assert [first.id, *(position.id for position in found)] == [r.id for r in rows[1::2]]
            assert list(read_positions(path, "none")) == []

    asyncio.run(main())


def test_a_missing_store_is_named(tmp_path):
    path = str(tmp_path / "positions")
    with pytest.raises(StateError, match="does not exist"):
        next(read_positions(path))
    assert os.listdir(tmp_path) == []


def test_something_else_is_not_read(tmp_path):
    path = tmp_path / "positions"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match="read position store"):
        next(read_positions(str(path)))
    assert path.read_bytes() == b"no database at all" * 100


def test_a_store_on_a_read_only_disk_is_read(tmp_path):
    with mounted(str(tmp_path / "disk"), "size=4m") as directory:
        path = os.path.join(directory, "positions")

        async def main():
            async with opened(path) as store:
                await store.sight([a_position()])

        asyncio.run(main())
        assert os.system(f"mount -o remount,ro {directory}") == 0
        assert [position.identity.inode for position in read_positions(path)] == [7]
