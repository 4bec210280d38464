"""Headers as Java Singer writes them, and records with headers on their way."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from singer.base.batch import RecordBatch
from singer.base.config import HeaderField, HeadersConfig
from singer.base.errors import DeliveryError
from singer.base.ports import Settlement
from singer.base.zone import Zone
from singer.kafka.headers import Headers
from tests.kafka.support import batch_of, embedded, producer, run
from tests.support.consume import read_topic

LINES = [b"one", b"", b"three"]


def read(lines: list[bytes] = LINES) -> RecordBatch:
    batch = batch_of(lines, offset=100)
    return replace(
        batch,
        path="/var/log/b\udcff.log",
        inode=4711,
        timestamps_ms=np.array([1_700_000_000_123, -1, 0][: len(batch)], np.int64),
    )


def made(config: HeadersConfig, zone: Zone | None = None) -> list[tuple[str, list[bytes]]]:
    batch = Headers(config, host="web-1", zone=zone or Zone(())).onto(read())
    return [(h.name.decode(), [h.value(row) for row in range(3)]) for h in batch.headers]


def of(*fields: HeaderField) -> HeadersConfig:
    return HeadersConfig(add=fields)


def test_the_id_is_inode_and_offset_behind_the_record() -> None:
    ends = read().ends.tolist()
    assert ends == [104, 105, 111]
    (header,) = made(of(HeaderField.MID))
    assert header == ("_mid", [struct.pack(">qq", 4711, end) for end in ends])


def test_the_time_is_that_of_the_record_or_nothing() -> None:
    times = [struct.pack(">q", ns) for ns in (1_700_000_000_123_000_000, 0, 0)]
    assert made(of(HeaderField.OTS)) == [("_ots", times)]


def test_the_checksum_is_that_of_the_payload() -> None:
    sums = [struct.pack(">q", zlib.crc32(text)) for text in LINES]
    assert made(of(HeaderField.CRC)) == [("messageCRC", sums)]


def test_names_of_host_file_and_zone() -> None:
    config = of(HeaderField.HOST, HeaderField.FILE, HeaderField.ZONE)
    zone = Zone(())
    assert [name for name, _ in made(config, zone)] == ["hostname", "file"]
    zone.names = ("us-east-1a", "use1-az1")
    assert made(config, zone) == [
        ("hostname", [b"web-1"] * 3),
        ("file", [b"/var/log/b\xff.log"] * 3),
        ("availabilityZone", [b"us-east-1a"] * 3),
    ]


def test_static_ones_come_last_and_may_be_empty() -> None:
    config = HeadersConfig(add=(HeaderField.HOST,), static={"env": "prod", "none": ""})
    assert made(config)[1:] == [("env", [b"prod"] * 3), ("none", [b""] * 3)]


def test_records_arrive_with_theirs_and_are_accounted_for_alike() -> None:
    config = HeadersConfig(add=(HeaderField.MID,), static={"env": "prod"})
    headers = Headers(config, host="h", zone=Zone(()))
    lines = [b"%d" % number for number in range(3000)]
    keys = [None if number % 3 else b"k%d" % number for number in range(3000)]
    batch = headers.onto(replace(batch_of(lines, keys), inode=7))
    routes = np.arange(3000, dtype=np.int32) % 4

    async def main() -> None:
        with embedded() as server:
            async with producer(server) as made:
                assert await made.produce("t", routes, batch) == Settlement()
                assert await made.produce("t", 1, batch_of([b"plain"])) == Settlement()
                assert await made.produce("t", 1, headers.onto(batch_of([]))) == Settlement()
                assert made.outstanding == 0
            arrived = read_topic(server.bootstrap, "t")
        assert arrived[1].pop()[1:] == (b"plain", None, ())
        for partition, records in arrived.items():
            numbers = range(partition, 3000, 4)
            assert [(r.value, r.key) for r in records] == [(lines[n], keys[n]) for n in numbers]
            assert [r.headers for r in records] == [
                (("_mid", struct.pack(">qq", 7, batch.ends[n])), ("env", b"prod")) for n in numbers
            ]

    run(main())


def test_one_that_is_refused_leaves_the_others_theirs() -> None:
    headers = Headers(of(HeaderField.MID), host="h", zone=Zone(()))
    batch = headers.onto(batch_of([b"a", b"x" * 2000, b"b"]))

    async def main() -> None:
        with embedded() as server:
            async with producer(server, message_max_bytes="1000") as made:
                settled = await made.produce("t", 0, batch)
            assert [rejection.row for rejection in settled.rejected] == [1]
            records = read_topic(server.bootstrap, "t")[0]
        ends = [batch.ends[0], batch.ends[2]]
        assert [r.headers for r in records] == [
            (("_mid", struct.pack(">qq", 0, end)),) for end in ends
        ]

    run(main())


def test_a_partition_that_is_not_there_fails_the_batch() -> None:
    headers = Headers(of(HeaderField.MID), host="h", zone=Zone(()))

    async def main() -> None:
        with embedded() as server:
            async with producer(server) as made:
                assert await made.produce("t", 0, batch_of([b"known"])) == Settlement()
                with pytest.raises(DeliveryError):
                    await made.produce("t", 99, headers.onto(batch_of([b"a", b"b"])))
                assert await made.produce("t", 0, headers.onto(batch_of([b"c"]))) == Settlement()
                assert made.outstanding == 0

    run(main())
