"""A position store: `python -m bench.store fill PATH ROWS`; `open PATH` prints the seconds and
the resident bytes that it took.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Final

from bench import measure
from singer.base.clock import SystemClock
from singer.base.position import FileIdentity, Mark, Position
from singer.positions.sqlite import SqlitePositions

_AT_ONCE: Final = 10_000


async def fill(path: str, rows: int) -> None:
    positions = _positions(path)
    await positions.open()
    for first in range(0, rows, _AT_ONCE):
        await positions.sight([_row(n) for n in range(first, min(first + _AT_ONCE, rows))])
    await positions.close()


async def open_(path: str) -> None:
    before = measure.resident_bytes(os.getpid())
    positions = _positions(path)
    begun = time.monotonic()
    await positions.open()
    taken = time.monotonic() - begun
    print(f"{taken:.6f} {measure.resident_bytes(os.getpid()) - before}")
    sys.stdout.flush()
    os._exit(0)  # closing renews the backup, which is not what is measured


def _positions(path: str) -> SqlitePositions:
    return SqlitePositions(path, emit=lambda _: None, clock=SystemClock())


def _row(number: int) -> Position:
    mark = Mark.of(str(number).encode())
    return Position(
        stream="bench",
        destination="main/bench",
        path=f"/var/log/applications/{number % 200:04}/app-{number:08}.log",
        identity=FileIdentity(
            device=2049, inode=1_000_000 + number, birth_ns=number, fingerprint=mark
        ),
        offset=150,
        tail=mark,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", store, count]:
            asyncio.run(fill(store, int(count)))
        case ["open", store]:
            asyncio.run(open_(store))
