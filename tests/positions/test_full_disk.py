"""A state disk without room: positions stay in memory, the alarm sounds once, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from singer.base.errors import StateError
from singer.positions.events import PositionWritesFailing, PositionWritesResumed
from singer.positions.query import read_positions
from tests.positions.parts import (
    Heard,
    a_position,
    fill,
    mounted,
    opened,
    overwrite,
    remount,
    until,
)
from tests.support import child


def test_a_full_disk_and_room_again(tmp_path):
    heard = Heard()

    async def main(path, directory):
        async with opened(path, heard, commit_every_seconds=0.005) as store:
            rows = await store.sight([a_position(inode) for inode in range(300)])
            ballast = fill(directory)
            for row in rows:
                store.advance(
                    a_position(row.identity.inode, id=row.id, offset=1, resume=b"r" * 999)
                )
            await until(lambda: heard.of(PositionWritesFailing), 10, "the alarm")
            with pytest.raises(StateError, match="make room on its file system"):
                await store.flush()
            with pytest.raises(StateError):
                await store.sight([a_position(5000, resume=b"r" * 999)] * 300)
            # Delivery goes on: newer positions take the place of older ones in memory.
            for row in rows:
                store.advance(
                    a_position(row.identity.inode, id=row.id, offset=2, resume=b"r" * 999)
                )
            found = await store.lookup("access", [row.identity.inode for row in rows])
            assert {position.offset for position in found} == {2}
            assert len(heard.of(PositionWritesFailing)) == 1
            assert heard.of(PositionWritesResumed) == []
            os.unlink(ballast)
            await until(lambda: heard.of(PositionWritesResumed), 10, "the end of the alarm")
            await store.flush()
            assert [position.offset for position in read_positions(path)] == [2] * 300
            assert len(heard.of(PositionWritesFailing)) == 1
            assert len(heard.of(PositionWritesResumed)) == 1
            message = heard.of(PositionWritesFailing)[0].message()
            assert path in message
            assert "delivery goes on" in message

    with mounted(str(tmp_path / "disk"), "size=2m") as directory:
        asyncio.run(main(os.path.join(directory, "positions"), directory))


def test_a_full_disk_at_the_start_is_named(tmp_path):
    async def main(path, directory):
        ballast = fill(directory)
        with pytest.raises(StateError, match="position store"):
            async with opened(path):
                pass
        os.unlink(ballast)
        async with opened(path) as store:
            assert not store.recovered
            await store.sight([a_position()])

    with mounted(str(tmp_path / "disk"), "size=1m") as directory:
        asyncio.run(main(os.path.join(directory, "positions"), directory))


def test_a_full_disk_at_the_start_keeps_a_damaged_store(tmp_path):
    async def main(path, directory):
        async with opened(path) as store:
            await store.sight([a_position()])
        overwrite(path, 0, 4096)
        ballast = fill(directory)
        with pytest.raises(StateError):
            async with opened(path):
                pass
        os.unlink(ballast)
        async with opened(path) as store:
            assert store.recovered
            assert len(await store.lookup("access", [7])) == 1

    with mounted(str(tmp_path / "disk"), "size=1m") as directory:
        asyncio.run(main(os.path.join(directory, "positions"), directory))


def test_closing_on_a_full_disk_says_what_was_not_kept(tmp_path):
    async def main(path, directory):
        store_manager = opened(path, commit_every_seconds=60)
        store = await store_manager.__aenter__()
        rows = await store.sight([a_position(inode) for inode in range(300)])
        fill(directory)
        for row in rows:
            store.advance(a_position(row.identity.inode, id=row.id, offset=1, resume=b"r" * 999))
        with pytest.raises(StateError):
            await store.close()
        await store.close()

    with mounted(str(tmp_path / "disk"), "size=1m") as directory:
        asyncio.run(main(os.path.join(directory, "positions"), directory))


def test_a_read_only_disk_is_named(tmp_path):
    async def main(path, directory):
        async with opened(path) as store:
            [row] = await store.sight([a_position()])
        remount(directory, "ro")
        with pytest.raises(StateError, match="writable"):
            async with opened(path):
                pass
        remount(directory, "rw")
        async with opened(path) as store:
            assert await store.lookup("access", [7]) == [row]

    with mounted(str(tmp_path / "disk"), "size=2m") as directory:
        asyncio.run(main(os.path.join(directory, "positions"), directory))


LIMITED = """
import asyncio, resource, sys
from singer.base.errors import StateError
from singer.positions.events import PositionWritesFailing, PositionWritesResumed
from tests.positions.parts import Heard, a_position, opened

async def main(path):
    heard = Heard()
    async with opened(path, heard, commit_every_seconds=60) as store:
        rows = await store.sight([a_position(inode) for inode in range(300)])
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        for row in rows:
            store.advance(a_position(row.identity.inode, id=row.id, offset=1))
        for attempt in range(3):
            try:
                await store.flush()
            except StateError as error:
                print("refused", error, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await store.flush()
        assert len(heard.of(PositionWritesFailing)) == 1
        assert len(heard.of(PositionWritesResumed)) == 1
    print("done", flush=True)

asyncio.run(main(sys.argv[1]))
"""


def test_a_file_size_limit_is_survived(tmp_path):
    """The same without root."""
    path = str(tmp_path / "positions")
    process = child.spawn(
        [sys.executable, "-c", LIMITED, path], output=subprocess.PIPE, cwd=os.getcwd()
    )
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        child.end(process)
    lines = output.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["refused"] * 3 + ["done"], output.decode()
    assert [position.offset for position in read_positions(path)] == [1] * 300
