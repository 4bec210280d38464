"""`singer cat`: a log file as the records that its reader makes of it."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from singer.base.config import ReaderConfig
    from singer.base.ports import Framed

_EPILOG: Final = """\
example:
  singer cat access.log | head
  singer cat events.thrift --reader thrift
  singer cat requests.bin --reader thrift --idl access.thrift --struct Request
  singer cat app.log.1.gz --reader "{type: multiline, start: '^[0-9]'}"

Each record is one line of JSON, and so is each range that is no record, with the reason. Bytes
that are not UTF-8 are shown as {"base64": ...}. Compressed files are read as what is in them.
"""

#: Makes of the bytes of one record what is shown.
_Decode: TypeAlias = Callable[[bytes], object]


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "cat",
        help="decode a log file to JSON",
        description="Show the records of a log file as JSON, without an agent or a configuration.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="a log file, compressed or not")
    parser.add_argument(
        "--reader",
        metavar="READER",
        default="text",
        help="as in the configuration: a type, or a mapping in YAML (default: %(default)s)",
    )
    parser.add_argument(
        "--idl", metavar="FILE", help="what describes the structs, with the reader thrift"
    )
    parser.add_argument("--struct", metavar="NAME", help="which of its structs they are")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Read to the end, print."""
    from singer.config.loader import load_reader  # noqa: PLC0415 # loads librdkafka

    text = options.reader
    if options.idl or options.struct:
        given = {"type": text, "idl": options.idl, "struct": options.struct}
        text = json.dumps({key: value for key, value in given.items() if value})
    config, decode = _decoder(load_reader(text))
    for record in _records(options.file, config, decode):
        print(json.dumps(record, ensure_ascii=False, default=_shown))
    return os.EX_OK


def _decoder(config: ReaderConfig) -> tuple[ReaderConfig, _Decode]:
    """The reader to use, and how to show what it makes."""
    from singer.base.config import Payload, ThriftReaderConfig  # noqa: PLC0415

    if not isinstance(config, ThriftReaderConfig):
        return config, _shown
    from singer.readers.idl import decoder  # noqa: PLC0415

    return replace(config, payload=Payload.FRAME), decoder(config)


def _records(path: str, config: ReaderConfig, decode: _Decode) -> Iterator[Mapping[str, object]]:
    """All that is in a file, in its order. Raises ReadError."""
    from singer.base.errors import ReadError  # noqa: PLC0415
    from singer.base.ports import State  # noqa: PLC0415
    from singer.files.opening import explain  # noqa: PLC0415
    from singer.files.packed import PackedSource  # noqa: PLC0415
    from singer.files.siblings import compression  # noqa: PLC0415
    from singer.files.source import WINDOW_BYTES, Outcome, Source  # noqa: PLC0415
    from singer.readers.making import make  # noqa: PLC0415

    reader, resume = make(config), b""
    try:
        with open(path, "rb", buffering=0) as file:
            packed = compression(path)
            source = (
                Source(file.fileno(), 0, b"")
                if packed is None
                else PackedSource(file.fileno(), packed, 0, b"")
            )
            state = State.MORE
            while state is State.MORE:
                if source.read_cold(WINDOW_BYTES) is not Outcome.GREW:
                    state = State.FINAL
                framed = reader.frame(
                    source.window, source.offset, state, scanned=source.scanned, resume=resume
                )
                yield from _shown_window(framed, bytes(source.window), source.offset, decode)
                source.consume(framed.consumed, framed.scanned)
                resume = framed.resume
            if source.fault is not None:
                print(f"singer: {path}: {source.fault}", file=sys.stderr)
    except OSError as error:
        raise ReadError(f"read {path}: {explain(error)}") from error


def _shown_window(
    framed: Framed, window: bytes, offset: int, decode: _Decode
) -> Iterator[Mapping[str, object]]:
    """The records and the ranges that are none, in their order."""
    batch = framed.batch
    shown: list[tuple[int, dict[str, object]]] = []
    for row in range(len(batch)):
        record: dict[str, object] = {"end": int(batch.ends[row])}
        if (key := batch.key(row)) is not None:
            record["key"] = _shown(key)
        if batch.timestamps_ms is not None and batch.timestamps_ms[row] >= 0:
            record["timestamp_ms"] = int(batch.timestamps_ms[row])
        record |= {name: column[row].item() for name, column in batch.columns.items()}
        record["value"] = decode(batch.payload(row))
        shown.append((int(batch.ends[row]), record))
    for bad in framed.bad:
        content = window[bad.start - offset : bad.end - offset]
        shown.append((bad.end, {"end": bad.end, "bad": bad.reason, "value": _shown(content)}))
    yield from (record for _, record in sorted(shown, key=lambda each: each[0]))


def _shown(content: object) -> object:
    """Bytes as JSON can hold them; what else is no JSON, as its text."""
    if not isinstance(content, bytes):
        return str(content)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
