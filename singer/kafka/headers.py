"""Headers: what records carry beside key and value, where a destination asks for it.

Names and bytes are those of Java Singer, whose consumers may be there. Pure columns; what sending
them costs is `headed`'s.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np

from singer.base.batch import Bytes, Header, RecordBatch
from singer.base.config import HeaderField, HeadersConfig
from singer.base.zone import Zone

#: By field, the name of its header.
NAMES: Final[Mapping[HeaderField, str]] = MappingProxyType(
    {
        HeaderField.MID: "_mid",
        HeaderField.OTS: "_ots",
        HeaderField.CRC: "messageCRC",
        HeaderField.HOST: "hostname",
        HeaderField.FILE: "file",
        HeaderField.ZONE: "availabilityZone",
    }
)
HEADER_NAMES: Final = frozenset(NAMES.values())
_NS_PER_MS: Final = 1_000_000


class Headers:
    """The headers of one destination's records."""

    def __init__(self, config: HeadersConfig, *, host: str, zone: Zone) -> None:
        self._fields = config.add
        self._zone = zone
        self._host = host
        self._static = tuple(
            _constant(name, value.encode()) for name, value in config.static.items()
        )

    def onto(self, batch: RecordBatch) -> RecordBatch:
        """The batch with them; `path` and `inode` are those of its file."""
        made = (self._header(field, batch) for field in self._fields)
        return replace(batch, headers=(*filter(None, made), *self._static))

    def _header(self, field: HeaderField, batch: RecordBatch) -> Header | None:
        """None where it is not known."""
        name = NAMES[field]
        match field:
            case HeaderField.MID:
                ids = np.empty((len(batch), 2), ">i8")
                ids[:, 0] = batch.inode
                ids[:, 1] = batch.ends
                return _column(name, ids)
            case HeaderField.OTS:
                times = np.zeros(len(batch), ">i8")
                if batch.timestamps_ms is not None:
                    times[:] = np.maximum(batch.timestamps_ms, 0) * _NS_PER_MS
                return _column(name, times)
            case HeaderField.CRC:
                sums = [zlib.crc32(batch.payload(row)) for row in range(len(batch))]
                return _column(name, np.array(sums, ">i8"))
            case HeaderField.HOST:
                return _constant(name, self._host.encode())
            case HeaderField.FILE:
                return _constant(name, os.fsencode(batch.path))
            case HeaderField.ZONE:
                names = self._zone.names
                return _constant(name, names[0].encode()) if names else None


def _constant(name: str, value: bytes) -> Header:
    return Header(name=name.encode(), buffer=_bytes(value), size=len(value), stride=0)


def _column(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Header:
    size = values.itemsize * (values.shape[1] if values.ndim > 1 else 1)
    return Header(
        name=name.encode(), buffer=values.reshape(-1).view(np.uint8), size=size, stride=size
    )


def _bytes(value: bytes) -> Bytes:
    return np.frombuffer(value or b"\0", np.uint8)
