"""Rotated names: which files are former versions of a path, going by the name alone. Pure.

    P + (.N | -DATE | .DATE | -EPOCH | .EPOCH) [+ .gz | .zst | .bz2 | .xz]

or P-YYYYMMDDHH.backup (a log that was there before logrotate's own), as logrotate, log4j, logback
and the logging of Python and Go name them. A name like `app.log2`, `app.log.bak` or `app.log-old`
is a file of its own.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final


class Compression(Enum):
    """How a rotated file is compressed; the value is the end of its name."""

    GZIP = ".gz"
    ZSTD = ".zst"
    BZIP2 = ".bz2"
    XZ = ".xz"


#: 2024-01-31, 20240131, both with an hour, a minute, a second and a serial or epoch behind
#: (dateformat -%Y%m%d-%s), and the month alone with its dash (2024-01).
_DATE: Final = (
    r"(?:19|20)\d\d"
    r"(?:-(?:0[1-9]|1[0-2])"
    r"|-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
    r"(?:[-_T.]?[0-2]\d(?:[-:.]?[0-5]\d(?:[-:.]?[0-5]\d(?:[.,]\d{1,9})?)?)?(?:Z|[-+]\d{4})?)?"
    r"(?:[-.]\d{1,13})?)"
)
_EPOCH: Final = r"\d{10}(?:\d{3})?"
#: lumberjack's and others' `.N` have at most a few digits, but leading zeros (`.001`).
_SUFFIX: Final = re.compile(
    rf"(?:\.\d{{1,9}}|[-.](?:{_DATE}|{_EPOCH})|-\d{{10}}\.backup)(?:\.gz|\.zst|\.bz2|\.xz)?",
    re.ASCII,
)
_COMPRESSIONS: Final = tuple((each.value, each) for each in Compression)


#: What every rotated name ends with: most names need no second look.
_ENDS: Final = (*"0123456789Z", ".gz", ".zst", ".bz2", ".xz", ".backup")


def may_be_rotated(name: str) -> bool:
    """Whether a name or path can be a rotated name at all."""
    return name.endswith(_ENDS)


def is_sibling(name: str, base: str) -> bool:
    """Whether `name` is a rotated name of `base`. Both are names, or both are paths."""
    return name.startswith(base) and _SUFFIX.fullmatch(name, len(base)) is not None


def compression(name: str) -> Compression | None:
    """How the file is compressed, going by its name or path; None: it is plain."""
    return next((each for end, each in _COMPRESSIONS if name.endswith(end)), None)
