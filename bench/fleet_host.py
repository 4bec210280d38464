"""One host of a fleet: few lines, many files, many partitions. What lingering costs and gains.

Lines are appended by this process, to each file in turn; the agent runs in a second and the
brokers in a third. Bytes and batches are those that librdkafka counts.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench import measure, running, workspace
from bench.appending import Appended, latencies_ms
from tests.support.lines import line

FILES: Final = 20
LINES_PER_SECOND: Final = 400.0
LINE_BYTES: Final = 625
PARTITIONS: Final = 48
ZONES: Final = 3
#: Connections, pages and what measures itself settle in it.
_WARM_UP_SECONDS: Final = 2.0
_DELIVER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the host is configured: what the table calls it, and its keys."""

    name: str
    linger: object  #: of the stream; None: its default
    linger_ms: str | None  #: librdkafka's own; None: its default
    partitioner: str = "sticky"
    cluster: Mapping[str, object] = field(default_factory=dict)


def _ways() -> Iterator[Way]:
    for partitioner in ("sticky", "random"):
        for milliseconds in ("0", "5", "25", "100"):
            yield Way(
                name=f"linger.ms {milliseconds}",
                linger="0s",
                linger_ms=milliseconds,
                partitioner=partitioner,
            )
    yield Way(name="auto, 5 ms (the default)", linger=None, linger_ms=None)
    for latency in ("30ms", "100ms"):
        budget = latency.replace("ms", " ms")
        yield Way(name=f"auto, {budget}", linger={"latency": latency}, linger_ms=None)


WAYS: Final = tuple(_ways())


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHost:
    """One run. `latency_ms` from append to acknowledgement, ascending."""

    way: Way
    core_share: float
    batches_per_second: float
    records_per_batch: float
    bytes_per_record: float
    ratio: float
    latency_ms: tuple[float, ...]


def fleet_host(bootstrap: str, way: Way, *, seconds: float) -> FleetHost:
    """Measure. Raises RuntimeError."""
    with workspace.directory() as work:
        paths = [os.path.join(work, f"app-{number:02}.log") for number in range(FILES)]
        for path in paths:
            with open(path, "xb"):
                pass
        properties = {"statistics.interval.ms": "500"}
        if way.linger_ms is not None:
            properties["linger.ms"] = way.linger_ms
        publish: dict[str, object] = {"cluster": "main", "topic": workspace.TOPIC}
        publish["partitioner"] = way.partitioner
        stream: dict[str, object] = {"publish": [publish]}
        if way.linger is not None:
            stream["linger"] = way.linger
        config = workspace.agent_config(
            work,
            bootstrap,
            os.path.join(work, "app-*.log"),
            properties,
            stream=stream,
            cluster=way.cluster,
        )
        with running.probed(config, work) as (process, progress):
            running.await_found(progress, paths, _DELIVER_SECONDS)
            writer = _Writer(paths)
            writer.write(_WARM_UP_SECONDS)
            before, begun = measure.cpu_ns(process.pid), time.monotonic_ns()
            appended = writer.write(seconds)
            used, ended = measure.cpu_ns(process.pid) - before, time.monotonic_ns()
            writer.close()
            running.await_ends(progress, writer.ends, _DELIVER_SECONDS)
    sent = [each for each in progress.sent if begun < each[0] < ended]
    records, batches, nbytes, sent_bytes = (sum(column) for column in list(zip(*sent))[1:])  # noqa: B905
    return FleetHost(
        way=way,
        core_share=used / (ended - begun),
        batches_per_second=LINES_PER_SECOND * batches / records,
        records_per_batch=records / batches,
        bytes_per_record=sent_bytes / records,
        ratio=nbytes / sent_bytes,
        latency_ms=latencies_ms(appended, progress),
    )


class _Writer:
    """Appends lines at an even rate, to the files in random order."""

    def __init__(self, paths: list[str]) -> None:
        self.ends = dict.fromkeys(paths, 0)
        self._files = {path: os.open(path, os.O_WRONLY | os.O_APPEND) for path in paths}
        self._random = random.Random(1)
        self._count = 0

    def write(self, seconds: float) -> list[Appended]:
        appended = []
        due = time.monotonic()
        for _ in range(int(LINES_PER_SECOND * seconds)):
            path = self._random.choice(list(self.ends))
            self._count += 1
            text = line(1, self._count, LINE_BYTES) + b"\n"
            self.ends[path] += len(text)
            appended.append(Appended(path=path, end=self.ends[path], moment_ns=time.monotonic_ns()))
            os.write(self._files[path], text)
            due += 1 / LINES_PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
        return appended

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
