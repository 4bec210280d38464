"""`singer positions list|show`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError
from singer.cli.arguments import add_config

if TYPE_CHECKING:  # numpy is not needed for --help
    from singer.base.position import Position

_EPILOG: Final = """\
examples:
  singer positions list -c /etc/singer/singer.yaml
  singer positions list --stream access --json
  singer positions show /var/log/nginx/access.log

Works while the agent runs. Embedded clusters have no positions on disk.
"""

#: The name of the position store in the state directory.
_STORE: Final = "positions"


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "positions",
        help="how far each file was delivered",
        description="Shows how far each file was delivered.",
        epilog=_EPILOG,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="one line per file and destination",
        description="One line per file and destination.",
        epilog=_EPILOG,
    )
    _add_common(listing)
    listing.set_defaults(command=run_list)
    showing = actions.add_parser(
        "show",
        help="everything known about one file",
        description="Everything known about one file, for each stream and destination.",
        epilog=_EPILOG,
    )
    showing.add_argument("file", metavar="FILE", help="the path of a log file")
    _add_common(showing)
    showing.set_defaults(command=run_show)


def run_list(options: argparse.Namespace) -> int:
    """Print all positions, as they come: there may be many."""
    rows = _read(options)
    if options.json:
        _print_json(rows)
        return os.EX_OK
    header = "STREAM\tDESTINATION\tOFFSET\tUPDATED\tPATH"
    for row in rows:
        if header:  # not before the store was found to be readable
            print(header)
            header = ""
        print(
            f"{row.stream}\t{row.destination}\t{row.offset}\t{_time(row.updated_ns)}\t"
            f"{_printable(row.path)}"
        )
    return os.EX_OK


def run_show(options: argparse.Namespace) -> int:
    """Print the positions of one file."""
    path = os.path.abspath(options.file)
    rows = [row for row in _read(options) if row.path == path]
    if not rows:
        raise UsageError(
            f"show positions: {_printable(path)}: no position; `singer positions list` shows all"
        )
    if options.json:
        _print_json(rows)
        return os.EX_OK
    print("\n\n".join(_describe(row) for row in rows))
    return os.EX_OK


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--state-dir", metavar="DIR", help="the state directory, instead of the configuration's"
    )
    parser.add_argument("--stream", metavar="NAME", help="only this stream")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def _read(options: argparse.Namespace) -> Iterator[Position]:
    from singer.positions.query import read_positions  # noqa: PLC0415 # loads SQLite

    directory = options.state_dir
    if directory is None:
        from singer.config.loader import load  # noqa: PLC0415 # loads librdkafka

        directory = load(options.config).config.agent.state_dir
    return read_positions(os.path.join(directory, _STORE), options.stream)


def _print_json(rows: Iterable[Position]) -> None:
    for row in rows:
        print(json.dumps(_plain(row)))


def _plain(row: Position) -> dict[str, object]:
    identity = row.identity
    return {
        "id": row.id,
        "stream": row.stream,
        "destination": row.destination,
        "path": row.path,
        "offset": row.offset,
        "device": identity.device,
        "inode": identity.inode,
        "birth_ns": identity.birth_ns,
        "fingerprint_bytes": identity.fingerprint.length,
        "tail_bytes": row.tail.length,
        "resume_bytes": len(row.resume),
        "first_seen": _time(row.first_seen_ns),
        "updated": _time(row.updated_ns),
    }


def _describe(row: Position) -> str:
    pairs = _plain(row) | {"path": _printable(row.path)}
    return "\n".join(f"{name:<18} {value}" for name, value in pairs.items())


def _printable(path: str) -> str:
    """A path on one line: file names may hold line feeds and terminal escapes."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode()
        for each in path
    )


def _time(moment_ns: int) -> str:
    if not moment_ns:
        return "never"
    return f"{datetime.fromtimestamp(moment_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"
