"""Regular expressions that cannot stall: RE2, whose time is linear in what is looked at.

Patterns are matched against bytes, each of which is a character: content and names need not be
UTF-8, and what is between them matches `.` and `[^x]` like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import re2

#: Memory of one compiled pattern and what it has learnt of its input, in bytes.
_MEMORY_BYTES: Final = 8 << 20


def compile_regex(text: str, *, lines: bool = False) -> Any:
    """The pattern `text`, for bytes. Raises ValueError: what RE2 cannot take, and why.

    `lines`: it is found in lines, `^` and `$` are theirs, and no match goes beyond one.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.never_nl = lines
    try:
        return re2.compile((f"(?m:{text})" if lines else text).encode(), options)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode() if isinstance(reason, bytes) else reason
        raise ValueError(f"must be a regular expression that RE2 takes: {said}") from error


def each_match(pattern: Any, text: bytes) -> Iterator[Any]:
    """All places where it is found, in order, none twice.

    The binding reports an empty one again that lies behind where it began to search.
    """
    before = -1
    for match in pattern.finditer(text):
        start, end = match.span()
        if start == end == before:
            continue
        before = end if start == end else -1
        yield match
