"""kill -9 in the middle of group commits."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys

from singer.positions.events import PositionsCounted
from singer.positions.query import read_positions
from tests.positions.parts import Heard, opened, until
from tests.support import child

#: Prints `sighted N` when a row is on disk, and `flushed N` when offset N of every row is.
CHILD = """
import asyncio, sys
from tests.positions.parts import a_position, opened

async def main(path):
    async with opened(path, commit_every_seconds=0.002) as store:
        rows, offset = [], 0
        while True:
            rows += await store.sight([a_position(inode=len(rows) + 1)])
            print("sighted", len(rows), flush=True)
            for _ in range(30):
                offset += 1
                print("advancing", offset, flush=True)
                for row in rows:
                    store.advance(a_position(row.identity.inode, id=row.id, offset=offset))
                await asyncio.sleep(0.0005)
            await store.flush()
            print("flushed", offset, flush=True)

asyncio.run(main(sys.argv[1]))
"""


def test_positions_never_move_past_what_was_advanced_and_sighted_rows_survive(tmp_path):
    chance = random.Random(7)
    for round_number in range(6):
        path = str(tmp_path / f"positions{round_number}")
        process = child.spawn(
            [sys.executable, "-c", CHILD, path], output=subprocess.PIPE, cwd=os.getcwd()
        )
        assert process.stdout is not None
        said = {"sighted": 0, "advancing": 0, "flushed": 0}
        left = chance.randrange(60, 400)
        try:
            with process.stdout:
                for line in process.stdout:
                    word, number = line.split()
                    said[word.decode()] = int(number)
                    left -= 1
                    if left == 0:
                        process.kill()
        finally:
            child.end(process)
        rows = list(read_positions(path))
        assert len(rows) >= said["sighted"] > 0
        for row in rows:
            assert row.offset <= said["advancing"]
        # Rows that were there at the last flush; the newest may have been sighted after it.
        for row in rows[: said["sighted"] - 1]:
            assert row.offset >= said["flushed"]

        async def reopen(path):
            heard = Heard()
            async with opened(path, heard) as store:
                assert not store.recovered
                await until(lambda: heard, 10, "the rows are counted")
            return heard

        assert asyncio.run(reopen(path)) == [PositionsCounted(rows=len(rows))]
