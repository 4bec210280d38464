"""The file that names the brokers: the last good one is in force, also at the next start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from singer.bootstrap import BootstrapFile
from singer.kafka.events import BootstrapRead, BootstrapUnusable


@pytest.fixture
def file(tmp_path: Path) -> BootstrapFile:
    return begun(tmp_path)


def begun(tmp_path: Path, path: str = "brokers") -> BootstrapFile:
    made = BootstrapFile("main", str(tmp_path / path), memory=str(tmp_path / "memory"))
    made.recall()
    return made


def put(path: Path, text: str) -> None:
    """As one should: whole, in one moment."""
    (path / "new").write_text(text)
    os.replace(path / "new", path / "brokers")


def test_it_is_read_when_it_is_another_one(file: BootstrapFile, tmp_path: Path) -> None:
    put(tmp_path, "a:1\n")
    assert file.look() == BootstrapRead(cluster="main", path=file.path, brokers="a:1")
    assert file.look() is None
    put(tmp_path, '["b:1", "c:1"]')
    said = file.look()
    assert said is not None
    assert said.message() == f"brokers of cluster main: {file.path} names b:1,c:1"
    assert file.brokers == ("b:1", "c:1")


@pytest.mark.parametrize(
    ("text", "cause"),
    [("", "names no broker"), ('["a:1"', "is no JSON"), (None, "no such file")],
)
def test_broken_empty_or_gone_leaves_the_last_good_one(
    file: BootstrapFile, tmp_path: Path, text: str | None, cause: str
) -> None:
    put(tmp_path, "a:1\nb:1\n")
    file.look()
    if text is None:
        (tmp_path / "brokers").unlink()
    else:
        put(tmp_path, text)
    said = file.look()
    assert isinstance(said, BootstrapUnusable)
    assert cause in said.message()
    assert "those of before are used (a:1,b:1)" in said.message()
    assert [gauge.value for gauge in said.gauges()] == [0.0]
    assert file.look() is None, "it is said once"
    assert file.brokers == ("a:1", "b:1")
    again = begun(tmp_path)  # another start
    assert again.brokers == ("a:1", "b:1")
    assert isinstance(again.look(), BootstrapUnusable)
    assert again.brokers == ("a:1", "b:1")
    put(tmp_path, "c:1")
    mended = again.look()
    assert mended is not None
    assert [gauge.value for gauge in mended.gauges()] == [1.0]
    assert again.brokers == ("c:1",)


def test_the_first_start_without_a_file_knows_none(file: BootstrapFile) -> None:
    said = file.look()
    assert said is not None
    assert "no broker is known, and the cluster's streams wait" in said.message()
    assert file.brokers == ()


def test_what_another_file_said_is_not_remembered(file: BootstrapFile, tmp_path: Path) -> None:
    put(tmp_path, "a:1")
    file.look()
    assert begun(tmp_path, "other").brokers == ()
    (tmp_path / "memory").write_text('{"path": 1, "brokers": [')
    assert begun(tmp_path).brokers == ()
    (tmp_path / "memory").write_text("[]")
    assert begun(tmp_path).brokers == ()


def test_a_memory_that_cannot_be_written_hurts_nobody(tmp_path: Path) -> None:
    file = BootstrapFile("main", str(tmp_path / "brokers"), memory=str(tmp_path / "no" / "memory"))
    put(tmp_path, "a:1")
    assert isinstance(file.look(), BootstrapRead)
    assert file.brokers == ("a:1",)
