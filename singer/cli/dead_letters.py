"""`singer dead-letters`: `list`, `show` and `replay`."""

from __future__ import annotations

import argparse
import base64
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import InputError, UsageError
from singer.cli.rows import (
    add_common,
    add_dry_run,
    add_json,
    configuration,
    print_json,
    printable,
    state_directory,
    tell,
)

if TYPE_CHECKING:  # numpy is not needed for --help
    from singer.base.config import Config
    from singer.replay import Target
    from singer.writers.letter_files import LetterFiles, Stored

_EPILOG: Final = """\
examples:
  singer dead-letters list --stream access
  singer dead-letters show 3f0c9a1b77de
  singer dead-letters replay --reason 'too large' --dry-run

Works while the agent runs. Letters have an id each, which never changes.
"""

_REPLAY_EPILOG: Final = """\
A letter is a record as it was sent, which the broker refused, or bytes of the file that are no
record (too long, torn). Those have not been through the transforms, `redact` among them: they are
sent only with --as-is. Letters have neither key nor headers. What is acknowledged is taken out of
the files; a letter may arrive twice if the command is killed.

Exit status 0 if all that was chosen is acknowledged, 75 if some of it stays.
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "dead-letters",
        help="what could not be delivered: look, send again",
        description="Shows what could not be delivered, and sends it again.",
        epilog=_EPILOG,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="one line each", description="One line each.")
    _add_choice(listing)
    add_json(listing)
    listing.set_defaults(command=run_list)
    showing = actions.add_parser(
        "show", help="one letter", description="Everything known of one letter."
    )
    showing.add_argument("id", metavar="ID", help="as `list` shows it")
    add_common(showing)
    showing.add_argument("--raw", action="store_true", help="the bytes of its payload alone")
    showing.set_defaults(command=run_show)
    replaying = actions.add_parser(
        "replay",
        help="send letters again",
        description="Send letters to their destinations again.",
        epilog=_REPLAY_EPILOG,
    )
    replaying.add_argument("ids", metavar="ID", nargs="*", help="these")
    _add_choice(replaying)
    replaying.add_argument("--all", action="store_true", help="all of them")
    replaying.add_argument("--as-is", action="store_true", help="those that are no record, too")
    replaying.add_argument("--cluster", metavar="NAME", help="to this cluster")
    replaying.add_argument("--topic", metavar="TOPIC", help="to this topic")
    add_dry_run(replaying)
    replaying.set_defaults(command=run_replay)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("--destination", metavar="NAME", help="only of this destination")
    parser.add_argument("--reason", metavar="TEXT", help="only with this text in their reason")
    parser.add_argument(
        "--since", metavar="TIME", type=_time, help="only since then: 2026-11-27 or …T08:00:00"
    )


def run_list(options: argparse.Namespace) -> int:
    """Print the chosen letters, the newest last."""
    found = _chosen(_files(options), options)
    if not found and not options.json:
        print("no dead letters", file=sys.stderr)
    for number, stored in enumerate(found):
        letter = stored.letter
        if options.json:
            print_json(_plain(stored))
            continue
        if not number:
            print("TIME\tID\tSTREAM\tDESTINATION\tOFFSET\tLENGTH\tKIND\tREASON\tFILE")
        kind = "record" if letter.refused else "bytes"
        print(
            f"{letter.time[:19]}Z\t{stored.id}\t{letter.stream}\t{letter.destination}\t"
            f"{letter.offset}\t{letter.length}\t{kind}\t{printable(letter.reason)}\t"
            f"{printable(letter.path)}"
        )
    return os.EX_OK


def run_show(options: argparse.Namespace) -> int:
    """Print one letter."""
    stored = _by_id(_files(options).read(), options.id)
    if options.raw:
        sys.stdout.buffer.write(stored.letter.payload)
        return os.EX_OK
    pairs = _plain(stored) | {"file": printable(stored.letter.path)}
    del pairs["payload"]
    print("\n".join(f"{name:<12} {value}" for name, value in pairs.items()))
    print(f"{'payload':<12} {stored.letter.payload.decode('utf-8', 'backslashreplace')}")
    return os.EX_OK


def run_replay(options: argparse.Namespace) -> int:
    """Send the chosen letters, and take out what is acknowledged."""
    import asyncio  # noqa: PLC0415 # not needed for --help

    filtered = any((options.stream, options.destination, options.reason, options.since))
    if not (options.ids or options.all or filtered):
        raise UsageError("replay dead letters: none is chosen: name IDs, a filter or --all")
    config, files = configuration(options), _files(options)
    letters = _chosen(files, options)
    if options.ids:
        letters = [_by_id(letters, each) for each in options.ids]
    targets, stay = _targets(config, letters, options)
    if options.dry_run:
        for stored, target in targets:
            print(f"{stored.id}\twould be sent to {target.topic} on {target.cluster}")
    else:
        stay += asyncio.run(_replay(config, files, targets))
    return os.EX_TEMPFAIL if stay else os.EX_OK


def _targets(
    config: Config, letters: list[Stored], options: argparse.Namespace
) -> tuple[list[tuple[Stored, Target]], int]:
    """Where each goes, and how many go nowhere; those are told."""
    from singer.replay import target  # noqa: PLC0415 # loads numpy

    targets = []
    for stored in letters:
        if not (stored.letter.refused or options.as_is):
            print(f"{stored.id}\tstays: it is no record, and not transformed: say --as-is")
            continue
        try:
            targets.append((stored, target(config, stored, options.cluster, options.topic)))
        except InputError as error:
            print(f"{stored.id}\tstays: {error}")
    return targets, len(letters) - len(targets)


async def _replay(config: Config, files: LetterFiles, targets: list[tuple[Stored, Target]]) -> int:
    """How many were not acknowledged."""
    from singer.replay import replay  # noqa: PLC0415

    done: Counter[bytes] = Counter()
    told: set[int] = set()
    try:
        async for outcome in replay(config, targets, emit=tell):
            if id(outcome.stored) in told:
                continue
            told.add(id(outcome.stored))
            if outcome.fault:
                print(f"{outcome.stored.id}\tstays: {outcome.fault}")
            else:
                done[outcome.stored.line] += 1
                print(f"{outcome.stored.id}\tsent to {outcome.topic}")
    finally:
        files.remove(done)
    return len(targets) - done.total()


def _files(options: argparse.Namespace) -> LetterFiles:
    from singer.positions.state_dir import dead_letters_in  # noqa: PLC0415
    from singer.writers.letter_files import LetterFiles  # noqa: PLC0415

    return LetterFiles(dead_letters_in(state_directory(options)))


def _chosen(files: LetterFiles, options: argparse.Namespace) -> list[Stored]:
    def fits(stored: Stored) -> bool:
        letter = stored.letter
        return (
            options.stream in (None, letter.stream)
            and options.destination in (None, letter.destination)
            and (options.reason is None or options.reason in letter.reason)
            and (options.since is None or letter.time >= options.since)
        )

    return [stored for stored in files.read() if fits(stored)]


def _by_id(letters: list[Stored], wanted: str) -> Stored:
    for stored in letters:
        if stored.id == wanted:
            return stored
    raise UsageError(
        f"find dead letter: {wanted}: there is none; `singer dead-letters list` shows all"
    )


def _plain(stored: Stored) -> dict[str, object]:
    letter = stored.letter
    return {
        "id": stored.id,
        "time": letter.time,
        "stream": letter.stream,
        "destination": letter.destination,
        "file": letter.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "device": letter.device,
        "inode": letter.inode,
        "offset": letter.offset,
        "length": letter.length,
        "part": letter.part,
        "refused": letter.refused,
        "reason": letter.reason,
        "payload": base64.b64encode(letter.payload).decode(),
    }


def _time(text: str) -> str:
    """As letters have it: ISO 8601 in UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
