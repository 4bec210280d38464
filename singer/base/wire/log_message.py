"""Wire: formats that others write or read, byte by byte. Standard library only, and no numpy.

`LogMessage` frames: a 4-byte big-endian length, then a struct in TBinaryProtocol: `binary` 1 key,
`binary` 2 message, `i64` 3 timestamp in ns, `i64` 4 CRC-32 of the message, struct 5
`LoggingAuditHeaders` (host, log name, pid, session in ms, sequence number, time in ms, tracked).
"""

from __future__ import annotations

import zlib
from struct import Struct

_I32 = 8
_I64 = 10
_STRING = 11
_STRUCT = 12

_HEAD = Struct(">bhi")  # of a string: type, number, length
_TIME = Struct(">bhq")
_TIME_AND_CHECKSUM = Struct(">bhqbhq")
_BOTH = Struct(">ibhi")  # length of the frame, and the head of its first string
_STOP = b"\0"

#: Of the length before each frame.
LENGTH_BYTES = 4


def log_message(
    message: bytes,
    *,
    key: bytes | None = None,
    timestamp_ns: int | None,
    checksum: bool = True,
    headers: bytes = b"",
) -> bytes:
    """A whole frame; the struct without its frame is what follows LENGTH_BYTES.

    `headers` are of `AuditHeaders`. Without a time there is no checksum either.
    """
    if timestamp_ns is None:
        rest = b""
    elif checksum:
        rest = _TIME_AND_CHECKSUM.pack(_I64, 3, timestamp_ns, _I64, 4, zlib.crc32(message))
    else:
        rest = _TIME.pack(_I64, 3, timestamp_ns)
    size = 7 + len(message) + len(rest) + len(headers) + 1
    if key is None:
        head = _BOTH.pack(size, _STRING, 2, len(message))
        return b"".join((head, message, rest, headers, _STOP))
    head = _BOTH.pack(size + 7 + len(key), _STRING, 1, len(key)) + key
    return b"".join((head, string(2, message), rest, headers, _STOP))


def string(number: int, value: bytes) -> bytes:
    """A field of a struct that is a string, or binary."""
    return _HEAD.pack(_STRING, number, len(value)) + value


class AuditHeaders:
    """Field 5 of the frames of one session: who writes, and which record of the session it is."""

    __slots__ = ("_before",)

    def __init__(self, host: str, log_name: str, pid: int, session_ms: int) -> None:
        # The name of a file may be any bytes.
        names = b"".join(
            string(number, name.encode("utf-8", "surrogateescape"))
            for number, name in ((1, host), (2, log_name))
        )
        start = Struct(">bh").pack(_STRUCT, 5)
        self._before = start + names + Struct(">bhibhq").pack(_I32, 3, pid, _I64, 4, session_ms)

    def field(self, sequence: int, timestamp_ms: int) -> bytes:
        """With the record's number in the session, from 0, and its time."""
        return self._before + _AUDIT_END.pack(
            _I32, 5, sequence & 0x7FFFFFFF, _I64, 6, timestamp_ms, 2, 7, 0, 0
        )


_AUDIT_END = Struct(">bhibhqbhbb")
