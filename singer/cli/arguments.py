"""The command line's own shape: parsers that end with Singer's exit statuses, shared options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeAlias

DEFAULT_CONFIG: Final = "/etc/singer/singer.yaml"

#: A parsed command line in, an exit status out.
Command: TypeAlias = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that ends with 64 (EX_USAGE) where argparse has 2."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # An abbreviation that works today is ambiguous, or something else, tomorrow.
        keywords.setdefault("allow_abbrev", False)
        super().__init__(*args, **keywords)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to get help."""
        sys.stderr.write(f"{self.prog}: {message}\nTry: {self.prog} --help\n")
        raise SystemExit(os.EX_USAGE)


def add_config(parser: argparse.ArgumentParser) -> None:
    """`-c FILE`."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=DEFAULT_CONFIG,
        help="the configuration (default: %(default)s)",
    )


def moment_ms(text: str) -> int:
    """Milliseconds since 1970 of ISO 8601, UTC where it does not say. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
