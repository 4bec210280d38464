"""What the commands about positions share: options, where the store is, how rows are shown."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from singer.base.events import Event, Severity
from singer.cli.arguments import add_config

if TYPE_CHECKING:  # numpy and SQLite are not needed for --help
    from singer.base.config import Config, StreamConfig
    from singer.base.position import Position
    from singer.files.walk import Walker
    from singer.positions.idle import IdleStore

#: The end of the help of every command that changes positions.
STOPPED = """\
The agent must not run: it would write over what is changed. Run it as the agent's user.
Exit status 69 if it runs."""


def add_common(parser: argparse.ArgumentParser) -> None:
    """`-c FILE`, `--state-dir DIR`, `--stream NAME`."""
    add_config(parser)
    parser.add_argument(
        "--state-dir", metavar="DIR", help="the state directory, instead of the configuration's"
    )
    parser.add_argument("--stream", metavar="NAME", help="only this stream")


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """`--dry-run`."""
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change, and change nothing"
    )


def configuration(options: argparse.Namespace) -> Config:
    """The configuration. Raises ConfigError."""
    from singer.config.loader import load  # noqa: PLC0415 # loads librdkafka

    return load(options.config).config


def state_directory(options: argparse.Namespace) -> str:
    """The state directory; the configuration is read only if it was not named."""
    directory: str | None = options.state_dir
    return configuration(options).agent.state_dir if directory is None else directory


def idle_store(directory: str, options: argparse.Namespace) -> IdleStore:
    """The store, locked. Raises StateError."""
    from singer.base.clock import SystemClock  # noqa: PLC0415
    from singer.positions.idle import IdleStore  # noqa: PLC0415 # loads SQLite

    return IdleStore(directory, dry_run=options.dry_run, clock=SystemClock(), emit=tell)


def walker_of(stream: StreamConfig) -> Walker:
    """What finds the files of a stream."""
    from singer.files.walk import Walker  # noqa: PLC0415

    return Walker(
        stream.paths,
        stream.exclude,
        stream.rotated,
        rotated_dirs=stream.rotated_dirs,
        follow_symlinks=stream.follow_symlinks,
    )


def tell(event: Event) -> None:
    """An `Emit` that says what matters on standard error."""
    if event.message() and event.severity >= Severity.INFO:
        print(f"singer: {event.message()}", file=sys.stderr)


def print_json(pairs: dict[str, object]) -> None:
    """One line."""
    print(json.dumps(pairs))


def plain(row: Position) -> dict[str, object]:
    """What is shown of a row."""
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
        "first_seen": moment(row.first_seen_ns),
        "updated": moment(row.updated_ns),
    }


def printable(path: str) -> str:
    """A path on one line: file names may hold line feeds and terminal escapes."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode()
        for each in path
    )


def moment(time_ns: int) -> str:
    """A wall clock time for people."""
    if not time_ns:
        return "never"
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"
