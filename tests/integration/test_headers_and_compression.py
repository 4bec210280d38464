"""What a real Kafka has of records: their headers, and the bytes they take in a segment."""

from __future__ import annotations

import glob
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.readers.thrift_frames import frame
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import read_topic
from tests.support.kafka_cluster import KafkaCluster
from tests.support.lines import line

pytestmark = pytest.mark.kafka

#: Of the attributes of a batch: https://kafka.apache.org/documentation/#recordbatch
CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
#: Of a batch: its offset, its length, the epoch, the magic number, a checksum, its attributes.
HEAD = struct.Struct(">qiibIh")


def agent_for(
    kafka: KafkaCluster,
    tmp_path: Path,
    what: dict[str, Any],
    properties: dict[str, str],
    cluster: dict[str, Any] | None = None,
    **agent: Any,
) -> AgentProcess:
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap=kafka.bootstrap,
        streams=[what],
        agent=agent,
        properties=properties,
        cluster=cluster,
    )
    return AgentProcess(str(tmp_path / "agent"), config)


def segments(kafka: KafkaCluster, topic: str) -> bytes:
    """What the leader of the topic's only partition has on disk."""
    pattern = os.path.join(kafka.directory, "broker-1", "data", f"{topic}-0", "*.log")
    return b"".join(Path(path).read_bytes() for path in sorted(glob.glob(pattern)))


def batches(segment: bytes) -> list[tuple[str, int]]:
    """Codec and bytes of each batch."""
    found = []
    while segment:
        _, length, _, magic, _, attributes = HEAD.unpack_from(segment)
        assert magic == 2
        found.append((CODECS[attributes & 7], 12 + length))
        segment = segment[12 + length :]
    return found


def test_headers_say_where_a_record_is_from(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("headed", partitions=1)
    path = tmp_path / "app.log"
    ids, data = [], b""
    times_ns = [1_700_000_000_000_000_000 + n * 1_000_000 for n in range(500)]
    for number, ns in enumerate(times_ns):
        data += frame(b"message %d" % number, timestamp_ns=ns)
        ids.append(len(data))
    path.write_bytes(data)
    what = stream("app", str(path), topic, reader="thrift")
    what["publish"][0]["headers"] = {
        "add": ["mid", "ots", "host", "file", "zone"],
        "static": {"env": "prod"},
    }
    agent = agent_for(kafka, tmp_path, what, {}, locality="static:us-east-1a")
    with agent:
        assert agent.run_once() == 0, agent.tail()
        agent.assert_balanced()
    (records,) = read_topic(kafka.bootstrap, topic).values()
    assert [record.value for record in records] == [b"message %d" % n for n in range(500)]
    inode = path.stat().st_ino
    for record, end, ns in zip(records, ids, times_ns, strict=True):
        assert record.headers == (
            ("_mid", struct.pack(">qq", inode, end)),
            ("_ots", struct.pack(">q", ns)),
            ("hostname", socket.gethostname().encode()),
            ("file", os.fsencode(path)),
            ("availabilityZone", b"us-east-1a"),
            ("env", b"prod"),
        )


@pytest.mark.parametrize(
    ("properties", "codec", "at_least"),
    [
        ({"compression.type": "zstd", "compression.level": "1"}, "zstd", 2.5),
        ({"compression.type": "lz4"}, "lz4", 1.7),
        ({"compression.type": "gzip"}, "gzip", 2.5),
    ],
)
def test_a_segment_takes_less_than_its_lines(
    kafka: KafkaCluster,
    tmp_path: Path,
    properties: dict[str, str],
    codec: str,
    at_least: float,
) -> None:
    topic = kafka.create_topic("compressed", partitions=1)
    path = tmp_path / "app.log"
    lines = [line(1, number, 150) for number in range(5000)]
    path.write_bytes(b"".join(each + b"\n" for each in lines))
    with agent_for(kafka, tmp_path, stream("app", str(path), topic), properties) as agent:
        assert agent.run_once() == 0, agent.tail()
    (records,) = read_topic(kafka.bootstrap, topic).values()
    assert [record.value for record in records] == lines
    found = batches(segments(kafka, topic))
    assert {kind for kind, _ in found} == {codec}
    assert sum(map(len, lines)) / sum(size for _, size in found) > at_least


def test_each_destination_has_a_codec_of_its_own(kafka: KafkaCluster, tmp_path: Path) -> None:
    """One cluster, so one producer: its own codec, and by topic others."""
    codecs = {"": "zstd", "lz4": "lz4", "gzip": "gzip", "none": "none"}
    topics = {codec: kafka.create_topic("codecs", partitions=1) for codec in codecs}
    path = tmp_path / "app.log"
    lines = [line(1, number, 150) for number in range(5000)]
    path.write_bytes(b"".join(each + b"\n" for each in lines))
    what = stream("app", str(path), topics[""])
    what["publish"] += [
        {"cluster": "main", "topic": topic, "compression": codec}
        for codec, topic in topics.items()
        if codec
    ]
    properties = {"compression.type": "zstd"}
    cluster = {"allow_uncompressed": "to compare"}
    with agent_for(kafka, tmp_path, what, properties, cluster) as agent:
        assert agent.run_once() == 0, agent.tail()
    sizes = {}
    for codec, topic in topics.items():
        (records,) = read_topic(kafka.bootstrap, topic).values()
        assert [record.value for record in records] == lines
        found = batches(segments(kafka, topic))
        assert {kind for kind, _ in found} == {codecs[codec]}
        sizes[codec] = sum(size for _, size in found)
    assert sizes["none"] > sum(map(len, lines)) > 1.7 * sizes["lz4"] > 1.7 * sizes["gzip"]
    assert 2.5 * sizes[""] < sizes["none"]
