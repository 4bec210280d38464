"""`singer run`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from typing import Any, Final, NoReturn

from singer.base.events import Severity
from singer.cli.arguments import add_config

_EPILOG: Final = """\
example:
  singer run -c /etc/singer/singer.yaml
  singer run -c etc/singer.yaml --once    # deliver what is there, then exit

SIGTERM and SIGINT (Ctrl-C) stop reading and deliver what was read, until agent.drain_deadline;
a second one stops at once. With --once the agent waits as long for mounts that do not answer, and
then exits with 75. Nothing is lost either way.
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "run",
        help="run the agent",
        description="Run the agent in the foreground.",
        epilog=_EPILOG,
    )
    add_config(parser)
    parser.add_argument(
        "--once",
        action="store_true",
        help="deliver every file to its end, then exit; waits for no grace period",
    )
    parser.add_argument(
        "--log-level",
        choices=[severity.name.lower() for severity in Severity],
        default="info",
        help="what is logged to standard error (default: %(default)s)",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> NoReturn:
    """Load, warn, hand over to the agent, leave the process."""
    # A stop that is asked for while we load is heard when the agent can listen, and is clean.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    from singer.config.loader import load  # noqa: PLC0415 # loads librdkafka

    loaded = load(options.config)
    for warning in loaded.warnings:
        print(f"{warning.file}: warning: {warning.message}", file=sys.stderr)

    from singer import agent  # noqa: PLC0415 # loads numpy and everything else
    from singer.observe.counters import Counters  # noqa: PLC0415
    from singer.observe.fan_out import fan_out  # noqa: PLC0415
    from singer.observe.log import Log  # noqa: PLC0415

    log = Log(threshold=Severity[options.log_level.upper()])
    try:
        status = agent.run(loaded.config, once=options.once, emit=fan_out(Counters(), log))
    finally:
        log.close()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    # Not through the interpreter's end: a thread may hang in a read of a dead mount for ever.
    # Everything was committed and closed before.
    os._exit(status)
