"""Typed reading of YAML nodes: a node and a type in, a value out, or problems.

Drives everything from the annotations of the dataclasses in `base.config`: a scalar is decided
by the declared type of its field, never by its looks. Goes on after a fault, so that all of
them are reported at once. What the values mean for each other is `loader`'s.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

import yaml

from singer.base.config import ByteSize, Glob, Path, Percent, Seconds
from singer.base.errors import Problem
from singer.base.suggestion import suggestion
from singer.config import scalars
from singer.config.document import Spot
from singer.config.pending import Pending
from singer.config.substitution import expand


class Invalid(Enum):
    """Stands for a value that could not be read; its problems are already recorded."""

    INVALID = "invalid"


INVALID: Final = Invalid.INVALID

#: Longer values are cut in messages, which are one line each.
_SHOWN_CHARACTERS: Final = 60

#: Looks at a value that was read; raises ValueError with what is wrong with it.
Check: TypeAlias = Callable[[Any, Spot], object]
#: Makes of a text what it stands for; raises ValueError.
Conversion: TypeAlias = Callable[[str, Spot], object]
#: Reads a node whose notation is richer than its dataclass; returns INVALID on problems.
Notation: TypeAlias = Callable[[Spot], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One `key: value` of a mapping."""

    key: Spot
    value: Spot


@dataclasses.dataclass(slots=True, kw_only=True)
class Nodes:
    """A reader of nodes that collects `problems`.

    `notations` read whole types in their own way, `checks` look at single fields,
    `conversions` make values of a NewType. `pending` keys are accepted or refused; those that
    were accepted are collected in `ignored`.
    """

    environ: Mapping[str, str]
    notations: Mapping[type, Notation]
    checks: Mapping[tuple[type, str], Check]
    conversions: Mapping[Any, Conversion]
    pending: Mapping[type, Mapping[str, Pending]]
    problems: list[Problem] = dataclasses.field(default_factory=list)
    ignored: list[Spot] = dataclasses.field(default_factory=list)

    def fault(self, spot: Spot, message: str) -> Invalid:
        """Record a problem."""
        self.problems.append(spot.problem(message))
        return INVALID

    def read(self, spot: Spot, kind: Any) -> Any:
        """The value at `spot` as `kind` (a type as it is annotated), or INVALID."""
        if isinstance(kind, type) and kind in self.notations:
            return self.notations[kind](spot)
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            (inner,) = (part for part in get_args(kind) if part is not type(None))
            return None if is_null(spot) else self.read(spot, inner)
        if origin is tuple:
            return self._items(spot, get_args(kind)[0])
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(spot, get_args(kind)[1])
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            return self.record(kind, spot)
        return self._scalar(spot, kind)

    def record(self, kind: type, spot: Spot, **given: object) -> Any:
        """The dataclass `kind` from the mapping at `spot`; `given` fields are not in the file."""
        entries = self.entries(spot)
        return INVALID if entries is None else self.fill(kind, spot, entries, **given)

    def fill(self, kind: Any, spot: Spot, entries: Mapping[str, Entry], **given: object) -> Any:
        """The dataclass `kind` from the entries of the mapping at `spot`."""
        hints = get_type_hints(kind)
        values: dict[str, object] = dict(given)
        known = [field.name for field in dataclasses.fields(kind) if field.name not in given]
        pending = self.pending.get(kind, {})
        for name, entry in entries.items():
            if name in pending:
                self.later(entry.value, pending[name])
            elif name not in known:
                self.unknown(entry.key, name, [*known, *pending])
        for field in dataclasses.fields(kind):
            if field.name in given:
                continue
            if field.name in entries:
                values[field.name] = self._field(entries[field.name].value, kind, field.name, hints)
            elif field.default is field.default_factory is dataclasses.MISSING:
                values[field.name] = self.fault(spot, f"{field.name} is missing")
        return INVALID if INVALID in values.values() else kind(**values)

    def _field(self, spot: Spot, kind: type, name: str, hints: Mapping[str, Any]) -> Any:
        value = self.read(spot, hints[name])
        check = self.checks.get((kind, name))
        if check is not None and value is not INVALID and value is not None:
            try:
                check(value, spot)
            except ValueError as error:
                return self.fault(spot, str(error))
        return value

    def unknown(self, spot: Spot, name: str, known: Iterable[str]) -> None:
        """Record that `name` is none of `known`."""
        self.fault(spot, f"unknown key{suggestion(name, known)}")

    def later(self, spot: Spot, pending: Pending) -> None:
        """Judge the value of a key that is not built yet."""
        node = spot.node
        scalar = node.value if isinstance(node, yaml.ScalarNode) else None
        if is_null(spot) or not node.value or scalar == pending.neutral:
            return  # asks for nothing
        if pending.choices and scalar not in pending.choices:
            given = _describe(spot) if scalar is None else shown(scalar)
            self.fault(spot, f"must be one of {', '.join(pending.choices)}, not {given}")
        elif pending.refusal:
            self.fault(spot, f"is not built yet, and without it {pending.refusal}: remove it")
        else:
            self.ignored.append(spot)

    def entries(self, spot: Spot) -> dict[str, Entry] | None:
        """The entries of a mapping by key, merge keys (`<<`) followed; None on problems.

        Nothing at all (`agent:`) is an empty mapping.
        """
        if is_null(spot):
            return {}
        if not isinstance(spot.node, yaml.MappingNode):
            self.fault(spot, f"must be a mapping (key: value), not {_describe(spot)}")
            return None
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in spot.node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for entry in self._merged(spot, value):
                    merged.setdefault(entry.key.node.value, entry)
            elif not isinstance(key, yaml.ScalarNode):
                self.fault(spot.child(key, "?"), "a key must be plain text")
            elif key.value in own:
                first = own[key.value].key.node.start_mark.line + 1
                self.fault(spot.child(key, key.value), f"duplicate key, first on line {first}")
            else:
                own[key.value] = Entry(
                    key=spot.child(key, key.value), value=spot.child(value, key.value)
                )
        return merged | own

    def _merged(self, spot: Spot, node: yaml.Node) -> list[Entry]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: list[Entry] = []
        for source in sources:
            found += (self.entries(Spot(node=source, path=spot.path)) or {}).values()
        return found

    def items(self, spot: Spot) -> list[Spot] | None:
        """The elements of a list that is not empty; None on problems."""
        if not isinstance(spot.node, yaml.SequenceNode):
            self.fault(spot, f"must be a list ([a, b] or lines with -), not {_describe(spot)}")
            return None
        return [spot.child(node, index) for index, node in enumerate(spot.node.value)]

    def text(self, spot: Spot) -> str | Invalid:
        """The text of a scalar as it is written, substitutions made."""
        if not isinstance(spot.node, yaml.ScalarNode):
            return self.fault(spot, f"must be a single value, not {_describe(spot)}")
        if is_null(spot):
            return self.fault(spot, "has no value")
        try:
            return expand(spot.node.value, spot.directory, self.environ)
        except ValueError as error:
            return self.fault(spot, str(error))

    def _items(self, spot: Spot, kind: Any) -> Any:
        children = self.items(spot)
        if children is None:
            return INVALID
        values = [self.read(child, kind) for child in children]
        return INVALID if INVALID in values else tuple(values)

    def _mapping(self, spot: Spot, kind: Any) -> Any:
        entries = self.entries(spot)
        if entries is None:
            return INVALID
        values = {name: self.read(entry.value, kind) for name, entry in entries.items()}
        return INVALID if INVALID in values.values() else MappingProxyType(values)

    def _scalar(self, spot: Spot, kind: Any) -> Any:
        text = self.text(spot)
        if isinstance(text, Invalid):
            return INVALID
        try:
            if kind in self.conversions:
                return self.conversions[kind](text, spot)
            return SCALARS[kind](text) if kind in SCALARS else _choice(text, kind)
        except ValueError as error:
            link = ", not" if str(error).startswith("must") else ":"
            return self.fault(spot, f"{error}{link} {shown(text)}")


#: How the text of a scalar becomes a value of its declared type.
SCALARS: Final[Mapping[Any, Callable[[str], object]]] = MappingProxyType(
    {
        str: lambda text: text,
        Path: lambda text: text,
        Glob: lambda text: text,
        Seconds: scalars.duration,
        ByteSize: scalars.size,
        Percent: scalars.percent,
        bool: scalars.boolean,
        int: scalars.integer,
        float: scalars.number,
    }
)


def _choice(text: str, kind: type[Enum]) -> Enum:
    try:
        return kind(text)
    except ValueError:
        choices = [str(member.value) for member in kind]
        raise ValueError(f"must be one of {', '.join(choices)}") from None


def is_null(spot: Spot) -> bool:
    """Whether nothing, `~` or `null` stands here."""
    return bool(spot.node.tag == "tag:yaml.org,2002:null")


def shown(text: str) -> str:
    """A value as messages quote it: escaped, short, and masked if secret."""
    quoted = repr(text)
    return quoted if len(quoted) <= _SHOWN_CHARACTERS else quoted[:_SHOWN_CHARACTERS] + "…'"


def _describe(spot: Spot) -> str:
    if is_null(spot):
        return "nothing"
    if isinstance(spot.node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(spot.node, yaml.SequenceNode) else "a single value"
