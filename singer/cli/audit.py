"""`singer audit`: `verify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from singer.base.errors import UsageError
from singer.cli.arguments import add_config, moment_ms

if TYPE_CHECKING:  # numpy is not needed for --help
    from singer.validate.audits import Wanted
    from singer.validate.verify import Report

_EPILOG: Final = """\
example:
  singer audit verify -c /etc/singer/singer.yaml --cluster main
  singer audit verify -c singer.yaml --cluster main --stream access --from 2026-11-27T08:00 --json
  singer audit verify -c singer.yaml --continuous --instance verify-1 --http 127.0.0.1:2048

Reads the audit topic of a cluster and the topics that it speaks of, and nothing else: no log file,
no agent. docs/audit.md says what each word of the answer means. Exit status 0 if nothing is wrong,
65 if something is lost, corrupted, reordered or missing. Duplicates alone are not wrong: at least
once allows them.

With --continuous it goes on until SIGTERM or SIGINT. Start several with one --group, and an
--instance each, and they share the work; each says what it found.
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
        "--from", dest="begin", metavar="TIME", type=moment_ms, help="acknowledged then or later"
    )
    verifying.add_argument("--to", dest="end", metavar="TIME", type=moment_ms, help="or earlier")
    verifying.add_argument(
        "--late", metavar="SECONDS", type=float, default=60.0, help="acknowledged so long after"
        " they were read, records are late (default: %(default)s)"
    )  # fmt: skip
    verifying.add_argument("--json", action="store_true", help="one JSON object")
    following = verifying.add_argument_group("with --continuous")
    following.add_argument("--continuous", action="store_true", help="follow what comes")
    following.add_argument(
        "--group", metavar="NAME", default="singer-verify", help="consumer group (%(default)s)"
    )
    following.add_argument("--instance", metavar="NAME", help="static member of the group")
    following.add_argument("--rack", metavar="RACK", help="read from brokers of this rack")
    following.add_argument(
        "--from-beginning", action="store_true", help="a new group begins with what there is"
    )
    following.add_argument(
        "--settle", metavar="SECONDS", type=float, default=60.0, help="how long to wait for what "
        "others may have to say, more than `audit.every` (default: %(default)s)"
    )  # fmt: skip
    following.add_argument("--http", metavar="HOST:PORT", help="serve metrics there")
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
    wanted = Wanted(
        streams=frozenset(options.stream),
        hosts=frozenset(options.host),
        topics=frozenset(options.topic),
        from_ms=options.begin or 0,
        to_ms=options.end or FOREVER_MS,
        late_ms=int(options.late * 1000),
    )
    reaching = clusters.reach(config, cluster, "verify")
    if options.continuous:
        report = _follow(options, reaching, topic, wanted)
    else:
        verifier = Verifier(reaching=reaching, audit_topic=topic, wanted=wanted, told=_progress)
        report = verifier.verify()
    if options.json:
        print(json.dumps(render.plain(report)))
    else:
        for line in render.lines(report):
            print(line)
    return os.EX_OK if report.ok else os.EX_DATAERR


def _follow(
    options: argparse.Namespace, reaching: dict[str, Any], topic: str, wanted: Wanted
) -> Report:
    """Follow until a signal comes; what was found."""
    import signal  # noqa: PLC0415 # not needed for --help
    from contextlib import nullcontext  # noqa: PLC0415
    from threading import Event  # noqa: PLC0415

    from singer.validate.following import Follower  # noqa: PLC0415
    from singer.validate.metrics import Metrics, render  # noqa: PLC0415
    from singer.validate.verify import Report  # noqa: PLC0415

    group = {"group.id": options.group}
    if options.instance:
        group["group.instance.id"] = options.instance
    if options.rack:
        group["client.rack"] = options.rack
    if not options.from_beginning:
        group["auto.offset.reset"] = "latest"
    follower = Follower(
        reaching=reaching,
        audit_topic=topic,
        group=group,
        wanted=wanted,
        settle_seconds=options.settle,
        told=_say,
    )
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Metrics(options.http) if options.http else nullcontext() as metrics:
        if metrics is not None:
            _say(f"metrics are at port {metrics.port}")

        def stopped() -> bool:
            if metrics is not None:
                metrics.text = render(follower)
            return stop.is_set()

        follower.run(stopped)
    return Report(
        audit_topic=topic,
        findings=follower.findings,
        unclaimed=follower.unclaimed,
        messages=follower.messages,
        unreadable=follower.unreadable,
        records=follower.records,
    )


def _say(text: str) -> None:
    print(f"singer: {text}", file=sys.stderr, flush=True)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"singer: {text}", file=sys.stderr)
