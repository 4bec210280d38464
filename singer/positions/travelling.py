"""Positions that travel with the records of a cluster, in the same transaction.

The key is the agent's id and, behind a zero byte, what tells a row of its store from all others for
ever: stream, destination, the row's id and when it was first seen. A row keeps it under any
renaming of its file; of a file that was rewritten the row is another. The value is the row as
`portable` writes it.

The agent's own store stays the first to be asked. It lags behind the cluster by what was committed
in the last moments before a crash: that, and no more, is taken over at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeAlias

from singer.base.ports import PositionStore
from singer.base.position import Position
from singer.base.smallfile import read_small_file
from singer.positions import portable
from singer.positions.durable import replace_file

#: What tells a row from all others: stream, destination, id, first_seen_ns.
Row: TypeAlias = tuple[str, str, int, int]


_OFFSET_BYTES: Final = 100


class Travelling:
    """Implements `base.ports.PositionKeeper` for one cluster.

    `offset_file` remembers up to where its positions are in the store. `agent_id` begins all keys.
    """

    def __init__(self, agent_id: str, store: PositionStore, offset_file: str) -> None:
        self._agent_id = agent_id
        self._store = store
        self._offset_file = offset_file
        self._found: dict[Row, Position] = {}

    def encode(self, position: Position) -> tuple[bytes, bytes]:
        """See PositionKeeper."""
        return encode(self._agent_id, position)

    async def found(self, values: Mapping[bytes, bytes]) -> None:
        """See PositionKeeper."""
        inodes: dict[str, set[int]] = {}
        for position in decode(values):
            self._found[row_of(position)] = position
            inodes.setdefault(position.stream, set()).add(position.identity.inode)
        for stream, numbers in inodes.items():
            for row in await self._store.lookup(stream, sorted(numbers)):
                if (now := self.further(row)) is not row:
                    self._store.advance(now)
        await self._store.flush()

    def further(self, position: Position) -> Position:
        """See PositionKeeper."""
        committed = self._found.get(row_of(position))
        if committed is None or committed.offset <= position.offset:
            return position
        fingerprint = committed.identity.fingerprint
        return replace(
            position,
            offset=committed.offset,
            tail=committed.tail,
            resume=committed.resume,
            updated_ns=committed.updated_ns,
            identity=replace(position.identity, fingerprint=fingerprint),
        )

    async def flush(self) -> None:
        """See PositionKeeper."""
        await self._store.flush()

    def load(self) -> int | None:
        """See PositionKeeper. Blocks."""
        try:
            return int(read_small_file(self._offset_file, _OFFSET_BYTES))
        except ValueError:
            return None  # all of the partition is read

    def save(self, offset: int) -> None:
        """See PositionKeeper. Blocks."""
        with suppress(OSError):
            replace_file(self._offset_file, b"%d\n" % offset)


def row_of(position: Position) -> Row:
    """What tells this row from all others."""
    return (position.stream, position.destination, position.id, position.first_seen_ns)


def encode(agent_id: str, position: Position) -> tuple[bytes, bytes]:
    """(key, value) of a position's record."""
    key = json.dumps(row_of(position), separators=(",", ":"), ensure_ascii=False)
    return agent_id.encode() + b"\0" + key.encode(), portable.dump_row(position).encode()


def decode(values: Mapping[bytes, bytes]) -> Iterable[Position]:
    """The positions among an agent's records. What cannot be read is passed over: it is then as if
    it had not been committed, and the store's own rows count.
    """
    for key, value in values.items():
        try:
            stream, destination, row_id, first_seen_ns = json.loads(key.split(b"\0", 1)[1])
            position = portable.parse_row(value)
        except (ValueError, TypeError):
            continue
        if (position.stream, position.destination) == (stream, destination):
            yield replace(position, id=row_id, first_seen_ns=first_seen_ns)
