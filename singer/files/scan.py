"""Scanning one open directory: the names that matter, and what the kernel says about each.

What is known from the look before is compared by a plain stat, and the same object comes back if
nothing changed: a rescan of a directory at rest makes nothing but its answer. Blocks as long as the
file system does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from singer.files.stat import FileStat, stat_again

#: A directory that changes all the time is taken as it was seen the last of so many times.
_MOST_LOOKS: Final = 4
#: What asking about a name answers when it has vanished.
_GONE: Final = (FileNotFoundError, NotADirectoryError)


#: Regular files of one directory, by name.
Files: TypeAlias = Mapping[str, FileStat]


class Sighting(NamedTuple):
    """A regular file and what the kernel said about it."""

    path: str
    stat: FileStat


class Other(NamedTuple):
    """Something that is no regular file. `accepted`: a file of this name would match."""

    path: str
    name: str
    stat: FileStat
    accepted: bool


@dataclass(slots=True)
class Contents:
    """What one scan found: `files` that match, and what else may be of interest.

    `fresh` are the names of those `files` that were not known, or not like this: of the others
    nothing need be asked again.
    """

    files: dict[str, FileStat] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)

    def add(self, path: str, name: str, stat: FileStat, *, accepted: bool) -> None:
        """Something that was not known, or not like this."""
        if not stat.is_regular:
            self.others.append(Other(path, name, stat, accepted))
        elif accepted:
            self.files[name] = stat
            self.fresh.append(name)


def scan(
    fd: int,
    prefix: str,
    accepts: Callable[[str], object],
    enters: Callable[[str], bool] | None,
    known: Files,
    *,
    links: bool,
) -> Contents:
    """Everything that `accepts`, and directories that `enters`; with `links` links to such.

    The paths are `prefix` and a name; `known` are files that `accepts`. Raises OSError.
    """

    def look() -> Contents:
        contents = Contents()
        files = contents.files
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                # The kind comes with the name: what cannot match is not even asked about.
                accepted = accepts(name)
                if accepted or (
                    enters is not None
                    and (entry.is_dir(follow_symlinks=False) or (links and entry.is_symlink()))
                    and enters(name)
                ):
                    before = known.get(name)
                    try:
                        answer = stat_again(name, fd, before)
                    except _GONE:
                        continue
                    if answer is before and accepted:
                        files[name] = answer
                    else:
                        contents.add(prefix + name, name, answer, accepted=bool(accepted))
        return contents

    return _steadily(fd, look)


def look_up(
    fd: int,
    prefix: str,
    names: Iterable[str],
    accepts: Callable[[str], object],
    known: Files,
) -> Contents:
    """As `scan`, for those of `names` that are there, however many others there are."""

    def look() -> Contents:
        contents = Contents()
        for name in names:
            try:
                answer = stat_again(name, fd, known.get(name))
            except _GONE:
                continue
            contents.add(prefix + name, name, answer, accepted=bool(accepts(name)))
        return contents

    return _steadily(fd, look)


def _steadily(fd: int, look: Callable[[], Contents]) -> Contents:
    """What `look` finds in the open directory while nothing is renamed, created or deleted in it.

    A directory is not read at one moment: a file that is renamed meanwhile may appear twice, or,
    worse, under neither name, and then the file that took its place would be read before it.
    """
    contents = Contents()
    for _ in range(_MOST_LOOKS):
        before = os.fstat(fd).st_mtime_ns
        contents = look()
        if os.fstat(fd).st_mtime_ns == before:
            break
    return contents
