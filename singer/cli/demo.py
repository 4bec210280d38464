"""`singer demo`."""

from __future__ import annotations

import argparse
import math
from typing import Any, Final

_EPILOG: Final = """\
examples:
  singer demo
  singer demo --seconds 60 --rate 20000
  singer demo --plain --keep    # lines of text; the logs and singer.yaml stay to be looked at

Exit status 0 when nothing was lost or out of order, 1 otherwise. Ctrl-C ends it at any time.
"""

#: There must be time for a rotation, a kill and a new start.
_LEAST_SECONDS: Final = 2.0
#: The lines carry ten digits, and no machine of today writes more.
_MOST_RATE: Final = 1e6


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "demo",
        help="see it work: rotation, kill -9, nothing lost",
        description="Writes and rotates logs, ships them to three brokers in three zones inside "
        "this process, kills the agent half way, and counts what arrived.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=20.0,
        metavar="N",
        help="how long lines are written (default: 20)",
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        default=5000.0,
        metavar="N",
        help="lines per second, all files together (default: 5000); far above 50000 the demo's "
        "own brokers and consumer may not keep up, and it says so",
    )
    parser.add_argument(
        "--plain", action="store_true", help="lines of text, as when it is not on a terminal"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the temporary directory and say where it is"
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Hand over to the demo."""
    from singer.demo import app  # noqa: PLC0415 # loads librdkafka, numpy and rich

    return app.main(options)


def _seconds(text: str) -> float:
    return _number(text, least=_LEAST_SECONDS, most=math.inf)


def _rate(text: str) -> float:
    return _number(text, least=1.0, most=_MOST_RATE)


def _number(text: str, *, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not (least <= value <= most and math.isfinite(value)):
        bounds = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise argparse.ArgumentTypeError(f"{text} is not {bounds}")
    return value
