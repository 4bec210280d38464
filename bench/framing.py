"""Readers and transforms by themselves: windows of 8 MiB in memory, nothing sent."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bench import samples
from singer.base.batch import RecordBatch
from singer.base.config import (
    EnvelopeConfig,
    EnvelopeType,
    PatternConfig,
    PrefixConfig,
    RedactConfig,
    Regex,
    RewriteConfig,
    SampleConfig,
    TransformConfig,
)
from singer.base.ports import State
from singer.readers.making import make as make_reader
from singer.transforms.making import make as make_transform

_WINDOW_BYTES: Final = 8 << 20
_REPEATS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """One reader, on bytes that text was cut from as well."""

    name: str
    bytes_per_second: float
    seconds_per_record: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One transform, on lines of 150 bytes."""

    name: str
    seconds_per_million: float
    left: float  #: the share of the records that is still there


_TRANSFORMS: Final[Sequence[tuple[str, TransformConfig]]] = (
    ("filter, every line matches", TransformConfig(filter=PatternConfig(pattern=Regex("a")))),
    ("drop, 1 of 1,000", TransformConfig(drop=PatternConfig(pattern=Regex("000:")))),
    (
        "redact, never found",
        TransformConfig(redact=RedactConfig(pattern=Regex(r"token=\S+"), replacement="token=*")),
    ),
    (
        "redact, 1 of 1,000",
        TransformConfig(redact=RedactConfig(pattern=Regex(r"000: \S"), replacement="***")),
    ),
    (
        "redact, every line",
        TransformConfig(redact=RedactConfig(pattern=Regex("^[0-9]+"), replacement="#")),
    ),
    (
        "rewrite, every line",
        TransformConfig(rewrite=RewriteConfig(pattern=Regex("^([0-9]+)(.*)"), format=r"\1 \2")),
    ),
    ("sample 10 %", TransformConfig(sample=SampleConfig(percent=10.0))),
    ("prefix {host}", TransformConfig(prefix=PrefixConfig(text="{host} "))),
    ("prefix {time}", TransformConfig(prefix=PrefixConfig(text="{time} "))),
    ("envelope json", TransformConfig(envelope=EnvelopeConfig(type=EnvelopeType.JSON))),
    (
        "envelope log_message",
        TransformConfig(envelope=EnvelopeConfig(type=EnvelopeType.LOG_MESSAGE)),
    ),
)


def framings() -> list[Framing]:
    """All readers, the best of several runs each."""
    found = []
    for sample in samples.ALL:
        reader = make_reader(sample.config)
        window = np.frombuffer(sample.data(_WINDOW_BYTES), np.uint8)
        records = len(reader.frame(window, 0, State.MORE).batch)
        seconds = _best(lambda r=reader, w=window: r.frame(w, 0, State.MORE))  # type: ignore[misc]
        found.append(
            Framing(
                name=sample.name,
                bytes_per_second=len(window) / seconds,
                seconds_per_record=seconds / records,
            )
        )
    return found


def costs() -> list[Cost]:
    """All transforms, the best of several runs each."""
    text = samples.ALL[0]
    window = np.frombuffer(text.data(_WINDOW_BYTES), np.uint8)
    framed = make_reader(text.config).frame(window, 0, State.MORE)
    times = np.arange(len(framed.batch), dtype=np.int64) + 1_700_000_000_000
    batch = replace(framed.batch, sources=framed.sources, path="/var/log/x", timestamps_ms=times)
    found = []
    for name, config in _TRANSFORMS:
        one = make_transform(config, host="web-1", decider=lambda _: 100.0)
        after: RecordBatch = one.apply(batch)[0]
        seconds = _best(lambda o=one: o.apply(batch))  # type: ignore[misc]
        found.append(
            Cost(
                name=name,
                seconds_per_million=seconds / len(batch) * 1e6,
                left=len(after) / len(batch),
            )
        )
    return found


def _best(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=1, repeat=_REPEATS))
