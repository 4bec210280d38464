"""`singer positions`: `list` and `show`; `set`, `forget`, `export`, `import` have own modules."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError
from singer.cli import positions_edit, positions_transfer
from singer.cli.rows import (
    add_common,
    add_json,
    moment,
    plain,
    print_json,
    printable,
    state_directory,
)

if TYPE_CHECKING:  # numpy is not needed for --help
    from singer.base.position import Position

_EPILOG: Final = """\
examples:
  singer positions list -c /etc/singer/singer.yaml
  singer positions list --stream access --json
  singer positions show /var/log/nginx/access.log

Works while the agent runs. Embedded clusters have no positions on disk.
"""

_ALL_EPILOG: Final = f"""\
{_EPILOG}
With the agent stopped:
  singer positions set /var/log/nginx/access.log --offset end --dry-run
  singer positions forget /var/log/nginx/access.log
  singer positions export --output positions.jsonl    # this one at any time
  singer positions import positions.jsonl
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "positions",
        help="how far each file was delivered: look, change, move",
        description="Shows how far each file was delivered, and changes it.",
        epilog=_ALL_EPILOG,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="one line per file and destination",
        description="One line per file and destination.",
        epilog=_EPILOG,
    )
    add_common(listing)
    add_json(listing)
    listing.set_defaults(command=run_list)
    showing = actions.add_parser(
        "show",
        help="everything known about one file",
        description="Everything known about one file, for each stream and destination.",
        epilog=_EPILOG,
    )
    showing.add_argument("file", metavar="FILE", help="the path of a log file")
    add_common(showing)
    add_json(showing)
    showing.set_defaults(command=run_show)
    positions_edit.register(actions)
    positions_transfer.register(actions)


def run_list(options: argparse.Namespace) -> int:
    """Print all positions, as they come: there may be many."""
    rows = _read(options)
    if options.json:
        for row in rows:
            print_json(plain(row))
        return os.EX_OK
    header = "STREAM\tDESTINATION\tOFFSET\tUPDATED\tPATH"
    for row in rows:
        if header:  # not before the store was found to be readable
            print(header)
            header = ""
        print(
            f"{row.stream}\t{row.destination}\t{row.offset}\t{moment(row.updated_ns)}\t"
            f"{printable(row.path)}"
        )
    return os.EX_OK


def run_show(options: argparse.Namespace) -> int:
    """Print the positions of one file."""
    path = os.path.abspath(options.file)
    rows = [row for row in _read(options) if row.path == path]
    if not rows:
        raise UsageError(
            f"show positions: {printable(path)}: no position; `singer positions list` shows all"
        )
    if options.json:
        for row in rows:
            print_json(plain(row))
        return os.EX_OK
    print("\n\n".join(_describe(row) for row in rows))
    return os.EX_OK


def _read(options: argparse.Namespace) -> Iterator[Position]:
    from singer.positions.query import read_positions  # noqa: PLC0415 # loads SQLite

    return read_positions(os.path.join(state_directory(options), "positions"), options.stream)


def _describe(row: Position) -> str:
    pairs = plain(row) | {"path": printable(row.path)}
    return "\n".join(f"{name:<18} {value}" for name, value in pairs.items())
