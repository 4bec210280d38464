"""Path patterns: named groups of a path. Pure."""

from __future__ import annotations

import os

from singer.base.regex import compile_regex


class PathPattern:
    """A regular expression with named groups. Raises ValueError if it is none."""

    __slots__ = ("_pattern",)

    def __init__(self, text: str) -> None:
        self._pattern = compile_regex(text)

    @property
    def names(self) -> frozenset[str]:
        """The names of the groups."""
        return frozenset(name.decode() for name in self._pattern.groupindex)

    def groups(self, path: str) -> dict[str, str | None]:
        """The groups where the pattern is first found in `path`; none if it is not."""
        found = self._pattern.search(os.fsencode(path))
        if found is None:
            return {}
        return {
            name.decode(): None if value is None else os.fsdecode(value)
            for name, value in found.groupdict().items()
        }
