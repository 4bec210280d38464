"""Making: the transforms that a stream's configuration asks for. Pure."""

from __future__ import annotations

from collections.abc import Callable

from singer.base.config import TransformConfig
from singer.base.ports import Transform
from singer.transforms.changing import Envelope, Prefix, Redact, Rewrite
from singer.transforms.choosing import Filter, Sample


def make(config: TransformConfig, *, host: str, decider: Callable[[str], float]) -> Transform:
    """One transform serves all files of a stream. Raises ValueError.

    `decider` says what a name stands for now, in percent.
    """
    made: list[Transform] = []
    if config.filter is not None:
        made.append(Filter(config.filter, keep=True))
    if config.drop is not None:
        made.append(Filter(config.drop, keep=False))
    if config.redact is not None:
        made.append(Redact(config.redact))
    if config.rewrite is not None:
        made.append(Rewrite(config.rewrite))
    if (sample := config.sample) is not None:
        percent, name = sample.percent, sample.decider
        if (percent is None) is (name is None):
            raise ValueError("sample needs percent or decider, one of them")
        if percent is not None and not 0 <= percent <= 100:
            raise ValueError("sample: percent must be 0 to 100")
        made.append(Sample(sample, lambda: decider(name) if name is not None else percent or 0.0))
    if config.prefix is not None:
        made.append(Prefix(config.prefix, host))
    if config.envelope is not None:
        made.append(Envelope(config.envelope, host))
    if len(made) != 1:
        raise ValueError("needs one key: filter, drop, redact, rewrite, sample, prefix or envelope")
    return made[0]
