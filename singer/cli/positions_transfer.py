"""`singer positions export|import`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError, WorldError
from singer.cli.rows import (
    STOPPED,
    add_common,
    add_dry_run,
    add_json,
    configuration,
    idle_store,
    moment,
    print_json,
    printable,
    state_directory,
    tell,
    walker_of,
)

if TYPE_CHECKING:  # numpy and SQLite are not needed for --help
    from singer.base.config import Config, StreamConfig
    from singer.base.position import Position
    from singer.positions.edit import Merge
    from singer.positions.portable import Portable

_EXPORT_EPILOG: Final = """\
examples:
  singer positions export --output positions.jsonl
  singer positions export --stream access | gzip > access.jsonl.gz

One JSON object per line, with everything that `singer positions import` needs. Works while the
agent runs: files that are read meanwhile are exported as they were at some moment.
"""

_IMPORT_EPILOG: Final = f"""\
examples:
  singer positions import positions.jsonl --dry-run
  zcat access.jsonl.gz | singer positions import -
  singer positions import --from-singer-java --dry-run

Positions that exist are kept, unless --replace is given. All is imported, or nothing.
--from-singer-java looks beside the logs of the configuration's streams for the watermarks of Java
Singer, which must not run any more; it changes nothing of them.
{STOPPED}
"""

#: How often a directory is listed while files are renamed in it.
_MOST_LOOKS: Final = 10


def register(actions: Any) -> None:
    """Add the actions to the subparsers of `singer positions`."""
    exporting = actions.add_parser(
        "export",
        help="all positions as lines of JSON",
        description="Writes positions as lines of JSON, for another host or a later day.",
        epilog=_EXPORT_EPILOG,
    )
    exporting.add_argument(
        "--output", metavar="FILE", help="write to this file, instead of standard output"
    )
    add_common(exporting)
    exporting.set_defaults(command=run_export)
    importing = actions.add_parser(
        "import",
        help="the positions of an export, or of Java Singer",
        description="Adds positions from an export, or from Java Singer's watermarks.",
        epilog=_IMPORT_EPILOG,
    )
    importing.add_argument(
        "file", metavar="FILE", nargs="?", help="an export; `-` is standard input"
    )
    importing.add_argument(
        "--from-singer-java", action="store_true", help="from Java Singer's watermarks instead"
    )
    importing.add_argument(
        "--replace", action="store_true", help="replace positions that exist already"
    )
    add_common(importing)
    add_dry_run(importing)
    add_json(importing)
    importing.set_defaults(command=run_import)


# --- export ---------------------------------------------------------------------------------


def run_export(options: argparse.Namespace) -> int:
    """Write all lines, as they come: there may be many."""
    from singer.positions.query import Query  # noqa: PLC0415 # loads SQLite

    store = os.path.join(state_directory(options), "positions")
    with Query(store) as query:
        from singer import __version__  # noqa: PLC0415
        from singer.base.clock import SystemClock  # noqa: PLC0415
        from singer.positions.portable import dump  # noqa: PLC0415

        lines = dump(
            query.rows(options.stream),
            lambda: query.scans(options.stream),
            singer=__version__,
            exported=moment(SystemClock().now_ns()),
        )
        if options.output is None:
            for line in lines:
                print(line)
        else:
            _write(options.output, lines)
    return os.EX_OK


def _write(path: str, lines: Iterable[str]) -> None:
    """Let the file hold exactly these lines, or what it held before."""
    from singer.positions.durable import move_into_place  # noqa: PLC0415

    temporary = f"{path}.tmp"
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.writelines(f"{line}\n" for line in lines)
            move_into_place(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise WorldError(
            f"export positions: {error.filename or path!r}: {error.strerror}; "
            f"correct that, or name another file"
        ) from error


# --- import ---------------------------------------------------------------------------------


def run_import(options: argparse.Namespace) -> int:
    """Add rows and scans to the store."""
    from singer.positions.edit import merge  # noqa: PLC0415 # loads SQLite

    if options.from_singer_java == (options.file is not None):
        raise UsageError("import positions: name a file to import, or --from-singer-java")
    if options.from_singer_java:
        config = configuration(options)
        directory = options.state_dir or config.agent.state_dir
    else:
        config = None
        directory = state_directory(options)
    with idle_store(directory, options) as store:
        given = _parse(options) if config is None else _from_watermarks(config, options)
        merged = merge(
            given.rows,
            given.scans,
            lookup=store.lookup,
            recorded=store.scans(),
            prefer_added=options.replace,
        )
        store.apply(merged.edit)
    _say(merged, options)
    return os.EX_OK


def _parse(options: argparse.Namespace) -> Portable:
    from singer.positions.portable import Portable, parse  # noqa: PLC0415

    name = "standard input" if options.file == "-" else printable(options.file)
    try:
        with (
            contextlib.nullcontext(sys.stdin.buffer)
            if options.file == "-"
            else open(options.file, "rb")
        ) as lines:
            given = parse(lines, name)
    except OSError as error:
        raise UsageError(
            f"import positions: {name}: {error.strerror}; name a file made by "
            f"`singer positions export`"
        ) from error
    if options.stream is None:
        return given
    return Portable(
        rows=tuple(row for row in given.rows if row.stream == options.stream),
        scans=tuple(scan for scan in given.scans if scan.stream == options.stream),
    )


def _from_watermarks(config: Config, options: argparse.Namespace) -> Portable:
    from singer.positions.portable import Portable  # noqa: PLC0415

    rows: list[Position] = []
    for stream in config.streams:
        if options.stream not in (None, stream.name):
            continue
        destinations = [
            each.name for each in stream.publish if not config.clusters[each.cluster].is_embedded
        ]
        if destinations:
            rows += _watermarks_of(stream, destinations)
    # The first scan is the agent's to record: files without a watermark begin as `start` says.
    return Portable(rows=tuple(rows), scans=())


def _watermarks_of(stream: StreamConfig, destinations: list[str]) -> Sequence[Position]:
    from singer.base.clock import SystemClock  # noqa: PLC0415
    from singer.files import watermarks  # noqa: PLC0415

    walker = walker_of(stream)
    walk = walker.walk()
    for _, fault in walk.faults:
        print(f"singer: stream {stream.name}: {fault}", file=sys.stderr)
    taken = watermarks.of_stream(
        walker,
        walk.directories,
        stream=stream.name,
        destinations=destinations,
        now_ns=SystemClock().now_ns(),
    )
    if taken.unsettled:
        raise WorldError(
            f"import positions: {min(taken.unsettled)!r} is renamed all the time; try again"
        )
    for event in taken.events:
        tell(event)
    return taken.rows


def _say(merged: Merge, options: argparse.Namespace) -> None:
    if options.json or options.dry_run:
        for row in merged.added:
            _say_row("add", (), row, options)
        for known, row in merged.replaced:
            _say_row("replace", known, row, options)
        for scan in merged.added_scans:
            if options.json:
                print_json({"action": "scan", "dry_run": options.dry_run} | scan._asdict())
            else:
                print(
                    f"would record that stream {scan.stream} was first looked at for "
                    f"{scan.destination} at {moment(scan.scanned_ns)}"
                )
    if options.json:
        for row in merged.kept:
            _say_row("keep", (), row, options)
        return
    verdict = "nothing was changed; it would be" if options.dry_run else "imported"
    hint = " (--replace replaces them)" if merged.kept and not options.replace else ""
    print(
        f"{verdict}: {len(merged.added)} positions added, {len(merged.replaced)} replaced, "
        f"{len(merged.kept)} kept as they are{hint}; {len(merged.added_scans)} first scans"
    )


def _say_row(
    action: str, known: tuple[Position, ...], row: Position, options: argparse.Namespace
) -> None:
    old = [each.offset for each in known]
    if options.json:
        print_json(
            {
                "action": action,
                "dry_run": options.dry_run,
                "stream": row.stream,
                "destination": row.destination,
                "path": row.path,
                "inode": row.identity.inode,
                "old_offset": min(old) if old else None,
                "offset": row.offset,
            }
        )
        return
    instead = f" instead of {', '.join(map(str, old))}" if old else ""
    print(
        f"would {action} {printable(row.path)} (inode {row.identity.inode}) in stream {row.stream} "
        f"for {row.destination}: offset {row.offset}{instead}"
    )
