"""`singer audit`: `verify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final

from singer.base.errors import UsageError
from singer.cli.arguments import add_config

_EPILOG: Final = """\
example:
  singer audit verify -c /etc/singer/singer.yaml --cluster main
  singer audit verify -c singer.yaml --cluster main --stream access --from 2026-11-27T08:00 --json

Reads the audit topic of a cluster and the topics that it speaks of, and nothing else: no log file,
no agent. docs/audit.md says what each word of the answer means. Exit status 0 if nothing is wrong,
65 if something is lost, corrupted, reordered or missing. Duplicates alone are not wrong: at least
once allows them.
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "audit",
        help="prove from Kafka alone that nothing is lost",
        description="Proves from Kafka alone what became of the records.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    verifying = actions.add_parser(
        "verify",
        help="hold the audit topic against the topics it speaks of",
        description="Holds the audit topic of a cluster against the topics it speaks of.",
        epilog=_EPILOG,
    )
    add_config(verifying)
    verifying.add_argument("--cluster", metavar="NAME", help="of the configuration, if several")
    verifying.add_argument("--audit-topic", metavar="TOPIC", help="if not as the cluster says")
    for name, what in (("stream", "NAME"), ("host", "ID"), ("topic", "TOPIC")):
        verifying.add_argument(
            f"--{name}", metavar=what, action="append", default=[], help=f"only this {name}; repeat"
        )
    verifying.add_argument(
        "--from", dest="begin", metavar="TIME", type=_ms, help="acknowledged then or later"
    )
    verifying.add_argument("--to", dest="end", metavar="TIME", type=_ms, help="or earlier")
    verifying.add_argument(
        "--late", metavar="SECONDS", type=float, default=60.0, help="acknowledged so long after"
        " they were read, records are late (default: %(default)s)"
    )  # fmt: skip
    verifying.add_argument("--json", action="store_true", help="one JSON object")
    verifying.set_defaults(command=run_verify)


def run_verify(options: argparse.Namespace) -> int:
    """Verify once, print."""
    from singer.config.loader import load  # noqa: PLC0415 # loads librdkafka
    from singer.validate import clusters, render  # noqa: PLC0415
    from singer.validate.audits import FOREVER_MS, Wanted  # noqa: PLC0415
    from singer.validate.verify import Verifier  # noqa: PLC0415

    config = load(options.config).config
    cluster = clusters.audited(config, options.cluster)
    topic = options.audit_topic or (cluster.audit.topic if cluster.audit else None)
    if topic is None:
        raise UsageError(f"cluster {cluster.name} has no audit topic: name --audit-topic")
    verifier = Verifier(
        reaching=clusters.reach(config, cluster, "verify"),
        audit_topic=topic,
        wanted=Wanted(
            streams=frozenset(options.stream),
            hosts=frozenset(options.host),
            topics=frozenset(options.topic),
            from_ms=options.begin or 0,
            to_ms=options.end or FOREVER_MS,
            late_ms=int(options.late * 1000),
        ),
        told=_progress,
    )
    report = verifier.verify()
    if options.json:
        print(json.dumps(render.plain(report)))
    else:
        for line in render.lines(report):
            print(line)
    return os.EX_OK if report.ok else os.EX_DATAERR


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"singer: {text}", file=sys.stderr)


def _ms(text: str) -> int:
    """Milliseconds since 1970 of ISO 8601, UTC where it does not say."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
