"""`singer demo`."""

from __future__ import annotations

import argparse
from typing import Any, Final

_EPILOG: Final = """\
example:
  singer demo
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "demo",
        help="see it work: rotation, kill -9, nothing lost",
        description="Writes and rotates logs, ships them to three brokers in three zones inside "
        "this process, kills the agent half way, and counts what arrived.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Hand over to the demo."""
    from singer.demo import app  # noqa: PLC0415 # loads librdkafka, numpy and rich

    return app.main(options)
