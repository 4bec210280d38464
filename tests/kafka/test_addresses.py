"""Files that name brokers: what is taken, and what is wrong with the others."""

from __future__ import annotations

import json

import pytest

from singer.kafka.addresses import address, addresses


@pytest.mark.parametrize(
    "data",
    [
        b"a:1\nb:2\n",
        b"a:1\r\nb:2",
        b"\xef\xbb\xbfa:1\nb:2\n",
        b"# brokers\n\n  a:1  # the first\n#c:3\nb:2\na:1\n",
        b'["a:1", "b:2"]',
        b' \n ["a:1", "b:2", "a:1"]\n',
        b'[{"host": "a", "port": 1, "rack": "x"}, {"host": "b", "port": "2"}]',
        b'{"brokers": ["a:1", "b:2"]}',
        b'{"bootstrap": [{"host": "a", "port": 1}, "b:2"], "version": 7}',
    ],
)
def test_lines_and_json_name_the_same_brokers(data: bytes) -> None:
    assert addresses(data) == ("a:1", "b:2")


def test_ipv6() -> None:
    assert addresses(b"[::1]:9092\n[fe80::2]:1") == ("[::1]:9092", "[fe80::2]:1")
    data = json.dumps([{"host": "::1", "port": 1}, {"host": "[::2]", "port": 2}])
    assert addresses(data.encode()) == ("[::1]:1", "[::2]:2")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "names no broker"),
        (b"\n# none\n", "names no broker"),
        (b"[]", "names no broker"),
        (b'{"brokers": []}', "names no broker"),
        (b"a:1\nb\n", "line 2: must be host:port, not 'b'"),
        (b"a:1 b:2", "line 1: must be host:port, not 'a:1 b:2'"),
        (b"a:0", "line 1: must be host:port"),
        (b"a:65536", "line 1: must be host:port"),
        (b"x" * 200, "…'"),
        (b"\xff\xfe", "is not UTF-8 at byte 0"),
        (b'["a:1"', "is no JSON: "),
        (b"[" * 100_000, "is no JSON: "),
        (b'{"hosts": ["a:1"]}', "must be a list, or an object with a list as brokers or bootstrap"),
        (b'{"brokers": "a:1"}', "must be a list, or an object"),
        (b'["a:1", 7]', "entry 2: must be host:port, not '7'"),
        (b'["a:1", {"host": "b"}]', "entry 2: must be host:port"),
        (b'[{"host": "b", "port": "x"}]', "entry 1: must be host:port, not 'b:x'"),
        (b'["a:1", "b:2,c:3"]', "entry 2: must be host:port"),
    ],
)
def test_one_bad_entry_makes_the_file_bad(data: bytes, fault: str) -> None:
    with pytest.raises(ValueError) as raised:
        addresses(data)
    assert fault in str(raised.value)


def test_a_topic_uri_is_no_address() -> None:
    with pytest.raises(ValueError, match="a topic URI is written as the topic in publish"):
        address("plaintext:/rn:kafka:prod:aws_us-east-1:logs:web")
