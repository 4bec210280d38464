"""Named groups of paths, whatever bytes they are of."""

import os

import pytest

from singer.files.pathpattern import PathPattern


def test_groups():
    pattern = PathPattern("^/srv/(?P<service>[^/]+)/(logs-(?P<env>[a-z]+)/)?")
    assert pattern.names == {"service", "env"}
    assert pattern.groups("/srv/web/logs-prod/x.log") == {"service": "web", "env": "prod"}
    assert pattern.groups("/srv/web/x.log") == {"service": "web", "env": None}
    assert pattern.groups("/var/log/x.log") == {}


def test_names_that_are_not_utf8():
    pattern = PathPattern("/é(?P<a>.)(?P<b>[^/]*)")
    path = os.fsdecode("/é".encode() + b"\xff\xfe\x80/x")
    found = pattern.groups(path)
    assert {name: os.fsencode(value) for name, value in found.items()} == {
        "a": b"\xff",
        "b": b"\xfe\x80",
    }


def test_a_path_made_to_be_hard_to_match():
    assert PathPattern("(a*)*b(?P<x>.)").groups("/" + "a" * 100_000) == {}


@pytest.mark.parametrize("text", ["(", "(?<=a)b", r"(a)\1", "[z-a]"])
def test_patterns_that_re2_does_not_take(text):
    with pytest.raises(ValueError, match="must be a regular expression that RE2 takes: "):
        PathPattern(text)
