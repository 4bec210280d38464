from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.config import Secret, Start
from singer.base.events import Count, Event, Severity
from singer.observe import logfmt
from singer.observe.counters import Counters
from singer.observe.fan_out import fan_out
from singer.observe.log import BURST, INTERVAL_SECONDS, MAX_LINE_BYTES, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRotated(Event):
    path: str = "/var/log/a.log"
    offset: int = 7

    def message(self) -> str:
        return "file was rotated"

    def counts(self) -> tuple[Count, ...]:
        return (Count("rotated_total", 2, (("stream", "a"), ("cluster", "c"))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerDown(Event):
    severity: ClassVar[Severity] = Severity.ERROR

    def message(self) -> str:
        return "broker is down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail(Event):
    severity: ClassVar[Severity] = Severity.DEBUG

    def message(self) -> str:
        return "detail"


class Silent(Event):
    pass


class Faulty(Event):
    def message(self) -> str:
        raise RuntimeError("no message")


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ns(self) -> int:
        return int((1_769_860_800 + self.seconds) * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class Pipe:
    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def lines(self) -> list[str]:
        data = b""
        try:
            while part := os.read(self.read_end, 1 << 20):
                data += part
        except BlockingIOError:
            pass
        return data.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.read_end)
    os.close(made.write_end)


def test_a_line(pipe: Pipe) -> None:
    Log(descriptor=pipe.write_end, clock=FakeClock())(FileRotated())
    (line,) = pipe.lines()
    assert line == (
        'time=2026-01-31T12:01:40.000Z level=info event=file-rotated msg="file was rotated" '
        "path=/var/log/a.log offset=7"
    )


def test_threshold_and_events_without_a_message(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end, threshold=Severity.ERROR, clock=FakeClock())
    for event in (FileRotated(), Detail(), Silent(), BrokerDown()):
        log(event)
    assert [line.split()[2] for line in pipe.lines()] == ["event=broker-down"]


def test_rate_limit_is_per_class_and_tells_what_it_left_out(pipe: Pipe) -> None:
    clock = FakeClock()
    log = Log(descriptor=pipe.write_end, clock=clock)
    for _ in range(BURST + 5):
        log(FileRotated())
    log(BrokerDown())
    lines = pipe.lines()
    assert sum("event=file-rotated" in line for line in lines) == BURST
    assert sum("event=broker-down" in line for line in lines) == 1
    clock.seconds += INTERVAL_SECONDS
    log(FileRotated())
    log(FileRotated())
    told, line = pipe.lines()
    assert told.endswith('event=file-rotated msg="lines left out by the rate limit" suppressed=5')
    assert "offset=7" in line
    log.close()
    assert pipe.lines()[0].endswith("suppressed=1")


def test_a_class_that_fell_silent_is_told_by_the_next_event(pipe: Pipe) -> None:
    clock = FakeClock()
    log = Log(descriptor=pipe.write_end, clock=clock)
    for _ in range(BURST + 1):
        log(FileRotated())
    pipe.lines()
    clock.seconds += 2 * INTERVAL_SECONDS
    log(BrokerDown())
    told, line = pipe.lines()
    assert told.endswith("suppressed=1")
    assert "event=broker-down" in line


def test_never_raises(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end, clock=FakeClock())
    log(Faulty())
    (line,) = pipe.lines()
    assert "level=error event=log-line-failed" in line
    assert "Faulty: RuntimeError" in line


def test_a_reader_that_went_away() -> None:
    pipe = Pipe()
    log = Log(descriptor=pipe.write_end, clock=FakeClock())
    os.close(pipe.read_end)
    log(FileRotated())
    os.close(pipe.write_end)
    log(FileRotated())


def test_a_full_pipe_drops_lines_instead_of_waiting(pipe: Pipe) -> None:
    os.set_blocking(pipe.write_end, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe.write_end, b"x" * 4096)
    os.set_blocking(pipe.write_end, True)
    log = Log(descriptor=pipe.write_end, clock=FakeClock())
    writer = threading.Thread(target=lambda: [log(FileRotated()) for _ in range(3)], daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    pipe.lines()
    log(FileRotated())
    (line,) = pipe.lines()
    assert line.endswith("dropped=3")


def test_long_lines_are_cut(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end, clock=FakeClock())
    log(FileRotated(path="/é" * MAX_LINE_BYTES))
    (line,) = pipe.lines()
    assert len(line.encode()) < MAX_LINE_BYTES
    assert line.endswith("…")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain/path-1.log", "plain/path-1.log"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("a=b", '"a=b"'),
        ("line\nfeed\x1b[31m", '"line\\nfeed\\x1b[31m"'),
        (os.fsdecode(b"caf\xe9"), '"caf\\xe9"'),
        ("café", '"café"'),
        (Secret("hunter2"), "***"),
        ((Secret("hunter2"), "x"), "***,x"),
        (None, "null"),
        (True, "true"),
        (0.25, "0.25"),
        (Start.END, "end"),
        (Severity.ERROR, "40"),
    ],
)
def test_values(value: object, expected: str) -> None:
    assert logfmt.value(value) == expected


@given(st.text() | st.binary().map(os.fsdecode))
def test_any_value_is_one_printable_line(text: str) -> None:
    assert logfmt.value(text).isprintable()


@pytest.mark.parametrize(
    ("name", "expected"), [("FileRotated", "file-rotated"), ("TLSFailed", "tls-failed")]
)
def test_event_names(name: str, expected: str) -> None:
    assert logfmt.event_name(type(name, (Event,), {})) == expected


def test_counters_and_fan_out() -> None:
    first, second = Counters(), Counters()
    emit = fan_out(first, second)
    emit(FileRotated())
    emit(FileRotated())
    emit(Silent())
    expected = {("rotated_total", (("cluster", "c"), ("stream", "a"))): 4}
    assert first.snapshot() == second.snapshot() == expected
    assert (first.total("rotated_total"), first.total("other")) == (4, 0)
