"""Findings: files that are asked about, and where each destination is to begin in them. Values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from singer.base.position import READ_TO_END, FileIdentity, Position
from singer.files.census import Key
from singer.files.identity import Verdict
from singer.files.siblings import Compression
from singer.files.stat import FileStat


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A regular file that is not open here: where it is, and the path it would belong to.

    `plain` is a file beside a compressed one that it may be made of, going by its name.
    """

    path: str
    lineage: str
    stat: FileStat
    plain: str | None = None

    @property
    def current(self) -> bool:
        """Whether it is at its path, that is not rotated."""
        return self.path == self.lineage


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where one destination starts in a file: the row to keep, and the bytes before its offset.

    `tail` are the last of them (at most 256), `head` the first (at most 1024).

    `keep` says that the row in the store is right as it is; else it has to be written first.
    """

    verdict: Verdict
    position: Position
    tail: bytes
    head: bytes
    keep: bool


@dataclass(slots=True, kw_only=True)
class Finding:
    """An open file and where each destination starts in it."""

    suspect: Suspect
    fd: int
    stat: FileStat
    remote: bool  #: on a mount that may hang
    packed: Compression | None  #: then offsets count its content
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """(device, inode)."""
        return self.stat.key

    @property
    def new_to(self) -> set[str]:
        """The destinations that have read nothing of it."""
        return {name for name, entry in self.entries.items() if entry.verdict is Verdict.NEW}

    @property
    def is_new(self) -> bool:
        """Whether no destination has read any of it."""
        return len(self.new_to) == len(self.entries)

    def is_finished(self, destinations: Collection[str]) -> bool:
        """Whether it is an archive that these destinations have read to its end."""
        return (
            self.packed is not None
            and self.entries.keys() >= set(destinations)
            and all(entry.position.resume == READ_TO_END for entry in self.entries.values())
        )

    def is_at_rest(self, destinations: Collection[str]) -> bool:
        """Whether it is a plain file that these destinations have read to its end."""
        return (
            self.packed is None
            and self.entries.keys() >= set(destinations)
            and all(
                entry.keep and entry.position.offset == self.stat.size and not entry.position.resume
                for entry in self.entries.values()
            )
        )


def fresh_row(
    stream: str, destination: str, path: str, identity: FileIdentity, now_ns: int
) -> Position:
    """The row of a file that is read from its beginning."""
    return Position(
        stream=stream,
        destination=destination,
        path=path,
        identity=identity,
        offset=0,
        first_seen_ns=now_ns,
        updated_ns=now_ns,
    )
