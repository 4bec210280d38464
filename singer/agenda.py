"""Agenda: the paths of which a stream has to ask again what their files are, and when.

Owns no answer and no clock. A path is asked about with the next look, with the next look
everywhere, or when there is a descriptor for its files. Pure; loop thread only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Agenda:
    """What a stream still has to ask about."""

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._later: set[str] = set()
        self._waiting: dict[str, int] = {}  # how many files of each path, in order
        self._waiting_files = 0

    def ask(self, paths: Iterable[str]) -> None:
        """Ask about all files of these paths with the next look."""
        self._now.update(paths)

    def ask_later(self, paths: Iterable[str]) -> None:
        """Ask with the next look everywhere: it is too early, or would be too often."""
        self._later.update(paths)

    @property
    def next(self) -> Collection[str]:
        """The paths to ask about with the next look, but for those that wait for descriptors."""
        return self._now

    @property
    def due(self) -> bool:
        """Whether there is something to ask with the next look."""
        return bool(self._now)

    def looked_everywhere(self) -> None:
        """What was put off until now is due."""
        self._now |= self._later
        self._later.clear()

    def take(self, room: int) -> set[str]:
        """The paths to ask about now. Who cannot ask gives them back with `ask`.

        Of those that wait, the first for whose files there are `room` descriptors; the last of them
        may want more.
        """
        taken, self._now = self._now, set()
        while room > 0 and self._waiting:
            path = next(iter(self._waiting))
            files = self._waiting.pop(path)
            self._waiting_files -= files
            room -= files
            taken.add(path)
        return taken

    # --- waiting for descriptors ----------------------------------------------------------------

    def wait(self, path: str, files: int) -> None:
        """There is no descriptor for so many files of this path."""
        self._waiting_files += files - self._waiting.get(path, 0)
        self._waiting[path] = files

    def waits(self, path: str) -> bool:
        """Whether files of this path wait for a descriptor."""
        return path in self._waiting

    @property
    def waiting_files(self) -> int:
        """How many files wait for a descriptor."""
        return self._waiting_files
