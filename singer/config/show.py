"""A configuration as YAML again, with every default spelled out and every secret masked.

What `singer check --show` prints; apart from the secrets it loads as the same configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any, get_type_hints

import yaml

from singer.base.config import ByteSize, ClusterConfig, Config, Percent, Seconds, Secret
from singer.config import scalars


def show(config: Config) -> str:
    """The YAML text of `config`."""
    plain: dict[str, Any] = {
        "agent": _record(config.agent),
        "clusters": {name: _cluster(cluster) for name, cluster in config.clusters.items()},
        "streams": [_record(stream) for stream in config.streams],
    }
    if config.registry is not None:  # what it says stands below already
        plain["agent"]["registry"] = None
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def scalar(value: Any, kind: Any) -> Any:
    """A value of declared type `kind` as people write it; containers are left alone."""
    if isinstance(value, Secret):
        return Secret.MASK
    if isinstance(value, Enum):
        return value.value
    if value is not None and kind in (Seconds, Seconds | None):
        return scalars.format_duration(value)
    if value is not None and kind in (ByteSize, ByteSize | None):
        return scalars.format_size(value)
    if kind is Percent:
        return f"{value:g}%"
    return value


def _record(record: Any) -> dict[str, Any]:
    hints = get_type_hints(type(record))
    return {
        field.name: _plain(getattr(record, field.name), hints[field.name])
        for field in dataclasses.fields(record)
    }


def _plain(value: Any, kind: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _record(value)
    if isinstance(value, tuple):
        return [_plain(item, None) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item, None) for name, item in value.items()}
    return scalar(value, kind)


def _cluster(cluster: ClusterConfig) -> dict[str, Any]:
    plain = _record(cluster)
    del plain["name"]
    if cluster.is_embedded:
        plain["bootstrap"] = "embedded"
    else:
        del plain["embedded"]
    del plain["bootstrap" if cluster.bootstrap_file is not None else "bootstrap_file"]
    return plain
