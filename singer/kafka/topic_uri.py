"""Topic URIs: `protocol:/rn:service:environment:cloud_region:cluster:topic`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MARK: Final = ":/rn:"
#: The parts of a prefix, in order; a topic is one more.
PARTS: Final = ("protocol", "service", "environment", "cloud_region", "cluster")
_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]+")
_FORM: Final = "protocol:/rn:service:environment:cloud_region:cluster:topic"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicUri:
    """What registries look up (`prefix`: the values of PARTS), and the topic there."""

    prefix: tuple[str, ...]
    topic: str


def is_uri(text: str) -> bool:
    """Whether this is meant to be a topic URI: no topic's name has such a part."""
    return _MARK in text


def parse(text: str) -> TopicUri:
    """Raises ValueError that names the part; what topics may be called is not judged here."""
    parts = _split(text)
    if len(parts) != len(PARTS) + 1 or not parts[-1]:
        missing = (*PARTS, "topic")[len(parts) : len(parts) + 1] or ("topic",)
        fault = "has parts too many" if len(parts) > len(PARTS) + 1 else f"lacks its {missing[0]}"
        raise ValueError(f"{fault}: must be {_FORM}")
    return TopicUri(prefix=_checked(parts[:-1]), topic=parts[-1])


def prefix(text: str) -> tuple[str, ...]:
    """The parts of the beginning of a URI, whole parts only. Raises ValueError."""
    parts = _split(text.removesuffix(":"))
    if len(parts) > len(PARTS):
        raise ValueError(f"has parts too many: must be a beginning of {_FORM}, without the topic")
    return _checked(parts)


def find(uri: TopicUri, clusters: Mapping[tuple[str, ...], str]) -> str | None:
    """The cluster of the longest prefix that the URI begins with."""
    for length in range(len(uri.prefix), 0, -1):
        if (name := clusters.get(uri.prefix[:length])) is not None:
            return name
    return None


def _split(text: str) -> tuple[str, ...]:
    protocol, mark, rest = text.partition(_MARK)
    if not mark:
        raise ValueError(f"lacks its {_MARK}: must be {_FORM}")
    return (protocol, *rest.split(":"))


def _checked(parts: tuple[str, ...]) -> tuple[str, ...]:
    for name, part in zip(PARTS, parts, strict=False):
        if _LEGAL.fullmatch(part) is None:
            what = f"is {part!r}" if part else "is empty"
            raise ValueError(
                f"its {name} {what}: must be of letters, digits, dots, underscores and hyphens"
            )
    return parts
