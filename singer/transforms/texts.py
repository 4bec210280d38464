"""Texts: the payloads of a batch as lines of one text, and where a pattern is found in them.

A pattern is looked for in all records at once. What it finds is what it would find in each record
alone: where records have no newlines in them, they are the lines of a text, and nothing that is
found goes beyond a line. Where they have, and for patterns that speak of the beginning or the end
of a text, each record is looked at by itself, at the cost of a Python step. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from singer.base.batch import Bytes, Int64s, RecordBatch
from singer.base.regex import LinePattern, compile_regex, each_match

_NEWLINE: Final = 10
#: What means something else in a text of many lines than in each of them.
_WHOLE_TEXT: Final = re.compile(r"\\[AzZC]|\(\?[a-zA-Z]*[ms-]")


class Texts:
    """The payloads of a batch: row i is `text[starts[i] : starts[i] + lengths[i]]`.

    `lines`: they are the lines of the text, with a newline between one and the next.
    """

    __slots__ = ("lengths", "lines", "starts", "text")

    def __init__(self, batch: RecordBatch) -> None:
        starts, lengths = batch.starts, batch.lengths.astype(np.int64)
        begin, end = int(starts[0]), int(starts[-1] + lengths[-1])
        if bool((starts[1:] == starts[:-1] + lengths[:-1] + 1).all()):
            view = batch.buffer[begin:end]
            self.text = view.tobytes()
            self.starts = starts - begin
            between = self.starts[1:] - 1
            self.lines = self.text.count(b"\n") == len(between) and bool(
                (view[between] == _NEWLINE).all()
            )
            if self.lines:
                self.lengths = lengths
                return
        data = batch.buffer.tobytes()
        self.text = b"\n".join(
            [data[a:b] for a, b in zip(starts.tolist(), (starts + lengths).tolist(), strict=True)]
        )
        self.starts = np.cumsum(lengths + 1) - lengths - 1
        self.lengths = lengths
        self.lines = self.text.count(b"\n") == len(starts) - 1

    def __iter__(self) -> Iterator[bytes]:
        """Each payload: a Python object, for what has no faster way."""
        ends = (self.starts + self.lengths).tolist()
        return (self.text[a:b] for a, b in zip(self.starts.tolist(), ends, strict=True))


class Pattern:
    """A regular expression that is looked for in records. Raises ValueError if RE2 refuses it."""

    __slots__ = ("_alone", "_first", "_lines")

    def __init__(self, text: str) -> None:
        self._alone = compile_regex(text)
        together = _WHOLE_TEXT.search(text) is None
        self._lines = compile_regex(text, lines=True) if together else None
        self._first = LinePattern(text) if together else None

    @property
    def groups(self) -> dict[str, int]:
        """The numbers of the groups, by number and by name."""
        named = {name.decode(): number for name, number in self._alone.groupindex.items()}
        return {str(number): number for number in range(self._alone.groups + 1)} | named

    def rows(self, texts: Texts) -> Int64s:
        """The rows in which it is found, ascending."""
        if texts.lines and self._first is not None:
            text = np.frombuffer(texts.text, np.uint8)
            return self._first.rows(text, texts.starts, texts.lengths)
        found = [row for row, payload in enumerate(texts) if self._alone.search(payload)]
        return np.array(found, np.int64)

    def matches(self, texts: Texts) -> Iterator[tuple[int, Any, int]]:
        """Each place: the row, the match, and where in `texts.text` what it was found in begins."""
        if texts.lines and self._lines is not None:
            found = list(each_match(self._lines, texts.text))
            places = np.array([match.start() for match in found], np.int64)
            rows = np.searchsorted(texts.starts, places, side="right") - 1
            yield from ((row, match, 0) for row, match in zip(rows.tolist(), found, strict=True))
            return
        for row, payload in enumerate(texts):
            for match in each_match(self._alone, payload):
                yield row, match, int(texts.starts[row])


def with_payloads(batch: RecordBatch, text: bytes, starts: Int64s, lengths: Int64s) -> RecordBatch:
    """The batch with other payloads: `text` is their buffer."""
    buffer: Bytes = np.frombuffer(text, np.uint8)
    return replace(batch, buffer=buffer, starts=starts, lengths=lengths.astype(np.int32))


def with_each(batch: RecordBatch, payloads: list[bytes]) -> RecordBatch:
    """The batch with other payloads, made one by one."""
    lengths = np.array([len(payload) for payload in payloads], np.int64)
    return with_payloads(batch, b"".join(payloads), np.cumsum(lengths) - lengths, lengths)
