"""`singer promote`: a shadow becomes the primary of a stream, and the other way round."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError
from singer.cli.arguments import add_config
from singer.cli.rows import (
    STOPPED,
    add_dry_run,
    add_json,
    configuration,
    idle_store,
    moment,
    print_json,
    printable,
    state_directory,
)

if TYPE_CHECKING:  # numpy and SQLite are not needed for --help
    from singer.base.config import Config, StreamConfig
    from singer.base.promotion import Cut, Promotion
    from singer.positions.idle import IdleStore

_EPILOG: Final = f"""\
examples:
  singer promote access canary/web.access --dry-run
  singer promote access canary/web.access
  singer promote --list --json
  singer promote access main/web.access       # back again
  singer promote access --cancel              # while it is not complete

Every file of the stream is cut where the further one of the two destinations is. The next start
sends each of them what lies before, records where its topics end then (--list shows that, also
while the agent runs), and goes on. Once both are cut, consumers read the old one up to its ends and
the new one from its ends on. docs/double-publishing.md says in which order to do what.
{STOPPED}
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "promote",
        help="make a shadow the primary, at a cut that consumers can switch at",
        description="Makes a destination the primary of a stream, at the next start of the agent.",
        epilog=_EPILOG,
    )
    parser.add_argument("stream", metavar="STREAM", nargs="?", help="a stream of the configuration")
    parser.add_argument(
        "destination", metavar="DESTINATION", nargs="?", help="the one that becomes the primary"
    )
    parser.add_argument(
        "--from", dest="old", metavar="NAME", help="in place of this one, if there are several"
    )
    parser.add_argument("--list", action="store_true", help="show promotions, and where they cut")
    parser.add_argument(
        "--cancel", action="store_true", help="forget the stream's last one, if it is not complete"
    )
    add_config(parser)
    parser.add_argument(
        "--state-dir", metavar="DIR", help="the state directory, instead of the configuration's"
    )
    add_dry_run(parser)
    add_json(parser)
    parser.set_defaults(command=run_promote)


def run_promote(options: argparse.Namespace) -> int:
    """Ask for a promotion, show or cancel some."""
    if options.list:
        return _list(options)
    if options.stream is None or (options.destination is None) != options.cancel:
        raise UsageError("promote: name STREAM and DESTINATION; or STREAM --cancel; or --list")
    if options.cancel:
        return _cancel(options)
    return _promote(options)


# --- promote --------------------------------------------------------------------------------


def _promote(options: argparse.Namespace) -> int:
    from singer.base.clock import SystemClock  # noqa: PLC0415
    from singer.base.promotion import Promotion, cuts_of  # noqa: PLC0415
    from singer.positions.edit import Edit  # noqa: PLC0415 # loads SQLite

    config = configuration(options)
    stream = _stream(config, options.stream)
    with idle_store(options.state_dir or config.agent.state_dir, options) as store:
        known = store.promotions(stream.name)
        if known and not known[-1].complete:
            raise UsageError(
                f"promote: that of {known[-1].new} in place of {known[-1].old} is not complete: "
                f"start the agent and wait for it (`singer promote --list`), or --cancel it"
            )
        old = _old(stream, known, options)
        _refuse_unknown(config, stream, (old, options.destination), store)
        promotion = Promotion(
            stream=stream.name,
            old=old,
            new=options.destination,
            asked_ns=SystemClock().now_ns(),
        )
        cuts = cuts_of(store.rows(stream.name), promotion.old, promotion.new)
        store.apply(Edit(promote=((promotion, tuple(cuts)),)))
    _say(promotion, cuts, options)
    return os.EX_OK


def _stream(config: Config, name: str) -> StreamConfig:
    from singer.base.suggestion import suggestion  # noqa: PLC0415

    streams = {stream.name: stream for stream in config.streams}
    if name not in streams:
        raise UsageError(f"promote: there is no stream {name}{suggestion(name, streams)}")
    return streams[name]


def _old(stream: StreamConfig, known: Sequence[Promotion], options: argparse.Namespace) -> str:
    """The primary that is replaced."""
    from singer.base.promotion import in_effect  # noqa: PLC0415
    from singer.base.suggestion import suggestion  # noqa: PLC0415

    names = [each.name for each in stream.publish]
    for name in (options.destination, options.old):
        if name is not None and name not in names:
            raise UsageError(
                f"promote: stream {stream.name} is not published to {name}{suggestion(name, names)}"
            )
    primaries = [each.name for each in in_effect(stream, known).publish if not each.shadow]
    others = [name for name in primaries if name != options.destination]
    if options.old is not None:
        others = [name for name in others if name == options.old]
    if len(others) == 1:
        return others[0]
    if options.old is not None:
        raise UsageError(
            f"promote: {options.old} is no primary of stream {stream.name} that could be replaced; "
            f"primaries: {', '.join(primaries)}"
        )
    if not others:
        raise UsageError(
            f"promote: {options.destination} is the primary of stream {stream.name} already"
        )
    raise UsageError(
        f"promote: stream {stream.name} has several primaries: {', '.join(others)}: say with "
        f"--from in place of which"
    )


def _refuse_unknown(
    config: Config, stream: StreamConfig, names: Sequence[str], store: IdleStore
) -> None:
    """Both destinations must have positions that outlive the agent."""
    scanned = {scan.destination for scan in store.scans(stream.name)}
    for each in stream.publish:
        if each.name not in names:
            continue
        if config.clusters[each.cluster].is_embedded:
            raise UsageError(
                f"promote: {each.name} is in a cluster that is embedded in the agent, and gone "
                f"with it"
            )
        if each.name not in scanned:
            raise UsageError(
                f"promote: nothing of stream {stream.name} was ever read for {each.name}: start "
                f"the agent with it, compare, then promote"
            )


def _say(promotion: Promotion, cuts: Sequence[Cut], options: argparse.Namespace) -> None:
    lags = {
        promotion.old: [cut.offset - cut.old_offset for cut in cuts],
        promotion.new: [cut.offset - cut.new_offset for cut in cuts],
    }
    behind = {name: [nbytes for nbytes in of if nbytes] for name, of in lags.items()}
    if options.json:
        print_json(
            {
                "action": "promote",
                "dry_run": options.dry_run,
                "stream": promotion.stream,
                "old": promotion.old,
                "new": promotion.new,
                "behind": {
                    name: {"files": len(of), "bytes": sum(of)} for name, of in behind.items()
                },
                "files": _files(cuts),
            }
        )
        return
    would = "would make" if options.dry_run else "the next start makes"
    print(
        f"{would} {promotion.new} the primary of stream {promotion.stream} in place of "
        f"{promotion.old}; {len(cuts)} file(s) are cut"
    )
    for name, of in behind.items():
        print(f"  {name}: {sum(of)} bytes of {len(of)} file(s) are to be sent before its cut")
    if not options.dry_run:
        print("start the agent; `singer promote --list` says when consumers can switch, and where")


# --- cancel ---------------------------------------------------------------------------------


def _cancel(options: argparse.Namespace) -> int:
    from singer.positions.edit import Edit  # noqa: PLC0415 # loads SQLite

    with idle_store(state_directory(options), options) as store:
        known = store.promotions(options.stream)
        if not known or known[-1].complete:
            raise UsageError(
                f"promote: stream {options.stream} has no promotion that is not complete; to go "
                f"back after one that is, promote the other destination"
            )
        promotion = known[-1]
        store.apply(Edit(cancel=(promotion.id,)))
    if options.json:
        print_json({"action": "cancel", "dry_run": options.dry_run, **_plain(promotion)})
    else:
        verb = "would cancel" if options.dry_run else "cancelled"
        print(
            f"{verb} the promotion of {promotion.new} for stream {promotion.stream}: consumers "
            f"stay with {promotion.old}"
        )
    return os.EX_OK


# --- list -----------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    from singer.positions.query import Query  # noqa: PLC0415 # loads SQLite

    with Query(os.path.join(state_directory(options), "positions")) as query:
        known = query.promotions(options.stream)
        if options.json:
            for promotion in known:
                print_json({**_plain(promotion), "files": _files(query.cuts(promotion))})
            return os.EX_OK
    if not known:
        print("no promotions")
    for promotion in known:
        state = "complete" if promotion.complete else "NOT COMPLETE: consumers wait"
        print(
            f"{promotion.stream}: {promotion.new} in place of {promotion.old}, asked for "
            f"{moment(promotion.asked_ns)}: {state}"
        )
        for name, what in ((promotion.old, "read up to"), (promotion.new, "read from")):
            ends = promotion.ends.get(name)
            if ends is None:
                print(f"  {name}: on the way to the cut")
                continue
            missed = f"; {ends.missed} file(s) were not had as far as that" if ends.missed else ""
            print(f"  {name}: {what} {ends.shown} ({moment(ends.reached_ns)}{missed})")
    return os.EX_OK


def _plain(promotion: Promotion) -> dict[str, object]:
    return {
        "id": promotion.id,
        "stream": promotion.stream,
        "old": promotion.old,
        "new": promotion.new,
        "asked": moment(promotion.asked_ns),
        "complete": promotion.complete,
        "ends": {
            name: {
                "reached": moment(ends.reached_ns),
                "missed": ends.missed,
                "offsets": {topic: list(offsets) for topic, offsets in ends.offsets.items()},
            }
            for name, ends in promotion.ends.items()
        },
    }


def _files(cuts: Sequence[Cut]) -> list[dict[str, object]]:
    return [
        {"path": printable(cut.path), "inode": cut.file[1], "offset": cut.offset} for cut in cuts
    ]
