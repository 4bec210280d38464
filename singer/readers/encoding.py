"""Encodings: lines in another encoding become UTF-8, many at once. Pure.

Newlines are looked for in code units, which stand at multiples of their size in the file. A codec
is taken only if nothing but a newline looks like one in it, so that lines can be cut before they
are decoded. What cannot be decoded becomes U+FFFD.
"""

from __future__ import annotations

import codecs
from typing import Final

import numpy as np

from singer.base.batch import Bytes, Int64s

_NEWLINE: Final = 10
#: Codecs whose meaning of a byte depends on what was long before.
_STATEFUL: Final = ("iso2022", "hz", "utf-7", "unicode", "raw-unicode", "punycode", "charmap")
_BOM: Final = "\ufeff"


class Encoding:
    """A codec of Python's that is not UTF-8 byte for byte. Raises ValueError if it cannot be."""

    __slots__ = ("_type", "name", "unit")

    def __init__(self, name: str) -> None:
        try:
            self.name = codecs.lookup(name).name
            newline = "\n".encode(name)
        except (LookupError, UnicodeError) as error:
            raise ValueError("must be an encoding that Python knows") from error
        if self.name in {"utf-16", "utf-32"}:
            raise ValueError(f"must be {self.name}le or {self.name}be: not every file says which")
        self.unit = len(newline)  #: bytes of a code unit
        if self.name.startswith(_STATEFUL) or not _cuts_lines(self.name, self.unit):
            raise ValueError("must be an encoding in which lines are told without decoding them")
        order = "<" if newline[0] == _NEWLINE else ">"
        self._type = np.dtype(f"{order}u{self.unit}")

    def newlines(self, window: Bytes, offset: int, scanned: int) -> Int64s:
        """int64: where newlines begin in a window that is at `offset`, and scanned so far."""
        first = scanned + -(offset + scanned) % self.unit
        count = max(0, len(window) - first) // self.unit
        units = window[first : first + count * self.unit].view(self._type)
        return np.flatnonzero(units == _NEWLINE) * self.unit + first

    def convert(
        self, window: Bytes, starts: Int64s, lengths: Int64s, *, in_a_row: bool, first: bool
    ) -> tuple[Bytes, Int64s, Int64s]:
        """The lines as UTF-8: a buffer, and where in it they start and how long they are.

        `in_a_row`: each but the last is followed by a newline and the next. `first`: they begin
        the file, where a byte order mark may stand.
        """
        begin, end = int(starts[0]), int(starts[-1] + lengths[-1])
        if in_a_row:
            text = window[begin:end].tobytes().decode(self.name, "replace")
            buffer = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
            stops = np.append(np.flatnonzero(buffer == _NEWLINE), len(buffer))
            if len(stops) == len(starts):
                found = np.zeros_like(starts)
                found[1:] = stops[:-1] + 1
                return self._without_mark(buffer, found, stops - found, first=first)
        # Pieces of lines, or what this codec makes of garbage.
        lines = [
            window[start : start + length].tobytes().decode(self.name, "replace").encode()
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
        sizes = np.array([len(line) for line in lines], np.int64)
        found = np.cumsum(sizes + 1) - sizes - 1
        buffer = np.frombuffer(b"\n".join(lines), np.uint8)
        return self._without_mark(buffer, found, sizes, first=first)

    @staticmethod
    def _without_mark(
        buffer: Bytes, starts: Int64s, lengths: Int64s, *, first: bool
    ) -> tuple[Bytes, Int64s, Int64s]:
        mark = _BOM.encode()
        if first and buffer[: len(mark)].tobytes() == mark:
            starts[0] += len(mark)
            lengths[0] -= len(mark)
        return buffer, starts, lengths


def _cuts_lines(name: str, unit: int) -> bool:
    """Whether a newline is one unit, wherever it stands, and nothing else looks like it."""
    if unit > 1:
        return name.startswith(("utf-16", "utf-32"))
    if "\n".encode(name) != b"\n":
        return False
    for byte in range(256):
        try:
            text = (bytes([byte]) + b"\n").decode(name)
        except UnicodeDecodeError:
            continue  # the first byte of several, of which a newline is none
        if text.count("\n") != 1 + (byte == _NEWLINE):
            return False
    return True
