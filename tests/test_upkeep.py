"""What the agent does now and then, called when the test says so."""

import asyncio
import os
from functools import partial

import pytest

from singer import agent as agent_module
from singer.agent import Agent
from singer.base.clock import SystemClock
from singer.base.config import (
    AgentConfig,
    ClusterConfig,
    Config,
    DestinationConfig,
    EmbeddedConfig,
    Glob,
    Path,
    Seconds,
    StreamConfig,
)
from singer.base.events import AgentStopping, UpkeepFailed
from singer.base.position import FileIdentity, Position
from singer.files.threads import DeviceThreads
from singer.observe.counters import Counters
from singer.observe.fan_out import fan_out
from singer.positions.breaker import CrashBreaker
from singer.positions.events import PositionsOverCeiling, PositionsPruned
from singer.positions.query import read_positions
from singer.positions.state_dir import StateDir
from tests.positions.parts import Heard, until
from tests.support.descriptors import open_below
from tests.support.fuse import hanging_mount


def test_more_rows_than_the_ceiling(tmp_path):
    """Those of files that are gone are dropped at once, those of files that exist never."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("a.log", "b.log", "c.log"):
        (logs / name).write_bytes(b"line\n")
    config = configured(tmp_path, {"s": logs}, max_positions=1)
    heard, counters = Heard(), Counters()
    emit = fan_out(heard, counters)

    async def main(agent):
        running = asyncio.create_task(agent.main())
        try:
            await until(
                lambda: counters.total("delivered_records_total") == 3, 30, "three lines delivered"
            )
            assert counters.gauge("positions") == 0  # at the start
            (logs / "b.log").unlink()
            await until(
                lambda: all("b.log" not in path for path in open_below(logs)),
                30,
                "the deleted file is let go",
            )
            await agent._prune()
        finally:
            agent.request_stop("the test is over")
            assert await running == os.EX_OK

    run(config, emit, main)
    assert heard.of(PositionsPruned) == [PositionsPruned(rows=1, early=1)]
    assert heard.of(PositionsOverCeiling) == [PositionsOverCeiling(rows=2, max_rows=1)]
    assert counters.gauge("positions") == 2
    rows = read_positions(positions_of(config))
    assert sorted(os.path.basename(row.path) for row in rows) == ["a.log", "c.log"]


def configured(tmp_path, directories, *, max_positions=1000, drain_deadline=20.0):
    """An agent with a stream for the `*.log` of each directory, by name."""
    return Config(
        agent=AgentConfig(
            state_dir=Path(str(tmp_path / "state")),
            rescan=Seconds(0.1),
            max_positions=max_positions,
            drain_deadline=Seconds(drain_deadline),
        ),
        clusters={"main": ClusterConfig(name="main", embedded=EmbeddedConfig(brokers=1))},
        streams=tuple(
            StreamConfig(
                name=name,
                paths=(Glob(os.path.join(directory, "*.log")),),
                rotate_grace=Seconds(0.05),
                publish=(DestinationConfig(name="out", cluster="main", topic="t"),),
            )
            for name, directory in directories.items()
        ),
    )


def run(config, emit, main, *, once=False):
    """`main` with an agent on its loop."""
    state = StateDir(config.agent.state_dir)
    breaker = CrashBreaker(state, emit)
    breaker.open()
    try:
        clock = SystemClock()
        asyncio.run(main(Agent(config, state, breaker, once=once, emit=emit, clock=clock)))
    finally:
        breaker.close()
        state.close()


def positions_of(config):
    return os.path.join(config.agent.state_dir, "positions")


@pytest.fixture
def mounted(tmp_path):
    """Streams in a local directory and on a mount that hangs when told to, with a file each."""
    (tmp_path / "fuse").mkdir()
    (tmp_path / "local").mkdir()
    with hanging_mount(str(tmp_path / "fuse")) as mount:
        for directory in (mount.backing, tmp_path / "local"):
            for name in ("a.log", "b.log"):
                with open(os.path.join(directory, name), "xb") as file:
                    file.write(b"line\n")
        yield mount, {"local": str(tmp_path / "local"), "remote": mount.path}


def test_rows_of_a_hung_mount_are_kept_and_those_of_others_are_looked_after(
    tmp_path, mounted, monkeypatch
):
    mount, directories = mounted
    monkeypatch.setattr(agent_module, "_PRESENT_SECONDS", 1.0)
    config = configured(tmp_path, directories, max_positions=1)
    heard, counters = Heard(), Counters()
    emit = fan_out(heard, counters)

    async def main(agent):
        running = asyncio.create_task(agent.main())
        try:
            await until(lambda: counters.total("delivered_records_total") == 4, 30, "all lines")
            await agent._positions.sight([long_gone("local"), long_gone("remote")])
            with mount.hung():
                await agent._prune()
        finally:
            agent.request_stop("the test is over")
            assert await running == os.EX_OK

    run(config, emit, main)
    assert heard.of(PositionsPruned) == [PositionsPruned(rows=1, early=1)]
    (left_out,) = heard.of(UpkeepFailed)
    assert "stream 'remote'" in left_out.message()
    assert "kept" in left_out.message()
    rows = sorted(
        (row.stream, os.path.basename(row.path)) for row in read_positions(positions_of(config))
    )
    here = [(stream, name) for stream in ("local", "remote") for name in ("a.log", "b.log")]
    assert rows == [*here, ("remote", "gone.log")]


def long_gone(stream):
    """The row of a file that is not there any more."""
    identity = FileIdentity(device=1, inode=1, birth_ns=1)
    path = f"/var/log/{stream}/gone.log"
    return Position(stream=stream, destination="out", path=path, identity=identity, offset=9)


def test_once_ends_when_all_that_is_left_is_on_a_mount_that_hangs(tmp_path, mounted, monkeypatch):
    mount, directories = mounted
    impatient = partial(DeviceThreads, patience_seconds=0.5)
    monkeypatch.setattr(agent_module, "DeviceThreads", impatient)
    config = configured(tmp_path, directories, drain_deadline=1.0)
    heard, counters = Heard(), Counters()

    async def main(agent):
        with mount.hung():
            assert await agent.main() == os.EX_TEMPFAIL

    run(config, fan_out(heard, counters), main, once=True)
    assert counters.total("delivered_records_total") == 2
    (stopping,) = heard.of(AgentStopping)
    assert "mounts that do not answer" in stopping.message()
    assert "'remote'" in stopping.message()
    assert "'local'" not in stopping.message()
