"""Walker: which regular files the globs of a stream find, and which directories to watch.

Pure but for the file system: a Walker is immutable, each call looks anew and returns immutable
values, so it may run in any thread; on a hung mount it blocks, so it must not run on the loop.

Directories are entered only where a glob may match. The directories that a person wrote out (what
stands before the first wildcard) may lead through symbolic links; below, no link is followed, so
there are no loops. Directories that vanish meanwhile are as if they had never been there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

from singer.files import globs
from singer.files.globs import Place
from singer.files.opening import explain, open_regular, special
from singer.files.stat import FileStat, stat_fd, stat_path

_OPEN_DIRECTORY: Final = os.O_DIRECTORY | os.O_CLOEXEC
#: Longer paths cannot be opened (PATH_MAX, with room for a name): the tree below is left alone.
_LONGEST_PATH_BYTES: Final = 4096 - 256
#: What opening a directory answers when a file or a link has taken its place since it was listed.
_REPLACED: Final = (errno.ENOTDIR, errno.ELOOP)

#: A directory that changes all the time is taken as it was seen the last of so many times.
_MOST_LOOKS: Final = 4

_Entry = TypeVar("_Entry")
_Places = frozenset[Place]
_by_path = itemgetter(0)


class Sighting(NamedTuple):
    """A regular file and what the kernel said about it. A tuple, because a walk makes thousands."""

    path: str
    stat: FileStat


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What one walk found.

    `sightings`    regular files that match, by path
    `directories`  directories whose changes matter: those that were entered, and for a directory
                   that is written out but not there, the nearest one above it that is
    `faults`       (path, what is wrong and what to do), by path
    """

    sightings: tuple[Sighting, ...]
    directories: frozenset[str]
    faults: tuple[tuple[str, str], ...]
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is in one directory.

    `sightings`       all its regular files, matching or not, by path
    `subdirectories`  directories that a walk would look at because of this one: if one of them is
                      new, so may be files below it
    `fault`           why it could not be listed; None also when it is gone
    """

    sightings: tuple[Sighting, ...]
    subdirectories: frozenset[str]
    fault: str | None = None


@dataclass(slots=True)
class _Found:
    sightings: list[Sighting] = field(default_factory=list)
    directories: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    def special(self, path: str, stat: FileStat, *, named: bool) -> None:
        """What matches is no regular file. `named`: its name is written out in a glob."""
        if stat.kind == "a symbolic link" and not named:
            self.links.append(path)
        elif named or not stat.is_directory:
            self.faults[path] = f"read {path!r}: {special(stat)}"


class Walker:
    """Walks for `patterns`, less `excludes`; `rotated` are globs of names of rotated files.

    `avoid` holds (device, inode) of files and directories that are the agent's own: never seen,
    whatever the globs say. Raises ValueError for a glob that cannot be compiled.
    """

    def __init__(
        self,
        patterns: Iterable[str],
        excludes: Iterable[str] = (),
        rotated: Iterable[str] = (),
        *,
        avoid: Collection[tuple[int, int]] = (),
    ) -> None:
        self._patterns = tuple(globs.compile(pattern) for pattern in patterns)
        self._rotated = tuple(globs.compile(pattern) for pattern in rotated)
        self._excludes = globs.compile_excludes(excludes)
        self._avoid = frozenset(avoid)
        starts: dict[str, set[Place]] = {}
        for pattern in self._patterns:
            for base, place in pattern.starts():
                if self._excludes.cover_tree(base):
                    continue
                starts.setdefault(base, set()).add(place)
        self._starts = {base: frozenset(places) for base, places in starts.items()}

    def matches(self, path: str) -> bool:
        """Whether a file at `path` belongs to the stream by its name."""
        return any(p.matches(path) for p in self._patterns) and not self._excludes.cover(path)

    def is_rotated(self, path: str) -> bool:
        """Whether `path` is named as one of the `rotated` globs says."""
        return any(p.matches(path) for p in self._rotated) and not self._excludes.cover(path)

    def walk(self, known: Mapping[str, FileStat] | None = None) -> Walk:  # noqa: ARG002
        """Look everywhere."""
        found = _Found()
        # By depth, so that a directory that is reached in several ways is entered once, for all.
        pending: dict[int, dict[str, _Places]] = {}
        for base, places in self._starts.items():
            pending.setdefault(_depth(base), {})[base] = places
        while pending:
            for directory, places in sorted(pending.pop(depth := min(pending)).items()):
                for path, inside in self._enter(directory, places, found):
                    below = pending.setdefault(depth + 1, {})
                    below[path] = below.get(path, frozenset()) | inside
        self._complain_of_links(found)
        return Walk(
            sightings=tuple(sorted(found.sightings, key=_by_path)),
            directories=frozenset(found.directories),
            faults=tuple(sorted(found.faults.items())),
        )

    def walk_below(self, directory: str, known: Mapping[str, FileStat] | None = None) -> Walk:  # noqa: ARG002
        """Look everywhere below a directory."""
        return self.walk(known)

    def open(self, path: str) -> int:
        """A descriptor to read the regular file at `path`. Raises ReadError."""
        return open_regular(path)

    def list_directory(
        self,
        directory: str,
        known: Mapping[str, FileStat] | None = None,  # noqa: ARG002
    ) -> Listing:
        """Look into one directory, whether a glob leads to it or not."""
        sightings: list[Sighting] = []
        subdirectories = set(self._bases_below(directory))
        places = self._places_in(directory)
        try:
            fd = os.open(directory, _OPEN_DIRECTORY | os.O_RDONLY)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            return Listing(
                sightings=(),
                subdirectories=frozenset(subdirectories),
                fault=None if gone else _fault(directory, error),
            )
        try:
            if self._avoid and self._is_own(stat_fd(fd)):
                return Listing(sightings=(), subdirectories=frozenset())
            for name, stat in _steadily(fd, lambda: _list(fd)):
                path = os.path.join(directory, name)
                if stat.is_directory:
                    if self._inside(places, name, path):
                        subdirectories.add(path)
                elif not self._is_own(stat):
                    sightings.append(Sighting(path, stat))
        except OSError as error:
            return Listing(sightings=(), subdirectories=frozenset(), fault=_fault(directory, error))
        finally:
            os.close(fd)
        sightings.sort(key=_by_path)
        return Listing(sightings=tuple(sightings), subdirectories=frozenset(subdirectories))

    # --- one directory of a walk --------------------------------------------------------------

    def _enter(
        self, directory: str, places: _Places, found: _Found
    ) -> Iterator[tuple[str, _Places]]:
        """See to one directory; the subdirectories to enter, with the places there."""
        written_out = directory in self._starts
        names = _names_of_interest(places)
        try:
            fd = os.open(
                directory,
                _OPEN_DIRECTORY
                | (os.O_RDONLY if names is None else os.O_PATH)
                | (0 if written_out else os.O_NOFOLLOW),
            )
        except FileNotFoundError:
            if written_out:
                found.directories.add(_nearest(directory))
            return
        except OSError as error:
            if written_out or error.errno not in _REPLACED:
                found.faults[directory] = _fault(directory, error)
                found.directories.add(directory)
            return
        try:
            if self._avoid and self._is_own(stat_fd(fd)):
                return
            found.directories.add(directory)
            prefix = directory if directory == "/" else directory + "/"
            accepts = globs.acceptor(places)
            for name, stat, accepted in _steadily(
                fd,
                lambda: (
                    _scan(fd, places, accepts) if names is None else _look_up(fd, names, accepts)
                ),
            ):
                path = prefix + name
                regular = stat.is_regular
                if not regular and stat.is_directory:
                    inside = self._inside(places, name, path)
                    if inside:
                        yield path, inside
                if accepted and not self._excludes.cover(path) and not self._is_own(stat):
                    if regular:
                        found.sightings.append(Sighting(path, stat))
                    else:
                        found.special(path, stat, named=any(p.names(name) for p in places))
        except OSError as error:
            found.faults[directory] = _fault(directory, error)
        finally:
            os.close(fd)

    def _inside(self, places: _Places, name: str, path: str) -> _Places:
        """The places in the subdirectory `name`; empty: a walk does not enter it."""
        inside = frozenset(deeper for place in places for deeper in place.enter(name))
        if not inside or self._excludes.cover_tree(path):
            return frozenset()
        return inside if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES else frozenset()

    def _is_own(self, stat: FileStat) -> bool:
        return (stat.device, stat.inode) in self._avoid

    def _complain_of_links(self, found: _Found) -> None:
        """A link is not followed; that matters unless it leads to a file that is read anyway."""
        seen = {sighting.path for sighting in found.sightings}
        for path in found.links:
            try:
                target = os.path.join(os.path.dirname(path), os.readlink(path))
            except OSError:
                continue  # gone
            if os.path.normpath(target) not in seen:
                found.faults[path] = (
                    f"read {path!r}: is a symbolic link to {target!r}, and links are not followed; "
                    f"name the file it leads to in the stream's paths, or exclude the link"
                )

    # --- where a directory stands -------------------------------------------------------------

    def _places_in(self, directory: str) -> _Places:
        """The places a walk would have in `directory`."""
        places: set[Place] = set()
        for base, starts in self._starts.items():
            below = _below(base, directory)
            if below is None:
                continue
            here: Iterable[Place] = starts
            for name in below:
                here = [deeper for place in here for deeper in place.enter(name)]
            places.update(here)
        return frozenset(places)

    def _bases_below(self, directory: str) -> Iterator[str]:
        """The written-out directories below `directory`, or how far one comes towards them."""
        for base in self._starts:
            if _below(directory, base):
                nearest = _nearest(base)
                if _below(directory, nearest):
                    yield nearest


def _look(name: str, directory: int) -> FileStat | None:
    """What is at `name`; None when it has vanished."""
    try:
        return stat_path(name, directory=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _names_of_interest(places: _Places) -> list[str] | None:
    """The names that are written out, if there are no wildcards here; else None."""
    names = {place.literal for place in places}
    return None if None in names else sorted(name for name in names if name is not None)


def _steadily(fd: int, look: Callable[[], list[_Entry]]) -> list[_Entry]:
    """What `look` finds in the open directory while nothing is renamed, created or deleted in it.

    A directory is not read at one moment: a file that is renamed meanwhile may appear twice, or,
    worse, under neither name, and then the file that took its place would be read before it.
    """
    entries: list[_Entry] = []
    for _ in range(_MOST_LOOKS):
        before = os.fstat(fd).st_mtime_ns
        entries = look()
        if os.fstat(fd).st_mtime_ns == before:
            break
    return entries


def _list(fd: int) -> list[tuple[str, FileStat]]:
    """All regular files and directories."""
    with os.scandir(fd) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
        ]
    stats = ((name, _look(name, fd)) for name in names)
    return [
        (name, stat)
        for name, stat in stats
        if stat is not None and (stat.is_regular or stat.is_directory)
    ]


def _look_up(
    fd: int, names: Iterable[str], accepts: Callable[[str], bool]
) -> list[tuple[str, FileStat, bool]]:
    """Those of `names` that are there, however many others there are: as `_scan`."""
    stats = ((name, _look(name, fd)) for name in names)
    return [(name, stat, accepts(name)) for name, stat in stats if stat is not None]


def _scan(
    fd: int, places: _Places, accepts: Callable[[str], bool]
) -> list[tuple[str, FileStat, bool]]:
    """What may be of interest: name, stat, whether it matches."""
    leading_on = [place for place in places if place.leads_on]
    found = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name
            # The kind comes with the name: what cannot match is not even asked about.
            accepted = accepts(name)
            if accepted or (
                leading_on
                and entry.is_dir(follow_symlinks=False)
                and any(True for place in leading_on for _ in place.enter(name))
            ):
                stat = _look(name, fd)
                if stat is not None:
                    found.append((name, stat, accepted))
    return found


def _fault(directory: str, error: OSError) -> str:
    return f"list {directory!r}: {explain(error)}"


def _depth(path: str) -> int:
    return len(path.split("/")) if path != "/" else 1


def _below(upper: str, lower: str) -> list[str] | None:
    """The names that lead from `upper` down to `lower`; None if they do not."""
    if upper == lower:
        return []
    prefix = upper if upper.endswith("/") else upper + "/"
    return lower[len(prefix) :].split("/") if lower.startswith(prefix) else None


def _nearest(directory: str) -> str:
    """The directory itself, or the nearest one above it that exists."""
    while directory != "/" and not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
