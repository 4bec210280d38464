"""`python -m bench [WORKLOAD...]`: measure, print tables, keep them in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench import report, workspace
from bench.audit import AUDIT_TOPIC, audited
from bench.broker import PARTITIONS, broker
from bench.catchup import catch_up
from bench.client import writings
from bench.comparing import comparing
from bench.discovery import discovery
from bench.fairness import fairness
from bench.faults import faults
from bench.fleet_host import PARTITIONS as FLEET_PARTITIONS
from bench.fleet_host import WAYS, ZONES, fleet_host
from bench.framing import costs, framings
from bench.guarantees import costs as guarantee_costs
from bench.herd import herd
from bench.idle import idle
from bench.idle_many import idle_many
from bench.isolation import isolation
from bench.known import known
from bench.latency import Schedule, latency
from bench.many_positions import many_positions
from bench.partitions import hashings, loads
from bench.readers import ways
from bench.rescan import rescan
from bench.sending import sent

#: Of the firehoses and of the small files.
_PRIORITIES = (("normal", "normal"), ("low", "high"))


def catch_up_150(options: argparse.Namespace) -> str:
    return _catch_up(options, line_bytes=150, lines=2_000_000)


def catch_up_1000(options: argparse.Namespace) -> str:
    return _catch_up(options, line_bytes=1000, lines=400_000)


def append_latency(options: argparse.Namespace) -> str:
    schedule = Schedule(
        lines=options.latency_lines,
        lines_per_second=1000,
        silences=options.silences,
        silence_seconds=options.silence_seconds,
    )
    with broker(workspace.TOPIC) as bootstrap:
        result = latency(bootstrap, schedule)
    return report.latency_table(result, schedule)


def idle_100(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = idle(bootstrap, files=100, seconds=options.idle_seconds)
    return report.idle_table(result, options.idle_seconds)


def idle_10000(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = idle_many(
            bootstrap,
            files=_scaled(10_000, options),
            directories=_scaled(200, options),
            seconds=options.idle_seconds * min(1.0, options.scale),
        )
    return report.idle_many_table(result)


def rescan_10000(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = rescan(
            bootstrap,
            files=_scaled(10_000, options),
            directories=_scaled(200, options),
            seconds=30.0 * min(1.0, options.scale),
        )
    return report.rescan_table(result)


def discovery_10000(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = discovery(
            bootstrap,
            files=_scaled(10_000, options),
            directories=_scaled(200, options),
            creations=_scaled(300, options),
        )
    return report.discovery_table(result)


def known_100000(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = known(
            bootstrap,
            files=_scaled(100_000, options),
            directories=_scaled(1000, options),
            active=_scaled(1000, options),
            seconds=30.0 * min(1.0, options.scale),
        )
    return report.known_table(result)


def positions_500000(options: argparse.Namespace) -> str:
    return report.many_positions_table(many_positions(_scaled(500_000, options)))


def fairness_1000(options: argparse.Namespace) -> str:
    scenarios = [(0, _PRIORITIES[0], 0)]
    scenarios += [(hoses, each, 0) for hoses in (1, 100) for each in _PRIORITIES]
    scenarios += [(1, each, 20) for each in _PRIORITIES]  # a broker far away
    if options.scale < 1:
        scenarios = scenarios[1:2]
    results = []
    for firehoses, priorities, round_trip_ms in scenarios:
        with broker(workspace.TOPIC, round_trip_ms=round_trip_ms) as bootstrap:
            results.append(
                fairness(
                    bootstrap,
                    small=_scaled(1000, options),
                    firehoses=firehoses,
                    priorities=priorities,
                    round_trip_ms=round_trip_ms,
                    lines_per_second=250.0,
                    seconds=10.0 * min(1.0, options.scale),
                )
            )
    return report.fairness_table(results, small=_scaled(1000, options))


def fleet_hosts(options: argparse.Namespace) -> str:
    results = []
    for way in WAYS:
        with broker(workspace.TOPIC, brokers=ZONES, partitions=FLEET_PARTITIONS) as bootstrap:
            results.append(fleet_host(bootstrap, way, seconds=5.0 * min(1.0, options.scale)))
    return report.fleet_host_table(results)


def sending(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = sent(bootstrap, lines=_scaled(1_000_000, options), runs=min(3, options.pairs))
    return report.sending_table(result)


def transactions(options: argparse.Namespace) -> str:
    results = guarantee_costs(lines=_scaled(4_000_000, options), runs=min(3, options.pairs))
    return report.guarantees_table(results)


def audit_costs(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC, AUDIT_TOPIC) as bootstrap:
        result = audited(
            bootstrap,
            lines=_scaled(2_000_000, options),
            pairs=options.pairs,
            seconds=10.0 * min(1.0, options.scale),
        )
    return report.audited_table(result)


def compared(options: argparse.Namespace) -> str:
    return report.compared_table(comparing(lines=_scaled(10_000_000, options)))


def faults_of_a_broker(options: argparse.Namespace) -> str:
    return report.faults_table(faults(20.0 * min(1.0, options.scale)))


def herd_1000(options: argparse.Namespace) -> str:
    ways: list[tuple[int, float, dict[str, str]]] = [
        (200, 0.0, {"reconnect.backoff.ms": "100"}),
        (200, 2.0, {}),
        (1000, 0.0, {"reconnect.backoff.ms": "100"}),
        (1000, 2.0, {}),
    ]
    results = [
        herd(
            agents=_scaled(agents, options),
            processes=10,
            outage_seconds=20.0,
            spread_seconds=spread_seconds,
            properties=properties,
        )
        for agents, spread_seconds, properties in ways
    ]
    return report.herd_table(results)


def isolation_of_two(options: argparse.Namespace) -> str:
    results = isolation(seconds=12.0 * min(1.0, options.scale), pairs=options.pairs)
    return report.isolation_table(results)


def framing_alone(options: argparse.Namespace) -> str:  # noqa: ARG001
    return report.framing_table(framings(), costs())


def partitions_simulated(options: argparse.Namespace) -> str:  # noqa: ARG001
    return report.loads_table(loads(), hashings())


def client_library(options: argparse.Namespace) -> str:
    return report.writings_table(writings(_scaled(400_000, options)))


def readers_to_broker(options: argparse.Namespace) -> str:
    with broker(workspace.TOPIC) as bootstrap:
        result = ways(bootstrap, nbytes=_scaled(200_000_000, options), pairs=options.pairs)
    return report.ways_table(result)


WORKLOADS: dict[str, Callable[[argparse.Namespace], str]] = {
    "catchup-150": catch_up_150,
    "catchup-1000": catch_up_1000,
    "latency": append_latency,
    "idle": idle_100,
    "idle-10000": idle_10000,
    "rescan": rescan_10000,
    "discovery": discovery_10000,
    "known": known_100000,
    "positions": positions_500000,
    "fairness": fairness_1000,
    "fleet-host": fleet_hosts,
    "sending": sending,
    "transactions": transactions,
    "audit": audit_costs,
    "compare": compared,
    "faults": faults_of_a_broker,
    "herd": herd_1000,
    "isolation": isolation_of_two,
    "client": client_library,
    "framing": framing_alone,
    "readers": readers_to_broker,
    "partitions": partitions_simulated,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"{', '.join(WORKLOADS)}; default: all of them",
    )
    parser.add_argument("--pairs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="part of the lines and files; for a quick look"
    )
    parser.add_argument("--kafka", action="store_true", help="catch up into a real Apache Kafka")
    parser.add_argument("--latency-lines", type=int, default=20_000)
    parser.add_argument("--silences", type=int, default=3)
    parser.add_argument("--silence-seconds", type=float, default=30.0)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--dry-run", action="store_true", help="print only; write no document")
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(WORKLOADS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    for name in options.workloads or WORKLOADS:
        try:
            table = WORKLOADS[name](options)
        except RuntimeError as error:
            print(f"bench {name}: {error}", file=sys.stderr)
            return 1
        text = f"{table}\n\n{report.stamp(command)}"
        print(f"## {name}\n\n{text}\n", flush=True)
        if not options.dry_run:
            report.place(name, text)
    return 0


def _scaled(count: int, options: argparse.Namespace) -> int:
    return max(1, int(count * options.scale))


def _catch_up(options: argparse.Namespace, *, line_bytes: int, lines: int) -> str:
    with _cluster(options) as (bootstrap, cluster):
        result = catch_up(
            bootstrap,
            line_bytes=line_bytes,
            lines=max(1, int(lines * options.scale)),
            pairs=options.pairs,
        )
    return report.catch_up_table(result, cluster)


@contextmanager
def _cluster(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if not options.kafka:
        with broker(workspace.TOPIC) as bootstrap:
            yield bootstrap, f"embedded broker in another process, {PARTITIONS} partitions"
        return
    # Not needed otherwise, and it loads librdkafka.
    from tests.support.kafka_cluster import KafkaCluster  # noqa: PLC0415

    with workspace.directory() as directory:
        kafka = KafkaCluster(directory)
        try:
            kafka.start_all()
            kafka.create_topic(workspace.TOPIC, partitions=PARTITIONS, exact_name=True)
            yield kafka.bootstrap, f"Apache Kafka, three brokers, {PARTITIONS} partitions"
        finally:
            kafka.close()


if __name__ == "__main__":
    raise SystemExit(main())
