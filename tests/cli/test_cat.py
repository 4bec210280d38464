"""`singer cat`: what people see of a file."""

import gzip
import json
import os
import zlib

import pytest

from singer.cli.main import main
from tests.readers.test_idl import IDL, framed, nested
from tests.readers.thrift_frames import frame, headers, i64, string


@pytest.fixture
def cat(tmp_path, capsys):
    def run(data, *arguments, name="file"):
        path = tmp_path / name
        path.write_bytes(data)
        assert main(["cat", str(path), *arguments]) == os.EX_OK
        out = capsys.readouterr().out
        return [json.loads(line) for line in out.splitlines()]

    return run


def test_lines(cat):
    assert cat("é\n\nlast".encode() + b"\xff") == [
        {"end": 3, "value": "é"},
        {"end": 4, "value": ""},
        {"end": 9, "value": {"base64": "bGFzdP8="}},
    ]


def test_what_is_no_record_is_shown_with_its_reason(cat):
    long = b"x" * 20
    assert cat(b"a\n" + long + b"\nb\n", "--reader", "{type: text, max_record: 10}") == [
        {"end": 2, "value": "a"},
        {"end": 13, "bad": "oversized", "value": "x" * 11},  # in parts, as it is given up
        {"end": 23, "bad": "oversized", "value": "x" * 9 + "\n"},
        {"end": 25, "value": "b"},
    ]


def test_a_file_of_many_windows_and_an_empty_one(cat):
    records = cat(b"".join(b"%d\n" % number for number in range(300_000)))
    assert [record["value"] for record in records] == [str(number) for number in range(300_000)]
    assert cat(b"") == []


def test_what_is_in_a_compressed_file(cat):
    assert cat(gzip.compress(b"a\nb\n"), name="x.log.gz") == [
        {"end": 2, "value": "a"},
        {"end": 4, "value": "b"},
    ]


def test_thrift(cat):
    data = frame(b"hello", key=b"k", timestamp_ns=8_000_000, more=headers()) + b"garbage"
    record, *bad = cat(data, "--reader", "thrift")
    assert record["key"] == "k"
    assert record["timestamp_ms"] == 8
    assert record["value"]["message"] == "hello"
    assert record["value"]["loggingAuditHeaders"]["host"] == "host"
    assert {each["bad"] for each in bad} == {"no Thrift frame"}
    assert "".join(each["value"] for each in bad) == "garbage"


def test_thrift_checksums(cat):
    data = frame(b"a", more=i64(4, zlib.crc32(b"a"))) + frame(b"b", more=i64(4, 1))
    good, bad = cat(data, "--reader", "{type: thrift, checksum: true}")
    assert good["value"]["message"] == "a"
    assert bad["bad"] == "checksum does not match"


def test_structs_of_others(cat, tmp_path):
    idl = tmp_path / "access.thrift"
    idl.write_text(IDL)
    data = framed(nested(1, string(1, b"id")) + i64(7, 5))
    # What is described as a string, and is none.
    data += framed(nested(1, i64(1, 5)) + i64(7, 6))
    first, second = cat(data, "--reader", "thrift", "--idl", str(idl), "--struct", "Request")
    assert first["value"] == {"header": {"id": "id"}, "seconds": 5}
    assert second["value"] == {"header": {}, "seconds": 6}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere.log"], os.EX_UNAVAILABLE, "read nowhere.log: no such file"),
        (["x", "--reader", "thrft"], os.EX_CONFIG, "must be one of text, multiline"),
        (["x", "--reader", "{type: text, max_recrd: 1}"], os.EX_CONFIG, "did you mean max_record?"),
        (["x", "--reader", ""], os.EX_CONFIG, "is empty"),
        (["x", "--reader", "{"], os.EX_CONFIG, "yaml syntax"),
        (["x", "--reader", "thrift", "--idl", "/no.thrift"], os.EX_CONFIG, "No such file"),
        (["x", "--idl", "/no.thrift"], os.EX_CONFIG, "idl: unknown key"),
    ],
)
def test_what_cannot_be_shown(capsys, arguments, status, message):
    assert main(["cat", *arguments]) == status
    assert message in capsys.readouterr().err
