"""The console script `singer`: chooses the command, turns errors into messages and statuses.

Parts are imported by the command that needs them, when it runs, so that `singer --help` does not
wait for librdkafka and numpy.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from singer import __version__
from singer.base.errors import ConfigError, SingerError
from singer.cli import (
    audit,
    cat,
    check,
    compare,
    dead_letters,
    demo,
    positions,
    promote,
    run,
)
from singer.cli.arguments import Parser

_EPILOG: Final = """\
example:
  singer check -c /etc/singer/singer.yaml && singer run -c /etc/singer/singer.yaml

exit status: 0 done, 64 usage, 69 unavailable, 70 internal error, 75 deadline passed with data
still to deliver, 78 configuration
"""

#: What a shell reports for a program that SIGINT or SIGPIPE ended.
_EXIT_INTERRUPTED: Final = 130
_EXIT_BROKEN_PIPE: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _never_fail_to_print()
    try:
        options = parser().parse_args(arguments)
        status: int = options.command(options)
        sys.stdout.flush()
    except SystemExit as end:  # argparse, after --help or a usage error
        return end.code if isinstance(end.code, int) else os.EX_USAGE
    except ConfigError as error:
        print(error, file=sys.stderr)  # one line for each problem
        return error.exit_status
    except SingerError as error:
        print(f"singer: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # `singer positions list | head`: the reader has what it wanted. Without this the
        # interpreter would complain again when it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    except Exception:  # noqa: BLE001 # the last resort: a bug becomes a trace and a status
        traceback.print_exc()
        print("singer: internal error: please report this with the lines above", file=sys.stderr)
        return os.EX_SOFTWARE
    return status


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="singer",
        description="Ships log files to Kafka and loses nothing.",
        epilog=_EPILOG,
    )
    top.add_argument("--version", action="version", version=f"singer {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (
        run,
        check,
        demo,
        positions,
        dead_letters,
        promote,
        cat,
        compare,
        audit,
    ):
        module.register(commands)
    return top


def _never_fail_to_print() -> None:
    """File names that are not UTF-8 are shown escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
