"""Values as logfmt: `name=value name="with spaces"`, one line whatever is in them. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from enum import Enum
from typing import Final

from singer.base.config import Secret
from singer.base.events import Event

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,*~\[\]<>|#!?$&^-]+")
_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def pairs(items: Iterable[tuple[str, object]]) -> str:
    """`name=value` for each item, separated by spaces."""
    return " ".join(f"{name}={value(item)}" for name, item in items)


def value(item: object) -> str:
    """One value, in quotes where it needs them; control characters and bytes are escaped."""
    text = _text(item)
    return text if _PLAIN.fullmatch(text) else _quote(text)


def event_name(kind: type[Event]) -> str:
    """`FileRotated` is `file-rotated`."""
    return _WORD_START.sub("-", kind.__name__).lower()


def fields(event: Event) -> list[tuple[str, object]]:
    """The data of an event in the order of its declaration."""
    return [(field.name, getattr(event, field.name)) for field in dataclasses.fields(event)]


def _text(item: object) -> str:
    match item:
        case Secret():
            return Secret.MASK
        case None:
            return "null"
        case bool():
            return "true" if item else "false"
        case str():
            return item
        case Enum():
            return str(item.value)
        case float():
            return f"{item:.6g}"
        case tuple() | list() | set() | frozenset():
            return ",".join(_text(part) for part in item)
        case _:
            return str(item)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # File names may hold anything: a line feed would forge a line, an escape a terminal's state.
    return '"' + "".join(each if each.isprintable() else _escape(each) for each in escaped) + '"'


def _escape(character: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if character in short:
        return short[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (surrogateescape)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
