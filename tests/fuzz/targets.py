"""The readers that are fuzzed: a new one is one entry of TARGETS."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from singer.base.config import (
    ByteSize,
    ContainerReaderConfig,
    FramesReaderConfig,
    LengthType,
    MultilineReaderConfig,
    OnCorrupt,
    Oversize,
    ProtobufReaderConfig,
    ReaderConfig,
    ReaderType,
    Regex,
    TextReaderConfig,
    ThriftReaderConfig,
)
from tests.readers.container_logs import cri, docker
from tests.readers.test_frames import varint
from tests.readers.thrift_frames import frame, headers, i64

LIMIT = ByteSize(200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reader's configuration, and a maker of records as a valid file has them.

    `in_a_row`: records lie one behind the other, so that each has an end of its own.
    """

    config: ReaderConfig
    record: Callable[[Random], bytes]
    in_a_row: bool = True


def _line(random: Random) -> bytes:
    return random.randbytes(random.randrange(120)).replace(b"\n", b"") + b"\n"


def _wide_line(random: Random) -> bytes:
    text = "".join(
        chr(random.choice([65, 0xE9, 0x0A0A, 0x1F600])) for _ in range(random.randrange(30))
    )
    return (text + random.choice(["\n", "\r\n"])).encode("utf-16le")


def _several_lines(random: Random) -> bytes:
    return (
        b"1 " + _line(random) + b"".join(b" " + _line(random) for _ in range(random.randrange(4)))
    )


def _container(random: Random) -> bytes:
    write = random.choice([cri, docker])
    return write(
        random.choice([b"", b"x" * random.randrange(90), b'"quoted" \\', b"\x01"]),
        stream=random.choice(["stdout", "stderr"]),
        full=random.random() < 0.7,
        ms=1_700_000_000_000 + random.randrange(9000),
    )


def _thrift(random: Random) -> bytes:
    key = random.choice([None, b"", b"key"])
    lists = struct.pack(">bhbi", 15, 9, 11, 1) + b"\0\0\0\x01a"
    more = random.choice([b"", headers(), i64(4, 7), lists])
    message = random.randbytes(random.randrange(60))
    return frame(message, key=key, timestamp_ns=random.randrange(2**63), more=more)


def _prefixed(random: Random) -> bytes:
    size = random.randrange(220)
    return size.to_bytes(4, "big") + random.randbytes(size)


def _delimited(random: Random) -> bytes:
    size = random.randrange(220)
    return varint(size) + random.randbytes(size)


TARGETS = {
    "text": Target(config=TextReaderConfig(max_record=LIMIT), record=_line),
    "text-split": Target(
        config=TextReaderConfig(max_record=LIMIT, oversize=Oversize.SPLIT), record=_line
    ),
    "text-truncate": Target(
        config=TextReaderConfig(max_record=ByteSize(50), oversize=Oversize.TRUNCATE, crlf=True),
        record=_line,
        in_a_row=False,  # what is cut away may come later, with an end of its own
    ),
    "utf-16le": Target(
        config=TextReaderConfig(max_record=LIMIT, encoding="utf-16le", crlf=True),
        record=_wide_line,
    ),
    "multiline": Target(
        config=MultilineReaderConfig(start=Regex("^[0-9]"), max_record=LIMIT, max_lines=3),
        record=_several_lines,
    ),
    "multiline-end": Target(
        config=MultilineReaderConfig(end=Regex("[a-m]$"), max_record=LIMIT), record=_several_lines
    ),
    "containers": Target(
        config=ContainerReaderConfig(max_record=LIMIT), record=_container, in_a_row=False
    ),
    "cri-pass": Target(
        config=ContainerReaderConfig(
            type=ReaderType.CRI, max_record=LIMIT, on_corrupt=OnCorrupt.PASS
        ),
        record=_container,
        in_a_row=False,
    ),
    "thrift": Target(config=ThriftReaderConfig(max_record=LIMIT), record=_thrift),
    "thrift-checksum": Target(
        config=ThriftReaderConfig(max_record=LIMIT, checksum=True), record=_thrift
    ),
    "frames": Target(config=FramesReaderConfig(max_record=LIMIT), record=_prefixed),
    "frames-itself": Target(
        config=FramesReaderConfig(max_record=LIMIT, includes_itself=True), record=_prefixed
    ),
    "frames-fixed": Target(
        config=FramesReaderConfig(max_record=LIMIT, length=LengthType.FIXED, size=ByteSize(7)),
        record=lambda random: random.randbytes(7),
    ),
    "protobuf": Target(config=ProtobufReaderConfig(max_record=LIMIT), record=_delimited),
}
