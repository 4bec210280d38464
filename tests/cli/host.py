"""A host with logs, a configuration and a state directory: commands between runs of an agent."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import pytest

from singer.cli.main import main
from tests.support.rig import LoopbackWriter, Rig

CONFIG = """\
agent: {state_dir: state}
clusters: {main: {bootstrap: ["127.0.0.1:1"]}, tryout: {bootstrap: embedded}}
streams:
  - name: s
    paths: [%(paths)s]
    publish:
      - {cluster: main, topic: t, name: out}
      - {cluster: main, topic: t2, name: second}
      - {cluster: tryout, topic: t}
%(more)s
"""


class Done(NamedTuple):
    status: int
    out: str
    err: str

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Host:
    """Logs in `logs/`, the stream `s` on `pattern` with the destinations `out` and `second`."""

    def __init__(
        self, directory: str, capsys: pytest.CaptureFixture[str], pattern: str = "*.log"
    ) -> None:
        self.logs = os.path.join(directory, "logs")
        self.state = os.path.join(directory, "state")
        self.config = os.path.join(directory, "singer.yaml")
        self.paths = [os.path.join(self.logs, pattern)]
        self.rigs: list[Rig] = []
        self._capsys = capsys
        os.makedirs(self.logs)
        self.configure()

    def configure(self, more: str = "") -> None:
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG % {"paths": f'"{self.paths[0]}"', "more": more})

    def log(self, name: str, *lines: bytes) -> str:
        """Append lines to a log; its path."""
        path = os.path.join(self.logs, name)
        with open(path, "ab", buffering=0) as file:
            file.write(b"".join(line + b"\n" for line in lines))
        return path

    def singer(self, *arguments: str) -> Done:
        """`singer positions ...` with this configuration."""
        self._capsys.readouterr()
        status = main(["positions", *arguments, "-c", self.config])
        return Done(status, *self._capsys.readouterr())

    def agent(self, *destinations: str, state: str | None = None, **options: object) -> Rig:
        """An agent that runs."""
        writers = {name: LoopbackWriter() for name in destinations or ("out", "second")}
        rig = Rig(state or self.state, self.paths, writers=writers, **options)
        self.rigs.append(rig)
        return rig.start()

    def run(self, *destinations: str, state: str | None = None, **options: object) -> list[bytes]:
        """What an agent delivers of what is there; to the last destination, after a clean stop."""
        rig = self.agent(*destinations, state=state, **options)
        rig.run_until_caught_up()
        assert rig.stop()
        return list(rig.writers.values())[-1].arrived

    def close(self) -> None:
        for rig in self.rigs:
            if rig.running:
                rig.kill()

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the state directory but the lock."""
        found = {}
        for name in sorted(os.listdir(self.state) if os.path.isdir(self.state) else ()):
            if name != "lock":
                with open(os.path.join(self.state, name), "rb") as file:
                    found[name] = file.read()
        return found
