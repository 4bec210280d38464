"""Lookout: where a stream looks for its files, and when.

Owns the walk of all directories every `rescan`, which is the truth; the looks in between, and
during a walk, at directories that events point to, which only come sooner; the watches that bring
such events; and what cannot be read, said once for as long as it lasts. Knows nothing of open
files. Loop thread only; every look runs in a thread of the stream's own, so that a hung mount holds
up nobody else.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from singer.base.backoff import Backoff
from singer.base.events import FileUnreadable, InternalError
from singer.files.census import Census, Changes
from singer.files.lineage import bases
from singer.files.stat import FileStat
from singer.files.walk import Files, Tree, Walk, Walker
from singer.services import Services

#: After a directory event, wait this long for its neighbours: a rotation is several events.
_HINT_SECONDS: Final = 0.005
#: At most this share of a core is spent on listing directories because of events.
_HINT_DUTY: Final = 0.2
#: But a rotation is not kept waiting for longer, however large its directory is.
_HINT_PAUSE_SECONDS: Final = 0.2
#: First and longest wait after a look that failed for a reason of ours.
_BACKOFF_SECONDS: Final = (0.2, 30.0)

_T = TypeVar("_T")


class Lookout:
    """Looks for the files of one stream, until `stop`.

    `report` is awaited after each look with what is different, the paths of which a rotated
    name appeared that the globs do not match, and whether everything was looked at; the next
    look comes after it.
    """

    def __init__(
        self,
        stream: str,
        walker: Walker,
        services: Services,
        report: Callable[[Changes, set[str], bool], Awaitable[None]],
        *,
        rescan_seconds: float,
        rng: random.Random,
    ) -> None:
        self.census = Census()
        self.directories: frozenset[str] = frozenset()  #: whose changes matter
        self._stream = stream
        self._threads = f"stream {stream}"
        self._walker = walker
        self._services = services
        self._report = report
        self._rescan_seconds = rescan_seconds
        self._random = rng
        self._beside: dict[str, frozenset[str]] = {}  # by directory, rotated names seen there
        self._unreported: Changes = {}
        self._rotated: set[str] = set()
        self._watched: set[str] = set()
        self._complaints: dict[str, str] = {}
        self._complained: dict[str, str] = {}
        self._backoff = Backoff(*_BACKOFF_SECONDS)
        self._hinted: set[str] = set()
        self._hint = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = self._services.spawn(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for directory in self._watched:
            self._services.wakeup.unwatch_directory(directory, self)
        self._watched.clear()

    def look_soon(self, *directories: str) -> None:
        """Look at these directories before the next rescan; without one, only report."""
        self._hinted.update(directories)
        self._hint.set()

    def complain(self, path: str, cause: str) -> None:
        """Say what cannot be read, once for as long as it lasts."""
        if self._complained.get(path) != cause and self._complaints.get(path) != cause:
            self._services.emit(FileUnreadable(stream=self._stream, path=path, cause=cause))
        self._complaints[path] = cause

    async def in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run what may block on the stream's directories."""
        return await self._services.threads.run(self._threads, function, *arguments)

    @property
    def hangs(self) -> bool:
        """Whether a look does not come to its end: a mount does not answer."""
        return self._services.threads.hangs(self._threads)

    # --- when -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._round()
                self._backoff.reset()
            except Exception as error:  # noqa: BLE001  # a bug here must not stop discovery
                self._services.emit(InternalError.of("look for files", error))
                await asyncio.sleep(self._backoff.next())

    async def _round(self) -> None:
        """Look everywhere; then, until the next time, where something happens."""
        loop = self._services.loop
        await self._look_everywhere()
        until = loop.time() + self._rescan_seconds * self._random.uniform(0.8, 1.2)
        while (left := until - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._hint.wait()
            except TimeoutError:
                break
            await self._follow_hints()

    async def _follow_hints(self) -> _Seen:
        """Look where something happens, and rest for as long as that was dear."""
        await asyncio.sleep(_HINT_SECONDS)
        seen = await self._look_at(self._take_hints())
        pause_seconds = seen.cpu_seconds * (1 / _HINT_DUTY - 1)
        await asyncio.sleep(min(pause_seconds, _HINT_PAUSE_SECONDS))
        return seen

    def _take_hints(self) -> set[str]:
        hinted, self._hinted = self._hinted, set()
        self._hint.clear()
        return hinted

    # --- where ----------------------------------------------------------------------------------

    async def _look_everywhere(self) -> None:
        self._take_hints()
        walking = asyncio.ensure_future(self.in_thread(self._walker.walk, self.census.tree))
        try:
            meanwhile = await self._look_meanwhile(walking) if self.directories else []
            walk = await walking
        finally:
            walking.cancel()
        newer = {each for seen in meanwhile for each in seen.directories}
        changes = self.census.see_all(walk.tree, newer)
        self._complaints, self._complained = {}, self._complaints
        below = [each for seen in meanwhile for each in seen.walks]
        there = walk.directories.union(*(each.directories for each in below))
        for directory in self._watched - there:
            self._services.wakeup.unwatch_directory(directory, self)
        self._watched &= there
        self.directories = frozenset()
        self._beside = {d: names for d, names in self._beside.items() if d in there}
        for each in (walk, *below):
            self._mind(each)
        await self._hand_on(changes, set(), everywhere=True)

    async def _look_meanwhile(self, walking: asyncio.Future[Walk]) -> list[_Seen]:
        """Look where something happens until a walk is over, which may take long."""
        meanwhile: list[_Seen] = []
        walking.add_done_callback(lambda _: self._hint.set())
        while True:
            await self._hint.wait()
            if walking.done():
                if not self._hinted:
                    self._hint.clear()
                return meanwhile
            meanwhile.append(await self._follow_hints())

    async def _look_at(self, directories: set[str]) -> _Seen:
        """Look at these directories, and report."""
        if not directories:
            await self._hand_on({}, set(), everywhere=False)
            return _Seen(directories=set(), tree={}, beside={}, walks=[], cpu_seconds=0.0)
        seen = await self.in_thread(
            _look, self._walker, self.census.tree, directories, self.directories
        )
        rotated: set[str] = set()
        for directory, others in seen.beside.items():
            for path in others - self._beside.get(directory, frozenset()):
                rotated.update(base for base in bases(path) if self._walker.matches(base))
            self._beside[directory] = others
        for walk in seen.walks:
            self._mind(walk)
        changes = self.census.see(seen.directories, seen.tree)
        await self._hand_on(changes, rotated, everywhere=False)
        return seen

    async def _hand_on(self, changes: Changes, rotated: set[str], *, everywhere: bool) -> None:
        """Report, with what a report that failed did not come to."""
        self._unreported |= changes
        self._rotated |= rotated
        await self._report(dict(self._unreported), set(self._rotated), everywhere)
        self._unreported.clear()
        self._rotated.clear()

    def _mind(self, walk: Walk) -> None:
        """Watch the directories of a walk, and say what it could not read."""
        self.directories |= walk.directories
        for directory in walk.directories:
            if self._services.wakeup.watch_directory(
                directory, self, self._changed, remote=directory in walk.shared
            ):
                self._watched.add(directory)
        for path, cause in walk.faults:
            self.complain(path, cause)

    def _changed(self, directory: str) -> None:
        self.look_soon(directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A look at some directories, and below those in them that were not known.

    `directories`  all that were looked at
    `tree`         the files in them that match
    `beside`       by directory that was asked for, the paths of the files that do not
    `walks`        below the new ones
    `cpu_seconds`  what all that took
    """

    directories: set[str]
    tree: Tree
    beside: dict[str, frozenset[str]]
    walks: list[Walk]
    cpu_seconds: float


def _look(walker: Walker, known: Tree, directories: set[str], entered: frozenset[str]) -> _Seen:
    """Blocks: for a thread. `entered` are the directories that are known."""
    begun = time.thread_time()
    looked = set(directories)
    tree: dict[str, Files] = {}
    beside: dict[str, frozenset[str]] = {}
    walks: list[Walk] = []
    for directory, listing in walker.list_directories(directories, known).items():
        files: dict[str, FileStat] = {}
        others: set[str] = set()
        for path, stat in listing.sightings:
            if walker.matches(path):
                files[os.path.basename(path)] = stat
            else:
                others.add(path)
        if files:
            tree[directory] = files
        beside[directory] = frozenset(others)
        for subdirectory in listing.subdirectories - entered:
            walk = walker.walk_below(subdirectory, known)
            walks.append(walk)
            looked |= walk.directories
            tree |= walk.tree
    return _Seen(
        directories=looked,
        tree=tree,
        beside=beside,
        walks=walks,
        cpu_seconds=time.thread_time() - begun,
    )
