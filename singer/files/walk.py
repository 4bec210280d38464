"""Walker: which regular files the globs of a stream find, which directories to watch, and opening.

Pure but for the file system: a Walker is immutable, each call looks anew and returns immutable
values, so it may run in any thread; on a hung mount it blocks, so it must not run on the loop.

Directories are entered only where a glob may match. The directories that a person wrote out (what
stands before the first wildcard: the roots) may lead through symbolic links that root or the
agent's user made. Below, everything is opened beneath its root, and no link is followed; or, with
`follow_symlinks`, those that lead below one of the roots. Directories that vanish meanwhile are as
if they had never been there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from stat import S_ISLNK
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from singer.base.errors import ReadError
from singer.files import globs
from singer.files.beneath import open_written_out
from singer.files.globs import Place
from singer.files.opening import explain, special
from singer.files.roots import Descent, Spot, below, find, join
from singer.files.scan import Contents, Files, Other, Sighting, look_up, scan
from singer.files.stat import FileStat, is_shared

#: Longer paths cannot be opened (PATH_MAX, with room for a name): the tree below is left alone.
_LONGEST_PATH_BYTES: Final = 4096 - 256
#: What opening a directory answers when it is gone, or a file or a link has taken its place.
_VANISHED: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
#: Directories that a walk enters through links: some that lead to each other are many ways.
_MOST_LINKED: Final = 10_000

__all__ = ["Files", "Listing", "Sighting", "Tree", "Walk", "Walker"]

#: Regular files, by directory and by name.
Tree: TypeAlias = Mapping[str, Files]

_Places = frozenset[Place]
_Identity = tuple[int, int]  # device, inode
_NO_FILES: Final[Files] = MappingProxyType({})
_NO_TREE: Final[Tree] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What one walk found.

    `tree`         regular files that match
    `directories`  directories whose changes matter: those that were entered, and for a directory
                   that is written out but not there, the nearest one above it that is
    `faults`       (path, what is wrong and what to do), by path
    `shared`       those of `directories` that inotify must not be asked about: on file systems
                   that others change unseen, or not to be opened
    """

    tree: Tree
    directories: frozenset[str]
    faults: tuple[tuple[str, str], ...]
    shared: frozenset[str] = frozenset()

    @cached_property
    def sightings(self) -> tuple[Sighting, ...]:
        """The files of `tree`, by path."""
        return tuple(
            sorted(
                Sighting(join(directory, name), stat)
                for directory, files in self.tree.items()
                for name, stat in files.items()
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is in one directory.

    `sightings`       all its regular files, matching or not, by path; none in a directory that is
                      in no root, since they could not be opened
    `subdirectories`  directories that a walk would look at because of this one: if one of them is
                      new, so may be files below it
    `fault`           why it could not be listed; None also when it is gone
    `shared`          that inotify must not be asked about it, as in `Walk`
    """

    sightings: tuple[Sighting, ...]
    subdirectories: frozenset[str]
    fault: str | None = None
    shared: bool = False


class _Visit(NamedTuple):
    """A directory that a walk is to enter.

    `path` is how the globs lead there, `spot` where it is. `chain` are the directories on the way
    from the root, itself included, so that links do not lead round in circles; None: no link is
    followed.
    """

    path: str
    places: _Places
    spot: Spot
    chain: frozenset[_Identity] | None


@dataclass(slots=True)
class _Found:
    """What a look works with, and what it has found so far."""

    descent: Descent
    known: Tree
    tree: dict[str, Files] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    linked: int = 0
    devices: dict[int, bool] = field(default_factory=dict)  # whether they are shared

    def knows(self, path: str) -> FileStat | None:
        """What was known of the file at `path`."""
        directory, name = os.path.split(path)
        return self.known.get(directory, _NO_FILES).get(name)

    def add(self, directory: str, files: Files) -> None:
        """The files of a directory; as what was known, if that is what is there."""
        known = self.known.get(directory, _NO_FILES)
        if files:
            self.tree[directory] = known if files == known else files

    def special(self, path: str, stat: FileStat, *, named: bool) -> None:
        """What matches is no regular file. `named`: its name is written out in a glob."""
        if stat.kind == "a symbolic link" and not named:
            self.links.append(path)
        elif named or not stat.is_directory:
            self.faults[path] = f"read {path!r}: {special(stat)}"

    def directory(self, path: str, fd: int, device: int) -> None:
        """A directory is to be watched."""
        self.directories.add(path)
        shared = self.devices.get(device)
        if shared is None:
            shared = self.devices[device] = is_shared(fd)
        if shared:
            self.shared.add(path)


class Walker:
    """Walks for `patterns`, less `excludes`; `rotated` are globs of names of rotated files.

    `rotated_dirs` are more directories whose files may be opened. `avoid` holds (device, inode) of
    files and directories that are the agent's own: never seen, whatever the globs say.
    `follow_symlinks`: below a root, links are followed that lead below one of the roots or
    `rotated_dirs`. Raises ValueError for a glob that cannot be compiled.

    `known` of the methods is what this walker found before: a file, or all files of a directory, of
    which nothing has changed come back as the very same object, which is cheaper.
    """

    def __init__(
        self,
        patterns: Iterable[str],
        excludes: Iterable[str] = (),
        rotated: Iterable[str] = (),
        *,
        rotated_dirs: Iterable[str] = (),
        avoid: Collection[tuple[int, int]] = (),
        follow_symlinks: bool = False,
    ) -> None:
        self._patterns = tuple(globs.compile(pattern) for pattern in patterns)
        self._rotated = tuple(globs.compile(pattern) for pattern in rotated)
        self._excludes = globs.compile_excludes(excludes)
        self._avoid = frozenset(avoid)
        self._follow_symlinks = follow_symlinks
        starts: dict[str, set[Place]] = {}
        for pattern in self._patterns:
            for base, place in pattern.starts():
                if not self._excludes.cover_tree(base):
                    starts.setdefault(base, set()).add(place)
        #: What is to be found in each root, also by globs that begin in a root above it.
        self._starts: dict[str, _Places] = {}
        for base in sorted(starts):
            self._starts[base] = self._places_in(base) | starts[base]
        self._roots = frozenset({*self._starts, *map(os.path.normpath, rotated_dirs)})

    @property
    def starts(self) -> Collection[str]:
        """The directories where looking for files begins, whether they exist or not."""
        return self._starts.keys()

    def matches(self, path: str) -> bool:
        """Whether a file at `path` belongs to the stream by its name."""
        return any(p.matches(path) for p in self._patterns) and not self._excludes.cover(path)

    def is_rotated(self, path: str) -> bool:
        """Whether `path` is named as one of the `rotated` globs says."""
        return any(p.matches(path) for p in self._rotated) and not self._excludes.cover(path)

    def open(self, path: str) -> int:
        """A descriptor to read the regular file at `path`, which lies below one of the roots.

        Raises ReadError, whose `__cause__` is the OSError, if there was one (FileNotFoundError
        when the file is gone).
        """
        with self.opener() as open_:
            return open_(path)

    @contextmanager
    def opener(self) -> Iterator[Callable[[str], int]]:
        """Meanwhile, what it gives opens as `open` does, and takes the way to a root once."""
        with Descent(self._roots) as descent:
            yield partial(self._open, descent)

    def _open(self, descent: Descent, path: str) -> int:
        above, name = os.path.split(path)
        spot = find(above, self._roots)
        if spot is None:
            raise ReadError(
                f"open {path!r}: is below none of the directories that are written out in the "
                f"stream's paths; add it to the paths, or its directory to rotated_dirs"
            )
        try:
            return descent.open_file(self._followed(spot.below(name), descent), path)
        except OSError as error:
            raise ReadError(f"open {path!r}: {explain(error)}") from error

    def real_path(self, path: str) -> str:
        """How the kernel names `path`, which lies below one of the roots: without links on the way.

        What cannot be listed can still be named. Raises OSError: FileNotFoundError when the root,
        or with `follow_symlinks` what a link leads to, is not there.
        """
        above, name = os.path.split(path)
        spot = find(above, self._roots)
        if spot is None:
            return path
        with Descent(self._roots) as descent:
            return descent.real_path(self._followed(spot.below(name), descent))

    def walk(self, known: Tree = _NO_TREE) -> Walk:
        """Look everywhere."""
        return self._walk(self._starts, known)

    def walk_below(self, directory: str, known: Tree = _NO_TREE) -> Walk:
        """Look only at `directory` and below, as `walk` would."""
        starts = {base: self._starts[base] for base in self._starts if below(directory, base)}
        places = self._places_in(directory)
        if places and not self._excludes.cover_tree(directory):
            starts[directory] = places
        return self._walk(starts, known)

    def list_directory(self, directory: str, known: Tree = _NO_TREE) -> Listing:
        """Look into one directory, whether a glob leads to it or not."""
        return self.list_directories([directory], known)[directory]

    def list_names(self, directory: str) -> list[str]:
        """The names of all that is in one directory; none where it cannot be read."""
        spot = find(directory, self._roots)
        if spot is None:
            return []
        with Descent(self._roots) as descent:
            try:
                fd = descent.open(self._followed(spot, descent), os.O_RDONLY)
            except OSError:
                return []
            try:
                return os.listdir(fd)
            finally:
                os.close(fd)

    def list_directories(
        self, directories: Collection[str], known: Tree = _NO_TREE
    ) -> dict[str, Listing]:
        """Look into each of these directories, in order; the way to a root is taken once."""
        with Descent(self._roots) as descent:
            return {each: self._look_into(each, descent, known) for each in sorted(directories)}

    # --- a walk -------------------------------------------------------------------------------

    def _walk(self, starts: Mapping[str, _Places], known: Tree) -> Walk:
        with Descent(self._roots) as descent:
            found = _Found(descent, known)
            for start in sorted(starts):
                pending = self._begin(start, starts[start], found)
                while pending:
                    children = self._enter(pending.pop(), found)
                    # Another root has its own way, and its own places.
                    pending += [child for child in children if child.path not in starts]
        self._complain_of_links(found)
        return Walk(
            tree=found.tree,
            directories=frozenset(found.directories),
            faults=tuple(sorted(found.faults.items())),
            shared=frozenset(found.shared),
        )

    def _begin(self, directory: str, places: _Places, found: _Found) -> list[_Visit]:
        """The first directory to enter, or none if it cannot be reached any more."""
        spot = find(directory, self._starts)
        assert spot is not None  # or there would be no places
        try:
            spot = self._followed(spot, found.descent)
        except OSError:
            return []
        return [_Visit(directory, places, spot, self._chain(directory, found.descent))]

    def _enter(self, visit: _Visit, found: _Found) -> list[_Visit]:
        """See to one directory; the subdirectories to enter."""
        directory, places, spot, _ = visit
        names = globs.names_of_interest(places)
        try:
            fd = found.descent.open(spot, os.O_RDONLY if names is None else os.O_PATH)
        except OSError as error:
            self._not_entered(directory, error, found)
            return []
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) in self._avoid:
                return []
            found.directory(directory, fd, status.st_dev)
            known, prefix = found.known.get(directory, _NO_FILES), join(directory, "")
            accepts = globs.acceptor(places, self._excluders(directory, spot))
            if names is None:
                enters, links = globs.enterer(places), self._follow_symlinks
                contents = scan(fd, prefix, accepts, enters, known, links=links)
            else:
                contents = look_up(fd, prefix, names, accepts, known)
            return self._sort_out(contents, visit, found)
        except OSError as error:
            found.faults[directory] = _fault(directory, error)
            return []
        finally:
            os.close(fd)

    def _not_entered(self, directory: str, error: OSError, found: _Found) -> None:
        if directory not in self._starts:
            if error.errno in _VANISHED:
                return
        elif isinstance(error, FileNotFoundError):
            nearest = _nearest(directory)
            try:
                fd = open_written_out(nearest)
            except OSError:
                return  # gone, too: another walk will see
            try:
                found.directory(nearest, fd, os.fstat(fd).st_dev)
            finally:
                os.close(fd)
            return
        found.faults[directory] = _fault(directory, error)
        found.directories.add(directory)
        found.shared.add(directory)

    def _sort_out(self, contents: Contents, visit: _Visit, found: _Found) -> list[_Visit]:
        """Note the files, also where links lead, and what is wrong; the subdirectories to enter."""
        files = self._files(contents)
        children = []
        for other, spot in self._resolve(contents.others, visit.spot, found):
            path, name, stat, accepted = other
            if stat.is_regular:
                if accepted:
                    files[name] = stat
                continue
            child = self._child(visit, name, path, spot, stat)
            if child is not None:
                children.append(child)
            if accepted:
                found.special(path, stat, named=any(p.names(name) for p in visit.places))
        found.add(visit.path, files)
        return children

    def _files(self, contents: Contents) -> dict[str, FileStat]:
        """The files that were found, without the agent's own."""
        files = contents.files
        for name in contents.fresh:
            if self._is_own(files[name]):
                del files[name]
        return files

    def _child(
        self, visit: _Visit, name: str, path: str, spot: Spot, stat: FileStat
    ) -> _Visit | None:
        """The subdirectory `name`, which is at `spot`, if a walk enters it."""
        if not stat.is_directory:
            return None
        identity = stat.key
        chain = visit.chain
        if chain is not None:
            if identity in chain:
                return None
            chain |= {identity}
        inside = frozenset(deeper for place in visit.places for deeper in place.enter(name))
        if (
            not inside
            or self._excludes.cover_tree(path)
            or (spot.path != path and self._excludes.cover_tree(spot.path))
            or len(os.fsencode(path)) > _LONGEST_PATH_BYTES
        ):
            return None
        return _Visit(path, inside, spot, chain)

    def _excluders(self, directory: str, spot: Spot) -> list[Callable[[str], object]]:
        """Tests for names that are left out here, going by the path or by where that leads."""
        tests = (self._excludes.inside(where) for where in {directory, spot.path})
        return [test for test in tests if test is not None]

    def _complain_of_links(self, found: _Found) -> None:
        """A link is not followed; that matters unless it leads to a file that is read anyway."""
        for path in found.links:
            try:
                target = os.path.join(os.path.dirname(path), os.readlink(path))
            except OSError:
                continue  # gone
            there, name = os.path.split(os.path.normpath(target))
            if not any(name in tree.get(there, _NO_FILES) for tree in (found.tree, found.known)):
                found.faults[path] = (
                    f"read {path!r}: is a symbolic link to {target!r}, and links are not followed; "
                    f"name the file it leads to in the stream's paths, set follow_symlinks, or "
                    f"exclude the link"
                )

    # --- a listing ----------------------------------------------------------------------------

    def _look_into(self, directory: str, descent: Descent, known: Tree) -> Listing:
        bases = frozenset(self._bases_below(directory))
        spot = find(directory, self._roots)
        try:
            if spot is None:
                fd = open_written_out(directory)
            else:
                spot = self._followed(spot, descent)
                fd = descent.open(spot, os.O_RDONLY)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) or (
                spot is not None and spot.inner and error.errno in _VANISHED
            )
            return Listing(
                sightings=(),
                subdirectories=bases,
                fault=None if gone else _fault(directory, error),
                shared=not gone,
            )
        try:
            if spot is None:
                return Listing(sightings=(), subdirectories=bases, shared=is_shared(fd))
            return self._list(directory, spot, fd, bases, _Found(descent, known))
        except OSError as error:
            return Listing(sightings=(), subdirectories=frozenset(), fault=_fault(directory, error))
        finally:
            os.close(fd)

    def _list(
        self, directory: str, spot: Spot, fd: int, bases: frozenset[str], found: _Found
    ) -> Listing:
        """What is in the open directory, which is at `spot`. Raises OSError."""
        status = os.fstat(fd)
        shared = is_shared(fd)
        if (status.st_dev, status.st_ino) in self._avoid:
            return Listing(sightings=(), subdirectories=frozenset(), shared=shared)
        chain = self._chain(directory, found.descent)
        visit = _Visit(directory, self._places_in(directory), spot, chain)
        subdirectories = set(bases)
        links = self._follow_symlinks
        known = found.known.get(directory, _NO_FILES)
        contents = scan(fd, join(directory, ""), _any_name, None, known, links=links)
        files = self._files(contents)
        for (path, name, stat, _), where in self._resolve(contents.others, spot, found):
            if stat.is_regular:
                files[name] = stat
            elif self._child(visit, name, path, where, stat) is not None:
                subdirectories.add(path)
        return Listing(
            sightings=tuple(Sighting(join(directory, name), files[name]) for name in sorted(files)),
            subdirectories=frozenset(subdirectories),
            shared=shared,
        )

    # --- symbolic links -----------------------------------------------------------------------

    def _followed(self, spot: Spot, descent: Descent) -> Spot:
        """Where `spot` leads, if links are followed. Raises OSError."""
        return descent.follow(spot) if self._follow_symlinks and spot.inner else spot

    def _resolve(
        self, others: Iterable[Other], directory: Spot, found: _Found
    ) -> Iterator[tuple[Other, Spot]]:
        """What is in a directory and where, with what they lead to in the place of links."""
        for other in others:
            spot = directory.below(other.name)
            there: tuple[Other, Spot] | None = (other, spot)
            if self._follow_symlinks and S_ISLNK(other.stat.mode):
                there = self._target(other, spot, found)
            if there is not None and not self._is_own(there[0].stat):
                yield there

    def _is_own(self, stat: FileStat) -> bool:
        return stat.key in self._avoid

    def _target(self, link: Other, spot: Spot, found: _Found) -> tuple[Other, Spot] | None:
        """What a link leads to, and where that is; None, and perhaps a fault: nothing of ours."""
        path = link.path
        try:
            target = found.descent.follow(spot)
            stat = found.descent.stat(target)
        except FileNotFoundError:
            return None
        except OSError as error:
            if link.accepted or os.path.isdir(path):
                found.faults[path] = f"read {path!r}: {explain(error)}"
            return None
        if stat.is_directory:
            found.linked += 1
            if found.linked > _MOST_LINKED:
                found.faults[path] = (
                    f"read {path!r}: symbolic links lead to more than {_MOST_LINKED} directories; "
                    f"exclude some of the links"
                )
                return None
        elif S_ISLNK(stat.mode) or self._excludes.cover(target.path):
            return None
        known = found.knows(path)
        return link._replace(stat=known if known == stat else stat), target

    def _chain(self, directory: str, descent: Descent) -> frozenset[_Identity] | None:
        """What is on the way from the root to `directory`, itself included; as in `_Visit`."""
        if not self._follow_symlinks:
            return None
        chain = set()
        while (spot := find(directory, self._starts)) is not None:
            try:
                stat = descent.stat(self._followed(spot, descent))
            except OSError:
                break  # gone meanwhile
            chain.add(stat.key)
            if not spot.inner:
                break
            directory = os.path.dirname(directory)
        return frozenset(chain)

    # --- where a directory stands -------------------------------------------------------------

    def _places_in(self, directory: str) -> _Places:
        """The places a walk would have in `directory`."""
        spot = find(directory, self._starts)
        if spot is None:
            return frozenset()
        here = self._starts[spot.root]
        for name in filter(None, spot.inner.split("/")):
            here = frozenset(deeper for place in here for deeper in place.enter(name))
        return here

    def _bases_below(self, directory: str) -> Iterator[str]:
        """The written-out directories below `directory`, or how far one comes towards them."""
        for base in self._starts:
            if below(directory, base):
                nearest = _nearest(base)
                if below(directory, nearest):
                    yield nearest


def _any_name(_name: str) -> bool:
    return True


def _fault(directory: str, error: OSError) -> str:
    return f"list {directory!r}: {explain(error)}"


def _nearest(directory: str) -> str:
    """The directory itself, or the nearest one above it that exists."""
    while directory != "/" and not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
