"""A long file there from the start: the whole agent against `kcat -P -l`, pair by pair.

Both have the same properties and the same cluster. What a start costs (interpreter, libraries,
connections, the first acknowledgement) is measured with a file of one line and taken off, for
both alike: it is paid once a boot, not once a line.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bench import measure, workspace
from bench.measure import Usage

#: What both are given, so that neither profits from its defaults.
PROPERTIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acks": "all",
        "enable.idempotence": "true",
        "compression.type": "lz4",
        "linger.ms": "5",
        "batch.num.messages": "1000000",
    }
)
_DEADLINE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One run of each, one after the other."""

    agent: Usage
    kcat: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """All pairs of one workload, and what a start takes."""

    line_bytes: int
    lines: int
    pairs: tuple[Pair, ...]
    starts: Pair

    def rate(self, usage: Usage, start: Usage) -> float:
        """Lines per second, the start taken off."""
        return self.lines / (usage.wall_seconds - start.wall_seconds)

    def cpu_seconds_per_line(self, usage: Usage, start: Usage) -> float:
        """CPU seconds per line, the start taken off."""
        return (usage.cpu_seconds - start.cpu_seconds) / self.lines

    @property
    def throughput_ratio(self) -> float:
        """Agent to kcat, the median of the pairs; more is better."""
        return statistics.median(
            self.rate(pair.agent, self.starts.agent) / self.rate(pair.kcat, self.starts.kcat)
            for pair in self.pairs
        )

    @property
    def cpu_ratio(self) -> float:
        """Agent to kcat, the median of the pairs; less is better."""
        return statistics.median(
            self.cpu_seconds_per_line(pair.agent, self.starts.agent)
            / self.cpu_seconds_per_line(pair.kcat, self.starts.kcat)
            for pair in self.pairs
        )


def catch_up(bootstrap: str, *, line_bytes: int, lines: int, pairs: int) -> CatchUp:
    """Measure. Raises RuntimeError when a run fails or the agent did not deliver all lines."""
    if shutil.which("kcat") is None:
        raise RuntimeError("find kcat: not on the PATH; install it: apt-get install kcat")
    data = workspace.log_data(line_bytes, lines)
    one = workspace.log_data(line_bytes, 1)
    starts = [_pair(bootstrap, one, 1, agent_first=bool(n % 2)) for n in range(pairs)]
    measured = [_pair(bootstrap, data, lines, agent_first=bool(n % 2)) for n in range(pairs)]
    return CatchUp(
        line_bytes=line_bytes,
        lines=lines,
        pairs=tuple(measured),
        starts=Pair(
            agent=measure.median(pair.agent for pair in starts),
            kcat=measure.median(pair.kcat for pair in starts),
        ),
    )


def _pair(bootstrap: str, data: str, lines: int, *, agent_first: bool) -> Pair:
    if agent_first:
        agent = _agent(bootstrap, data, lines)
        return Pair(agent=agent, kcat=_kcat(bootstrap, data))
    kcat = _kcat(bootstrap, data)
    return Pair(agent=_agent(bootstrap, data, lines), kcat=kcat)


def _agent(bootstrap: str, data: str, lines: int) -> Usage:
    with workspace.directory() as work:
        config = workspace.agent_config(work, bootstrap, data, PROPERTIES)
        log = os.path.join(work, "agent.log")
        usage = measure.run(workspace.agent_command(config, "--once"), log, _DEADLINE_SECONDS)
        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read()
    found = re.search(r"event=ledger-balance .*\brecords=(\d+)", said)
    if found is None or int(found[1]) != lines:
        raise RuntimeError(f"deliver {lines} lines: the agent's ledger says otherwise:\n{said}")
    return usage


def _kcat(bootstrap: str, data: str) -> Usage:
    properties = [part for pair in PROPERTIES.items() for part in ("-X", "=".join(pair))]
    command = ["kcat", "-P", "-l", "-b", bootstrap, "-t", workspace.TOPIC, *properties, data]
    with workspace.directory() as work:
        return measure.run(command, os.path.join(work, "kcat.log"), _DEADLINE_SECONDS)
