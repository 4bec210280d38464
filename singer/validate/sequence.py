"""Sequence: whether records of a file come in its order, by the ids in their headers. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message

from singer.base.config import HeaderField
from singer.kafka.headers import NAMES

_MID: Final = NAMES[HeaderField.MID]
_HOST: Final = NAMES[HeaderField.HOST]
_ID: Final = struct.Struct(">qq")


@dataclass(slots=True, eq=False)
class Sequence:
    """Of one partition. `known` records have ids; `inversions` come behind a later one of their
    file, `again` have an id that was there before.
    """

    known: int = 0
    inversions: int = 0
    again: int = 0
    _last: dict[tuple[bytes, int], int] = field(default_factory=dict)

    def add(self, messages: Iterable[Message]) -> None:
        """Records in the order of their offsets."""
        for message in messages:
            headers = message.headers()
            if not headers:
                continue
            named = dict(headers if isinstance(headers, list) else headers.items())
            identity = named.get(_MID)
            if not isinstance(identity, bytes) or len(identity) != _ID.size:
                continue
            self.known += 1
            inode, end = _ID.unpack(identity)
            host = named.get(_HOST) or b""
            key = (host if isinstance(host, bytes) else host.encode(), inode)
            last = self._last.get(key, -1)
            if end == last:
                self.again += 1
            elif end < last:
                self.inversions += 1
            else:
                self._last[key] = end
