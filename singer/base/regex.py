"""Regular expressions that cannot stall: RE2, whose time is linear in what is looked at.

Patterns are matched against bytes, each of which is a character: content and names need not be
UTF-8, and what is between them matches `.` and `[^x]` like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import re2

from singer.base.batch import Bytes, Int64s

#: Memory of one compiled pattern and what it has learnt of its input, in bytes.
_MEMORY_BYTES: Final = 8 << 20
_UNANCHORED: Final = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001  # as the binding itself does
#: Parts of a pattern in which a bar parts no alternatives of the whole.
_ESCAPE_OR_CLASS: Final = re.compile(r"\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^]\\])*\]", re.DOTALL)


def compile_regex(text: str, *, lines: bool = False) -> Any:
    """The pattern `text`, for bytes. Raises ValueError: what RE2 cannot take, and why.

    `lines`: it is found in lines, `^` and `$` are theirs, and no match goes beyond one.
    """
    options = _options()
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


class LinePattern:
    """Says in which lines of a text a pattern is found. Raises ValueError if RE2 refuses it.

    RE2 looks at every byte for `^`, but jumps from one newline to the next if the pattern begins
    with one, three times as fast: that is how patterns are put that begin where lines do.
    """

    __slots__ = ("_in_line", "_jumping", "_may_cross")

    def __init__(self, text: str) -> None:
        # With the rest of the line, so that a line is found once.
        self._in_line = compile_regex(f"(?:{text}).*", lines=True)
        self._may_cross = _MAY_CROSS.search(text) is not None
        self._jumping = None
        if _BEGINS_LINES.match(text) and not _has_alternatives(text):
            options = _options()
            options.never_capture = True
            self._jumping = re2.compile(f"(?m:\n{text[1:]})".encode(), options)

    def rows(self, text: Bytes, starts: Int64s, lengths: Int64s) -> Int64s:
        """int64, ascending: the lines in which it is found, by their indices in `text`."""
        begin, end = int(starts[0]), int(starts[-1] + lengths[-1])
        if self._jumping is None:
            whole = text[begin:end].tobytes()
            places = [begin + match.start() for match in each_match(self._in_line, whole)]
        else:
            first = text[begin : begin + int(lengths[0])].tobytes()
            places = [begin] if self._in_line.search(first) else []
            places += self._jump(text, begin, end)
        at = np.array(places, np.int64)
        rows = np.searchsorted(starts, at, side="right") - 1
        # What stands before, between and behind the lines is none of them.
        found: Int64s = np.unique(rows[(rows >= 0) & (at <= starts[rows] + lengths[rows])])
        return found

    def _jump(self, text: Bytes, at: int, end: int) -> list[int]:
        """Where lines begin in which it is found, behind the first newline."""
        assert self._jumping is not None
        # The binding's own loop takes longer than the search.
        search, places = self._jumping._regexp.Match, list[int]()  # noqa: SLF001
        while True:
            ((newline, at),) = search(_UNANCHORED, text, at, end)
            if newline < 0:
                return places
            if self._may_cross and b"\n" in (found := text[newline + 1 : at].tobytes()):
                # It goes beyond the line, in which it may be found as well.
                line = found.partition(b"\n")[0]
                at = newline + 1 + len(line)
                if self._in_line.search(line) is None:
                    continue
            places.append(newline + 1)


#: Begins where lines do, whatever follows: a `^` that may be missing is found everywhere.
_BEGINS_LINES: Final = re.compile(r"\^(?!(?:\(\?[\w-]*\))*[*+?{])")
#: What might match a newline.
_MAY_CROSS: Final = re.compile(r"\\[^dwb.(){}/:+*?|-]|\[\^|\[:|\(\?|[\x00-\x1f]")


def _has_alternatives(text: str) -> bool:
    """Whether a bar stands outside of all parentheses, or may."""
    depth = 0
    for character in _ESCAPE_OR_CLASS.sub("", text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == "|":
            return True
    return "\\Q" in text


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return options
