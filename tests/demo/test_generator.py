"""The demo's application: what is in its files, and what rotation makes of them."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from singer.base.config import MultilineReaderConfig, Regex, TextReaderConfig, ThriftReaderConfig
from singer.base.errors import WorldError
from singer.base.ports import State
from singer.demo import lines
from singer.demo.generator import Generator, LogFile
from singer.readers.making import make
from tests.support.waiting import wait_until

NOW_NS = 1_767_323_045_678_901_000


def test_lines_say_what_they_are() -> None:
    data = lines.compose("app-1", 7, 3, NOW_NS, random.Random(1))
    records = data.split(b"\n")
    assert records.pop() == b""
    assert records[0].startswith(b"2026-01-02T03:04:05.678901Z app-1 #0000000007 ")
    found = lines.identify(records, ("app-0", "app-1"))
    assert found.files.tolist() == [1, 1, 1]
    assert found.numbers.tolist() == [7, 8, 9]
    assert found.written_us.tolist() == [NOW_NS // 1000] * 3
    assert found.foreign == 0


@pytest.mark.parametrize("form", lines.Format)
def test_what_is_written_is_what_the_reader_makes_of_it(form: lines.Format) -> None:
    data = lines.compose("app-1", 7, 3, NOW_NS, random.Random(1), form=form)
    config = {
        lines.Format.TEXT: TextReaderConfig(),
        lines.Format.MULTILINE: MultilineReaderConfig(start=Regex("^[0-9]")),
        lines.Format.THRIFT: ThriftReaderConfig(),
    }[form]
    batch = make(config).frame(np.frombuffer(data, np.uint8), 0, State.FINAL).batch
    found = lines.identify([batch.payload(row) for row in range(len(batch))], ("app-1",))
    assert (found.numbers.tolist(), found.foreign) == ([7, 8, 9], 0)


def test_other_records_are_foreign() -> None:
    data = lines.compose("app-1", 0, 1, NOW_NS, random.Random(1))
    found = lines.identify([b"", b"hello", data[5:], data], ("app-1",))
    assert (found.numbers.tolist(), found.foreign) == ([0], 3)
    assert lines.identify([data], ("app-0",)).foreign == 1


def test_no_records_at_all() -> None:
    found = lines.identify([], ("app-0",))
    assert (len(found.files), len(found.written_us), found.foreign) == (0, 0, 0)


def numbers_in(path: str) -> list[int]:
    with open(path, "rb") as file:
        records = file.read().splitlines()
    name = os.path.basename(path).split(".")[0]
    found = lines.identify(records, (name,))
    assert found.foreign == 0
    return found.numbers.tolist()


def test_rotation_renames_and_goes_on_counting(tmp_path: Path) -> None:
    path = str(tmp_path / "app-0.log")
    log = LogFile(path, random.Random(1))
    log.write(3)
    log.rotate(0)
    log.write(2)
    log.rotate(0)
    log.write(1)
    log.close()
    assert numbers_in(path) == [5]
    assert numbers_in(f"{path}.1") == [3, 4]
    assert numbers_in(f"{path}.2") == [0, 1, 2]
    assert log.lines == 6
    assert log.nbytes == sum(os.path.getsize(tmp_path / name) for name in os.listdir(tmp_path))


def test_only_delivered_files_are_deleted(tmp_path: Path) -> None:
    path = str(tmp_path / "app-0.log")
    log = LogFile(path, random.Random(1), keep=2)
    for _ in range(4):
        log.write(10)
        log.rotate(9)  # one line of the oldest is missing
    assert sorted(os.listdir(tmp_path)) == ["app-0.log"] + [f"app-0.log.{n}" for n in range(1, 5)]
    log.write(10)
    log.rotate(25)  # the two oldest arrived
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["app-0.log"] + [f"app-0.log.{n}" for n in range(1, 4)]
    assert numbers_in(f"{path}.3") == list(range(20, 30))


def test_what_the_disk_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"open demo log .*app-0.log: no such file.*TMPDIR"):
        LogFile(str(tmp_path / "absent" / "app-0.log"), random.Random(1))


def test_writes_at_a_rate_and_rotates(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"app-{n}.log") for n in range(2)]
    generator = Generator(
        paths,
        rate=2000,
        complete=lambda: (0, 0),
        rng=random.Random(1),
        rotate_seconds=0.2,
    )
    assert generator.written.lines == (1, 1)
    generator.begin()
    began = datetime.now(UTC)
    try:
        wait_until(lambda: generator.written.rotations >= 4, 30.0, "four rotations")
    finally:
        written = generator.end()
    took = (datetime.now(UTC) - began).total_seconds()
    generator.check()
    assert 2 < sum(written.lines) <= 2 + 2000 * (took + 1)
    for path, count in zip(paths, written.lines, strict=True):
        rotated = len(list(tmp_path.glob(f"{os.path.basename(path)}.*")))
        assert rotated >= 2
        chain = [f"{path}.{number}" for number in range(rotated, 0, -1)] + [path]
        assert [number for each in chain for number in numbers_in(each)] == list(range(count))


def test_a_failure_in_the_thread_is_raised_by_check(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    path = str(directory / "app-0.log")
    generator = Generator(
        [path], rate=1000, complete=lambda: (0,), rng=random.Random(1), rotate_seconds=0.05
    )
    os.rename(directory, tmp_path / "moved")

    def failed() -> str | None:
        try:
            generator.check()
        except WorldError as error:
            return str(error)
        return None

    generator.begin()
    try:
        message = wait_until(failed, 30.0, "the rotation fails")
    finally:
        generator.end()
    assert message.startswith(f"rotate demo log {path}: no such file")
