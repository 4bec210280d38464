"""`singer positions set|forget`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError
from singer.cli.rows import (
    STOPPED,
    add_common,
    add_dry_run,
    add_json,
    configuration,
    idle_store,
    print_json,
    printable,
    state_directory,
    walker_of,
)

if TYPE_CHECKING:  # numpy and SQLite are not needed for --help
    from singer.base.config import Config, StreamConfig
    from singer.base.position import Position
    from singer.files.stat import FileStat
    from singer.files.walk import Walker
    from singer.positions.idle import IdleStore

_SET_EPILOG: Final = f"""\
examples:
  singer positions set /var/log/nginx/access.log --offset end --dry-run
  singer positions set /var/log/nginx/access.log --offset 123456 --stream access
  singer positions set /var/log/nginx/access.log.1 --offset beginning --destination main/web

FILE is the file that is at that path now; a rotated file is named by its present path. What was
delivered and lies behind the new offset is sent again, what was not and lies before it is skipped.
{STOPPED}
"""

_FORGET_EPILOG: Final = f"""\
examples:
  singer positions forget /var/log/nginx/access.log --dry-run
  singer positions forget /var/log/nginx/*.log --stream access
  singer positions forget --stream access --all

FILE is the file that is at that path now; if there is none, or it has no position, all files that
were at that path. The next start reads a forgotten file from its beginning. With --all the stream
is as one that was never seen: its `start` applies again.
{STOPPED}
"""

_BEGINNING: Final = "beginning"
_END: Final = "end"


def register(actions: Any) -> None:
    """Add the actions to the subparsers of `singer positions`."""
    setting = actions.add_parser(
        "set",
        help="read a file from another offset on",
        description="Has the next start of the agent read a file from another offset on.",
        epilog=_SET_EPILOG,
    )
    setting.add_argument("file", metavar="FILE", help="the path of a log file")
    setting.add_argument(
        "--offset",
        required=True,
        type=_offset,
        metavar="N",
        help="bytes from the start of the file; or: beginning, end (behind the last whole line)",
    )
    add_common(setting)
    setting.add_argument("--destination", metavar="NAME", help="only this destination")
    setting.add_argument("--force", action="store_true", help="also to the middle of a line")
    add_dry_run(setting)
    add_json(setting)
    setting.set_defaults(command=run_set)
    forgetting = actions.add_parser(
        "forget",
        help="forget that a file was ever read",
        description="Has the next start of the agent meet files as new ones.",
        epilog=_FORGET_EPILOG,
    )
    forgetting.add_argument("files", metavar="FILE", nargs="*", help="paths of log files")
    add_common(forgetting)
    forgetting.add_argument("--destination", metavar="NAME", help="only this destination")
    forgetting.add_argument(
        "--all", action="store_true", help="everything about the stream, with --stream"
    )
    add_dry_run(forgetting)
    add_json(forgetting)
    forgetting.set_defaults(command=run_forget)


# --- set ------------------------------------------------------------------------------------


def run_set(options: argparse.Namespace) -> int:
    """Move the positions of one file, or make them."""
    from singer.positions.edit import Edit  # noqa: PLC0415 # loads SQLite

    path = os.path.abspath(options.file)
    config = configuration(options)
    with idle_store(options.state_dir or config.agent.state_dir, options) as store:
        moves = _moves(path, config, store, options)
        store.apply(Edit(write=tuple(move.new for move in moves)))
    for move in moves:
        move.say(options)
    return os.EX_OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """One row that is changed (`old`) or made, for the file that is at `file` now."""

    file: str
    size: int
    old: Position | None
    new: Position

    def say(self, options: argparse.Namespace) -> None:
        new, before = self.new, 0 if self.old is None else self.old.offset
        if options.json:
            print_json(
                {
                    "action": "set",
                    "dry_run": options.dry_run,
                    "stream": new.stream,
                    "destination": new.destination,
                    "path": new.path,
                    "file": self.file,
                    "old_offset": None if self.old is None else before,
                    "offset": new.offset,
                    "size": self.size,
                }
            )
            return
        change = new.offset - before
        follows = (
            "as it was"
            if not change
            else f"skips {change} bytes"
            if change > 0
            else f"sends {-change} bytes again"
        )
        verb = "would set" if options.dry_run else "set"
        old = "no position" if self.old is None else f"offset {before}"
        print(
            f"{verb} {printable(self.file)} in stream {new.stream} for {new.destination}: "
            f"{old} -> offset {new.offset} of {self.size}; {follows}"
        )


def _moves(path: str, config: Config, store: IdleStore, options: argparse.Namespace) -> list[_Move]:
    from singer.files.siblings import compression  # noqa: PLC0415

    shown = printable(path)
    if not os.path.lexists(path):
        known = sum(len(store.lineage(stream.name, [path])) for stream in config.streams)
        hint = (
            f"; {known} position(s) are of files that were at that path: if they were rotated, "
            f"name them by where they are now"
            if known
            else ""
        )
        raise UsageError(f"set position: {shown}: no such file{hint}")
    if compression(path):
        raise UsageError(
            f"set position: {shown}: it is compressed, and offsets would count its content; "
            f"`singer positions forget` has it read from its beginning"
        )
    moves = [
        move
        for stream in config.streams
        if options.stream in (None, stream.name)
        for move in _moves_in(path, stream, config, store, options)
    ]
    if not moves:
        which = " and ".join(
            f"{kind} {name}"
            for kind, name in (("stream", options.stream), ("destination", options.destination))
            if name
        )
        raise UsageError(
            f"set position: {shown}: nothing of {options.config}{which and f' ({which})'} reads "
            f"it, or keeps its positions on disk (embedded clusters do not): correct the path, or "
            f"the stream's paths"
        )
    return moves


def _moves_in(
    path: str,
    stream: StreamConfig,
    config: Config,
    store: IdleStore,
    options: argparse.Namespace,
) -> list[_Move]:
    """What changes in one stream; nothing if it does not read the file. Raises ReadError."""
    from singer.base.clock import SystemClock  # noqa: PLC0415
    from singer.base.errors import ReadError  # noqa: PLC0415
    from singer.files.placement import place  # noqa: PLC0415
    from singer.files.stat import stat_fd  # noqa: PLC0415

    walker = walker_of(stream)
    lineage = _lineage(path, stream, walker)
    try:
        fd = walker.open(path)
    except ReadError:
        if lineage is None:
            return []
        raise
    try:
        stat = stat_fd(fd)
        rows = _rows_of(stat, store.lookup(stream.name, [stat.inode]))
        moves = []
        for destination in stream.publish:
            old = next((row for row in rows if row.destination == destination.name), None)
            belongs_to = lineage if old is None else old.path
            if (
                belongs_to is None
                or options.destination not in (None, destination.name)
                or config.clusters[destination.cluster].is_embedded
            ):
                continue
            new = place(
                fd,
                stat,
                _resolved(fd, stat.size, stream, options, printable(path)),
                stream=stream.name,
                destination=destination.name,
                path=belongs_to,
                now_ns=SystemClock().now_ns(),
            )
            if old is not None:
                new = replace(new, id=old.id, first_seen_ns=old.first_seen_ns)
            moves.append(_Move(file=path, size=stat.size, old=old, new=new))
        return moves
    finally:
        os.close(fd)


def _rows_of(stat: FileStat, rows: Iterable[Position]) -> list[Position]:
    """Those of the rows with a file's inode that are of this file, the surest first.

    After a remount the device is another one; then the birth time has to be known, and the same.
    """
    surest = []
    others = []
    for row in rows:
        born = row.identity.birth_ns
        if born is not None and stat.birth_ns is not None and born != stat.birth_ns:
            continue
        if row.identity.device == stat.device:
            surest.append(row)
        elif born is not None and stat.birth_ns is not None:
            others.append(row)
    return surest + others


def _lineage(path: str, stream: StreamConfig, walker: Walker) -> str | None:
    """The path of the stream that a file belongs to, as the agent would say."""
    from singer.files.lineage import bases, lineage_of  # noqa: PLC0415

    paths = {sighting.path for sighting in walker.walk().sightings}
    paths.update(base for base in bases(path) if walker.matches(base))
    found = lineage_of(path, paths, rotated_dirs=stream.rotated_dirs, is_rotated=walker.is_rotated)
    if found is None and walker.matches(path):
        return path
    return found


def _resolved(
    fd: int, size: int, stream: StreamConfig, options: argparse.Namespace, shown: str
) -> int:
    """The offset that was asked for, in bytes. Raises UsageError."""
    from singer.files.placement import (  # noqa: PLC0415
        last_line_start,
        line_start_after,
        line_start_before,
    )

    asked = options.offset
    if asked == _BEGINNING:
        return 0
    of_lines = stream.reader.of_lines
    if asked == _END:
        return last_line_start(fd, size) if of_lines else size
    offset = int(asked)
    if offset > size:
        raise UsageError(f"set position: {shown}: offset {offset} is behind its end ({size})")
    before = line_start_before(fd, offset) if of_lines else offset
    if before == offset or options.force:
        return offset
    starts = [str(start) for start in (before, line_start_after(fd, offset)) if start is not None]
    nearest = (
        f"lines begin at {' and '.join(starts)}: choose one of them"
        if starts
        else "no line begins within 1 MiB of it: choose another one"
    )
    raise UsageError(
        f"set position: {shown}: offset {offset} is in the middle of a line; {nearest}, or --force "
        f"a record that lacks its beginning"
    )


def _offset(text: str) -> str:
    if text in (_BEGINNING, _END) or (text.isascii() and text.isdigit()):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of bytes nor beginning nor end")


# --- forget ---------------------------------------------------------------------------------


def run_forget(options: argparse.Namespace) -> int:
    """Delete the rows of files, or all that is known of a stream."""
    if options.all == bool(options.files) or (options.all and options.stream is None):
        raise UsageError("forget positions: name files, or --stream NAME --all")
    with idle_store(state_directory(options), options) as store:
        if options.all:
            return _forget_all(store, options)
        return _forget_files(store, options)


def _forget_files(store: IdleStore, options: argparse.Namespace) -> int:
    from singer.positions.edit import Edit  # noqa: PLC0415

    streams = store.streams() if options.stream is None else [options.stream]
    doomed: dict[int, tuple[str, Position]] = {}
    for file in options.files:
        path = os.path.abspath(file)
        rows = [
            row
            for row in _rows_at(path, store, streams)
            if options.destination in (None, row.destination)
        ]
        if not rows:
            raise UsageError(
                f"forget positions: {printable(path)}: no position; "
                f"`singer positions list` shows all; nothing was forgotten"
            )
        doomed |= {row.id: (path, row) for row in rows}
    store.apply(Edit(forget=tuple(doomed)))
    for path, row in doomed.values():
        _say_forgotten(path, row, options)
    return os.EX_OK


def _rows_at(path: str, store: IdleStore, streams: Sequence[str]) -> list[Position]:
    """The rows of the file at a path; else of all files that were there."""
    from singer.files.stat import stat_path  # noqa: PLC0415

    try:
        stat = stat_path(path)
    except OSError:
        found = []
    else:
        found = [
            row for stream in streams for row in _rows_of(stat, store.lookup(stream, [stat.inode]))
        ]
    return found or [row for stream in streams for row in store.lineage(stream, [path])]


def _say_forgotten(path: str, row: Position, options: argparse.Namespace) -> None:
    if options.json:
        print_json(
            {
                "action": "forget",
                "dry_run": options.dry_run,
                "id": row.id,
                "stream": row.stream,
                "destination": row.destination,
                "path": row.path,
                "file": path,
                "inode": row.identity.inode,
                "offset": row.offset,
            }
        )
        return
    verb = "would forget" if options.dry_run else "forgot"
    print(
        f"{verb} {printable(path)} (inode {row.identity.inode}) in stream {row.stream} for "
        f"{row.destination}: offset {row.offset}"
    )


def _forget_all(store: IdleStore, options: argparse.Namespace) -> int:
    from singer.positions.edit import Edit  # noqa: PLC0415

    counts: dict[str, int] = {scan.destination: 0 for scan in store.scans(options.stream)}
    for row in store.rows(options.stream):
        counts[row.destination] = counts.get(row.destination, 0) + 1
    if options.destination is not None:
        counts = {name: rows for name, rows in counts.items() if name == options.destination}
    if not counts:
        raise UsageError(
            f"forget positions: nothing is known of stream {options.stream!r}"
            + (f" and destination {options.destination!r}" if options.destination else "")
            + "; `singer positions list` shows all"
        )
    store.apply(Edit(forget_destinations=tuple((options.stream, name) for name in counts)))
    verb = "would forget" if options.dry_run else "forgot"
    for destination, rows in counts.items():
        if options.json:
            print_json(
                {
                    "action": "forget",
                    "dry_run": options.dry_run,
                    "stream": options.stream,
                    "destination": destination,
                    "rows": rows,
                }
            )
        else:
            print(
                f"{verb} stream {options.stream} for {destination}: {rows} position(s), and that "
                f"it was ever looked at"
            )
    return os.EX_OK
