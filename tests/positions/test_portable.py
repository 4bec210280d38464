"""Exports: everything comes back, and what is not whole is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.errors import InputError
from singer.positions.portable import dump, parse
from singer.positions.schema import Scan
from tests.positions.parts import a_position
from tests.positions.test_sqlite import NAMES, POSITIONS, SIZE

SCANS = st.builds(Scan, NAMES, NAMES, SIZE)


def lines_of(rows, scans):
    return [line.encode() + b"\n" for line in dump(rows, lambda: scans, singer="1")]


@given(st.lists(POSITIONS, max_size=3), st.lists(SCANS, max_size=2))
def test_everything_comes_back(rows, scans):
    lines = lines_of(rows, scans)
    assert all(line.isascii() and line.count(b"\n") == 1 for line in lines)
    found = parse(lines, "x")
    assert found.rows == tuple(replace(row, id=0) for row in rows)
    assert found.scans == tuple(scans)


def test_paths_are_text_where_they_can_be():
    good, bad = a_position(path="/var/log/ü.log"), a_position(path="/var/log/\udcff.log")
    first, second = map(json.loads, lines_of([good, bad], [])[1:3])
    assert first["path"] == good.path
    assert second["path_hex"] == b"/var/log/\xff.log".hex()
    assert "path" not in second


def test_scans_are_read_after_the_rows():
    said = []

    def rows():
        yield a_position()
        said.append("rows")

    def scans():
        said.append("scans")
        return []

    list(dump(rows(), scans))
    assert said == ["rows", "scans"]


def test_unknown_keys_are_for_a_later_version():
    lines = [
        json.dumps(json.loads(line) | {"colour": "red"}).encode()
        for line in lines_of([a_position()], [Scan("s", "d", 1)])
    ]
    assert parse(lines, "x") == parse(lines_of([a_position()], [Scan("s", "d", 1)]), "x")


LINES = lines_of([a_position()], [Scan("s", "d", 1)])


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ([], "line 0"),
        (LINES[:-1], "line 3: the export was cut off here"),
        (LINES[1:], "line 1: it is not one whole export"),
        (LINES + LINES, "line 5: it is not one whole export"),
        (LINES[:1] + LINES[2:], "line 3: lines are missing before it"),
        ([LINES[0], LINES[1][:40], *LINES[2:]], "line 2: it is not a line of an export"),
        ([b"\x1f\x8b\x08\0"], "line 1: it is not a line of an export"),
        ([b"[" * 100_000], "line 1: it is not a line of an export"),
        ([b"[]"], "line 1: a JSON object was expected"),
        ([b'{"type": "header", "format": 2}'], "format 2, this singer reads 1"),
        ([LINES[0], b'{"type": "colour"}'], "unknown type 'colour'"),
    ],
)
def test_what_is_no_export_is_refused(lines, where):
    with pytest.raises(InputError, match="import positions: x: ") as caught:
        parse(lines, "x")
    assert where in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stream", 1),
        ("stream", "\udcff"),
        ("destination", None),
        ("path", ["/"]),
        ("path_hex", "zz"),
        ("device", -1),
        ("inode", 1 << 64),
        ("inode", "7"),
        ("birth_ns", 1.0),
        ("offset", True),
        ("offset", -1),
        ("offset", 1 << 63),
        ("tail", "00"),
        ("tail", {"length": 1}),
        ("fingerprint", {"length": -1, "digest": ""}),
        ("resume", "0"),
        ("first_seen_ns", None),
    ],
)
def test_wrong_values_are_named(key, value):
    record = json.loads(LINES[1]) | {key: value}
    with pytest.raises(InputError, match="line 2"):
        parse([LINES[0], json.dumps(record).encode(), *LINES[2:]], "x")
