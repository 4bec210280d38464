"""File to broker with each reader: the whole agent, against plain text of the same bytes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench import measure, samples, workspace
from bench.catchup import PROPERTIES

_DEADLINE_SECONDS: Final = 300.0
_REDACT: Final = {"redact": {"pattern": r"token=\S+", "with": "token=*"}}
_NOT_COMPRESSED: Final = {**PROPERTIES, "compression.type": "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way from a file to the broker, in seconds without the start; and text's."""

    name: str
    nbytes: int
    pairs: tuple[tuple[float, float], ...]  #: (this, text of the same size)

    @property
    def bytes_per_second(self) -> float:
        """Of the file; the median."""
        return self.nbytes / statistics.median(mine for mine, _ in self.pairs)

    @property
    def ratio(self) -> float:
        """To text; the median of the pairs; more is better."""
        return statistics.median(text / mine for mine, text in self.pairs)


def ways(bootstrap: str, *, nbytes: int, pairs: int) -> list[Way]:
    """Measure. Raises RuntimeError when a run fails."""
    by_name = {sample.name: sample for sample in samples.ALL}
    text = by_name["text, 150 B"]
    plans: list[tuple[str, samples.Sample, Mapping[str, Any], Mapping[str, str]]] = [
        (name, sample, {}, PROPERTIES) for name, sample in by_name.items() if sample is not text
    ]
    plans.insert(
        0, ("text, redact that never matches", text, {"transforms": [_REDACT]}, PROPERTIES)
    )
    plans.append(("thrift, 500 B, not compressed", by_name["thrift, 500 B"], {}, _NOT_COMPRESSED))
    found = []
    with workspace.directory() as work:
        plain = _file(work, text, nbytes)
        for name, sample, stream, properties in plans:
            data = _file(work, sample, nbytes)
            measured = []
            for number in range(pairs):
                runs = [(data, {"reader": sample.keys, **stream}), (plain, {})]
                seconds = {
                    index: _run(bootstrap, *runs[index], properties)
                    for index in ((0, 1) if number % 2 else (1, 0))
                }
                start = _run(bootstrap, os.devnull, {}, properties)
                measured.append((seconds[0] - start, seconds[1] - start))
            size = os.path.getsize(data)
            found.append(Way(name=name, nbytes=size, pairs=tuple(measured)))
    return found


def _file(work: str, sample: samples.Sample, nbytes: int) -> str:
    path = os.path.join(work, f"{samples.ALL.index(sample)}.log")
    if not os.path.exists(path):
        block = sample.data(8 << 20)
        with open(path, "wb") as file:
            file.writelines(block for _ in range(max(1, nbytes // len(block))))
    return path


def _run(
    bootstrap: str, data: str, stream: Mapping[str, Any], properties: Mapping[str, str]
) -> float:
    with workspace.directory() as work:
        config = workspace.agent_config(
            work,
            bootstrap,
            data,
            properties,
            stream=stream,
            cluster={"allow_uncompressed": "to be measured"},
        )
        log = os.path.join(work, "agent.log")
        return measure.run(
            workspace.agent_command(config, "--once"), log, _DEADLINE_SECONDS
        ).wall_seconds
