"""Making: the reader that a stream's configuration asks for."""

from __future__ import annotations

from singer.base.config import (
    ContainerReaderConfig,
    FramesReaderConfig,
    MultilineReaderConfig,
    ProtobufReaderConfig,
    ReaderConfig,
    TextReaderConfig,
    ThriftReaderConfig,
)
from singer.base.ports import Reader
from singer.readers.containers import ContainerReader
from singer.readers.frames import FrameReader, by_length
from singer.readers.multiline import MultilineReader
from singer.readers.text import TextReader
from singer.readers.thrift import ThriftReader


def make(config: ReaderConfig) -> Reader:
    """One reader serves all files of a stream: it keeps no state. Raises InputError."""
    match config:
        case TextReaderConfig():
            return TextReader(config)
        case MultilineReaderConfig():
            return MultilineReader(config)
        case ContainerReaderConfig():
            return ContainerReader(config)
        case FramesReaderConfig():
            return FrameReader(by_length(config), int(config.max_record), payload=config.payload)
        case ProtobufReaderConfig():
            from singer.readers.protobuf import ProtobufReader  # noqa: PLC0415  # 30 ms

            return ProtobufReader(config)
        case ThriftReaderConfig(idl=None, struct=None, key=None, timestamp=None):
            return ThriftReader(config)
        case ThriftReaderConfig():
            from singer.readers import idl  # noqa: PLC0415  # 50 ms of each start

            return ThriftReader(config, idl.layout(config))
    raise AssertionError(f"no reader for {config}")
