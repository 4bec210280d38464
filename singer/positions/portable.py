"""Positions as lines of JSON, for export and import, and back. Pure.

    {"type": "header", "format": 1, ...}
    {"type": "position", "stream": ..., "destination": ..., "path": ..., "device": ..., ...}
    {"type": "scan", "stream": ..., "destination": ..., "scanned_ns": ...}
    {"type": "end", "positions": N, "scans": M}

The last line tells a whole export from one that was cut off. Digests and the reader's state are in
hexadecimal, and so is a path that is not UTF-8 (`path_hex`). Keys that are not known are ignored;
whatever changes the meaning of those that are has another `format`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from singer.base.errors import InputError
from singer.base.position import FileIdentity, Mark, Position
from singer.positions.schema import Scan

FORMAT: Final = 1

_UNSIGNED: Final = range(1 << 64)
#: What SQLite's integers hold.
_SIGNED: Final = range(-(1 << 63), 1 << 63)
_POSITIVE: Final = range(1 << 63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portable:
    """The content of an export; rows have no ids."""

    rows: tuple[Position, ...]
    scans: tuple[Scan, ...]


def dump(
    rows: Iterable[Position], scans: Callable[[], Iterable[Scan]], **header: str
) -> Iterator[str]:
    """The lines of an export, without line feeds; `header` is information for people.

    The scans are asked for after the last row: a scan without a row makes a file be read again, a
    row without its scan could make another one be skipped.
    """
    yield json.dumps({"type": "header", "format": FORMAT} | header)
    positions = scanned = 0
    for row in rows:
        yield json.dumps(_of_row(row))
        positions += 1
    for scan in scans():
        yield json.dumps({"type": "scan"} | scan._asdict())
        scanned += 1
    yield json.dumps({"type": "end", "positions": positions, "scans": scanned})


def parse(lines: Iterable[bytes], name: str) -> Portable:
    """Read a whole export; `name` is for messages. Raises InputError."""
    reading = _Reading()
    number = 0
    try:
        for number, line in enumerate(lines, 1):  # noqa: B007 # for the message
            reading.take(_Record.of(line))
        return reading.finish()
    except ValueError as error:
        raise InputError(f"import positions: {name}: line {number}: {error}") from error


class _Reading:
    """An export, as far as it was read. Raises ValueError."""

    def __init__(self) -> None:
        self._rows: list[Position] = []
        self._scans: list[Scan] = []
        self._last = ""

    def take(self, record: _Record) -> None:
        kind = record.text("type")
        if (kind == "header") != (not self._last) or self._last == "end":
            raise ValueError("it is not one whole export of positions")
        self._last = kind
        match kind:
            case "header":
                found = record.number("format", _POSITIVE)
                if found != FORMAT:
                    raise ValueError(
                        f"format {found}, this singer reads {FORMAT}: import it with the singer "
                        f"that wrote it"
                    )
            case "position":
                self._rows.append(_to_row(record))
            case "scan":
                self._scans.append(_to_scan(record))
            case "end":
                told = (record.number("positions", _POSITIVE), record.number("scans", _POSITIVE))
                if told != (len(self._rows), len(self._scans)):
                    raise ValueError("lines are missing before it: export again")
            case _:
                raise ValueError(f"unknown type {kind!r}")

    def finish(self) -> Portable:
        if self._last != "end":
            raise ValueError("the export was cut off here: export again")
        return Portable(rows=tuple(self._rows), scans=tuple(self._scans))


class _Record:
    """One JSON object, asked for one value at a time. Raises ValueError."""

    def __init__(self, found: object) -> None:
        if not isinstance(found, dict):
            raise ValueError("a JSON object was expected")  # noqa: TRY004 # the caller's one error
        self._found: dict[str, Any] = found

    @classmethod
    def of(cls, line: bytes) -> _Record:
        try:
            found = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise ValueError("it is not a line of an export of positions") from error
        return cls(found)

    def has(self, key: str) -> bool:
        return self._found.get(key) is not None

    def text(self, key: str) -> str:
        value = self._found.get(key)
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a string")  # noqa: TRY004
        value.encode()  # a lone surrogate is no text
        return value

    def number(self, key: str, within: range) -> int:
        value = self._found.get(key)
        if type(value) is not int or value not in within:
            raise ValueError(f"{key} must be an integer from {within.start} to {within.stop - 1}")
        return value

    def octets(self, key: str) -> bytes:
        try:
            return bytes.fromhex(self.text(key))
        except ValueError as error:
            raise ValueError(f"{key} must be bytes in hexadecimal") from error

    def mark(self, key: str) -> Mark:
        inner = _Record(self._found.get(key))
        return Mark(inner.number("length", _POSITIVE), inner.octets("digest"))


def _to_scan(record: _Record) -> Scan:
    return Scan(
        record.text("stream"),
        record.text("destination"),
        record.number("scanned_ns", _POSITIVE),
    )


def _of_row(row: Position) -> dict[str, object]:
    identity = row.identity
    try:
        row.path.encode()
        path = {"path": row.path}
    except UnicodeEncodeError:
        path = {"path_hex": os.fsencode(row.path).hex()}
    return {
        "type": "position",
        "stream": row.stream,
        "destination": row.destination,
        **path,
        "device": identity.device,
        "inode": identity.inode,
        "birth_ns": identity.birth_ns,
        "fingerprint": _of_mark(identity.fingerprint),
        "offset": row.offset,
        "tail": _of_mark(row.tail),
        "resume": row.resume.hex(),
        "first_seen_ns": row.first_seen_ns,
        "updated_ns": row.updated_ns,
    }


def dump_row(row: Position) -> str:
    """One row as a line of its own."""
    return json.dumps(_of_row(row), separators=(",", ":"))


def parse_row(line: bytes) -> Position:
    """Such a line. Raises ValueError."""
    return _to_row(_Record.of(line))


def _of_mark(mark: Mark) -> dict[str, object]:
    return {"length": mark.length, "digest": mark.digest.hex()}


def _to_row(record: _Record) -> Position:
    path = os.fsdecode(record.octets("path_hex")) if record.has("path_hex") else record.text("path")
    return Position(
        stream=record.text("stream"),
        destination=record.text("destination"),
        path=path,
        identity=FileIdentity(
            device=record.number("device", _UNSIGNED),
            inode=record.number("inode", _UNSIGNED),
            birth_ns=record.number("birth_ns", _SIGNED) if record.has("birth_ns") else None,
            fingerprint=record.mark("fingerprint"),
        ),
        offset=record.number("offset", _POSITIVE),
        tail=record.mark("tail"),
        resume=record.octets("resume"),
        first_seen_ns=record.number("first_seen_ns", _POSITIVE),
        updated_ns=record.number("updated_ns", _POSITIVE),
    )
