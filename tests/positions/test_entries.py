"""Entries for audit topics, kept beside the positions they speak of."""

from __future__ import annotations

import asyncio
import os

import pytest

from singer.base.errors import StateError
from singer.base.wire.audit import Entry
from singer.positions import sqlite
from singer.positions.events import AuditEntriesLost, PositionWritesFailing
from tests.positions.parts import Heard, a_position, fill, mounted, opened


def _entry(number: int, content: bytes = b"c", cluster: str = "main") -> Entry:
    return Entry(number, cluster, b"key", b"head", b"file", 10, content)


class Said:
    """What is to be kept with the next group commit."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def take(self) -> list[Entry]:
        taken, self.entries = self.entries, []
        return taken


def test_an_entry_that_grew_takes_the_place_of_what_it_was(tmp_path):
    async def main(path):
        said = Said()
        async with opened(path) as store:
            assert await store.last_entry() == 0
            store.keep(said.take)
            said.entries = [_entry(1), _entry(2), _entry(3, cluster="other")]
            await store.flush()
            said.entries = [_entry(1, b"more"), _entry(4)]
            await store.flush()
        async with opened(path) as store:
            assert await store.last_entry() == 4
            assert await store.entries("main", 4, 10) == [_entry(1, b"more"), _entry(2)]
            assert await store.entries("main", 9, 1) == [_entry(1, b"more")]
            await store.forget_entries([1, 2])
            assert await store.entries("main", 9, 10) == [_entry(4)]
            await store.forget_entries_except(["main"])
            assert await store.entries("other", 9, 10) == []

    asyncio.run(main(str(tmp_path / "positions")))


def test_the_oldest_go_when_there_are_too_many_bytes(tmp_path):
    async def main(path):
        said = Said()
        async with opened(path) as store:
            store.keep(said.take)
            said.entries = [_entry(number, b"c" * 89) for number in range(1, 11)]
            await store.flush()
            assert await store.trim_entries("main", 350) == 7
            left = await store.entries("main", 99, 99)
            assert [entry.number for entry in left] == [8, 9, 10]
            assert await store.trim_entries("main", 350) == 0

    asyncio.run(main(str(tmp_path / "positions")))


def test_what_a_sighting_moves_is_said_as_well(tmp_path):
    """A row may be sighted further than any group commit says: its entries are not to come later,
    or a kill in between would leave bytes that nobody speaks of."""

    async def main(path):
        said = Said()
        async with opened(path, commit_every_seconds=3600) as store:
            store.keep(said.take)
            (row,) = await store.sight([a_position()])
            moved = a_position(id=row.id, offset=100)
            store.advance(moved)
            said.entries = [_entry(1)]
            await store.sight([a_position(id=row.id, offset=100, path="/var/log/access.log.1")])
            assert await store.entries("main", 9, 9) == [_entry(1)]
            (found,) = await store.lookup("access", [row.identity.inode])
            assert (found.offset, found.path) == (100, "/var/log/access.log.1")

    asyncio.run(main(str(tmp_path / "positions")))


def test_a_full_disk_keeps_them_in_mind_and_gives_up_the_oldest(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "ENTRIES_IN_MIND", 5)
    heard = Heard()

    async def main(path, directory):
        said = Said()
        async with opened(path, heard, commit_every_seconds=3600) as store:
            store.keep(said.take)
            rows = await store.sight([a_position(inode) for inode in range(300)])
            said.entries = [_entry(1)]
            await store.flush()
            ballast = fill(directory)
            for number in range(2, 9):
                for row in rows:
                    position = a_position(
                        row.identity.inode, id=row.id, offset=number, resume=b"r" * 999
                    )
                    store.advance(position)
                said.entries = [_entry(number, b"c" * 99)]
                with pytest.raises(StateError):
                    await store.flush()
            os.unlink(ballast)
            await store.flush()
            left = await store.entries("main", 99, 99)
            assert [entry.number for entry in left] == [1, 4, 5, 6, 7, 8]
        assert sum(event.entries for event in heard.of(AuditEntriesLost)) == 2
        assert heard.of(PositionWritesFailing)

    with mounted(str(tmp_path / "disk"), "size=2m") as directory:
        asyncio.run(main(os.path.join(directory, "positions"), directory))
