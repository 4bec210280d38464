"""What values must be like beyond their type: names, globs, addresses, limits.

Pure functions that raise ValueError, whose message starts with `must` where the value itself is
to be quoted behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from singer.base.config import (
    AgentConfig,
    AuditConfig,
    CatchUpConfig,
    ClusterConfig,
    ContainerReaderConfig,
    CreateConfig,
    DeadLetterConfig,
    EmbeddedConfig,
    FramesReaderConfig,
    LimitConfig,
    LingerConfig,
    LocalConfig,
    MaxLagConfig,
    MultilineReaderConfig,
    OAuthConfig,
    PartitionerConfig,
    PlatformConfig,
    ProtobufReaderConfig,
    TextReaderConfig,
    ThriftReaderConfig,
)
from singer.base.regex import compile_regex

#: Names become parts of file names, metric labels and command lines.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: The default is <cluster>/<topic>, at most 100 + 1 + 249 characters, as the topic is written.
_DESTINATION: Final = re.compile(r"[A-Za-z0-9._/{}-]{1,400}")
_SECRET_NAME: Final = re.compile(
    r"password|passphrase|secret|token|credential|jaas|\.key\.pem|oauthbearer\.config"
)

#: The least and the greatest value of a field, as people write them. Less would make a busy loop
#: or a deadlock; more would not start or not be sent.
LIMITS: Final[Mapping[tuple[type, str], tuple[str | None, str | None]]] = MappingProxyType(
    {
        (AgentConfig, "memory"): ("1MiB", None),
        (AgentConfig, "rescan"): ("100ms", None),
        # Whoever has something to send waits so long before it says so.
        (AgentConfig, "start_spread"): ("0s", "10s"),
        (AgentConfig, "commit_every"): ("10ms", "1h"),
        (AgentConfig, "max_open_files"): ("16", None),
        (AgentConfig, "close_idle"): ("1s", None),
        (AgentConfig, "forget_after"): ("1h", None),
        (DeadLetterConfig, "max_bytes"): ("1MiB", None),
        (DeadLetterConfig, "files"): ("2", "1000"),
        (AuditConfig, "every"): ("100ms", "1h"),
        (AuditConfig, "max_bytes"): ("1MiB", None),
        (CatchUpConfig, "max_bytes_per_second"): ("1KiB", None),
        (ClusterConfig, "commit_every"): ("20ms", "10m"),
        (OAuthConfig, "timeout"): ("1s", "5m"),
        (EmbeddedConfig, "brokers"): ("1", "100"),
        (EmbeddedConfig, "partitions"): ("1", "1000"),
        (PartitionerConfig, "interval"): ("100ms", None),
        (PartitionerConfig, "partitions"): ("1", None),
        (CreateConfig, "partitions"): ("1", "100000"),
        (CreateConfig, "replication_factor"): ("1", "100"),
        (PlatformConfig, "percent"): ("0", "100"),
        (LocalConfig, "max_share"): ("1", None),
        # A destination that is well has some of this under way.
        (MaxLagConfig, "bytes"): ("1MiB", None),
        (MaxLagConfig, "age"): ("5s", None),
        # librdkafka's message.max.bytes ends here, and a batch holds lengths as 32 bits.
        (TextReaderConfig, "max_record"): ("1", "1000000000"),
        (MultilineReaderConfig, "max_record"): ("1", "1000000000"),
        (ContainerReaderConfig, "max_record"): ("1KiB", "1000000000"),
        (ContainerReaderConfig, "timeout"): ("10ms", None),
        (LimitConfig, "bytes_per_second"): ("1", None),
        (LingerConfig, "wait"): ("0s", "10s"),
        (LingerConfig, "latency"): ("1ms", "10s"),
        (MultilineReaderConfig, "max_lines"): ("1", None),
        (MultilineReaderConfig, "timeout"): ("10ms", None),
        (ThriftReaderConfig, "max_record"): ("8", "1000000000"),
        (FramesReaderConfig, "max_record"): ("1", "1000000000"),
        (ProtobufReaderConfig, "max_record"): ("1", "1000000000"),
    }
)


def regex(text: str) -> str:
    """A regular expression."""
    compile_regex(text)
    return text


def name(text: str) -> str:
    """A name of a stream or cluster."""
    if _NAME.fullmatch(text) is None or text in (".", ".."):
        raise ValueError(
            "must be a name of 1 to 100 letters, digits, dots, underscores and hyphens"
        )
    return text


def destination_name(text: str) -> str:
    """A name of a destination: like `name`, and slashes."""
    if _DESTINATION.fullmatch(text) is None:
        raise ValueError(
            "must be a name of letters, digits, dots, underscores, hyphens, slashes and {}"
        )
    return text


def reason(text: str) -> str:
    """Why something is as it is, for whoever reads the configuration later."""
    if not text.strip():
        raise ValueError("must say why")
    return text


def path(text: str) -> str:
    """A path that the system can take."""
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return text


def glob(text: str) -> str:
    """A glob whose braces and brackets close; `files` gives it its meaning."""
    path(text)
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "[":
            # `]` stands for itself as the first of a class: []abc], [!]abc].
            first = position + (2 if text[position + 1 : position + 2] in ("!", "^") else 1)
            position = text.find("]", first + 1)
            if position < 0:
                raise ValueError("must close its bracket [")
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            break
        position += 1
    if depth:
        raise ValueError("must balance its braces { }")
    return text


def is_secret(property_name: str) -> bool:
    """Whether the value of this Kafka property is never shown."""
    return _SECRET_NAME.search(property_name) is not None
