"""`singer check`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Final

from singer.base.config import Config
from singer.cli.arguments import add_config

_EPILOG: Final = """\
example:
  singer check -c etc/singer.yaml
  singer check -c etc/singer.yaml --show
  singer check -c etc/singer.yaml --online

Every problem is one line: file:line:column: path: message. Exit status 78 if there is any.
With --online, clusters and topics are looked at as well, and nothing is changed: one line for each
finding, level, cluster/topic, cause: advice. Exit status 69 if there is an error among them.
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
    parser.add_argument(
        "--online",
        action="store_true",
        help="ask the brokers whether clusters and topics are as the streams need them",
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
    return _online(loaded.config) if options.online else os.EX_OK


def _online(config: Config) -> int:
    """Ask, print, and say by the status whether something will not be delivered."""
    import asyncio  # noqa: PLC0415 # not needed for --help

    from singer import online  # noqa: PLC0415 # loads numpy
    from singer.kafka.preflight import Level  # noqa: PLC0415

    findings = asyncio.run(online.check(config))
    rows = [(each.level, each.thing, f"{each.cause}: {each.advice}") for each in findings]
    rows += [(Level.NOTE, thing, why) for thing, why in online.unlooked(config).items()]
    width = max((len(thing) for _, thing, _ in rows), default=0)
    for level, thing, text in sorted(rows, key=lambda row: -row[0]):
        print(f"{level.name.lower():7}  {thing:{width}}  {text}")
    errors = sum(level is Level.ERROR for level, _, _ in rows)
    warnings = sum(level is Level.WARNING for level, _, _ in rows)
    print(f"online: {errors} error(s), {warnings} warning(s)")
    return os.EX_UNAVAILABLE if errors else os.EX_OK
