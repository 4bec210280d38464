"""`singer check`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Final

from singer.cli.arguments import add_config

_EPILOG: Final = """\
example:
  singer check -c etc/singer.yaml
  singer check -c etc/singer.yaml --show

Every problem is one line: file:line:column: path: message. Exit status 78 if there is any.
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "check",
        help="check the configuration",
        description="Check the configuration and say everything that is wrong with it.",
        epilog=_EPILOG,
    )
    add_config(parser)
    parser.add_argument(
        "--show",
        action="store_true",
        help="print it as YAML with all defaults; secrets are masked",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Load, warn, print."""
    from singer.config.loader import load  # noqa: PLC0415 # loads librdkafka
    from singer.config.show import show  # noqa: PLC0415

    loaded = load(options.config)
    for warning in loaded.warnings:
        print(f"{warning.file}: warning: {warning.message}", file=sys.stderr)
    if options.show:
        sys.stdout.write(show(loaded.config))
    else:
        config = loaded.config
        files = "" if len(loaded.files) == 1 else f" in {len(loaded.files)} files"
        print(
            f"{options.config}: ok: {len(config.streams)} stream(s), "
            f"{len(config.clusters)} cluster(s){files}"
        )
    return os.EX_OK
