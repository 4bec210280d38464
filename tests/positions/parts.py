"""What the tests of this package share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from singer.base.clock import SystemClock
from singer.base.events import Event
from singer.base.position import FileIdentity, Mark, Position
from singer.positions.sqlite import SqlitePositions

E = TypeVar("E", bound=Event)


def a_position(inode: int = 7, offset: int = 0, **changes: Any) -> Position:
    return replace(
        Position(
            stream="access",
            destination="main/web",
            path="/var/log/access.log",
            identity=FileIdentity(device=2049, inode=inode, birth_ns=1, fingerprint=Mark.of(b"x")),
            offset=offset,
            first_seen_ns=5,
            updated_ns=6,
        ),
        **changes,
    )


class Heard(list[Event]):
    """An Emit that keeps what it was given."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, kind)]


@contextlib.asynccontextmanager
async def opened(path: str, heard: Heard | None = None, **more: Any) -> AsyncIterator[Any]:
    emit = Heard() if heard is None else heard
    store = SqlitePositions(path, emit=emit, clock=more.pop("clock", SystemClock()), **more)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def until(predicate: Callable[[], object], deadline_seconds: float, what: str) -> None:
    """Let the loop run until `predicate` holds."""
    ends = time.monotonic() + deadline_seconds
    while not predicate():
        assert time.monotonic() < ends, f"not within {deadline_seconds:g} s: {what}"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def mounted(path: str, options: str) -> Iterator[str]:
    """A small tmpfs at `path`; skips the test where that is not allowed."""
    os.makedirs(path, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(directory: str) -> str:
    """Take all room on the file system of `directory`; the file to remove to give it back."""
    ballast = os.path.join(directory, "ballast")
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        with contextlib.suppress(OSError):
            while os.write(descriptor, bytes(4096)):
                pass
    finally:
        os.close(descriptor)
    return ballast


def contents(path: str) -> bytes | None:
    """The bytes of the regular file `path`; None if there is none."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def overwrite(path: str, start: int, end: int | None = None) -> None:
    """Break the bytes of `path` from `start` to `end` (its own end if not given)."""
    with open(path, "r+b") as file:
        stop = os.path.getsize(path) if end is None else end
        file.seek(start)
        file.write(b"\xa5" * (stop - start))


def remount(path: str, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", path], check=True)
