"""Rotated names."""

from __future__ import annotations

import pytest

from singer.files.siblings import Compression, compression, is_sibling, may_be_rotated


@pytest.mark.parametrize(
    "suffix",
    [
        ".1",
        ".10",
        ".001",
        "-20240131",
        ".20240131",
        "-2024-01-31",
        ".2024-01-31",
        ".2024-01",
        "-2024013123",
        ".2024-01-31-23",
        ".2024-01-31_23-59-58",
        "-2024-01-31T23-59-58.123",
        ".2024-01-31T23:59:58Z",
        ".2024-01-31.7",
        "-20240131-1706745599",
        ".1706745599",
        "-1706745599",
        ".1706745599123",
    ],
)
@pytest.mark.parametrize("end", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_rotated_names_are_siblings(suffix, end):
    assert is_sibling("app.log" + suffix + end, "app.log")
    assert is_sibling("/var/app.log" + suffix + end, "/var/app.log")
    assert may_be_rotated("app.log" + suffix + end)


@pytest.mark.parametrize(
    "name",
    [
        "app.log",
        "app.log2",
        "app.log.bak",
        "app.log.1.bak",
        "app.log-old",
        "app.log-1",
        "app.log.",
        "app.log.gz",
        "app.log.1.lz4",
        "app.log.1.gz.gz",
        "app.log.1/x",
        "app.log-20241331",
        "app.log-20240132",
        "app.log.1.",
        "app.log.1\n",
        "app.log.²",
        "app_log.1",
        "app.lo.1",
        "xapp.log.1",
    ],
)
def test_other_names_are_not(name):
    assert not is_sibling(name, "app.log")


def test_the_base_is_taken_literally():
    assert is_sibling("a+b[1].log.1", "a+b[1].log")
    assert not is_sibling("axlog.1", "a.log")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/a/app.log.1.gz", Compression.GZIP),
        ("app.log-20240131.zst", Compression.ZSTD),
        ("app.log.1.bz2", Compression.BZIP2),
        ("app.log.1.xz", Compression.XZ),
        ("app.log.1", None),
        ("gz", None),
        ("app.log.gz.1", None),
    ],
)
def test_compression_goes_by_the_end_of_the_name(name, expected):
    assert compression(name) is expected
