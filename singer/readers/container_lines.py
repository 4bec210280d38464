r"""Lines that container runtimes write around those of applications: CRI and Docker's json-file.

    2016-10-06T00:17:09.669794202Z stdout F content
    {"log":"content\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}

A line is cut by the runtime after 16 KiB or so: CRI marks each part but the last with `P`, and in
Docker's only the last ends with a newline. (KEP "CRI logging"; jsonlog.JSONLogs of moby.)

Columnar: heads and tails are compared as words where their layout lets them stand. Docker's lines
with escapes, or with other keys, take a Python step each. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, if not in the stubs
from typing import Final

import numpy as np

from singer.base.batch import Bools, Bytes, Int64s
from singer.readers.rfc3339 import LONGEST, SHORTEST, milliseconds
from singer.readers.words import word, words

STDOUT: Final = 0
STDERR: Final = 1
_STREAMS: Final = {"stdout": STDOUT, "stderr": STDERR}

#: How bytes that are not UTF-8 pass through JSON.
_LENIENT: Final = ("utf-8", "surrogateescape")
_BACKSLASH: Final = ord("\\")
_QUOTE: Final = ord('"')
#: Quotes of a line of Docker's with no more than the usual keys.
_QUOTES: Final = 12


@dataclass(slots=True, kw_only=True)
class Parsed:
    """Columns of n lines; of those that are not `sound` the others are void.

    `starts`, `lengths` say where the content is in the window, but for the rows of `decoded`.
    """

    sound: Bools
    stream: Int64s  #: STDOUT | STDERR
    full: Bools  #: the last part of what the application wrote as one line
    starts: Int64s
    lengths: Int64s
    times_ms: Int64s
    decoded: dict[int, bytes]

    @classmethod
    def nothing(cls, count: int) -> Parsed:
        """No line is sound."""
        return cls(
            sound=np.zeros(count, np.bool_),
            stream=np.zeros(count, np.int64),
            full=np.zeros(count, np.bool_),
            starts=np.zeros(count, np.int64),
            lengths=np.zeros(count, np.int64),
            times_ms=np.full(count, -1, np.int64),
            decoded={},
        )

    def content(self, window: Bytes, row: int) -> bytes:
        """What the application wrote in one line; a Python object, for lines that are joined."""
        if row in self.decoded:
            return self.decoded[row]
        start = int(self.starts[row])
        return window[start : start + int(self.lengths[row])].tobytes()

    def put_decoded(self, row: int, text: bytes) -> None:
        """What the application wrote in one of Docker's lines, with the newline if it did."""
        self.full[row] = text.endswith(b"\n")
        self.decoded[row] = text.removesuffix(b"\n")
        self.lengths[row] = len(self.decoded[row])

    def put(self, rows: Int64s, other: Parsed) -> None:
        """What `other` says of these rows holds."""
        for name in ("sound", "stream", "full", "starts", "lengths", "times_ms"):
            getattr(self, name)[rows] = getattr(other, name)
        self.decoded |= {int(rows[row]): content for row, content in other.decoded.items()}


def parse_cri(window: Bytes, starts: Int64s, lengths: Int64s) -> Parsed:
    """Lines of CRI, without their newlines."""
    parsed = Parsed.nothing(len(starts))
    stamp = _time_length(window, starts, lengths)
    # Time, space, stream, space, tag.
    rows = np.flatnonzero((stamp > 0) & (lengths >= stamp + 9))
    at, ends = starts[rows] + stamp[rows], (starts + lengths)[rows]
    stream, sound = _stream(window, at)
    tag = window[at + 8]
    sound &= (tag == ord("F")) | (tag == ord("P"))
    behind = np.minimum(at + 9, len(window) - 1)
    empty = at + 9 == ends
    more = ~empty & (window[behind] == ord(":"))  # further tags, of which none is known
    content = np.where(empty, at + 9, at + 10)
    for row in np.flatnonzero(more & sound):
        tags = window[at[row] + 9 : ends[row]].tobytes().partition(b" ")[0]
        content[row] = min(at[row] + 10 + len(tags), ends[row])
    sound &= empty | more | (window[behind] == ord(" "))
    times = milliseconds(window, starts[rows], stamp[rows])
    parsed.sound[rows] = sound & (times >= 0)
    parsed.stream[rows] = stream
    parsed.full[rows] = tag == ord("F")
    parsed.starts[rows] = content
    parsed.lengths[rows] = ends - content
    parsed.times_ms[rows] = times
    return parsed


def parse_docker(window: Bytes, starts: Int64s, lengths: Int64s) -> Parsed:
    """Lines of Docker's json-file, without their newlines."""
    parsed = Parsed.nothing(len(starts))
    ends = starts + lengths
    usual, tail, stamp = _docker_layout(window, starts, lengths)
    rows = np.flatnonzero(usual)
    content, tail, stamp = starts[rows] + 8, tail[rows], stamp[rows]
    newline = tail - content >= 2
    newline &= (window[tail - 2] == _BACKSLASH) & (window[tail - 1] == ord("n"))
    specials = rows  # what a JSON text has outside of its strings only, or has to escape in them
    if len(rows):
        special = (window == _QUOTE) | (window == _BACKSLASH) | (window < ord(" "))
        specials = np.flatnonzero(special)
    count = np.searchsorted(specials, ends[rows]) - np.searchsorted(specials, starts[rows])
    stream, sound = _docker_stream(window, tail)
    times = milliseconds(window, tail + 28, stamp)
    sound &= times >= 0
    plain = sound & (count == _QUOTES + newline)
    parsed.sound[rows] = plain
    parsed.stream[rows] = stream
    parsed.full[rows] = newline
    parsed.starts[rows] = content
    parsed.lengths[rows] = tail - content - 2 * newline
    parsed.times_ms[rows] = times
    for row, begin, end in zip(
        rows[sound & ~plain].tolist(),
        content[sound & ~plain].tolist(),
        tail[sound & ~plain].tolist(),
        strict=True,
    ):
        # Applications that log JSON have quotes in every line: only the content is decoded.
        text = _unquoted(window[begin : end + 1].tobytes())
        if text is not None:
            parsed.sound[row] = True
            parsed.put_decoded(row, text)
    _parse_json(window, starts, ends, np.flatnonzero(~parsed.sound), parsed)
    return parsed


def _unquoted(quoted: bytes) -> bytes | None:
    """What a JSON string says that ends with a quote, and has lost its first; None: it is none."""
    read = quoted.decode(*_LENIENT)
    try:
        text, end = scanstring(read, 0, True)  # strict
    except ValueError:
        return None
    return _encoded(text) if end == len(read) else None  # else something follows the string


def _time_length(window: Bytes, starts: Int64s, lengths: Int64s) -> Int64s:
    """Bytes before the first space, where a time may stand there; else 0. Mostly all the same."""
    found = np.zeros_like(starts)
    rows = np.arange(len(starts))
    guess = np.argmax(window[starts[0] :][: LONGEST + 1] == ord(" ")) if len(starts) else 0
    for length in (int(guess), *range(SHORTEST, LONGEST + 1)):
        if length < SHORTEST or not len(rows):
            continue
        fits = lengths[rows] > length
        here = fits & (window[np.where(fits, starts[rows] + length, 0)] == ord(" "))
        found[rows[here]] = length
        rows = rows[~here]
    return found


def _stream(window: Bytes, at: Int64s) -> tuple[Int64s, Bools]:
    """Which stream stands at `at`, between spaces; and whether one does."""
    here = words(window)[at]
    err = here == word(b" stderr ")
    return err.astype(np.int64), err | (here == word(b" stdout "))


def _docker_layout(window: Bytes, starts: Int64s, lengths: Int64s) -> tuple[Bools, Int64s, Int64s]:
    """Which lines have the usual layout; where the content ends, and how long the time is."""
    eight = words(window)
    log, time = word(b'{"log":"'), word(b'"time":"')
    ends = starts + lengths
    usual = lengths >= 8 + 28 + SHORTEST + 2
    usual &= eight[np.where(usual, starts, 0)] == log if len(eight) else False
    usual &= window[np.where(usual, ends - 2, 0)] == _QUOTE
    usual &= window[np.where(usual, ends - 1, 0)] == ord("}")
    tail, stamp = np.zeros_like(starts), np.zeros_like(starts)
    rows = np.flatnonzero(usual)
    usual[:] = False
    for length in range(30, SHORTEST - 1, -1):  # mostly nine digits, or one less
        rows = rows[lengths[rows] >= 8 + 28 + length + 2]
        at = ends[rows] - 2 - length - 8
        here = eight[at] == time
        chosen = rows[here]
        tail[chosen], stamp[chosen], usual[chosen] = at[here] - 20, length, True
        rows = rows[~here]
    return usual, tail, stamp


def _docker_stream(window: Bytes, tail: Int64s) -> tuple[Int64s, Bools]:
    """The stream between content and time: `","stream":"stdout",`."""
    eight = words(window)
    if not len(tail):
        return tail, np.zeros(0, np.bool_)
    same = (eight[tail] == word(b'","strea')) & (eight[tail + 7] == word(b'am":"std'))
    same &= (window[tail + 18] == _QUOTE) & (window[tail + 19] == ord(","))
    last = [window[tail + at].astype(np.int64) for at in (15, 16, 17)]
    three = last[0] << 16 | last[1] << 8 | last[2]
    err = three == int.from_bytes(b"err", "big")
    return err.astype(np.int64), same & (err | (three == int.from_bytes(b"out", "big")))


def _parse_json(window: Bytes, starts: Int64s, ends: Int64s, rows: Int64s, parsed: Parsed) -> None:
    """Lines with escapes, or other keys; they may be no such lines at all."""
    parsed.times_ms[rows] = -1
    times: list[bytes] = []
    for row in rows.tolist():
        times.append(b"")
        try:
            values = json.loads(window[starts[row] : ends[row]].tobytes().decode(*_LENIENT))
            text, time = _encoded(values["log"]), _encoded(values["time"])
            parsed.stream[row] = _STREAMS[values["stream"]]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        parsed.put_decoded(row, text)
        if SHORTEST <= len(time) <= LONGEST:
            times[-1] = time
    lengths = np.array([len(time) for time in times], np.int64)
    at = np.cumsum(lengths) - lengths
    timed = lengths > 0
    joined = np.frombuffer(b"".join(times), np.uint8)
    parsed.times_ms[rows[timed]] = milliseconds(joined, at[timed], lengths[timed])
    parsed.sound[rows] = parsed.times_ms[rows] >= 0
    for row in rows[~parsed.sound[rows]].tolist():
        parsed.decoded.pop(row, None)  # it is no such line


def _encoded(text: str) -> bytes:
    """The bytes of a text that may have had some that are not UTF-8, or halves of pairs."""
    try:
        return text.encode(*_LENIENT)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
