"""Catching up: whose backlog goes next, how fast, and that what is fresh does not wait for it."""

import asyncio
import time

import pytest

from singer.base.clock import SystemClock
from singer.base.config import ByteSize, CatchUpConfig, CatchUpOrder
from singer.catch_up import CatchUp
from tests.support.logs import append

RATE = 1 << 20
#: Ten times a second's worth of a tenth: what goes at once is gone with the first.
PIECE = 1 << 18


def config(order=CatchUpOrder.OLDEST_FIRST, rate=RATE):
    return CatchUpConfig(max_bytes_per_second=ByteSize(rate), order=order)


@pytest.mark.parametrize(
    ("order", "expected"),
    [(CatchUpOrder.OLDEST_FIRST, [9, 1, 5, 7]), (CatchUpOrder.NEWEST_FIRST, [9, 7, 5, 1])],
)
def test_those_that_wait_go_in_order(order, expected):
    async def work():
        line, went = CatchUp(config(order), SystemClock()), []

        async def go(written_ns):
            await line.turn(written_ns, PIECE)
            went.append(written_ns)

        begun = time.monotonic()
        # The first finds nobody and a full bucket.
        await asyncio.gather(*(go(written_ns) for written_ns in (9, 5, 7, 1)))
        assert went == expected
        assert time.monotonic() - begun > (3 * PIECE - RATE / 10) / RATE

    asyncio.run(work())


def test_who_gives_up_holds_up_nobody():
    async def work():
        line = CatchUp(config(rate=RATE), SystemClock())
        await line.turn(1, PIECE)
        waits = asyncio.ensure_future(line.turn(1, 1 << 40))
        follows = asyncio.ensure_future(line.turn(2, 1))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait_for(follows, 10)
        assert waits.cancelled()

    asyncio.run(work())


def test_fresh_lines_pass_a_backlog(rig, logs):
    backlog = [b"%0999d" % number for number in range(4000)]  # 4 MB
    append(logs / "old.log", backlog)
    agent = rig("*.log", memory=64 << 20, catch_up=config(rate=1 << 20)).start()
    agent.run_until(lambda: agent.writer.arrived, "the beginning of the backlog")
    fresh = [b"fresh %d" % number for number in range(10)]
    append(logs / "new.log", fresh)
    agent.run_until(lambda: set(fresh) <= set(agent.writer.arrived), "the fresh lines")
    assert len(agent.writer.arrived) < len(backlog)
    agent.run_until(lambda: agent.stream.caught_up, "the rest", seconds=30)
    assert [line for line in agent.writer.arrived if line not in set(fresh)] == backlog
    assert agent.stop()


def test_a_stop_does_not_wait_for_its_turn(rig, logs):
    append(logs / "old.log", [b"%0999d" % number for number in range(9000)])
    agent = rig("*.log", memory=64 << 20, catch_up=config(rate=1000)).start()
    agent.run_until(lambda: agent.writer.arrived, "the beginning of the backlog")
    assert agent.stop()
