"""Connections: what librdkafka's statistics say of those to brokers.

Pure. A broker is known by the name librdkafka gives it; names come and go with the brokers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

#: States of a connection that stands, with or without an answer to be waited for.
_STANDING: Final = frozenset({"UP", "UPDATE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Those of one handle: how many stand, and what happened in the interval before.

    `tried`  attempts to connect, whatever came of them
    `ended`  connections that ended, and attempts that failed
    """

    standing: int
    tried: int
    ended: int


class ConnectionMeter:
    """Makes differences of the statistics of one handle, which count from its start."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int]] = {}

    def read(self, statistics: bytes) -> Connections:
        """What became of connections since the statistics before.

        `statistics` is the JSON of one interval, as STATISTICS.md of librdkafka describes it.
        """
        brokers = json.loads(statistics)["brokers"]
        now = {name: (each["connects"], each["disconnects"]) for name, each in brokers.items()}
        tried = ended = 0
        for name, (connects, disconnects) in now.items():
            before = self._before.get(name, (0, 0))
            if connects < before[0] or disconnects < before[1]:
                before = (0, 0)  # it was forgotten meanwhile, and found again
            tried += connects - before[0]
            ended += disconnects - before[1]
        self._before = now
        standing = sum(each["state"] in _STANDING for each in brokers.values())
        return Connections(standing=standing, tried=tried, ended=ended)
