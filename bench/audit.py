"""What it costs to say what was delivered: the same agents with an audit topic and without.

In bulk, lines and Thrift frames, what a start takes taken off; and on a host of a fleet, which has
few lines and many files. CPU of all threads; pairs of runs, one behind the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Final

from bench import measure, workspace
from bench.fleet_host import LINE_BYTES as HOST_LINE_BYTES
from bench.fleet_host import LINES_PER_SECOND, Way, fleet_host
from bench.samples import ALL, Sample

LINE_BYTES: Final = 150
AUDIT_TOPIC: Final = f"{workspace.TOPIC}.audit"
_AUDIT: Final[Mapping[str, object]] = {"audit": {"topic": AUDIT_TOPIC}}
_DEADLINE_SECONDS: Final = 300.0
_THRIFT: Final = "thrift, 500 B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """CPU µs a record without and with an audit, medians, and the median of the pairs' ratios."""

    workload: str
    plain_us: float
    audited_us: float
    ratio: float


def audited(bootstrap: str, *, lines: int, pairs: int, seconds: float) -> Sequence[Audited]:
    """Measure. Raises RuntimeError."""
    data = workspace.log_data(LINE_BYTES, lines)
    (thrift,) = (sample for sample in ALL if sample.name == _THRIFT)
    return [
        _compared(
            f"bulk, text, {LINE_BYTES} B",
            lambda cluster: _bulk(bootstrap, data, lines, cluster),
            pairs,
        ),
        _compared(
            f"bulk, {_THRIFT}",
            lambda cluster: _sampled(bootstrap, thrift, lines // 3, cluster),
            pairs,
        ),
        _compared(
            f"host of a fleet, {LINES_PER_SECOND:.0f} lines/s of {HOST_LINE_BYTES} bytes",
            lambda cluster: _small(bootstrap, seconds, cluster),
            pairs,
        ),
    ]


def _compared(workload: str, run: Callable[[Mapping[str, object]], float], pairs: int) -> Audited:
    found = [(run({}), run(_AUDIT)) for _ in range(pairs)]
    return Audited(
        workload=workload,
        plain_us=median(plain for plain, _ in found),
        audited_us=median(audit for _, audit in found),
        ratio=median(audit / plain for plain, audit in found),
    )


def _bulk(bootstrap: str, data: str, records: int, cluster: Mapping[str, object]) -> float:
    one = workspace.log_data(LINE_BYTES, 1)
    whole, start = (_once(bootstrap, path, cluster) for path in (data, one))
    return (whole - start) / records * 1e6


def _sampled(bootstrap: str, sample: Sample, records: int, cluster: Mapping[str, object]) -> float:
    with workspace.directory() as work:
        seconds = []
        for count in (records, 1):
            path = os.path.join(work, f"{count}.log")
            with open(path, "wb") as log:
                log.writelines(sample.record(number) for number in range(count))
            seconds.append(_once(bootstrap, path, cluster, {"reader": sample.keys}))
        return (seconds[0] - seconds[1]) / records * 1e6


def _once(
    bootstrap: str,
    data: str,
    cluster: Mapping[str, object],
    stream: Mapping[str, object] = MappingProxyType({}),
) -> float:
    """CPU seconds of an agent that delivers a file."""
    with workspace.directory() as work:
        config = workspace.agent_config(
            work, bootstrap, data, {"compression.type": "lz4"}, cluster=cluster, stream=stream
        )
        log = os.path.join(work, "agent.log")
        command = workspace.agent_command(config, "--once")
        return measure.run(command, log, _DEADLINE_SECONDS).cpu_seconds


def _small(bootstrap: str, seconds: float, cluster: Mapping[str, object]) -> float:
    way = Way(name="", linger=None, linger_ms=None, cluster=cluster)
    share = fleet_host(bootstrap, way, seconds=seconds).core_share
    return share / LINES_PER_SECOND * 1e6
