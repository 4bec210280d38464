"""The dead-letter files from outside of the agent: all letters, and taking some out again.

Works while the agent runs: it holds the same lock while it appends. Blocks; for commands.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from singer.base.errors import StateError
from singer.writers.dead_letters import DeadLetter, locked, parse_dead_letter

_ID_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A letter and the line it is; `id` names it for people."""

    id: str
    line: bytes
    letter: DeadLetter


class LetterFiles:
    """The files at `path`: the newest has that name, older ones `.1`, `.2`, … behind."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory = os.path.dirname(path) or "."

    def read(self) -> list[Stored]:
        """All letters, oldest first. Raises StateError."""
        try:
            with locked(self._directory, exclusive=False):
                lines = [line for name in self._names() for line in self._lines(name)]
        except OSError as error:
            raise self._failure("read", error) from error
        found = ((line, parse_dead_letter(line)) for line in lines)
        return [
            Stored(id=_id(line), line=line, letter=letter)
            for line, letter in found
            if letter is not None
        ]

    def remove(self, lines: Counter[bytes]) -> None:
        """Take these lines out, each as often as it is counted, in whatever file they are now.

        Raises StateError; then some may be left, and none is lost.
        """
        left = lines.copy()
        try:
            with locked(self._directory, exclusive=True):
                for name in self._names():
                    self._rewrite(name, left)
        except OSError as error:
            raise self._failure("remove from", error) from error

    def _names(self) -> list[str]:
        """Those that exist, oldest first."""
        base = os.path.basename(self._path)
        numbered = re.compile(re.escape(base) + r"\.([0-9]+)")
        found = {base: 0} if os.path.lexists(self._path) else {}
        for name in os.listdir(self._directory):
            if match := numbered.fullmatch(name):
                found[name] = int(match[1])
        ordered = sorted(found, key=lambda name: -found[name])
        return [os.path.join(self._directory, name) for name in ordered]

    @staticmethod
    def _lines(name: str) -> list[bytes]:
        with open(name, "rb") as file:
            return file.read().splitlines(keepends=True)

    def _rewrite(self, name: str, left: Counter[bytes]) -> None:
        lines, kept = self._lines(name), []
        for line in lines:
            if left[line] > 0:
                left[line] -= 1
            else:
                kept.append(line)
        if len(kept) == len(lines):
            return
        if not kept:
            os.unlink(name)
            return
        status, temporary = os.stat(name), f"{name}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"".join(kept))
                file.flush()
                os.fchown(descriptor, status.st_uid, status.st_gid)  # the agent appends to it
                os.fsync(descriptor)
            os.rename(temporary, name)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _failure(self, step: str, error: OSError) -> StateError:
        return StateError(
            f"{step} dead letters: {error.filename or self._path!r}: {error.strerror}; run it as"
            f" the agent's user, and name the state directory with --state-dir"
        )


def _id(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()[:_ID_DIGITS]
