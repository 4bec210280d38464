"""The commands as processes: what they print where, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import singer
from singer.cli.main import main

CONFIG = """\
agent: {state_dir: state}
clusters: {main: {bootstrap: embedded}}
streams:
  - {name: s, paths: [%s/*.log], publish: [{cluster: main, topic: t}]}
"""


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "singer", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environ,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "singer.yaml"
    path.write_text(CONFIG % tmp_path)
    return str(path)


@pytest.mark.parametrize(
    "command",
    [
        *((), ("run",), ("check",), ("demo",)),
        *(
            ("positions", action)
            for action in ("list", "show", "set", "forget", "export", "import")
        ),
    ],
)
def test_help_has_an_example(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "example" in done.stdout
    assert f"singer {' '.join(command)}".strip() in done.stdout


def test_version() -> None:
    assert run("--version").stdout == f"singer {singer.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, singer.cli.main as m; m.parser(); print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert not {"numpy", "confluent_kafka", "yaml", "rich", "asyncio"} & set(modules)


@pytest.mark.parametrize(
    "arguments", [(), ("chek",), ("check", "--shw"), ("positions",), ("run", "--log-level", "x")]
)
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    assert "--help" in done.stderr


class TestCheck:
    def test_valid(self, config: str) -> None:
        done = run("check", "-c", config)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{config}: ok: 1 stream(s), 1 cluster(s)\n"

    def test_show(self, config: str, tmp_path: Path) -> None:
        done = run("check", "-c", config, "--show")
        assert f"state_dir: {os.path.realpath(tmp_path)}/state" in done.stdout
        assert "memory: 64MiB" in done.stdout

    def test_problems_are_lines_that_are_not_wrapped(self, config: str) -> None:
        with open(config, "a", encoding="utf-8") as file:
            file.write(f"{'x' * 300}: 1\nagnet: 1\n")
        done = run("check", "-c", config, COLUMNS="40")
        assert (done.returncode, done.stdout) == (os.EX_CONFIG, "")
        first, second = done.stderr.splitlines()
        assert first.startswith(f"{config}:5:1: xxx")
        assert second == f"{config}:6:1: agnet: unknown key: did you mean agent?"

    def test_warning(self, config: str) -> None:
        with open(config, "a", encoding="utf-8") as file:
            file.write("heartbeat: {cluster: main}\n")
        done = run("check", "-c", config)
        assert done.returncode == 0
        assert done.stderr == f"{config}: warning: not built yet, ignored: heartbeat\n"

    def test_no_file(self, tmp_path: Path) -> None:
        done = run("run", "-c", str(tmp_path / "absent"))
        assert done.returncode == os.EX_CONFIG
        assert "no such file: create it, or name another with -c FILE" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_leaves_early_is_no_error(config: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "singer", "check", "--show", "-c", config],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("singer.cli.check.run", interrupted)
    assert main(["check"]) == 130


def test_a_bug_is_a_trace_and_a_request(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(options: object) -> int:
        raise RuntimeError("oh")

    monkeypatch.setattr("singer.cli.check.run", broken)
    assert main(["check"]) == os.EX_SOFTWARE
    err = capfd.readouterr().err
    assert "RuntimeError: oh" in err
    assert "please report this" in err


class TestPositions:
    @pytest.fixture
    def state(self, tmp_path: Path) -> str:
        import asyncio

        from singer.base.clock import SystemClock
        from singer.base.events import discard
        from singer.base.position import FileIdentity, Mark, Position
        from singer.positions.sqlite import SqlitePositions

        directory = tmp_path / "state"
        directory.mkdir()

        async def fill() -> None:
            store = SqlitePositions(str(directory / "positions"), emit=discard, clock=SystemClock())
            await store.open()
            await store.sight(
                [
                    Position(
                        stream=stream,
                        destination="main/t",
                        path=path,
                        identity=FileIdentity(device=1, inode=inode, birth_ns=None),
                        offset=inode * 100,
                        tail=Mark.of(b"x"),
                        first_seen_ns=1,
                    )
                    for stream, path, inode in (
                        ("s", "/var/log/a.log", 1),
                        ("t", os.fsdecode(b"/var/log/\xff\n.log"), 2),
                    )
                ]
            )
            await store.close()

        asyncio.run(fill())
        return str(directory)

    def test_list(self, state: str, config: str) -> None:
        done = run("positions", "list", "-c", config)
        assert (done.returncode, done.stderr) == (0, "")
        header, first, second = done.stdout.splitlines()
        assert header.split("\t") == ["STREAM", "DESTINATION", "OFFSET", "UPDATED", "PATH"]
        assert first.split("\t")[:3] == ["s", "main/t", "100"]
        assert second.endswith("/var/log/\\udcff\\n.log")

    def test_list_as_json(self, state: str) -> None:
        done = run("positions", "list", "--state-dir", state, "--stream", "t", "--json")
        (row,) = map(json.loads, done.stdout.splitlines())
        assert (row["offset"], row["inode"], row["tail_bytes"]) == (200, 2, 1)
        assert os.fsencode(row["path"]) == b"/var/log/\xff\n.log"

    def test_show(self, state: str) -> None:
        done = run("positions", "show", "/var/log/a.log", "--state-dir", state)
        assert "offset             100\n" in done.stdout
        done = run("positions", "show", "/absent", "--state-dir", state)
        assert done.returncode == os.EX_USAGE
        assert "/absent: no position" in done.stderr

    def test_no_store(self, tmp_path: Path) -> None:
        done = run("positions", "list", "--state-dir", str(tmp_path))
        assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
        assert done.stderr.startswith("singer: read position store: ")
        assert len(done.stderr.splitlines()) == 1
