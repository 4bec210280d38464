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
        self._waiting: dict[str, None] = {}  # in order

    def ask(self, paths: Iterable[str]) -> None:
        """Ask about all files of these paths with the next look."""
        self._now.update(paths)

    def ask_later(self, paths: Iterable[str]) -> None:
        """Ask with the next look everywhere: it is too early, or would be too often."""
        self._later.update(paths)

    def looked_everywhere(self) -> None:
        """What was put off until now is due."""
        self._now |= self._later
        self._later.clear()

    @property
    def due(self) -> bool:
        """Whether there is something to ask about."""
        return bool(self._now or self._waiting)

    def take(self) -> set[str]:
        """The paths to ask about now. Who cannot ask gives them back with `ask`."""
        taken, self._now = self._now.union(self._waiting), set()
        return taken

    # --- waiting for descriptors ----------------------------------------------------------------

    @property
    def waiting(self) -> Collection[str]:
        """Paths whose files wait for a descriptor."""
        return self._waiting.keys()

    def wait(self, path: str) -> None:
        """There is no descriptor for the files of this path."""
        self._waiting[path] = None

    def wait_no_more(self, path: str) -> None:
        """There is one, or no need of one."""
        self._waiting.pop(path, None)
