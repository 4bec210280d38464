"""The registry: a file of the platform that says where topics are, and how clients are to be set.

Owns its own two keys, `uris` and `properties`; its `clusters` are read as those of the
configuration. Read when the configuration is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from singer.base.config import (
    ClusterConfig,
    DestinationConfig,
    PlatformConfig,
    RegistryConfig,
    StreamConfig,
)
from singer.base.smallfile import read_small_file
from singer.config.document import Spot
from singer.config.nodes import INVALID, Entry
from singer.config.notations import Notations
from singer.kafka import properties, topic_uri

KEYS: Final = ("clusters", "uris", "properties")
_MAX_BYTES: Final = 8 << 20
#: A host is drawn as one of so many.
_DRAWS: Final = 10_000


def read_uris(notations: Notations, spot: Spot) -> None:
    """Take what stands under `uris`: the beginning of a topic URI, and the cluster's name."""
    for text, entry in (notations.nodes.entries(spot) or {}).items():
        name = notations.nodes.text(entry.value)
        try:
            prefix = topic_uri.prefix(text)
        except ValueError as error:
            notations.nodes.fault(entry.key, str(error))
            continue
        if isinstance(name, str):
            notations.references.append((name, entry.value))
            notations.uris[prefix] = name


def read_properties(notations: Notations, spot: Spot) -> tuple[PlatformConfig, ...]:
    """What stands under `properties`: groups of librdkafka's, each for a share of the hosts."""
    groups: list[PlatformConfig] = []
    for child in notations.nodes.items(spot) or []:
        group = notations.nodes.read(child, PlatformConfig)
        if group is not INVALID:
            if group.name in [each.name for each in groups]:
                notations.nodes.fault(child, f"duplicate group {group.name!r}")
            groups.append(group)
    return tuple(groups)


def is_drawn(host: str, name: str, percent: float) -> bool:
    """Whether what has this name is for this host: always the same, and for more hosts as the
    percentage grows. Each name draws other hosts.
    """
    digest = hashlib.sha256(f"{name}\0{host}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _DRAWS < percent * (_DRAWS / 100)


def apply(
    clusters: Mapping[str, ClusterConfig], groups: tuple[PlatformConfig, ...], host: str
) -> tuple[dict[str, Mapping[str, str]], tuple[str, ...]]:
    """The properties of each cluster on top of the platform's, and the groups that are for `host`.

    Of groups that say the same property the later one holds. Embedded clusters have their own.
    """
    mine = [group for group in groups if is_drawn(host, group.name, group.percent)]
    platform: dict[str, str] = {}
    for group in mine:
        platform = properties.overlaid(platform, group.properties)
    laid: dict[str, Mapping[str, str]] = {
        name: MappingProxyType(properties.overlaid(platform, cluster.properties))
        for name, cluster in clusters.items()
        if not cluster.is_embedded
    }
    return laid, tuple(group.name for group in mine)


def draw(
    streams: Iterable[StreamConfig], host: str
) -> tuple[tuple[StreamConfig, ...], tuple[tuple[str, DestinationConfig], ...]]:
    """The streams with the destinations that are for `host`, and the others by stream.

    A stream of which none is for it is not read at all.
    """
    drawn, undrawn = [], []
    for stream in streams:
        ours = tuple(d for d in stream.publish if is_drawn(host, d.name, d.sample))
        undrawn += [(stream.name, each) for each in stream.publish if each not in ours]
        if ours:
            drawn.append(replace(stream, publish=ours))
    return tuple(drawn), tuple(undrawn)


def registry(path: str, groups: tuple[str, ...]) -> RegistryConfig:
    """What is kept of a registry that was read. Raises ValueError if it is gone by now."""
    digest = hashlib.sha256(read_small_file(path, _MAX_BYTES)).hexdigest()
    return RegistryConfig(path=path, digest=digest, groups=groups)


def unknown_keys(notations: Notations, entries: Mapping[str, Entry]) -> None:
    """Report what a registry cannot hold."""
    for name, entry in entries.items():
        if name not in KEYS:
            notations.nodes.unknown(entry.key, name, KEYS)
