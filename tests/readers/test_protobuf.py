"""Keys and times of protobuf messages, against protobuf itself."""

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from singer.base.config import Path, ProtobufReaderConfig, TimeUnit
from singer.base.errors import InputError
from singer.base.ports import State
from singer.readers import protobuf_fields
from singer.readers.making import make
from tests.readers.test_frames import varint

FIELD = descriptor_pb2.FieldDescriptorProto
MS = 1_700_000_000_123


def described():
    """`access.Request`, as protoc would describe it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="access.proto", package="access", syntax="proto3"
    )
    file.dependency.append("google/protobuf/timestamp.proto")
    header = file.message_type.add(name="Header")
    header.field.add(name="id", number=1, type=FIELD.TYPE_STRING, label=1)
    header.field.add(name="raw", number=3, type=FIELD.TYPE_BYTES, label=1)
    request = file.message_type.add(name="Request")
    fields = [
        ("header", 1, FIELD.TYPE_MESSAGE, ".access.Header"),
        ("status", 2, FIELD.TYPE_INT32, None),
        ("millis", 15, FIELD.TYPE_INT64, None),
        ("fixed", 16, FIELD.TYPE_FIXED64, None),
        ("stamp", 200, FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
        ("ratio", 7, FIELD.TYPE_FLOAT, None),
    ]
    for name, number, kind, inner in fields:
        request.field.add(name=name, number=number, type=kind, label=1, type_name=inner)
    whole = descriptor_pb2.FileDescriptorSet()
    timestamp_pb2.DESCRIPTOR.CopyToProto(whole.file.add())
    whole.file.append(file)
    return whole


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "access.pb"
    path.write_bytes(described().SerializeToString())

    def make_config(**options):
        given = {"descriptor_set": Path(str(path)), "message": "access.Request", **options}
        return ProtobufReaderConfig(**given)

    return make_config


@pytest.fixture(scope="module")
def request_class():
    pool = descriptor_pool.DescriptorPool()
    for file in described().file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("access.Request"))


def read(config, messages):
    data = b"".join(varint(len(each)) + each for each in messages)
    batch = make(config).frame(np.frombuffer(data, np.uint8), 0, State.FINAL).batch
    assert [batch.payload(row) for row in range(len(batch))] == messages
    return [(batch.key(row), int(batch.timestamps_ms[row])) for row in range(len(batch))]


def test_keys_and_times_are_found_by_their_paths(config, request_class):
    one = request_class()
    one.header.id, one.status, one.ratio, one.millis = "key é", 200, 0.5, MS
    one.header.raw = b"\0\xff"
    one.fixed = MS * 1_000_000
    one.stamp.FromMilliseconds(MS)
    messages = [one.SerializeToString(), b""]
    for options, first in (
        ({"key": "header.id", "timestamp": "millis", "timestamp_unit": TimeUnit.MS}, "key é"),
        ({"key": "header.raw", "timestamp": "fixed"}, b"\0\xff"),
        ({"key": "header.id", "timestamp": "stamp"}, "key é"),
    ):
        key = first.encode() if isinstance(first, str) else first
        assert read(config(**options), messages) == [(key, MS), (None, -1)]


def test_every_prefix_and_every_change_is_that_record_with_a_key_in_it_or_none(
    config, request_class
):
    one = request_class()
    one.header.id, one.status, one.millis = "key", 200, MS
    data = one.SerializeToString()
    reader = config(key="header.id", timestamp="millis", timestamp_unit=TimeUnit.MS)
    changed = [data[:stop] for stop in range(len(data))]
    changed += [
        data[:at] + bytes([value]) + data[at + 1 :]
        for at in range(len(data))
        for value in (0, 1, 0x7F, 0x80, 0xFF)
    ]
    for (key, time_ms), message in zip(read(reader, changed), changed, strict=True):
        assert key is None or key in message
        assert time_ms >= -1
    for stop in range(len(data)):
        assert read(reader, [data[:stop]])[0][0] in {None, b"key"}


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"descriptor_set": Path("/nowhere.pb")}, "descriptor_set", "No such file"),
        ({"descriptor_set": Path("/etc/hostname")}, "descriptor_set", "cannot be read"),
        ({"message": None}, "descriptor_set", "message says which it is: access.Header"),
        ({"message": "access.Requst"}, "descriptor_set", "did you mean access.Request?"),
        ({"key": "heder.id"}, "key", "no field heder: did you mean header?"),
        ({"key": "status"}, "key", "status must be string or bytes"),
        ({"key": "status.x"}, "key", "status is no message"),
        ({"timestamp": "ratio"}, "timestamp", "ratio must be a whole number"),
        ({"descriptor_set": None}, "message", "needs a descriptor_set"),
    ],
)
def test_what_is_wrong_is_said_by_key(config, options, key, message):
    assert message in protobuf_fields.faults(config(**options))[key]
    with pytest.raises(InputError, match=f"reader protobuf: .*{key}: "):
        make(config(**options))


def test_a_descriptor_set_without_its_imports_says_how_to_make_it(config, tmp_path):
    whole = described()
    del whole.file[0]
    (tmp_path / "access.pb").write_bytes(whole.SerializeToString())
    assert "--include_imports" in protobuf_fields.faults(config())["descriptor_set"]
