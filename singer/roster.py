"""Roster: the open files of one stream, and where they are.

Owns which file is open, which is the one at its path, and which is the youngest of a path; and the
answer to whether a file is final, because it is not at its path any more. Knows nothing of rows or
of who is to be opened. Loop thread only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from singer.base.events import FileRotated
from singer.files.census import Changes, Key
from singer.files.keyed import Keyed
from singer.files.openfile import OpenFile
from singer.files.stat import FileStat
from singer.files.walk import Sighting, Walker
from singer.lookout import Lookout
from singer.pipeline import Pipeline
from singer.services import Services


@dataclass(slots=True, kw_only=True, eq=False)
class Tracked:
    """A file that is open, and its pipelines by destination."""

    file: OpenFile
    stat: FileStat  #: from the last look
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    rewriting: set[str] = field(default_factory=set)  #: destinations that begin anew
    left_out: set[str] = field(default_factory=set)  #: destinations it is quarantined for

    @property
    def served(self) -> set[str]:
        """The destinations that need not be asked about it."""
        return self.left_out.union(self.pipelines)

    @property
    def quiet(self) -> bool:
        """Whether it was read to its end, and everything sent is committed."""
        return all(pipeline.at_end and pipeline.settled for pipeline in self.pipelines.values())

    @property
    def resting(self) -> bool:
        """Whether it may be closed."""
        return not self.rewriting and all(p.resting for p in self.pipelines.values())

    @property
    def quiet_since(self) -> float:
        """Loop time since when nothing came, and nothing happened to it."""
        since = [pipeline.idle_since for pipeline in self.pipelines.values()]
        return max([self.file.opened_at, self.file.final_since or 0.0, *since])

    def state(self) -> tuple[int, int]:
        """Its size and when it was last written to (ns); of a remote file as of the last look."""
        if self.file.remote:
            return self.stat.size, self.stat.mtime_ns
        return self.file.state()

    def wake(self) -> None:
        """There may be something to do."""
        for pipeline in self.pipelines.values():
            pipeline.wake()


class Roster(Keyed[Tracked]):
    """The open files of one stream.

    `at`        by path, the one that is there now
    `youngest`  by path, the last of its chain
    `unseen`    at their paths as far as is known, but not seen at the last look
    """

    def __init__(self, stream: str, services: Services, lookout: Lookout, walker: Walker) -> None:
        super().__init__()
        self.at: dict[str, Tracked] = {}
        self.youngest: dict[str, Tracked] = {}
        self.unseen: set[Key] = set()
        self._stream = stream
        self._services = services
        self._lookout = lookout
        self._walker = walker
        self._of_path: dict[str, tuple[Tracked, ...]] = {}
        self._moved: list[Tracked] = []
        self._displaced: set[Key] = set()  # final, and nobody has looked where they are

    @property
    def pipelines(self) -> Iterator[Pipeline]:
        """All pipelines."""
        return (p for tracked in self.values() for p in tracked.pipelines.values())

    def of_path(self, path: str) -> Sequence[Tracked]:
        """The open files that belong to a path, its rotated ones included."""
        return self._of_path.get(path, ())

    def displace(self, path: str, key: Key) -> None:
        """This file is at the path, so the one that was there is not, whatever the last look saw.

        Its successor has to wait for its end from the beginning.
        """
        before = self.at.get(path)
        if before is None or before.file.key == key or before.file.final_since is not None:
            return
        before.file.final_since = self._services.loop.time()
        self._displaced.add(before.file.key)
        before.wake()

    def enter(self, tracked: Tracked, *, current: bool) -> None:
        """A file is open; `current`: it is at its path."""
        path = tracked.file.path
        fresh = tracked.file.key not in self  # else one more destination reads it
        if fresh:
            self._put(tracked.file.key, tracked)
            self._join(tracked)
        young = self.youngest.get(path)
        if current or young is None or (fresh and young.file.final_since is not None):
            self.youngest[path] = tracked
        if current:
            self.at[path] = tracked
            if self._lookout.census.at(path) != tracked.file.key:
                self.unseen.add(tracked.file.key)  # it came since the last look, and may be gone
        else:
            self._finalise(tracked)

    def leave(self, key: Key) -> None:
        """Close a file."""
        tracked = self[key]
        path = tracked.file.path
        self._pop(key)
        self._part(tracked)
        self.unseen.discard(key)
        self._displaced.discard(key)
        if self.youngest.get(path) is tracked:
            del self.youngest[path]
        if self.at.get(path) is tracked:
            del self.at[path]
        tracked.file.close(self._services.threads)

    def misplaced(self, paths: Iterable[str]) -> Iterator[Key]:
        """The files that were last known at these paths, where the last look saw no such file.

        One that came and went between two looks is in no change that a look brings up.
        """
        for path in paths:
            tracked = self.at.get(path)
            if tracked is not None and self._lookout.census.at(path) != tracked.file.key:
                yield tracked.file.key

    async def locate(self, changes: Changes) -> set[str]:
        """Say where files are now, and whether they are still the ones at their paths.

        Returns the paths at which none of them, or another one, is now.
        """
        taken = self._lookout.census.at
        mine = {key: where for key, where in changes.items() if key in self}
        left = await self.whereabouts([self[key] for key, where in mine.items() if where is None])
        was_at: dict[str, Tracked] = {}
        is_at: dict[str, Tracked] = {}
        for key, sighting in mine.items():
            tracked = self.get(key)
            if tracked is None:
                continue
            file = tracked.file
            if self.at.get(file.path) is tracked:
                was_at[file.path] = tracked
            if sighting is not None:
                self._seen(tracked, sighting)
            elif file.final_since is None or key in self._displaced:
                links, where = left.get(key, (1, file.seen_at))
                if links and where == file.seen_at and taken(where) is None:
                    self.unseen.add(key)  # its directory cannot be read just now
                else:
                    self.unseen.discard(key)
                    file.deleted = not links
                    if links:
                        file.seen_at = where
                    self._finalise(tracked)
            if file.final_since is None:
                is_at[file.path] = tracked
        for path in was_at:
            del self.at[path]
        self.at |= is_at
        return {path for path, tracked in was_at.items() if self.at.get(path) is not tracked}

    def take_moved(self) -> list[Tracked]:
        """The files that belong to another path since this was last asked."""
        moved, self._moved = self._moved, []
        return moved

    async def whereabouts(self, files: Collection[Tracked]) -> dict[Key, tuple[int, str]]:
        """By file, how many names lead to it, and where it is: as seen, or as the kernel says."""
        if not files:
            return {}
        asked = [tracked.file for tracked in files]
        return await self._lookout.in_thread(_whereabouts, asked, self._walker)

    def _seen(self, tracked: Tracked, sighting: Sighting) -> None:
        file = tracked.file
        self.unseen.discard(file.key)
        file.seen_at = sighting.path
        if sighting.path != file.path and sighting.path in self.at:
            self._part(tracked)
            file.path = sighting.path  # swapped with another file of the stream
            self._join(tracked)
            self._moved.append(tracked)
            for pipeline in tracked.pipelines.values():
                pipeline.belong_to(file.path)
        if sighting.path == file.path:
            self._revive(tracked)
        else:
            self._finalise(tracked)
        if sighting.stat != tracked.stat:
            tracked.stat = sighting.stat
            tracked.wake()

    def _join(self, tracked: Tracked) -> None:
        path = tracked.file.path
        self._of_path[path] = (*self.of_path(path), tracked)

    def _part(self, tracked: Tracked) -> None:
        path = tracked.file.path
        others = tuple(each for each in self.of_path(path) if each is not tracked)
        if others:
            self._of_path[path] = others
        else:
            del self._of_path[path]

    def _revive(self, tracked: Tracked) -> None:
        """A file is at its path, or back there."""
        self._displaced.discard(tracked.file.key)
        if tracked.file.final_since is not None:
            tracked.file.final_since = None
            for pipeline in tracked.pipelines.values():
                pipeline.finish_reading()  # who waits for its end would wait for ever

    def _finalise(self, tracked: Tracked) -> None:
        """Nobody is expected to write to a file any more."""
        file = tracked.file
        if file.final_since is not None and file.key not in self._displaced:
            return
        self._displaced.discard(file.key)
        file.final_since = self._services.loop.time()
        self._services.emit(
            FileRotated(
                stream=self._stream,
                path=file.path,
                to=None if file.deleted else file.seen_at,
            )
        )
        tracked.wake()


def _whereabouts(files: Iterable[OpenFile], walker: Walker) -> dict[Key, tuple[int, str]]:
    """Blocks. What cannot be told (a stale handle, a file closed meanwhile) is as it was."""
    found = {}
    for file in files:
        try:
            links, where = file.whereabouts()
            if links and where != file.seen_at and where == _real_path(file.seen_at, walker):
                where = file.seen_at
            found[file.key] = links, where
        except OSError:
            found[file.key] = (1, file.seen_at)
    return found


def _real_path(path: str, walker: Walker) -> str | None:
    """How the kernel names `path`; None: nothing is there any more. Raises OSError."""
    try:
        return walker.real_path(path)
    except FileNotFoundError:
        return None
