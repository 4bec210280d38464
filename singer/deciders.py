"""Deciders: percentages by name, in a file that people change while the agent runs.

The file is JSON, `{"name": 25, …}` with 0 to 100. What is not in it is 100: a forgotten name loses
nothing. A file that is broken, or gone, leaves everything as it was, and the agent says so.
"""

from __future__ import annotations

import json
from typing import Final

from singer.base.events import DecidersRead, DecidersUnreadable
from singer.base.watchedfile import WatchedFile

_MAX_BYTES: Final = 1 << 20
_ALL: Final = 100.0


class Deciders:
    """What names stand for now; `path` None: everything is 100."""

    def __init__(self, path: str | None) -> None:
        self._file = None if path is None else WatchedFile(path, _MAX_BYTES)
        self._percent: dict[str, float] = {}

    def percent(self, name: str) -> float:
        """0 to 100."""
        return self._percent.get(name, _ALL)

    def look(self) -> DecidersRead | DecidersUnreadable | None:
        """Read the file if it is another one, or was changed; what is to be said of that.

        Blocks for as long as the file's mount does: for a thread, one at a time.
        """
        if self._file is None:
            return None
        try:
            data = self._file.news()
            if data is None:
                return None
            self._percent = _parsed(data)
        except (ValueError, RecursionError) as error:
            return DecidersUnreadable(path=self._file.path, cause=str(error))
        return DecidersRead(path=self._file.path, names=len(self._percent))


def _parsed(data: bytes) -> dict[str, float]:
    """Raises ValueError."""
    values = json.loads(data)
    if not isinstance(values, dict):
        raise ValueError("must be an object: {name: percent}")  # noqa: TRY004  # of the file
    for name, percent in values.items():
        if type(percent) not in {int, float} or not 0 <= percent <= _ALL:
            raise ValueError(f"{name}: must be a number from 0 to 100, not {json.dumps(percent)}")
    return values
