from __future__ import annotations

import os
from pathlib import Path

import pytest

from singer.base.events import Event
from singer.locality.events import ZoneUnknown
from singer.locality.zone import parse, resolve


class Heard(list[Event]):
    def __call__(self, event: Event) -> None:
        self.append(event)


@pytest.mark.parametrize("spec", ["", "zone", "static:", "env", "file:", "ec3", "static:a b!"])
def test_other_notations_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse(spec)


def test_known_zones(tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_text("us-east-1a\nuse1-az1\n")
    heard = Heard()
    assert resolve("none", heard) == ()
    assert resolve("static:zone-a", heard) == ("zone-a",)
    assert resolve("env:ZONE", heard, {"ZONE": " us-east-1a,use1-az1 "}) == (
        "us-east-1a",
        "use1-az1",
    )
    assert resolve(f"file:{path}", heard) == ("us-east-1a", "use1-az1")
    assert heard == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"\n", "must name a zone, is empty"),
        (b"<html>\xff", "must name a zone, like us-east-1a"),
        (b"a" * 5000, "is larger than 4096 bytes"),
    ],
)
def test_a_file_that_tells_nothing(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "zone"
    if content is not None:
        path.write_bytes(content)
    heard = Heard()
    assert resolve(f"file:{path}", heard) == ()
    assert heard == [ZoneUnknown(locality=f"file:{path}", reason=reason)]
    assert reason in heard[0].message()
    assert heard[0].counts()[0].amount == 1


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = str(tmp_path / "zone")
    os.mkfifo(path)
    heard = Heard()
    assert resolve(f"file:{path}", heard) == ()
    assert "is a fifo, not a file" in heard[0].message()


@pytest.mark.parametrize(("spec", "reason"), [("env:ZONE", "the variable is not set")])
def test_what_is_not_there(spec: str, reason: str) -> None:
    heard = Heard()
    assert resolve(spec, heard, {}) == ()
    assert reason in heard[0].message()
