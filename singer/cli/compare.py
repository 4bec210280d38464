"""`singer compare`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError
from singer.cli.arguments import add_config, moment_ms

if TYPE_CHECKING:  # numpy is not needed for --help
    from singer.base.config import Config
    from singer.validate.compare import Side

_EPILOG: Final = """\
example:
  singer compare main/web.access canary/web.access -c /etc/singer/singer.yaml
  singer compare old:9092/web.access new:9092/web.access --from 2026-11-27T08:00 --json
  singer compare main/web.access canary/web.access --a-offsets 0:100-900,1:40-700 --content

A and B are CLUSTER/TOPIC of the configuration, or host:port/TOPIC. Where both clusters have audit
topics, what those say is compared; with --content, and else, all records are read: 32 bytes of disk
for each, in TMPDIR. docs/double-publishing.md says what each word of the answer means.

Exit status 0 if they hold the same, 65 if not. That a record is there more often is not a
difference: at least once allows it.
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "compare",
        help="whether two topics hold the same",
        description="Compares two topics, of one cluster or of two.",
        epilog=_EPILOG,
    )
    add_config(parser)
    parser.add_argument("a", metavar="A", help="CLUSTER/TOPIC or host:port/TOPIC")
    parser.add_argument("b", metavar="B", help="likewise")
    parser.add_argument("--from", dest="begin", metavar="TIME", type=moment_ms, help="from then on")
    parser.add_argument("--to", dest="end", metavar="TIME", type=moment_ms, help="up to then")
    for side in ("a", "b"):
        parser.add_argument(
            f"--{side}-offsets",
            metavar="RANGES",
            type=_ranges,
            default={},
            help=f"of {side.upper()}: partition:first-end,… (end not included)",
        )
    parser.add_argument("--content", action="store_true", help="read records, audit or not")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Compare, print."""
    from singer.validate import render_compare  # noqa: PLC0415 # loads numpy
    from singer.validate.compare import Comparer, Comparison  # noqa: PLC0415

    config = _configuration(options)
    a = _side(config, options.a, options.a_offsets)
    b = _side(config, options.b, options.b_offsets)
    comparer = Comparer(a=a, b=b, from_ms=options.begin or 0, to_ms=options.end, told=_progress)
    found = Comparison(a=a, b=b)
    audited = a.audit_topic is not None and b.audit_topic is not None
    if audited:
        comparer.by_audit(found)
    if options.content or not audited:
        comparer.by_content(found)
    if options.json:
        print(json.dumps(render_compare.plain(found)))
    else:
        for line in render_compare.lines(found):
            print(line)
    return os.EX_OK if found.same else os.EX_DATAERR


def _configuration(options: argparse.Namespace) -> Config | None:
    """None where nobody names one of its clusters."""
    if all(":" in each.split("/", 1)[0] for each in (options.a, options.b)):
        return None
    from singer.config.loader import load  # noqa: PLC0415 # loads librdkafka

    return load(options.config).config


def _side(config: Config | None, text: str, ranges: dict[int, tuple[int, int]]) -> Side:
    from singer.validate import clusters  # noqa: PLC0415 # loads librdkafka
    from singer.validate.compare import Side  # noqa: PLC0415

    name, slash, topic = text.partition("/")
    if not slash or not topic:
        raise UsageError(f"{text} is neither CLUSTER/TOPIC nor host:port/TOPIC")
    if ":" in name:
        reaching = clusters.reach_bootstrap(name, "compare")
        return Side(name=text, topic=topic, reaching=reaching, ranges=ranges)
    assert config is not None
    cluster = clusters.cluster_of(config, name)
    return Side(
        name=text,
        topic=topic,
        reaching=clusters.reach(config, cluster, "compare"),
        audit_topic=cluster.audit.topic if cluster.audit else None,
        ranges=ranges,
    )


def _ranges(text: str) -> dict[int, tuple[int, int]]:
    """`0:100-900,1:40-700`. Raises ValueError."""
    found = {}
    for part in text.split(","):
        partition, _, offsets = part.partition(":")
        first, _, end = offsets.partition("-")
        found[int(partition)] = (int(first), int(end))
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"singer: {text}", file=sys.stderr)
