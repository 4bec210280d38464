"""What the readers are measured with: files of each format, and the reader for it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from singer.base.config import (
    ContainerReaderConfig,
    FramesReaderConfig,
    MultilineReaderConfig,
    ReaderConfig,
    ReaderType,
    Regex,
    TextReaderConfig,
    ThriftReaderConfig,
)
from tests.readers.container_logs import cri, docker
from tests.readers.thrift_frames import frame

_CONTENT: Final = (
    b"GET /api/v1/orders/8231 status=200 bytes=5120 ms=17 user=u04711 trace=" + b"0af7" * 17
)
_MS: Final = 1_700_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`record` makes the bytes of the record with a number; `keys` say the same as `config`."""

    name: str
    config: ReaderConfig
    keys: Mapping[str, object]
    record: Callable[[int], bytes]

    def data(self, nbytes: int) -> bytes:
        """About so many bytes of whole records."""
        parts, size, number = [], 0, 0
        while size < nbytes:
            parts.append(self.record(number))
            size += len(parts[-1])
            number += 1
        return b"".join(parts)


def _line(number: int) -> bytes:
    return (b"%09d: " % number + _CONTENT)[:149] + b"\n"


def _trace(number: int) -> bytes:
    return _line(number) + (b"    at " + _CONTENT[:142] + b"\n") * 9


ALL: Final = (
    Sample(name="text, 150 B", config=TextReaderConfig(), keys={"type": "text"}, record=_line),
    Sample(
        name="multiline, 10 lines of 150 B",
        config=MultilineReaderConfig(start=Regex("^[0-9]")),
        keys={"type": "multiline", "start": "^[0-9]"},
        record=_trace,
    ),
    Sample(
        name="cri, 140 B",
        config=ContainerReaderConfig(type=ReaderType.CRI),
        keys={"type": "cri"},
        record=lambda number: cri(_CONTENT, ms=_MS + number // 5),
    ),
    Sample(
        name="docker, 140 B",
        config=ContainerReaderConfig(type=ReaderType.DOCKER),
        keys={"type": "docker"},
        record=lambda number: docker(_CONTENT, ms=_MS + number // 5),
    ),
    Sample(
        name="docker, JSON of 140 B",
        config=ContainerReaderConfig(type=ReaderType.DOCKER),
        keys={"type": "docker"},
        record=lambda number: docker(b'{"msg":"%s"}' % _CONTENT[:130], ms=_MS + number // 5),
    ),
    Sample(
        name="thrift, 500 B",
        config=ThriftReaderConfig(),
        keys={"type": "thrift"},
        record=lambda number: frame(
            (b"%09d: " % number + _CONTENT * 4)[:470], timestamp_ns=_MS * 1_000_000 + number
        ),
    ),
    Sample(
        name="frames, 500 B",
        config=FramesReaderConfig(),
        keys={"type": "frames"},
        record=lambda number: struct.pack(">I", 496) + (b"%09d: " % number + _CONTENT * 4)[:496],
    ),
    Sample(
        name="text, utf-16le",
        config=TextReaderConfig(encoding="utf-16le"),
        keys={"type": "text", "encoding": "utf-16le"},
        record=lambda number: _line(number).decode().encode("utf-16le"),
    ),
)
