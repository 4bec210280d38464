"""Addresses of brokers as people and programs write them: one, or a file of them. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_LARGEST_PORT: Final = 65535
#: The keys under which an object may hold the list.
_KEYS: Final = ("brokers", "bootstrap")
#: Longer texts are cut in messages.
_SHOWN_CHARACTERS: Final = 60


def address(text: str) -> str:
    """A broker's `host:port`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= _LARGEST_PORT:
        hint = " (a topic URI is written as the topic in publish)" if ":/rn:" in text else ""
        raise ValueError(f"must be host:port{hint}")
    return text


def addresses(data: bytes) -> tuple[str, ...]:
    """The brokers that a discovery file names, each once, in its order.

    Lines of `host:port` with `#` comments; or JSON: a list of `"host:port"` or of
    `{"host": …, "port": …}`, alone or as `brokers` or `bootstrap` of an object. Raises ValueError
    with a phrase that fits behind the path; a file with one bad entry is bad, because nobody
    knows what else is wrong with it.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}") from error
    found = _of_json(text) if _is_json(text) else _of_lines(text)
    if not found:
        raise ValueError("names no broker")
    return tuple(dict.fromkeys(found))


def _is_json(text: str) -> bool:
    """An IPv6 address begins with a bracket, as a list does."""
    start = text.lstrip()
    return start.startswith("{") or (start.startswith("[") and not _ADDRESS.match(start))


def _of_lines(text: str) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if entry := line.partition("#")[0].strip():
            found.append(_checked(entry, f"line {number}"))
    return found


def _of_json(text: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error
    if isinstance(value, dict):
        value = next((value[key] for key in _KEYS if key in value), None)
    if not isinstance(value, list):
        raise ValueError(f"must be a list, or an object with a list as {' or '.join(_KEYS)}")  # noqa: TRY004  # of the file
    return [_checked(_entry(entry), f"entry {index}") for index, entry in enumerate(value, 1)]


def _entry(entry: Any) -> str:
    if isinstance(entry, dict) and entry.keys() >= {"host", "port"}:
        host, port = str(entry["host"]), entry["port"]
        return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    return entry if isinstance(entry, str) else json.dumps(entry)


def _checked(entry: str, where: str) -> str:
    try:
        return address(entry)
    except ValueError as error:
        shown = repr(entry)
        cut = shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…'"
        raise ValueError(f"{where}: {error}, not {cut}") from error
