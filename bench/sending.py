"""What codecs and headers cost: one file to the broker, by the whole agent, again and again.

CPU of all threads, what a start takes taken off; the median of interleaved runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench import measure, workspace
from bench.measure import Usage

LINE_BYTES: Final = 150
_DEADLINE_SECONDS: Final = 300.0
_PROPERTIES: Final[Mapping[str, Mapping[str, str]]] = {
    "none": {"compression.type": "none"},
    "lz4": {"compression.type": "lz4"},
    "zstd": {},  # the default
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A codec and headers; `plain` is what it is compared with."""

    name: str
    plain: str
    codec: str = "lz4"
    headers: object = ()

    def publish(self) -> Mapping[str, object]:
        """The destination."""
        return {"cluster": "main", "topic": workspace.TOPIC, "headers": self.headers or []}


WAYS: Final = (
    Way(name="none", plain="none", codec="none"),
    Way(name="lz4", plain="none"),
    Way(name="zstd", plain="none", codec="zstd"),
    Way(name="lz4, headers mid", plain="lz4", headers=["mid"]),
    Way(name="lz4, headers mid, ots", plain="lz4", headers=["mid", "ots"]),
    Way(
        name="lz4, headers mid, ots, host, file, env: prod",
        plain="lz4",
        headers={"add": ["mid", "ots", "host", "file"], "static": {"env": "prod"}},
    ),
    Way(name="lz4, headers crc", plain="lz4", headers=["crc"]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One way, medians; the start taken off."""

    way: Way
    lines: int
    cpu_seconds: float

    @property
    def cpu_us_per_line(self) -> float:
        """Microseconds of CPU."""
        return self.cpu_seconds / self.lines * 1e6

    @property
    def core_share_of_10_mb(self) -> float:
        """CPU seconds per second at 10 MB/s."""
        return self.cpu_seconds / (self.lines * LINE_BYTES) * 10e6


def sent(bootstrap: str, *, lines: int, runs: int) -> Sequence[Sent]:
    """Measure. Raises RuntimeError."""
    data, one = workspace.log_data(LINE_BYTES, lines), workspace.log_data(LINE_BYTES, 1)
    usages: dict[str, list[tuple[Usage, Usage]]] = {way.name: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            usages[way.name].append((_run(bootstrap, data, way), _run(bootstrap, one, way)))
    return [
        Sent(
            way=way,
            lines=lines,
            cpu_seconds=measure.median(whole for whole, _ in usages[way.name]).cpu_seconds
            - measure.median(start for _, start in usages[way.name]).cpu_seconds,
        )
        for way in WAYS
    ]


def _run(bootstrap: str, data: str, way: Way) -> Usage:
    with workspace.directory() as work:
        config = workspace.agent_config(
            work,
            bootstrap,
            data,
            _PROPERTIES[way.codec],
            cluster={"allow_uncompressed": "to compare"},
            stream={"publish": [way.publish()]},
        )
        log = os.path.join(work, "agent.log")
        return measure.run(workspace.agent_command(config, "--once"), log, _DEADLINE_SECONDS)
