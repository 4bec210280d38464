"""Protobuf: messages with their length before them as a varint, as `writeDelimitedTo` writes them.

Opaque, or with a key and a time that a descriptor set names, which takes a Python step for each
record. Pure but for the descriptor set, which is read when the reader is made.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from singer.base.batch import Bytes, Keys
from singer.base.config import ProtobufReaderConfig
from singer.base.ports import Framed, State
from singer.readers.frames import FrameReader, by_varint
from singer.readers.protobuf_fields import Fields
from singer.readers.ranges import PART_BYTES


class ProtobufReader:
    """A `base.ports.Reader` of delimited messages. Raises InputError if they are not described."""

    __slots__ = ("_fields", "_frames")

    def __init__(self, config: ProtobufReaderConfig, *, part_bytes: int = PART_BYTES) -> None:
        self._fields = Fields(config)
        self._frames = FrameReader(by_varint, int(config.max_record), part_bytes=part_bytes)

    @property
    def max_window(self) -> int:
        """The longest message with its length."""
        return self._frames.max_window

    def frame(
        self, window: Bytes, offset: int, state: State, *, scanned: int = 0, resume: bytes = b""
    ) -> Framed:
        """Frame `window`, uint8, whose first byte is at file offset `offset`."""
        framed = self._frames.frame(window, offset, state, scanned=scanned, resume=resume)
        if not self._fields.wanted or not len(framed.batch):
            return framed
        batch = framed.batch
        messages = [batch.payload(row) for row in range(len(batch))]
        keys = np.array([self._fields.key(message) for message in messages], np.int64)
        batch = replace(
            batch,
            keys=Keys(
                buffer=window,
                starts=batch.starts + keys[:, 0],
                lengths=keys[:, 1].astype(np.int32),
            ),
            timestamps_ms=np.array([self._fields.time_ms(each) for each in messages], np.int64),
        )
        return replace(framed, batch=batch)
