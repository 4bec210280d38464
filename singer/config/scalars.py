"""Scalars as people write them: durations, sizes, numbers, booleans; and back again.

Pure. Every function takes the text of the scalar as it stands in the file, because YAML's own
reading loses it (`1:30` becomes 90, `0123` becomes 83, `yes` becomes true). They raise
ValueError whose message says what is expected and never repeats the value: it may be secret.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from singer.base.config import ByteSize, Percent, Seconds

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Final = MappingProxyType(
    {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
)
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_UNIT_BYTES: Final = MappingProxyType(
    {
        "B": 1,
        "kB": 10**3,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "KiB": 1 << 10,
        "MiB": 1 << 20,
        "GiB": 1 << 30,
        "TiB": 1 << 40,
    }
)
#: Longer ones are typing errors, and would overflow the clock arithmetic of some platforms.
_LONGEST_SECONDS: Final = 100 * 365 * 86400.0
#: SQLite, Kafka and numpy count in signed 64 bits.
_LARGEST: Final = 2**63 - 1


def duration(text: str) -> Seconds:
    """`500ms`, `30s`, `5m`, `2h`, `30d`, or `0`, as seconds."""
    if text == "0":
        return Seconds(0.0)
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a duration with its unit: 500ms, 30s, 5m, 2h, 30d")
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]]
    if seconds > _LONGEST_SECONDS:
        raise ValueError("is longer than a hundred years")
    return Seconds(seconds)


def size(text: str) -> ByteSize:
    """`64MiB`, `1GB`, `4096`, as bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("must be a size in bytes: 4096, 64MiB, 1GB")
    unit = _UNIT_BYTES[match[2] or "B"]
    # Whole numbers stay exact; a float would round those above 2^53.
    amount = int(match[1]) * unit if match[1].isdigit() else int(float(match[1]) * unit)
    if amount > _LARGEST:
        raise ValueError("is larger than 64 bits can count")
    return ByteSize(amount)


def boolean(text: str) -> bool:
    """`true` or `false`, nothing else."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def integer(text: str) -> int:
    """A decimal number; `0123` is refused, because YAML and people disagree about it."""
    if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text) is None or abs(int(text)) > _LARGEST:
        raise ValueError("must be a whole number")
    return int(text)


def number(text: str) -> float:
    """A decimal number that is not negative."""
    if re.fullmatch(r"[0-9]{1,18}(?:\.[0-9]{1,18})?", text) is None:
        raise ValueError("must be a number")
    return float(text)


def percent(text: str) -> Percent:
    """`10%`, `0.5%`."""
    if not text.endswith("%"):
        raise ValueError("must be a percentage: 10%, 0.5%")
    share = number(text[:-1])
    if share > 100:
        raise ValueError("must be at most 100%")
    return Percent(share)


def format_duration(seconds: float) -> str:
    """The shortest text that `duration` reads as `seconds`."""
    for unit in ("d", "h", "m", "s", "ms"):
        count = seconds / _UNIT_SECONDS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s" if seconds else "0"


def format_size(amount: int) -> str:
    """The shortest text that `size` reads as `amount`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if amount and amount % _UNIT_BYTES[unit] == 0:
            return f"{amount // _UNIT_BYTES[unit]}{unit}"
    return str(amount)
