"""The demo's records: each says when it was written, to which file, and its number in it.

    2026-01-02T03:04:05.678901Z access-0 #0000001234 INFO GET /api/v1/orders/8231 status=200 …

Pure: time and randomness come in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Int64s
from singer.base.wire.log_message import log_message

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z (\S+) #(\d{10}) ")

_VERBS: Final = ("GET", "GET", "GET", "PUT", "POST")
_THINGS: Final = ("orders", "users", "carts", "search", "products", "payments")
_LEVELS: Final = ("INFO", "INFO", "INFO", "INFO", "DEBUG", "WARN")
_STATUSES: Final = (200, 200, 200, 201, 204, 304, 404, 503)


class Format(Enum):
    """How records lie in a file; the value is the reader's type."""

    TEXT = "text"
    MULTILINE = "multiline"  #: a line, and some that say where it came from
    THRIFT = "thrift"  #: a `LogMessage` each


def compose(
    file: str,
    first: int,
    count: int,
    now_ns: int,
    rng: random.Random,
    *,
    form: Format = Format.TEXT,
) -> bytes:
    """Records `first` to `first + count - 1` of a file, as they are written to it."""
    wrap = {Format.TEXT: _line, Format.MULTILINE: _trace, Format.THRIFT: _log_message}[form]
    moment = _EPOCH + timedelta(microseconds=now_ns // 1000)
    head = f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z {file} #".encode()
    bits = rng.getrandbits
    choose = rng.choice
    return b"".join(
        wrap(
            b"%s%010d %s %s /api/v1/%s/%d status=%d bytes=%d ms=%d user=u%05d trace=%016x"
            % (
                head,
                number,
                choose(_LEVELS).encode(),
                choose(_VERBS).encode(),
                choose(_THINGS).encode(),
                bits(17),
                choose(_STATUSES),
                bits(13),
                bits(7),
                bits(14),
                bits(64),
            ),
            now_ns,
        )
        for number in range(first, first + count)
    )


def _line(record: bytes, now_ns: int) -> bytes:  # noqa: ARG001
    return record + b"\n"


def _trace(record: bytes, now_ns: int) -> bytes:  # noqa: ARG001
    return record + b"\n    at Cart.total(Cart.java:81)\n    at Order.place(Order.java:144)\n"


def _log_message(record: bytes, now_ns: int) -> bytes:
    return log_message(record, timestamp_ns=now_ns, checksum=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identified:
    """Which lines some records are.

    `files`      int64[n], index of the file
    `numbers`    int64[n], the number of the line in its file, from 0
    `written_us` int64[n], when it was written, microseconds since 1970
    `foreign`    records that are none of our lines, not among the n
    """

    files: Int64s
    numbers: Int64s
    written_us: Int64s
    foreign: int


def identify(records: Sequence[bytes], files: Sequence[str]) -> Identified:
    """Read the heads of the records, in their order."""
    indices = {file.encode(): index for index, file in enumerate(files)}
    found: list[tuple[bytes, int, int]] = []
    for record in records:
        match = _HEAD.match(record)
        if match is None or match[2] not in indices:
            continue
        found.append((match[1], indices[match[2]], int(match[3])))
    return Identified(
        files=np.array([file for _, file, _ in found], np.int64),
        numbers=np.array([number for _, _, number in found], np.int64),
        written_us=_microseconds([moment for moment, _, _ in found]),
        foreign=len(records) - len(found),
    )


def _microseconds(moments: list[bytes]) -> NDArray[np.int64]:
    return np.array(moments, "S26").astype("datetime64[us]").astype(np.int64)
