"""What the agent does now and then, called when the test says so."""

import asyncio
import os

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
from singer.observe.counters import Counters
from singer.observe.fan_out import fan_out
from singer.positions.breaker import CrashBreaker
from singer.positions.events import PositionsOverCeiling, PositionsPruned
from singer.positions.query import read_positions
from singer.positions.state_dir import StateDir
from tests.positions.parts import Heard, until


def test_more_rows_than_the_ceiling(tmp_path):
    """Those of files that are gone are dropped at once, those of files that exist never."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("a.log", "b.log", "c.log"):
        (logs / name).write_bytes(b"line\n")
    config = Config(
        agent=AgentConfig(
            state_dir=Path(str(tmp_path / "state")), rescan=Seconds(0.1), max_positions=1
        ),
        clusters={"main": ClusterConfig(name="main", embedded=EmbeddedConfig(brokers=1))},
        streams=(
            StreamConfig(
                name="s",
                paths=(Glob(str(logs / "*.log")),),
                rotate_grace=Seconds(0.05),
                publish=(DestinationConfig(name="out", cluster="main", topic="t"),),
            ),
        ),
    )
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
                lambda: not any("b.log" in os.readlink(f"/proc/self/fd/{fd}") for fd in open_fds()),
                30,
                "the deleted file is let go",
            )
            await agent._prune()
        finally:
            agent.request_stop("the test is over")
            assert await running == os.EX_OK

    state = StateDir(config.agent.state_dir)
    breaker = CrashBreaker(state, emit)
    breaker.open()
    try:
        clock = SystemClock()
        asyncio.run(main(Agent(config, state, breaker, once=False, emit=emit, clock=clock)))
    finally:
        breaker.close()
        state.close()
    assert heard.of(PositionsPruned) == [PositionsPruned(rows=1, early=1)]
    assert heard.of(PositionsOverCeiling) == [PositionsOverCeiling(rows=2, max_rows=1)]
    assert counters.gauge("positions") == 2
    rows = read_positions(state.positions)
    assert sorted(os.path.basename(row.path) for row in rows) == ["a.log", "c.log"]


def open_fds():
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]
