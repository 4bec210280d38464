"""The real agent as a child process: `python -m singer run`, its log and its ledger."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.support import child
from tests.support.waiting import wait_until

#: Python, numpy and librdkafka loaded on two busy cores.
START_SECONDS: Final = 60.0
#: Longer than the agent's own `drain_deadline`.
STOP_SECONDS: Final = 40.0
_PAIR: Final = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def configuration(
    *,
    state_dir: str,
    bootstrap: str,
    streams: Sequence[Mapping[str, Any]],
    agent: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One cluster, `main`, and short periods; `cluster` are more of its keys."""
    return {
        "agent": {"state_dir": state_dir, "rescan": "500ms", "start_spread": "0s", **(agent or {})},
        "clusters": {
            "main": {
                "bootstrap": bootstrap.split(","),
                "properties": {"compression.type": "lz4", **(properties or {})},
                **(cluster or {}),
            }
        },
        "streams": list(streams),
    }


def stream(
    name: str,
    paths: str | Sequence[str],
    topic: str,
    *,
    partitioner: Mapping[str, Any] | str = "sticky",
    **more: Any,
) -> dict[str, Any]:
    """One stream, published to one topic of `main`."""
    return {
        "name": name,
        "paths": [paths] if isinstance(paths, str) else list(paths),
        "publish": [{"cluster": "main", "topic": topic, "partitioner": partitioner}],
        **more,
    }


class AgentProcess:
    """One agent with its configuration file and its log; may be started again and again.

    `prefix` is a command that becomes the agent's own, such as `prlimit --nofile=100`.
    """

    topic: str  #: where its stream goes, for tests with one stream

    def __init__(
        self, directory: str, config: Mapping[str, Any], *, prefix: Sequence[str] = ()
    ) -> None:
        self._prefix = prefix
        os.makedirs(directory, exist_ok=True)
        self.config_path = os.path.join(directory, "singer.yaml")
        self.log_path = os.path.join(directory, "agent.log")
        self.output_path = os.path.join(directory, "agent.out")
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self.configure(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    # --- life ---------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None, "the agent was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration for the next start."""
        with open(self.config_path, "w", encoding="utf-8") as file:
            yaml.safe_dump(dict(config), file, sort_keys=False)

    def start(self, *arguments: str) -> None:
        """`singer run -c FILE` and `arguments`. The log goes on behind what is there."""
        assert not self.running, "the agent runs already"
        singer = [sys.executable, "-m", "singer"]
        command = [*self._prefix, *singer, "run", "-c", self.config_path, *arguments]
        with open(self.log_path, "ab") as log, open(self.output_path, "ab") as output:
            self._log_start = log.tell()
            self._process = child.spawn(command, output=output, errors=log)

    def run_once(self, deadline_seconds: float = STOP_SECONDS) -> int:
        """`singer run --once`: deliver what is there; the exit status."""
        self.start("--once")
        return self.wait(deadline_seconds)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self, deadline_seconds: float = STOP_SECONDS) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        assert self.running, f"the agent ended by itself:\n{self.tail()}"
        self._process.terminate()
        return self.wait(deadline_seconds)

    def wait(self, deadline_seconds: float) -> int:
        """Wait for the agent's own end; the exit status."""
        assert self._process is not None
        try:
            return self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"not within {deadline_seconds:g} s: the agent ends:\n{self.tail()}"
            ) from None

    # --- what it says -------------------------------------------------------------------

    def log(self) -> str:
        """What was logged since the last start."""
        with open(self.log_path, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="backslashreplace")

    def tail(self) -> str:
        return child.tail(self.log_path)

    def wait_for_log(self, pattern: str, deadline_seconds: float = START_SECONDS) -> re.Match[str]:
        """Wait until the log since the last start has `pattern` (a multi-line regex)."""
        compiled = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | None:
            match = compiled.search(self.log())
            assert match or self.running, f"the agent ended:\n{self.tail()}"
            return match

        return wait_until(
            found, deadline_seconds, lambda: f"the agent logs {pattern!r}:\n{self.tail()}"
        )

    def events(self, name: str) -> list[dict[str, str]]:
        """The pairs of all log lines of the last start with `event=name`."""
        pairs = [parse_logfmt(line) for line in self.log().splitlines() if f"event={name}" in line]
        return [found for found in pairs if found.get("event") == name]

    def assert_balanced(self) -> dict[str, int]:
        """Every account of the last clean stop is balanced and nothing is open; their sum."""
        accounts = self.events("ledger-balance")
        assert accounts, f"the agent wrote no ledger:\n{self.tail()}"
        total: dict[str, int] = {}
        for account in accounts:
            columns = {k: int(v) for k, v in account.items() if re.fullmatch(r"-?\d+", v)}
            assert columns["difference"] == 0, f"the ledger is out of balance: {account}"
            assert columns["in_flight"] == 0, f"the agent stopped with records open: {account}"
            for column, amount in columns.items():
                total[column] = total.get(column, 0) + amount
        return total


def parse_logfmt(line: str) -> dict[str, str]:
    """The pairs of one log line."""
    return {
        key: value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        if value.startswith('"')
        else value
        for key, value in _PAIR.findall(line)
    }
