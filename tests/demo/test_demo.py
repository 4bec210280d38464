"""`singer demo` as a person runs it, and how it ends when somebody or something ends it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest

from singer.base.errors import WorldError
from singer.demo.child import Agent, State
from tests.support.waiting import wait_until

DEADLINE_SECONDS = 90.0


class Demo:
    """A demo in a process of its own, its temporary files under `tmp_path`."""

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        self.directory = tmp_path / "tmp"
        self.directory.mkdir()
        self._output = tmp_path / "output"
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "singer", "demo", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(self.directory)},
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def wait_for(self, pattern: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.output
            return re.search(pattern, self.output)

        return wait_until(found, DEADLINE_SECONDS, lambda: f"{pattern!r} in:\n{self.output}")


#: Starts a demo with these arguments; it is ended with the test.
Start: TypeAlias = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Demo] = []

    def run(*arguments: str) -> Demo:
        started.append(Demo(tmp_path, *arguments))
        return started[-1]

    yield run
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait(DEADLINE_SECONDS)


def gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.timeout(120)
def test_nothing_is_lost(start: Start) -> None:
    demo = start("--seconds", "6")
    status = demo.wait()
    output = demo.output
    assert status == 0, output
    assert re.search(
        r"^[\d,]+ lines written: lost 0, duplicated [\d,]+, out of order 0$", output, re.MULTILINE
    )
    assert "agent killed: SIGKILL" in output
    assert "agent started again" in output
    assert "agent stopped: SIGTERM, exit status 0" in output
    last = [line for line in output.splitlines() if "zone-a" in line][-1]
    assert re.search(r"zone-a [\d.]+ [kM]B zone-b 0 B zone-c 0 B", last), last
    assert re.search(r"rotations [1-9]", last), last
    assert os.listdir(demo.directory) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(start: Start, number: signal.Signals) -> None:
    demo = start("--seconds", "600", "--rate", "200")
    pid = int(demo.wait_for(r"agent started in zone-a, pid (\d+)")[1])
    demo.wait_for("first lines arrived")
    demo.process.send_signal(number)
    assert demo.wait() == 130, demo.output
    assert "interrupted" in demo.output
    assert "Traceback" not in demo.output
    assert gone(pid)
    assert os.listdir(demo.directory) == []


@pytest.mark.timeout(120)
def test_the_agent_does_not_outlive_a_killed_demo(start: Start) -> None:
    demo = start("--seconds", "600", "--rate", "200")
    pid = int(demo.wait_for(r"agent started in zone-a, pid (\d+)")[1])
    demo.wait_for("first lines arrived")
    demo.process.kill()
    demo.wait()
    wait_until(lambda: gone(pid), 10.0, "the agent is gone")


@pytest.mark.timeout(120)
def test_an_agent_that_ends_by_itself_ends_the_demo(start: Start) -> None:
    demo = start("--seconds", "600", "--rate", "200", "--keep")
    pid = int(demo.wait_for(r"agent started in zone-a, pid (\d+)")[1])
    demo.wait_for("first lines arrived")
    os.kill(pid, signal.SIGABRT)
    assert demo.wait() == os.EX_UNAVAILABLE, demo.output
    assert "run the agent: signal 6 ended it" in demo.output
    assert "event=agent-started" in demo.output  # its last lines
    (kept,) = os.listdir(demo.directory)
    assert f"kept: {demo.directory}/{kept}" in demo.output
    assert sorted(os.listdir(demo.directory / kept)) == [
        "agent.log",
        "logs",
        "singer.yaml",
        "state",
    ]


def test_an_agent_that_does_not_start_says_why(tmp_path: Path) -> None:
    agent = Agent(str(tmp_path / "absent.yaml"), str(tmp_path / "agent.log"))
    agent.start()

    def ended() -> str | None:
        try:
            agent.check()
        except WorldError as error:
            return str(error)
        return None

    try:
        message = wait_until(ended, 60.0, "the agent ends")
    finally:
        agent.close()
    assert message.startswith("run the agent: it ended by itself with status 78:\n")
    assert "absent.yaml" in message
    assert agent.state is State.RUNNING


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--seconds", "1"), "1 is not at least 2"),
        (("--seconds", "inf"), "inf is not at least 2"),
        (("--rate", "0"), "0 is not from 1 to 1e+06"),
        (("--rate", "fast"), "'fast' is not a number"),
        (("--rate", "nan"), "nan is not from"),
    ],
)
def test_what_cannot_be_asked_for(start: Start, arguments: tuple[str, ...], fault: str) -> None:
    demo = start(*arguments)
    assert demo.wait() == os.EX_USAGE
    assert fault in demo.output
