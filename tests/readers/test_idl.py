"""Structs of others: the key and the time by the paths of their fields."""

import struct

import numpy as np
import pytest

from singer.base.config import ByteSize, Path, Payload, ThriftReaderConfig, TimeUnit
from singer.base.errors import InputError
from singer.base.ports import State
from singer.readers import idl
from singer.readers.making import make
from tests.readers.thrift_frames import i64, string

IDL = """
namespace py access
typedef i64 Millis
struct Host { 1: string name, 4: binary rack }
struct Header { 1: required string id, 2: Host host, 3: Millis at }
union Body { 1: i32 status, 2: string text }
struct Request {
  1: optional Header header
  2: optional Body body
  3: list<string> tags
  4: map<string, Header> others
  7: i64 seconds
}
struct Empty {}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "access.thrift"
    path.write_text(IDL)

    def make_config(**options):
        given = {"idl": Path(str(path)), "struct": "Request", **options}
        return ThriftReaderConfig(max_record=ByteSize(4096), **given)

    return make_config


def framed(fields):
    fields += b"\0"
    return struct.pack(">i", len(fields)) + fields


def nested(number, fields):
    return struct.pack(">bh", 12, number) + fields + b"\0"


def read(config, data):
    """(key, time in ms) of each record, and the bytes of the structs."""
    batch = make(config).frame(np.frombuffer(data, np.uint8), 0, State.FINAL).batch
    keys = [batch.key(row) for row in range(len(batch))]
    payloads = [batch.payload(row) for row in range(len(batch))]
    return list(zip(keys, batch.timestamps_ms.tolist(), strict=True)), payloads


def header(key, at, rack=None):
    host = string(1, b"web-1") + (b"" if rack is None else string(4, rack))
    return nested(1, string(1, key) + nested(2, host) + i64(3, at))


TAGS = struct.pack(">bhbi", 15, 3, 11, 2) + b"\0\0\0\x01a\0\0\0\0"
OTHERS = struct.pack(">bhbbi", 13, 4, 11, 12, 1) + b"\0\0\0\x01x" + string(1, b"not this") + b"\0"


@pytest.mark.parametrize("more", [b"", TAGS, OTHERS, TAGS + OTHERS])
def test_key_and_time_are_found_by_their_paths(config, more):
    data = [
        framed(header(b"first", 1_700_000_000_001, rack=b"r1") + more),
        framed(more + nested(2, string(2, b"text")) + header(b"second", 2)),
        framed(more + i64(7, 5)),
    ]
    where = {"key": "header.id", "timestamp": "header.at", "timestamp_unit": TimeUnit.MS}
    found, payloads = read(config(**where), b"".join(data))
    assert found == [(b"first", 1_700_000_000_001), (b"second", 2), (None, -1)]
    assert payloads == [each[4:] for each in data]
    found, _ = read(config(key="header.host.rack"), b"".join(data))
    assert found == [(b"r1", -1), (None, -1), (None, -1)]


@pytest.mark.parametrize(
    ("unit", "value", "milliseconds"),
    [
        (TimeUnit.S, 1_700_000_000, 1_700_000_000_000),
        (TimeUnit.S, 2**63 - 1, -1),
        (TimeUnit.MS, 7, 7),
        (TimeUnit.US, 7_999, 7),
        (TimeUnit.NS, 7_999_999, 7),
        (TimeUnit.NS, -5, -1),
    ],
)
def test_times_in_all_units(config, unit, value, milliseconds):
    found, _ = read(config(timestamp="seconds", timestamp_unit=unit), framed(i64(7, value)))
    assert found == [(None, milliseconds)]


def test_bytes_that_begin_no_field_of_the_struct_are_passed_over(config):
    good = framed(header(b"k", 1))
    found, _ = read(config(key="header.id"), good + framed(string(9, b"no such field")) + good)
    assert [key for key, _ in found] == [b"k", b"k"]


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"idl": Path("/dev/null")}, "idl", "should end with .thrift"),
        ({"struct": "Requst"}, "idl", "has no struct Requst: did you mean Request?"),
        ({"struct": "Empty"}, "idl", "has no struct Empty"),
        ({"idl": Path("/nowhere.thrift")}, "idl", "No such file"),
        ({"key": "heder.id"}, "key", "no field heder: did you mean header?"),
        ({"key": "header.host"}, "key", "host must be string or binary"),
        ({"key": "tags"}, "key", "tags must be string or binary"),
        ({"key": "tags.x"}, "key", "tags is no struct"),
        ({"key": ""}, "key", "there is no field"),
        ({"timestamp": "header.id"}, "timestamp", "id must be i64"),
        ({"payload": Payload.MESSAGE}, "payload", "must be frame"),
        ({"idl": None}, "struct", "needs an idl"),
        ({"idl": None, "key": "x"}, "key", "needs an idl"),
    ],
)
def test_what_is_wrong_is_said_by_key(config, options, key, message):
    _, faults = idl.look(config(**options))
    assert message in faults[key]
    with pytest.raises(InputError, match=f"reader thrift: .*{key}: "):
        make(config(**options))


def test_the_struct_that_no_other_has_in_it_need_not_be_named(config, tmp_path):
    (tmp_path / "access.thrift").write_text(IDL.replace("struct Empty {}", ""))
    found, faults = idl.look(config(struct=None, key="header.id"))
    assert (found.key, faults) == ((1, 1), {})
    (tmp_path / "access.thrift").write_text("struct A { 1: i32 a } struct B { 1: i32 b }")
    _, faults = idl.look(config(struct=None))
    assert faults["idl"] == "say which struct it is: A, B"


@pytest.mark.parametrize("text", ["struct {", "struct X { 1: Foo a }", 'include "no.thrift"', "\0"])
def test_an_idl_that_is_none(config, tmp_path, text):
    (tmp_path / "access.thrift").write_text(text)
    _, faults = idl.look(config())
    assert "cannot be read" in faults["idl"]
