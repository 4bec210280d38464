"""`LogMessage` frames byte by byte, and a plain parser: what the reader is compared with."""

import struct

_SIZES = {2: 1, 3: 1, 4: 8, 6: 2, 8: 4, 10: 8}


def string(number: int, value: bytes) -> bytes:
    return struct.pack(">bhi", 11, number, len(value)) + value


def i64(number: int, value: int) -> bytes:
    return struct.pack(">bhq", 10, number, value)


def headers(
    host: bytes = b"host",
    log: bytes = b"log",
    session: int = 1_700_000_000_000,
    sequence: int = 0,
) -> bytes:
    """`LoggingAuditHeaders`, as field 5."""
    fields = string(1, host) + string(2, log) + struct.pack(">bhi", 8, 3, 4711) + i64(4, session)
    fields += struct.pack(">bhi", 8, 5, sequence) + i64(6, session) + struct.pack(">bhb", 2, 7, 0)
    return struct.pack(">bh", 12, 5) + fields + b"\0"


def frame(
    message: bytes,
    *,
    key: bytes | None = None,
    timestamp_ns: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A frame, its length before it; `more` are fields behind the usual ones."""
    fields = b"" if key is None else string(1, key)
    fields += string(2, message)
    if timestamp_ns is not None:
        fields += i64(3, timestamp_ns)
    fields += more + b"\0"
    return struct.pack(">i", len(fields)) + fields


def parse(data: bytes) -> tuple[bytes, bytes | None] | None:
    """(message, key) of the struct that takes all of `data`; None if it is none."""
    at, depth = 0, 0
    found: dict[int, bytes] = {}
    while at < len(data):
        kind = data[at]
        if kind == 0:
            at += 1
            if depth == 0:
                sound = at == len(data) and 2 in found
                return (found[2], found.get(1)) if sound else None
            depth -= 1
            continue
        if at + 3 >= len(data):
            return None
        (number,) = struct.unpack_from(">H", data, at + 1)
        if kind == 11:
            if at + 7 >= len(data):
                return None
            (length,) = struct.unpack_from(">I", data, at + 3)
            if depth == 0 and number in {1, 2}:
                found[number] = data[at + 7 : at + 7 + length]
            at += 7 + length
        elif kind == 12 and depth < 8:
            at, depth = at + 3, depth + 1
        elif kind in _SIZES:
            at += 3 + _SIZES[kind]
        else:
            return None
    return None
