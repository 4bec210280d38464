"""Figures as Markdown, and their place in `docs/benchmarks.md`: one section per workload.

A section lies between `<!-- bench NAME -->` and `<!-- end NAME -->` and is replaced whole; all
else in the file is a person's.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata

from bench.audit import Audited
from bench.catchup import CatchUp
from bench.client import Writing
from bench.comparing import LINE_BYTES as LINE_BYTES_COMPARED
from bench.comparing import Read
from bench.discovery import Discovery
from bench.fairness import Fairness
from bench.faults import Fault
from bench.fleet_host import FILES, LINE_BYTES, LINES_PER_SECOND, ZONES, FleetHost
from bench.fleet_host import PARTITIONS as FLEET_PARTITIONS
from bench.framing import Cost, Framing
from bench.guarantees import LINE_BYTES as GUARANTEED_LINE_BYTES
from bench.guarantees import Cost as GuaranteeCost
from bench.herd import Herd, Rush
from bench.idle import Idle
from bench.idle_many import IdleMany
from bench.isolation import BYTES_PER_SECOND, LEAST_RATE, MOST_P99_MS, MOST_P99_SHARE, Isolation
from bench.isolation import FILES as ISOLATED_FILES
from bench.known import Known
from bench.latency import Latency, Schedule
from bench.many_positions import ManyPositions
from bench.measure import quantile
from bench.partitions import HOSTS, INTERVALS, Hashing, Load
from bench.readers import Way
from bench.rescan import Rescan
from bench.sending import LINE_BYTES as LINE_BYTES_SENT
from bench.sending import Sent
from bench.workspace import ROOT
from singer.base.config import PartitionerConfig

PATH = os.path.join(ROOT, "docs", "benchmarks.md")
_MIB = 1 << 20


def catch_up_table(result: CatchUp, cluster: str) -> str:
    """Rates, CPU and memory of both, and the two ratios."""
    starts = result.starts
    rows = []
    for name, usages, start in (
        ("singer", [pair.agent for pair in result.pairs], starts.agent),
        ("kcat", [pair.kcat for pair in result.pairs], starts.kcat),
    ):
        rates = sorted(result.rate(usage, start) for usage in usages)
        cpus = sorted(result.cpu_seconds_per_line(usage, start) for usage in usages)
        walls = sorted(usage.wall_seconds for usage in usages)
        middle = len(usages) // 2
        rows.append(
            (
                name,
                f"{rates[middle] / 1e3:,.0f}",
                f"{result.lines / walls[middle] / 1e3:,.0f}",
                f"{cpus[middle] * 1e6:.2f}",
                f"{start.cpu_seconds:.2f}",
                f"{max(usage.peak_bytes for usage in usages) / _MIB:,.0f}",
            )
        )
    rows.append(
        (
            "**ratio**",
            f"**{result.throughput_ratio:.2f}**",
            "",
            f"**{result.cpu_ratio:.2f}**",
            "",
            "",
        )
    )
    head = f"{result.lines:,} lines of {result.line_bytes} bytes, {cluster}, "
    head += f"lz4, acks=all, linger 5 ms, {len(result.pairs)} interleaved pairs, medians."
    columns = (
        "",
        "k lines/s",
        "k lines/s, start included",
        "CPU µs per line",
        "CPU s of a start",
        "peak MiB",
    )
    return f"{head}\n\n{_table(columns, rows)}"


def latency_table(result: Latency, schedule: Schedule) -> str:
    """Quantiles of append to acknowledgement."""
    head = f"Append to acknowledgement, {len(result.steady_ms):,} lines at "
    head += f"{schedule.lines_per_second:,} per second, linger 0 ms, broker in another process; "
    head += f"then {len(result.after_silence_ms)} lines, each after "
    head += f"{schedule.silence_seconds:g} s of silence."
    columns = ("p50 ms", "p99 ms", "max ms", "after silence: median ms", "worst ms")
    silent = result.after_silence_ms
    row = (
        f"{result.steady(0.5):.2f}",
        f"{result.steady(0.99):.2f}",
        f"{result.steady(1.0):.2f}",
        f"{silent[len(silent) // 2]:.2f}" if silent else "",
        f"{silent[-1]:.2f}" if silent else "",
    )
    return f"{head}\n\n{_table(columns, [row])}"


def idle_table(result: Idle, seconds: float) -> str:
    """CPU share and memory."""
    head = f"{result.files} files, nothing written for {seconds:g} s."
    row = (f"{result.core_share * 100:.2f}", f"{result.resident_bytes / _MIB:,.0f}")
    return f"{head}\n\n{_table(('% of a core', 'resident MiB'), [row])}"


def idle_many_table(result: IdleMany) -> str:
    """CPU share, and memory above that of an agent with one file."""
    head = f"{result.files:,} files in {result.directories:,} directories, nothing written. "
    head += "To hold: under 1 % of a core, and under 60 MB more than with one file."
    columns = ("% of a core", "resident MB", "with one file", "more")
    resident, alone = result.resident_bytes / 1e6, result.alone_bytes / 1e6
    share = f"{result.core_share * 100:.2f}"
    row = (share, f"{resident:.0f}", f"{alone:.0f}", f"{resident - alone:.0f}")
    return f"{head}\n\n{_table(columns, [row])}"


def rescan_table(result: Rescan) -> str:
    """CPU of a rescan."""
    head = f"{result.files:,} known files in {result.directories:,} directories. "
    head += "To hold: under 60 ms of CPU."
    columns = ("paths", "in the agent, ms", "the walk alone, ms", "given what is known, ms")
    rows = [
        (
            f"`{shape.paths}`",
            f"{shape.in_agent_ms:.0f}",
            f"{shape.walk_ms:.1f}",
            f"{shape.walk_known_ms:.1f}",
        )
        for shape in result.shapes
    ]
    return f"{head}\n\n{_table(columns, rows)}"


def discovery_table(result: Discovery) -> str:
    """Times of the first scan and of new files."""
    head = f"{result.files:,} files of one line in {result.directories:,} directories; then "
    head += f"{len(result.created_ms)} more, one at a time, from creation to acknowledgement. "
    head += "To hold: found in under 2 s; p99 under 50 ms."
    columns = ("found s", "delivered s", "new file: p50 ms", "p99 ms", "max ms")
    row = (
        f"{result.found_seconds:.2f}",
        f"{result.delivered_seconds:.2f}",
        *_quantiles(result.created_ms),
    )
    return f"{head}\n\n{_table(columns, [row])}"


def known_table(result: Known) -> str:
    """What very many known files cost."""
    head = f"{result.files:,} known files, {result.active:,} of them with a line a second."
    columns = (
        "first found in s",
        "known again in s",
        "% of a core",
        "resident MB",
        "p50 ms",
        "p99 ms",
        "max ms",
    )
    row = (
        f"{result.found_seconds:.1f}",
        f"{result.known_seconds:.1f}",
        f"{result.core_share * 100:.0f}",
        f"{result.resident_bytes / 1e6:.0f}",
        *_quantiles(result.latency_ms),
    )
    return f"{head}\n\n{_table(columns, [row])}"


def many_positions_table(result: ManyPositions) -> str:
    """What opening takes."""
    head = f"A store of {result.rows:,} rows, {result.store_bytes / 1e6:,.0f} MB on disk. "
    head += "To hold: opened in under 0.2 s and 20 MB."
    row = (f"{result.open_seconds * 1e3:.1f}", f"{result.more_bytes / 1e6:.1f}")
    return f"{head}\n\n{_table(('open ms', 'MB'), [row])}"


def fairness_table(results: Sequence[Fairness], *, small: int) -> str:
    """What lines of small files wait beside firehoses."""
    head = f"{small:,} small files, each a line now and then (250 lines/s in all), beside files "
    head += "that always have more to read; all to one partition, default settings. "
    head += "To hold: p99 under 250 ms beside one."
    columns = (
        "firehoses",
        "priority: theirs",
        "the small files'",
        "broker's round trip ms",
        "p50 ms",
        "p99 ms",
        "max ms",
        "firehoses MB/s",
        "behind by MB",
    )
    rows = [
        (
            str(each.firehoses),
            *each.priorities,
            str(each.round_trip_ms),
            *_quantiles(each.latency_ms),
            f"{each.bytes_per_second / 1e6:.0f}",
            f"{each.unread_bytes / 1e6:,.0f}",
        )
        for each in results
    ]
    return f"{head}\n\n{_table(columns, rows)}"


def faults_table(faults: Sequence[Fault]) -> str:
    """What is left of the rate of streams whose brokers are well."""
    head = "Three streams of 4 MiB/s, each to a broker of its own; one broker has a fault. "
    head += "The rate of the other two. To hold: 0.95 of what it was."
    rows = [
        (
            each.name,
            f"{each.before_bytes_per_second / 1e6:.1f}",
            f"{each.during_bytes_per_second / 1e6:.1f}",
            f"{each.kept:.2f}",
        )
        for each in faults
    ]
    return f"{head}\n\n{_table(('the broker', 'MB/s before', 'MB/s during', 'kept'), rows)}"


def isolation_table(results: Sequence[Isolation]) -> str:
    """What the first destination of a stream does while the second has a fault."""
    head = f"Lines of 150 bytes at a steady {BYTES_PER_SECOND / 1e6:g} MB/s in {ISOLATED_FILES} "
    head += "files, published to two real brokers, the second behind a proxy. The first one's rate "
    head += "and latency, from append to acknowledgement, while the second is well and while it has"
    head += f" a fault: medians of {len(results[0].pairs)} interleaved pairs. To hold: "
    head += f"{LEAST_RATE:g} of the rate, and a p99 no more than {MOST_P99_SHARE:.0%} or "
    head += f"{MOST_P99_MS:g} ms above. The first row tells what pairs are worth."
    both = (False, True)
    rows = [
        (
            each.fault.name,
            *(f"{each.median(lambda run: run.bytes_per_second, faulty=f) / 1e6:.2f}" for f in both),
            f"{each.rate:.3f}",
            *(f"{each.median(lambda run: run.p50_ms, faulty=f):.1f}" for f in both),
            *(f"{each.median(lambda run: run.p99_ms, faulty=f):.1f}" for f in both),
            f"{each.p99_more_ms:+.1f}",
            *(f"{each.median(lambda run: run.core_share, faulty=f) * 100:.0f}" for f in both),
            "yes" if each.holds else "no",
        )
        for each in results
    ]
    columns = (
        "the second is",
        *("MB/s", "MB/s then", "times"),
        *("p50 ms", "p50 ms then", "p99 ms", "p99 ms then", "more ms"),
        *("% of a core", "then", "holds"),
    )
    return f"{head}\n\n{_table(columns, rows)}"


def framing_table(framings: Sequence[Framing], costs: Sequence[Cost]) -> str:
    """What a reader does in a second, and what a transform takes for a million lines."""
    readers = [
        (each.name, f"{each.bytes_per_second / 1e6:,.0f}", f"{each.seconds_per_record * 1e9:,.0f}")
        for each in framings
    ]
    transforms = [
        (each.name, f"{each.seconds_per_million:.2f}", f"{each.left:.1%}") for each in costs
    ]
    return (
        "Windows of 8 MiB in memory, nothing sent; the best of 7. To hold: Thrift 1,000 MB/s.\n\n"
        f"{_table(('reader', 'MB/s', 'ns a record'), readers)}\n\n"
        "Transforms, on lines of 150 bytes:\n\n"
        f"{_table(('transform', 's for a million lines', 'records left'), transforms)}"
    )


def writings_table(writings: Sequence[Writing]) -> str:
    """Records a second."""
    rows = [(each.name, f"{each.records_per_second:,.0f}") for each in writings]
    return (
        "Messages of 150 bytes, the best of three. To hold: 400,000 a second from one process.\n\n"
        f"{_table(('written by', 'records/s'), rows)}"
    )


def ways_table(ways: Sequence[Way]) -> str:
    """File to broker, beside plain text."""
    rows = [
        (
            each.name,
            f"{each.nbytes / 1e6:,.0f}",
            f"{each.bytes_per_second / 1e6:,.0f}",
            f"{each.ratio:.2f}",
        )
        for each in ways
    ]
    return (
        "One file to the broker, lz4 unless it says otherwise, the start taken off; beside a file\n"
        "of as many bytes of plain lines of 150 bytes; the median of the pairs. To hold: multiline "
        "0.6,\ncri 0.5, redact 0.5. Goal: Thrift that is not compressed, 300 MB/s.\n\n"
        f"{_table(('reader', 'MB', 'MB/s', 'ratio to text'), rows)}"
    )


def loads_table(loads: Sequence[Load], hashings: Sequence[Hashing]) -> str:
    """How even partitions are loaded, what crosses zones, and what hashes cost."""
    head = (
        f"Simulated: {HOSTS} hosts that write equally much for {INTERVALS} intervals of `sticky`, "
    )
    head += "in three zones; 36 partitions. Loads are in even shares: 1.00 is what a partition "
    head += (
        "gets when all get the same. To hold: between 0.80 and 1.20 with hosts and leaders even."
    )
    columns = (
        "hosts by zone",
        "leaders by zone",
        "partitioner",
        "most loaded",
        "least loaded",
        "most in one interval",
        "to other zones",
        "GB",
    )
    rows = [
        (
            "/".join(map(str, each.fleet.hosts)),
            "/".join(map(str, each.fleet.leaders)),
            _partitioner(each.config),
            f"{each.most:.2f}",
            f"{each.least:.2f}",
            f"{each.peak:.2f}",
            f"{each.across * 100:.0f} %",
            f"{each.across * each.nbytes / 1e9:.0f}",
        )
        for each in loads
    ]
    costs = [
        (each.name, *(f"{each.ns_per_key[size]:,.0f}" for size in sorted(each.ns_per_key)))
        for each in hashings
    ]
    sizes = (f"{size} bytes" for size in sorted(hashings[0].ns_per_key))
    text = f"{head}\n\n{_table(columns, rows)}\n\n"
    text += f"Hashes of keys, ns a key, 7,000 at a time:\n\n{_table(('', *sizes), costs)}"
    return text


def _partitioner(config: PartitionerConfig) -> str:
    """As people write it."""
    said = config.type.value
    if config.partitions:
        said += f" {config.partitions}"
    local = config.local
    if local is None:
        return said
    if local.max_share is None:
        return f"{said}, local"
    told = ", told of the hosts" if local.hosts else ""
    return f"{said}, local, max_share {local.max_share:g}{told}"


def stamp(command: str) -> str:
    """The command, the machine and the versions behind a table."""
    versions = [
        f"Python {platform.python_version()}",
        f"confluent-kafka {metadata.version('confluent-kafka')}",
        f"numpy {metadata.version('numpy')}",
        _kcat_version(),
    ]
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, on {os.cpu_count()} cores "
        f"({_processor()}), Linux {platform.release().split('-')[0]}; {', '.join(versions)}."
    )


def place(name: str, text: str, path: str = PATH) -> None:
    """Put a section into the document, where it was or at the end."""
    begin, end = f"<!-- bench {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text}\n{end}"
    try:
        with open(path, encoding="utf-8") as file:
            document = file.read()
    except FileNotFoundError:
        document = "# Benchmarks\n"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(document):
        document = pattern.sub(lambda _: section, document)
    else:
        document = f"{document.rstrip()}\n\n## {name}\n\n{section}\n"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(document)


def fleet_host_table(results: Sequence[FleetHost]) -> str:
    """What lingering costs and gains, and what `sticky` spares beside `random`."""
    head = f"{LINES_PER_SECOND:g} lines/s of {LINE_BYTES} bytes in {FILES} files, "
    head += f"{FLEET_PARTITIONS} partitions led in {ZONES} zones, zstd level 1. CPU is the agent's "
    head += "with all its threads. Goals: 1 % of a core, and `random` 2.0 times the bytes."
    columns = ("linger", "partitioner", "% of a core", "requests/s", "records a batch",
               "bytes a record", "ratio", "p50 ms", "p99 ms", "bytes of random here")  # fmt: skip
    random = {each.way.name: each for each in results if each.way.partitioner == "random"}
    rows = []
    for each in results:
        other = random.get(each.way.name)
        spared = f"{other.bytes_per_record / each.bytes_per_record:.2f}" if other else ""
        rows.append(
            (
                each.way.name,
                each.way.partitioner,
                f"{each.core_share * 100:.0f}",
                f"{each.batches_per_second:.0f}",
                f"{each.records_per_batch:.1f}",
                f"{each.bytes_per_record:.0f}",
                f"{each.ratio:.2f}",
                *_quantiles(each.latency_ms)[:2],
                "" if other is each else spared,
            )
        )
    return f"{head}\n\n{_table(columns, rows)}"


def sending_table(results: Sequence[Sent]) -> str:
    """CPU of codecs and headers."""
    head = f"{results[0].lines:,} lines of {LINE_BYTES_SENT} bytes by the whole agent, start taken "
    head += "off. To hold: compression takes 5 % of a core at 10 MB/s."
    by_name = {each.way.name: each for each in results}
    rows = []
    for each in results:
        plain = by_name[each.way.plain]
        more = each is not plain
        share = each.core_share_of_10_mb - plain.core_share_of_10_mb
        rows.append(
            (
                each.way.name,
                f"{each.cpu_us_per_line:.2f}",
                f"{each.core_share_of_10_mb * 100:.1f}",
                each.way.plain if more else "",
                f"{share * 100:+.1f}" if more else "",
                f"{each.cpu_seconds / plain.cpu_seconds:.1f}" if more else "",
            )
        )
    columns = ("", "CPU µs per line", "% of a core at 10 MB/s", "beside", "more %", "times")
    return f"{head}\n\n{_table(columns, rows)}"


def audited_table(results: Sequence[Audited]) -> str:
    """What an audit costs."""
    head = "CPU µs a record of agents without and with an audit topic. To hold: at most 1.05 times."
    rows = [
        (each.workload, f"{each.plain_us:.2f}", f"{each.audited_us:.2f}", f"{each.ratio:.3f}")
        for each in results
    ]
    return f"{head}\n\n{_table(('', 'without', 'with', 'times, median of pairs'), rows)}"


def compared_table(results: Sequence[Read]) -> str:
    """What reading topics takes."""
    head = f"Topics of lines of {LINE_BYTES_COMPARED} bytes that are all different, on one Apache "
    head += "Kafka beside the command."
    rows = [
        (
            each.name,
            f"{each.records:,}",
            f"{each.records / each.usage.wall_seconds / 1000:,.0f}",
            f"{each.usage.cpu_seconds / each.records * 1e6:.2f}",
            f"{each.usage.peak_bytes / (1 << 20):.0f}",
        )
        for each in results
    ]
    return f"{head}\n\n{_table(('', 'records', 'k records/s', 'CPU µs each', 'peak MiB'), rows)}"


def guarantees_table(results: Sequence[GuaranteeCost]) -> str:
    """What guarantees cost beside plain."""
    head = f"{results[0].lines:,} lines of {GUARANTEED_LINE_BYTES} bytes, lz4, to one Apache Kafka "
    head += "beside them, start taken off. Goal: exactly once keeps 70 % of the throughput."
    by_name = {each.way.name: each for each in results}
    rows = []
    for each in results:
        plain = by_name[each.way.plain]
        rows.append(
            (
                each.way.name,
                f"{each.lines * GUARANTEED_LINE_BYTES / each.wall_seconds / 1e6:.0f}",
                f"{each.cpu_seconds / each.lines * 1e6:.2f}",
                each.way.plain if each is not plain else "",
                f"{plain.wall_seconds / each.wall_seconds:.2f}" if each is not plain else "",
                f"{each.cpu_seconds / plain.cpu_seconds:.2f}" if each is not plain else "",
            )
        )
    columns = ("", "MB/s", "CPU µs per line", "beside", "throughput, times", "CPU, times")
    return f"{head}\n\n{_table(columns, rows)}"


def herd_table(results: Sequence[Herd]) -> str:
    """What brokers hear of agents that start or return at once."""
    head = (
        "Agents in ten processes, three embedded brokers; requests as the brokers' log has them: "
    )
    head += (
        "the most in 100 ms, the most in 1 s. Each connection is two ApiVersions. `chance`: the "
    )
    head += "most Produce in 100 ms if nothing but chance chose moments within the spread. `busy`: "
    head += "both processors, when the most came; at 100 % it is the machine that makes them wait. "
    head += (
        "To hold, where it is not: at a start no more Produce in 100 ms than twice by chance, at "
    )
    head += "a return no more than a tenth of the agents."
    rows = []
    for each in results:
        name = f"{each.agents:,} start"
        spread = f"{each.spread_seconds:g} s"
        chance = f"{each.by_chance(0.1)}" if each.spread_seconds else ""
        rows.append((name, spread, *_rush(each.started), chance, ""))
    for each in results:
        way = "; ".join(f"{key} {value}" for key, value in each.properties.items()) or "ours"
        tries = f"{each.tries_per_second:.1f}"
        rows.append((f"{each.agents:,} return", way, *_rush(each.back), "", tries))
    columns = (
        "agents",
        "spread, or way",
        "last Produce, s",
        "ApiVersions",
        "Metadata",
        "Produce",
        "% busy",
        "chance",
        "tries/s of one in the outage",
    )
    return f"{head}\n\n{_table(columns, rows)}"


def _rush(rush: Rush) -> tuple[str, ...]:
    kinds = [f"{rush.most(kind, 0.1)}, {rush.most(kind, 1.0)}" for kind in rush.moments]
    last = f"{rush.moments['Produce'][-1]:.1f}"
    return (last, *kinds, f"{rush.busy_at_most('Produce', 0.1) * 100:.0f}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _quantiles(ascending: Sequence[float]) -> tuple[str, str, str]:
    return tuple(f"{quantile(ascending, share):.1f}" for share in (0.5, 0.99, 1.0))  # type: ignore[return-value]


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"model name\s*:\s*(.+)", file.read())
    return found[1] if found else platform.machine()


def _kcat_version() -> str:
    try:
        said = subprocess.run(["kcat", "-V"], capture_output=True, timeout=10, check=False).stdout
    except FileNotFoundError:
        return "no kcat"
    found = re.search(rb"Version (\S+).*librdkafka (\S+)", said)
    return f"kcat {found[1].decode()} (librdkafka {found[2].decode()})" if found else "kcat"
