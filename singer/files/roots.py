"""Roots: the directories of a stream that a person wrote out, and the way to what lies beneath.

Nothing of a stream is opened but by a descent: from a root, by a way without links. Where symbolic
links are followed, what a link says only suggests such a way; if something else is there by the
time, that is beneath a root all the same. Blocks as long as the file system does; any thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Container
from types import TracebackType
from typing import NamedTuple, Self

from singer.files.beneath import RefusedLinkError, open_beneath, open_written_out
from singer.files.opening import open_in
from singer.files.stat import FileStat, stat_fd, stat_path


class Spot(NamedTuple):
    """Something in the tree of a root: `inner` is the way from there, `` the root itself."""

    root: str
    inner: str

    @property
    def path(self) -> str:
        """The absolute path."""
        return join(self.root, self.inner) if self.inner else self.root

    def below(self, name: str) -> Spot:
        """The entry `name` of this directory."""
        return Spot(self.root, f"{self.inner}/{name}" if self.inner else name)


def find(path: str, roots: Container[str]) -> Spot | None:
    """Where `path` is, going by its text: in the tree of the deepest root; None: in none."""
    root = path
    while root not in roots:
        if root in ("/", ""):
            return None
        root = os.path.dirname(root)
    return Spot(root, path[len(root) :].lstrip("/"))


class Descent:
    """Opens things in the trees of roots. To be closed; one thread at a time.

    The root that was used last is kept open, and the directory of the file that was opened last, so
    that a walk, or the files of a directory, take the way to them once.
    """

    def __init__(self, roots: Collection[str]) -> None:
        self._roots = roots
        self._root: tuple[str, int] | None = None
        self._above: tuple[Spot, int] | None = None
        self._real_paths: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptors back."""
        self._leave_above()
        self._leave_root()

    def open(self, spot: Spot, flags: int = os.O_PATH) -> int:
        """A descriptor of the directory; `flags` are O_PATH or O_RDONLY. Raises OSError."""
        return open_beneath(self._open_root(spot.root), spot.inner or ".", flags)

    def open_file(self, spot: Spot, path: str) -> int:
        """A descriptor to read the regular file; `path` is what messages call it.

        Raises OSError if its directory cannot be opened, and ReadError.
        """
        above, name = _split(spot)
        if self._above is None or self._above[0] != above:
            self._leave_above()
            self._above = above, self.open(above)
        return open_in(self._above[1], name, path)

    def stat(self, spot: Spot) -> FileStat:
        """What is there. Raises OSError."""
        above, name = _split(spot)
        directory = self.open(above)
        try:
            return stat_path(name, directory=directory) if name else stat_fd(directory)
        finally:
            os.close(directory)

    def real_path(self, spot: Spot) -> str:
        """How the kernel names `spot`, on the way to which below the root are no links.

        Raises OSError.
        """
        root = os.readlink(f"/proc/self/fd/{self._open_root(spot.root)}")
        return join(root, spot.inner) if spot.inner else root

    def follow(self, spot: Spot) -> Spot:
        """Where the symbolic links on the way to `spot` lead now, itself included.

        Raises OSError if they lead nowhere, RefusedLinkError if out of all roots.
        """
        start = join(self._real_path(spot.root) or spot.root, spot.inner)
        path = os.path.realpath(start, strict=True)
        for root in (spot.root, *self._roots):
            above = self._real_path(root)
            inner = None if above is None else below(above, path)
            if inner is not None:
                return Spot(root, inner)
        raise RefusedLinkError(
            errno.EXDEV,
            f"symbolic links lead to {path!r}, which is below none of the directories that are "
            f"written out in the stream's paths; add it to the paths, or exclude the link",
            path,
        )

    def _open_root(self, root: str) -> int:
        if self._root is None or self._root[0] != root:
            self._leave_root()
            self._root = root, open_written_out(root)
        return self._root[1]

    def _leave_root(self) -> None:
        if self._root is not None:
            os.close(self._root[1])
            self._root = None

    def _leave_above(self) -> None:
        if self._above is not None:
            os.close(self._above[1])
            self._above = None

    def _real_path(self, root: str) -> str | None:
        """Where the root really is; None: nowhere now."""
        if root not in self._real_paths:
            try:
                self._real_paths[root] = self.real_path(Spot(root, ""))
            except OSError:
                self._real_paths[root] = None
        return self._real_paths[root]


def join(directory: str, name: str) -> str:
    """The path of `name` in `directory`."""
    return f"{directory}{name}" if directory == "/" else f"{directory}/{name}"


def below(upper: str, lower: str) -> str | None:
    """The way from `upper` down to `lower`, empty if they are the same; None: there is none."""
    if upper == lower:
        return ""
    prefix = join(upper, "")
    return lower[len(prefix) :] if lower.startswith(prefix) else None


def _split(spot: Spot) -> tuple[Spot, str]:
    """The directory of something, and its name there; the name is empty for a root."""
    above, _, name = spot.inner.rpartition("/")
    return Spot(spot.root, above), name
