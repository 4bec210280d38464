"""Files that are no YAML, or not the YAML that is meant: one clear message each."""

from __future__ import annotations

import ctypes
import os

import pytest

from singer.base.errors import ConfigError
from singer.config.loader import load
from tests.config.files import MINIMAL, Folder

NOBODY = 65534


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("streams: [1\n", "2:1: yaml syntax: while parsing a flow sequence"),
        ("a:\n\tb: 1\n", "2:1: yaml syntax: while scanning for the next token"),
        ("a: b: c\n", "1:5: yaml syntax: mapping values are not allowed here"),
        ("--- {}\n--- {}\n", "2:1: yaml syntax: expected a single document"),
        ("streams: *there\n", "1:10: yaml syntax: found undefined alias 'there'"),
        ("streams: &a [*a]\n", "1:10: an alias (*) stands inside its own anchor (&)"),
        (
            "streams: !python/object:os.system []\n",
            "1:10: yaml tag !python/object:os.system is not",
        ),
        ("a: !!binary aGk=\n", "1:4: yaml tag !!binary is not supported: remove it"),
        ("[" * 100 + "]" * 100, "1:66: nested deeper than 64 levels"),
        ("[" * 100_000, "1:1: nested deeper than 64 levels"),
        ("a: 1\nb: \x07\n", "2:4: character U+0007 is not allowed: remove it"),
        (b"a: 1\nb: caf\xe9\n", "2:7: byte 0xe9 is not UTF-8: save the file as UTF-8"),
        ("", "1:1: streams: no stream is configured"),
        ("# nothing yet\n", "1:1: streams: no stream is configured"),
        ("just text\n", "1:1: must be a mapping (key: value), not a single value"),
        ("- a\n", "1:1: must be a mapping (key: value), not a list"),
    ],
)
def test_broken_files(folder: Folder, text: str | bytes, expected: str) -> None:
    assert folder.problem(text).startswith(f"singer.yaml:{expected}")


def test_alias_bomb_is_bounded(folder: Folder) -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join(['*' + before] * 10)}]")
    assert "aliases stand for more than" in folder.problem("\n".join(lines))


def test_byte_order_mark_is_accepted(folder: Folder) -> None:
    assert folder.load(b"\xef\xbb\xbf" + MINIMAL.encode()).config.streams


def test_windows_line_ends_are_accepted(folder: Folder) -> None:
    assert folder.load(MINIMAL.replace("\n", "\r\n").encode()).config.streams


def test_anchors_and_merge_keys(folder: Folder) -> None:
    config = folder.load(
        """\
        clusters: {main: {bootstrap: [a:1]}, canary: {bootstrap: [b:1]}}
        streams:
          - &base
            name: one
            paths: &paths [/var/log/one.log]
            start: end
            publish: &publish [{cluster: main, topic: t}]
          - {<<: *base, name: two, start: beginning}
          - {name: three, paths: *paths, publish: *publish}
        """
    ).config
    one, two, three = config.streams
    assert (two.name, two.paths, two.start.value) == ("two", one.paths, "beginning")
    assert three.publish == one.publish


class TestWhatIsNoFile:
    def test_absent(self, folder: Folder) -> None:
        (line,) = folder.problems()
        assert line.startswith("singer.yaml:1:1: open configuration: no such file: create it")

    def test_directory(self, folder: Folder) -> None:
        os.mkdir(folder.main)
        assert folder.problems() == [
            "singer.yaml:1:1: open configuration: is a directory, not a file"
        ]

    def test_fifo_does_not_hang(self, folder: Folder) -> None:
        os.mkfifo(folder.main)
        assert folder.problems() == ["singer.yaml:1:1: open configuration: is a fifo, not a file"]

    def test_endless_device(self) -> None:
        with pytest.raises(ConfigError, match="is a device, not a file"):
            load("/dev/zero", {})

    def test_unreadable(self, folder: Folder) -> None:
        folder.write(MINIMAL)
        os.chmod(folder.main, 0)
        # Root reads everything: look at the file as somebody else (setfsuid(2) is per thread).
        libc = ctypes.CDLL(None)
        root = os.geteuid() == 0
        if root:
            libc.setfsuid(NOBODY)
        try:
            problems = folder.problems()
        finally:
            if root:
                libc.setfsuid(0)
        assert problems == ["singer.yaml:1:1: open configuration: permission denied"]
