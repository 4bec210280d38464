"""Surroundings: which files and rows are in question when a stream asks about paths.

Owns the listing of directories beside paths, and what names, times and rows say about the files
there: rotated files of a path, finished ones, history. Opens nothing. Loop thread only.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from singer.agenda import Agenda
from singer.base.config import Rotated, StreamConfig
from singer.base.ports import PositionStore
from singer.base.position import READ_TO_END, FileIdentity, Position
from singer.dormants import Dormants
from singer.files.census import Key
from singer.files.finding import Suspect
from singer.files.identity import born_before
from singer.files.lineage import bases, lineage_of
from singer.files.siblings import compression
from singer.files.stat import FileStat
from singer.files.threads import DeviceThreads
from singer.files.walk import Sighting, Walker
from singer.lookout import Lookout
from singer.roster import Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What tells a file of ours from one of before our time.

    `since_ns`  when the stream was first looked at; now, if it never was before
    `lost`      there was a past, and its rows are gone: nothing tells them apart
    `first`     nothing is known yet of what happened while the agent did not run
    `met`       by inode number and birth time, the paths of files that the first look of all met,
                and that were renamed before they had a row
    """

    since_ns: int
    lost: bool
    first: bool
    met: Mapping[tuple[int, int | None], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Files to be recognised, the rows for their inode numbers, and rows whose file is not seen.

    `unseen` are the paths of which a directory could not be listed: to be asked about again.
    `hidden` are ids of those whose file may be there all the same: not to be forgotten. `resting`
    are, by path, the rows of closed files that are at their paths.
    """

    suspects: dict[Key, Suspect]
    rows: list[Position]
    orphans: list[Position]
    unseen: Collection[str]
    hidden: Collection[int]
    resting: Mapping[str, Sequence[Position]]


class Surroundings:
    """Finds out whom to ask about. `destinations` are the names of all there are."""

    def __init__(
        self,
        config: StreamConfig,
        destinations: Collection[str],
        store: PositionStore,
        walker: Walker,
        *,
        lookout: Lookout,
        open_files: Roster,
        dormants: Dormants,
        agenda: Agenda,
    ) -> None:
        self._config = config
        self._destinations = frozenset(destinations)
        self._store = store
        self._walker = walker
        self._lookout = lookout
        self._open = open_files
        self._dormants = dormants
        self._agenda = agenda
        self._blind: set[str] = set()  # directories that could not be listed for this question
        self._faulty: set[str] = set()  # those that gave an error
        self._listed: set[str] = set()  # and those that could
        self._seen: set[tuple[Key, int | None]] = set()  # what is in them, and when it was born

    def suspect(self, sightings: Collection[Sighting]) -> dict[Key, Suspect]:
        """Files that were seen, by name what they are."""
        named: dict[str, Any] = dict.fromkeys(sighting.path for sighting in sightings)
        paths = ChainMap[str, Any](named, self._open.at, self._dormants.at)
        return {
            s.stat.key: Suspect(
                path=s.path, lineage=self._lineage(s.path, paths) or s.path, stat=s.stat
            )
            for s in sightings
        }

    async def look(
        self,
        suspects: dict[Key, Suspect],
        asked: Collection[str],
        destinations: Collection[str],
        history: History,
    ) -> Question:
        """All that is in question with these suspects and paths. Raises StateError, ReadError.

        Adds the rotated files to the suspects, and leaves out those that are finished.
        """
        by_path = await self._past(suspects, asked, destinations, history)
        inodes = sorted({inode for _, inode in suspects})
        rows = [
            row
            for row in await self._store.lookup(self._config.name, inodes)
            if row.identity.key in suspects or not self._has_file(row.identity)
        ]
        self._drop_finished(suspects, rows)
        suspected = {(suspect.stat.inode, suspect.stat.birth_ns) for suspect in suspects.values()}
        orphans: list[Position] = []
        resting: dict[str, list[Position]] = {}
        for row in (row for rows_of_path in by_path.values() for row in rows_of_path):
            identity = row.identity
            if (identity.inode, identity.birth_ns) in suspected or self._is_open(identity):
                continue
            if row.destination not in self._destinations:
                continue
            if not self._rests(identity):
                orphans.append(row)
            elif self._dormants.at.get(row.path) == identity.key:
                resting.setdefault(row.path, []).append(row)
        return Question(
            suspects=suspects,
            rows=rows,
            orphans=orphans,
            unseen={path for path in by_path.keys() | {*asked} if self._may_have_missed(path)},
            hidden={row.id for row in orphans if self._may_be_hidden(row)},
            resting=resting,
        )

    def _may_have_missed(self, path: str) -> bool:
        """Whether a rotated file of it may be where nothing could be listed."""
        return bool(self._faulty & {os.path.dirname(path), *self._config.rotated_dirs})

    def _may_be_hidden(self, row: Position) -> bool:
        """Whether its file may be where it was, and cannot be seen now."""
        return bool(self._blind & {os.path.dirname(row.path), *self._config.rotated_dirs})

    async def present_rows(self, threads: DeviceThreads) -> set[int] | None:
        """Ids of the rows whose files exist; None if that cannot be told now. Raises StateError."""
        # In threads of its own: one that hangs is not one that looks for files.
        in_thread = partial(threads.run, f"upkeep of stream {self._config.name}")
        inodes: set[int] = set()
        for directory in sorted({*self._lookout.directories, *self._config.rotated_dirs}):
            listing = await in_thread(self._walker.list_directory, directory)
            if listing.fault or (
                not listing.sightings
                and directory in self._config.rotated_dirs
                and not await in_thread(os.path.exists, directory)
            ):
                return None
            inodes.update(sighting.stat.inode for sighting in listing.sightings)
        inodes.update(tracked.file.identity.inode for tracked in self._open.values())
        inodes.update(inode for _, inode in self._dormants)
        return {row.id for row in await self._store.lookup(self._config.name, sorted(inodes))}

    def _has_file(self, identity: FileIdentity) -> bool:
        """Whether the very file of a row is here: then it tells nothing of its like on another
        device, the clone of a disk.
        """
        tracked, dormant = self._open.get(identity.key), self._dormants.get(identity.key)
        return (tracked is not None and tracked.stat.birth_ns == identity.birth_ns) or (
            dormant is not None and dormant.birth_ns == identity.birth_ns
        )

    def _is_open(self, identity: FileIdentity) -> bool:
        """Whether a row's file is open."""
        inode, birth_ns = identity.inode, identity.birth_ns
        return any(tracked.stat.birth_ns == birth_ns for tracked in self._open.with_inode(inode))

    async def _past(
        self,
        suspects: dict[Key, Suspect],
        asked: Collection[str],
        destinations: Collection[str],
        history: History,
    ) -> dict[str, list[Position]]:
        """The rows of all paths in question; adds their rotated files to the suspects.

        A file with a known inode is one of ours whatever its name; a sibling by name without a
        row is, if it was written to since the stream was first looked at. At the first look of a
        run nothing is known of what happened meanwhile, and a path may be gone but for its rotated
        files: all files beside are looked at.
        """
        name, store = self._config.name, self._store
        paths = {suspect.lineage for suspect in suspects.values()} | set(asked)
        listed: list[Sighting] = []
        beside: list[Sighting] = []
        if history.first:
            directories = {*self._lookout.directories, *self._config.rotated_dirs}
            listed = await self._list(directories)
            beside = self._unread(listed, destinations)
            for sighting in beside:
                paths.update(self._paths_of(sighting.path))
        by_path: dict[str, list[Position]] = {}
        for row in await store.lineage(name, sorted(paths)):
            by_path.setdefault(row.path, []).append(row)
        ours_by_row = [row for rows in by_path.values() for row in rows]
        if history.first:
            ours_by_row += await store.lookup(name, sorted({s.stat.inode for s in beside}))
        elif paths:
            directories = {*map(os.path.dirname, paths), *self._config.rotated_dirs}
            listed = await self._list(directories)
            beside = self._unread(listed, destinations)
        home = {(row.identity.inode, row.identity.birth_ns): row.path for row in ours_by_row}
        home |= history.met
        ours = self._dating(history)
        there = {s.path: s.stat for s in listed}
        for sighting in beside:
            stat = sighting.stat
            key = stat.key
            if key in suspects:
                # Seen twice: where it was seen last counts, if it is not another name of it.
                before = there.get(suspects[key].path)
                moved = before is None or (before.device, before.inode) != key
                path = sighting.path if moved else suspects[key].path
                suspects[key] = replace(suspects[key], path=path, stat=stat)
                continue
            packed = compression(sighting.path)
            plain = sighting.path.removesuffix(packed.value) if packed else None
            if plain not in there or _is_older(stat, there[plain]):
                plain = None
            lineage = self._lineage(sighting.path, paths) if ours(sighting) else None
            # A number may have been used again. Then a compressed file's content tells more, and a
            # birth time, where there is one, that it is another file.
            known = home.get((stat.inode, stat.birth_ns)) or home.get((stat.inode, None))
            if sighting.path in paths and not packed:
                lineage = sighting.path  # whatever path it had before
            elif not (packed and lineage):
                lineage = known or lineage
            if (tracked := self._open.get(key)) is not None:
                lineage = tracked.file.path
            if lineage is not None:
                suspects[key] = Suspect(path=sighting.path, lineage=lineage, stat=stat, plain=plain)
        return by_path

    def _paths_of(self, rotated: str) -> set[str]:
        """The paths that a file may be a rotated file of, going by its name and the globs."""
        directory = os.path.dirname(rotated)
        homes = {directory}
        if directory in self._config.rotated_dirs:
            homes |= self._lookout.directories.union(self._walker.starts)
        names = [os.path.basename(base) for base in bases(rotated)]
        paths = {os.path.join(home, name) for home in homes for name in names}
        return {path for path in paths if self._walker.matches(path)}

    def _dating(self, history: History) -> Callable[[Sighting], bool]:
        """Which rotated files without a row are not from before our time."""
        # Without a past that we should have had, nothing says which of the old ones are history.
        if self._config.rotated_files is Rotated.ALL or history.lost:
            return lambda _: True
        return lambda sighting: sighting.stat.mtime_ns >= history.since_ns

    def _lineage(self, path: str, paths: Collection[str]) -> str | None:
        return lineage_of(
            path,
            paths,
            rotated_dirs=self._config.rotated_dirs,
            is_rotated=self._walker.is_rotated,
        )

    async def _list(self, directories: Iterable[str]) -> list[Sighting]:
        """All regular files of some directories."""
        found: list[Sighting] = []
        self._blind.clear()
        self._faulty.clear()
        self._listed.clear()
        self._seen.clear()
        listings = await self._lookout.in_thread(
            self._walker.list_directories, set(directories), self._lookout.census.tree
        )
        for directory, listing in listings.items():
            # A directory for rotated files of which nothing is there may be a mount that is not.
            if listing.fault:
                self._faulty.add(directory)
            if listing.fault or (directory in self._config.rotated_dirs and not listing.sightings):
                self._blind.add(directory)
            else:
                self._listed.add(directory)
            found += listing.sightings
        self._seen.update((s.stat.key, s.stat.birth_ns) for s in found)
        return found

    def _rests(self, identity: FileIdentity) -> bool:
        """Whether this is a closed file, and still there as far as this question saw."""
        key = identity.key
        dormant = self._dormants.get(key)
        if dormant is None or dormant.birth_ns != identity.birth_ns:
            return False
        seen = (key, dormant.birth_ns) in self._seen
        return seen or os.path.dirname(dormant.seen_at) not in self._listed

    def _unread(
        self, sightings: Iterable[Sighting], destinations: Collection[str]
    ) -> list[Sighting]:
        """Those that some destination could read and does not."""
        found = []
        for sighting in sightings:
            key = sighting.stat.key
            tracked, dormant = self._open.get(key), self._dormants.get(key)
            if (tracked is None or not tracked.served.issuperset(destinations)) and (
                dormant is None or not dormant.is_same(sighting.stat)
            ):
                found.append(sighting)
        return found

    def _drop_finished(self, suspects: dict[Key, Suspect], rows: list[Position]) -> None:
        """Leave out rotated files that every destination has read to the end."""
        by_file: dict[Key, list[Position]] = {}
        for row in rows:
            by_file.setdefault(row.identity.key, []).append(row)
        for key, suspect in list(suspects.items()):
            stat = suspect.stat
            done = {
                row.destination
                for row in by_file.get(key, ())
                if row.identity.birth_ns == stat.birth_ns
                and (row.offset == stat.size or row.resume == READ_TO_END)
                and stat.mtime_ns <= row.updated_ns  # else it may be as long, and another
            }
            if not suspect.current and done >= self._destinations:
                self._dormants.add(key, suspect.lineage, suspect.path, stat)
                del suspects[key]


def _is_older(archive: FileStat, plain: FileStat) -> bool:
    """Whether an archive was not made of the plain file of its name, because it is older.

    Its time is that of what it was made of, or later: the tools that compress files keep it.
    """
    born_ns = plain.birth_ns
    return born_before(archive, born_ns) or (born_ns is not None and archive.mtime_ns < born_ns)
