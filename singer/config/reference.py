"""`docs/configuration.md`, made from the model: `python -m singer.config.reference > FILE`.

Keys, types and defaults come from the dataclasses of `base.config`, meanings from the `#:`
comments there, limits and unbuilt keys from the tables beside this module.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from singer.base.config import (
    AgentConfig,
    AuditConfig,
    ByteSize,
    CatchUpConfig,
    ClusterConfig,
    Config,
    ContainerReaderConfig,
    CreateConfig,
    DeadLetterConfig,
    DestinationConfig,
    DestinationStartConfig,
    EmbeddedConfig,
    EnvelopeConfig,
    FramesReaderConfig,
    Glob,
    HeadersConfig,
    LimitConfig,
    LingerConfig,
    LocalConfig,
    MaxLagConfig,
    MskIamConfig,
    MultilineReaderConfig,
    OAuthConfig,
    PartitionerConfig,
    Path,
    PatternConfig,
    Percent,
    PlatformConfig,
    PrefixConfig,
    ProtobufReaderConfig,
    ReaderConfig,
    RedactConfig,
    Regex,
    RewriteConfig,
    SampleConfig,
    Seconds,
    StreamConfig,
    TextReaderConfig,
    ThriftReaderConfig,
    TransformConfig,
)
from singer.config.pending import PENDING
from singer.config.rules import LIMITS
from singer.config.show import scalar

_HEAD: Final = """\
# Configuration

<!-- Made by `make docs` from singer/base/config.py. Do not edit. -->

One YAML file, `/etc/singer/singer.yaml` unless `-c FILE` names another. `singer check` reads it
and says everything that is wrong with it at once, as `file:line:column: path: message`;
`singer check --show` prints it with every default spelled out and every secret masked.

```yaml
agent:
  state_dir: /var/lib/singer
clusters:
  main:
    bootstrap: [kafka-1:9092, kafka-2:9092]
    properties:
      security.protocol: SASL_SSL
      sasl.mechanism: SCRAM-SHA-512
      sasl.username: singer
      sasl.password: "${file:/etc/singer/secret}"
streams:
  - name: access
    paths: [/var/log/nginx/access.log, "/srv/*/logs/access*.log"]
    publish:
      - {cluster: main, topic: web.access, partitioner: {type: sticky, local: true}}
include: [conf.d/*.yaml]
```

## How values are written

| type | written as |
|---|---|
| text | as it stands: `yes`, `0123` and `1:30` stay what they are |
| duration | a number with its unit: `500ms`, `30s`, `5m`, `2h`, `30d` |
| size | bytes: `4096`, `64MiB` (2^20), `1GB` (10^9) |
| percentage | a number with `%`: `10%`, `0.5%` |
| boolean | `true` or `false`, nothing else |
| path | absolute, or relative to the file that says it |
| glob | an absolute path with `*`, `?`, `[…]`, `**` (any depth) and `{a,b}` |
| pattern | a regular expression that RE2 takes: no look-around, no references back |

`${env:NAME}` in a value stands for an environment variable, `${file:PATH}` for the contents of a
file (without its last line feed), `$${` for `${` itself. A value with `${file:…}`, and every
Kafka property whose name speaks of a password, secret or token, is never shown. Anchors (`&a`),
aliases (`*a`) and merge keys (`<<: *a`) work; other YAML tags do not.
"""

_SECTIONS: Final[tuple[tuple[str, type], ...]] = (
    ("agent", AgentConfig),
    ("agent.dead_letters", DeadLetterConfig),
    ("clusters.NAME", ClusterConfig),
    ("clusters.NAME.audit", AuditConfig),
    ("clusters.NAME.catch_up", CatchUpConfig),
    ("clusters.NAME.oauth", OAuthConfig),
    ("clusters.NAME.oauth.msk_iam", MskIamConfig),
    ("clusters.NAME.embedded", EmbeddedConfig),
    ("registry: properties[]", PlatformConfig),
    ("streams[]", StreamConfig),
    ("streams[].reader", ReaderConfig),
    ("streams[].reader: text", TextReaderConfig),
    ("streams[].reader: multiline", MultilineReaderConfig),
    ("streams[].reader: cri, docker, auto", ContainerReaderConfig),
    ("streams[].reader: thrift", ThriftReaderConfig),
    ("streams[].reader: frames", FramesReaderConfig),
    ("streams[].reader: protobuf", ProtobufReaderConfig),
    ("streams[].transforms[]", TransformConfig),
    ("streams[].transforms[].filter, drop", PatternConfig),
    ("streams[].transforms[].redact", RedactConfig),
    ("streams[].transforms[].rewrite", RewriteConfig),
    ("streams[].transforms[].sample", SampleConfig),
    ("streams[].transforms[].prefix", PrefixConfig),
    ("streams[].transforms[].envelope", EnvelopeConfig),
    ("streams[].limit", LimitConfig),
    ("streams[].linger", LingerConfig),
    ("streams[].publish[]", DestinationConfig),
    ("streams[].publish[].create", CreateConfig),
    ("streams[].publish[].start", DestinationStartConfig),
    ("streams[].publish[].max_lag", MaxLagConfig),
    ("streams[].publish[].partitioner", PartitionerConfig),
    ("streams[].publish[].partitioner.local", LocalConfig),
    ("streams[].publish[].headers", HeadersConfig),
)

#: Defaults that the loader gives, not the dataclass.
_SPECIAL_DEFAULTS: Final[Mapping[tuple[type, str], str]] = types.MappingProxyType(
    {
        (DestinationConfig, "name"): "`<cluster>/<topic>`",
        (PartitionerConfig, "type"): "`key_murmur2` if the reader knows keys, else `sticky`",
        (ClusterConfig, "bootstrap"): "required",
    }
)

_TOP: Final = """
## Top level

| key | type | default | meaning |
|---|---|---|---|
| `agent` | mapping | all defaults | the process on this host |
| `clusters` | mapping by name | required | the Kafka clusters |
| `streams` | list | required | what is read, and where it goes |
| `include` | list of globs | `[]` | more files, in order of their names, that hold `streams:` and \
`clusters:`; relative to this file |

The properties of a cluster are librdkafka's, with text, numbers or booleans as values. Those
that would break a promise are refused with the reason: `enable.idempotence`, `acks`,
`message.timeout.ms`, `delivery.report.only.error`, `queuing.strategy`.
"""


def generate() -> str:
    """The whole page."""
    parts = [_HEAD, _TOP]
    parts += [_section(title, kind) for title, kind in _SECTIONS]
    parts.append(_pending())
    return "".join(parts)


def comments(kind: type) -> dict[str, str]:
    """The `#:` comments of a class body by field or member name."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node in tree.body:
        target: ast.expr | None = None
        if isinstance(node, ast.AnnAssign):
            target = node.target
        elif isinstance(node, ast.Assign):
            (target,) = node.targets
        if isinstance(target, ast.Name) and node.end_lineno is not None:
            _, mark, text = lines[node.end_lineno - 1].partition("#: ")
            if mark:
                found[target.id] = text.strip()
    return found


def _section(title: str, kind: Any) -> str:
    hints = get_type_hints(kind)
    meanings = comments(kind)
    summary = " ".join(inspect.cleandoc(kind.__doc__).split())
    rows = [
        f"| `{field.name}` | {_type(hints[field.name])} "
        f"| {_default(kind, field, hints[field.name])} "
        f"| {_cell(meanings.get(field.name, ''))}{_limits(kind, field.name)} |"
        for field in dataclasses.fields(kind)
        if not (kind is ClusterConfig and field.name == "name")
    ]
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    notes = "".join(_choices(hints[field.name]) for field in dataclasses.fields(kind))
    return f"\n## `{title}`\n\n{summary}\n\n{table}\n{notes}"


def _type(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (part for part in get_args(kind) if part is not type(None))
        return f"{_type(inner)} or null"
    if origin is tuple:
        inner = get_args(kind)[0]
        return "list" if dataclasses.is_dataclass(inner) else f"list of {_type(inner)}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping to {_type(get_args(kind)[1])}"
    names = {
        str: "text",
        int: "number",
        float: "number",
        bool: "boolean",
        Path: "path",
        Glob: "glob",
        Regex: "pattern",
        Seconds: "duration",
        ByteSize: "size",
        Percent: "percentage",
    }
    if kind in names:
        return names[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " \\| ".join(f"`{member.value}`" for member in kind)
    return "mapping"


def _default(kind: type, field: dataclasses.Field[Any], hint: Any) -> str:
    if (kind, field.name) in _SPECIAL_DEFAULTS:
        return _SPECIAL_DEFAULTS[kind, field.name]
    if field.default_factory is not dataclasses.MISSING:
        return "see below" if dataclasses.is_dataclass(field.default_factory()) else "none"
    if field.default is dataclasses.MISSING:
        return "required"
    value = scalar(field.default, hint)
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "`null`" if value is None else f"`{value}`"


def _limits(kind: type, name: str) -> str:
    least, most = LIMITS.get((kind, name), (None, None))
    texts = [f"at least `{least}`"] if least else []
    texts += [f"at most `{most}`"] if most else []
    return f" ({', '.join(texts)})" if texts else ""


def _choices(kind: Any) -> str:
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return ""
    meanings = comments(kind)
    lines = [
        f"- `{member.value}`: {meanings[member.name]}\n"
        for member in kind
        if member.name in meanings
    ]
    return "\n" + "".join(lines) if lines else ""


def _pending() -> str:
    lines = ["\n## Not built yet\n\n"]
    lines.append(
        "These are accepted with one warning where ignoring them loses nothing, and refused where\n"
        "it would change what is published or take a guarantee away.\n\n"
        "| key | meaning | now |\n|---|---|---|\n"
    )
    places: dict[type, str] = {kind: title for title, kind in _SECTIONS} | {Config: ""}
    for kind, keys in PENDING.items():
        for name, pending in keys.items():
            verdict = f"refused: {pending.refusal}" if pending.refusal else "ignored"
            if pending.refusal and pending.neutral:
                verdict += f" (`{pending.neutral}` is accepted)"
            path = f"{places[kind]}.{name}".lstrip(".")
            lines.append(f"| `{path}` | {_cell(pending.meaning)} | {verdict} |\n")
    return "".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(generate())
