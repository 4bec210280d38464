"""The cycle of one (file, destination) when things go wrong: what arrives, what the books say."""

import asyncio
import selectors
import tracemalloc

import numpy as np
import pytest

from singer.base.events import (
    CommitHeldUp,
    ErrorsRemedied,
    InternalError,
    RecordDeadLettered,
    Rewound,
)
from singer.budget import Ceiling, acquire, charge
from singer.observe.counters import Counters
from singer.positions.query import read_positions
from singer.turns import Share
from singer.writers.dead_letters import read_dead_letters
from tests.support.logs import append, lines
from tests.support.rig import LoopbackWriter, OnePartition, Rig, SlowDisk


@pytest.fixture
def log(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "app.log"


@pytest.fixture
def rig(tmp_path, log):
    made = []

    def make(pattern="app.log", **options):
        made.append(Rig(str(tmp_path / "state"), [str(log.parent / pattern)], **options))
        return made[-1]

    yield make
    for one in made:
        if one.running:
            one.kill()


@pytest.fixture
def slow_disk(monkeypatch):
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.release()


def account(agent):
    return agent.ledger.account("s", "out")


def committed(agent):
    """The only position on disk, once everything before is committed."""
    agent.loop.run_until_complete(agent.positions.flush())
    (row,) = read_positions(agent.state.positions)
    return row.offset


def send_in_parts(agent, log, parts):
    """One batch for each part, all of them under way."""
    agent.writer.up = False
    agent.start()
    for number, part in enumerate(parts, 1):
        append(log, part)
        agent.run_until(lambda n=number: agent.writer.under_way == n, f"batch {number}")


def come_up(agent):
    """From now on everything is acknowledged at once."""
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)


# --- failures and rewinds -----------------------------------------------------------------------


def test_a_failure_behind_a_burial_is_rewound(rig, log):
    agent = rig()
    agent.writer.refuses = lambda payload: payload == b"poison"
    send_in_parts(agent, log, [[b"poison", *lines(0, 10)], lines(10, 20)])
    agent.writer.settle_one()
    agent.writer.settle_one(failing=True)
    agent.run_until(lambda: agent.seen(RecordDeadLettered), "the burial")
    agent.run_until(lambda: agent.seen(Rewound), "the rewind", seconds=5)
    come_up(agent)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 20)
    assert [letter.payload for letter in read_dead_letters(agent.state.dead_letters)] == [b"poison"]


def test_a_burial_behind_a_failure_is_done_again(rig, log):
    agent = rig()
    agent.writer.refuses = lambda payload: payload == b"poison"
    send_in_parts(agent, log, [lines(0, 10), [b"poison", *lines(10, 20)]])
    agent.writer.settle_one(1)
    agent.writer.settle_one(failing=True)
    agent.run_until(lambda: agent.seen(Rewound), "the rewind", seconds=5)
    come_up(agent)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(10, 20) + lines(0, 20)
    assert {letter.payload for letter in read_dead_letters(agent.state.dead_letters)} == {b"poison"}
    assert account(agent).dead_lettered == 7


def test_a_rewind_waits_for_everything_under_way(rig, log):
    agent = rig()
    send_in_parts(agent, log, [lines(0, 10), lines(10, 20), lines(20, 30)])
    agent.writer.settle_one(failing=True)
    agent.run_for(0.3)  # longer than the first back-off: it would be sent again by now
    assert not agent.seen(Rewound)
    agent.writer.settle_one(1)
    agent.run_for(0.05)
    assert not agent.seen(Rewound)
    assert agent.writer.under_way == 1
    agent.writer.settle_one()
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    come_up(agent)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(20, 30) + lines(10, 20) + lines(0, 30)


def test_an_error_is_counted_and_remedied_when_what_failed_is_delivered(rig, log):
    agent = rig()
    send_in_parts(agent, log, [lines(0, 10), lines(10, 20)])
    agent.writer.settle_one()
    agent.writer.settle_one(failing=True, settled=4)
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    agent.run_until(lambda: agent.writer.under_way == 1, "the rest, sent again")
    counters = Counters()
    for event in agent.events:
        counters(event)
    kind = (("class", "topic"), ("code", "none"))
    assert counters.snapshot()["delivery_errors_total", kind] == 1
    assert not agent.seen(ErrorsRemedied)  # what was acknowledged before is not what failed
    come_up(agent)
    agent.run_until_caught_up()
    (remedied,) = agent.seen(ErrorsRemedied)
    counters(remedied)
    assert counters.snapshot()["remedied_errors_total", kind] == 1


@pytest.mark.parametrize("settled", [0, 4])
def test_a_failure_behind_others_rewinds_only_to_what_was_acknowledged(rig, log, settled):
    agent = rig()
    send_in_parts(agent, log, [lines(0, 10), lines(10, 20)])
    agent.writer.settle_one(1, failing=True, settled=settled)
    agent.writer.settle_one()
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    assert agent.seen(Rewound)[0].offset == (10 + settled) * 53
    come_up(agent)
    agent.run_until_caught_up()
    assert sorted(agent.writer.arrived) == lines(0, 20)


def test_a_rewind_waits_for_a_cold_read(rig, log, slow_disk):
    agent = rig()
    send_in_parts(agent, log, [lines(0, 10)])
    slow_disk.arm()
    append(log, lines(10, 20))
    agent.run_until(slow_disk.holds_one_up, "a read of the disk")
    agent.writer.settle_one(failing=True)
    agent.run_for(0.3)  # longer than the first back-off: it would be read again by now
    assert not agent.seen(Rewound)
    slow_disk.release()
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    come_up(agent)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 20)
    assert account(agent).read - account(agent).rewound == log.stat().st_size


def test_a_rewind_takes_the_state_of_the_reader_back_too(rig, log):
    append(log, lines(0, 20))
    with log.open("ab") as file:
        file.write(b"y" * 3000)  # the beginning of a line that is too long
    agent = rig(max_record=1000)
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.under_way, "a batch")
    agent.writer.settle_one(failing=True)
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    come_up(agent)
    append(log, [b"y", *lines(20, 25)])
    agent.run_until(lambda: agent.writer.arrived[-5:] == lines(20, 25), "the last lines")
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 25)
    letters = read_dead_letters(agent.state.dead_letters)
    assert b"".join(letter.payload for letter in letters).rstrip(b"\n") == b"y" * 3001


def test_rows_settled_before_a_failure_are_not_committed_past_what_is_no_record(rig, log):
    append(log, [*lines(0, 5), b"y" * 3000, *lines(5, 10)])
    agent = rig(max_record=1000)
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.under_way == 1, "a batch")
    agent.writer.settle_one(failing=True, settled=7)
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    assert agent.seen(Rewound)[0].offset == 0
    assert committed(agent) == 0, "the dead letters have nothing of the long line yet"
    come_up(agent)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 7) + lines(0, 10)
    assert account(agent).dead_lettered == 3001
    assert committed(agent) == log.stat().st_size


class BreaksOnce(LoopbackWriter):
    """Meets a bug of ours the first time it is asked."""

    broken = True

    async def ready(self):
        broken, self.broken = self.broken, False
        if broken:
            raise RuntimeError("some bug")


def test_a_bug_while_nothing_is_under_way_costs_one_attempt(rig, log):
    agent = rig(writers={"out": BreaksOnce()}).start()
    append(log, lines(0, 10))
    agent.run_until(lambda: agent.writer.arrived == lines(0, 10), "the lines", seconds=5)
    append(log, lines(10, 20))
    agent.run_until(lambda: agent.writer.arrived == lines(0, 20), "more lines", seconds=5)
    agent.run_until_caught_up()
    (bug,) = agent.seen(InternalError)
    assert "some bug" in bug.error
    agent.events.remove(bug)
    assert agent.stop()


def test_growth_between_the_last_look_and_the_watch_is_not_missed(rig, log, monkeypatch):
    append(log, lines(0, 10))
    agent = rig().start()
    agent.stream._rescan_seconds = 60.0  # no look comes to help
    agent.run_until(lambda: agent.writer.arrived == lines(0, 10), "the first lines")
    agent.run_for(0.2)  # the looks of the start are over
    arm, slipped_in = agent.wakeup.arm, []

    def late(fd, key, callback):
        if not slipped_in:
            slipped_in.append(True)
            append(log, lines(20, 30))
        return arm(fd, key, callback)

    monkeypatch.setattr(agent.wakeup, "arm", late)
    append(log, lines(10, 20))
    agent.run_until(lambda: slipped_in, "the watch")
    agent.run_until(lambda: agent.writer.arrived == lines(0, 30), "what slipped in", seconds=5)


def test_a_cold_read_that_is_given_up_keeps_the_books(rig, log, slow_disk):
    append(log, lines(0, 10))
    with log.open("ab") as file:
        file.write(b"half ")
    agent = rig().start()
    agent.run_until(lambda: agent.writer.arrived == lines(0, 10), "the first lines")
    agent.run_until_caught_up()
    slow_disk.arm()
    append(log, [b"a line", *lines(10, 20)])
    agent.run_until(slow_disk.holds_one_up, "a read of the disk")
    (pipeline,) = agent.stream.pipelines
    agent.loop.run_until_complete(pipeline.stop())
    account(agent).check()
    assert account(agent).held == len(b"half ")
    pipeline.abandon(None)
    account(agent).check()
    assert (account(agent).held, account(agent).rewound) == (0, len(b"half "))
    slow_disk.release()
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == [*lines(0, 10), b"half a line", *lines(10, 20)]


# --- the memory budget --------------------------------------------------------------------------


def test_bytes_that_are_no_record_are_charged(rig, log):
    memory = 8 << 20
    append(log, lines(0, 100, pad=800))  # so that windows are large
    with log.open("r+b") as file:
        file.truncate(100 << 20)  # one line of NULs, and no newline
    agent = rig(memory=memory).start()
    # The dead letters are full after 1 MiB: all that is read behind has to wait in memory.
    agent.run_until(lambda: agent.seen(CommitHeldUp), "the dead letters are full")
    read = [0]

    def at_rest():
        read.append(account(agent).read)
        return len(read) > 50 and read[-50] == read[-1]

    agent.run_until(at_rest, "nothing more is read")
    assert 0 < account(agent).in_flight + account(agent).held <= memory
    assert account(agent).read < 2 * memory


def test_lines_that_trickle_in_during_an_outage_are_charged_for_what_they_take(rig, log):
    agent = rig(memory=64 << 20)
    count = 300
    send_in_parts(agent, log, [lines(0, 1)])
    (ceiling, *_) = next(iter(agent.stream.pipelines)).destination.ceilings
    charged = ceiling.used
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(1, count):
            append(log, lines(n, n + 1, pad=140))
            agent.run_until(lambda n=n: agent.writer.under_way > n, "a batch of its own")
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # A third: buffers are taken from the system whole, and never touched but for their beginning.
    assert ceiling.used - charged >= taken / 3
    come_up(agent)
    agent.run_until_caught_up()
    assert len(agent.writer.arrived) == count
    assert ceiling.used == 0


@pytest.mark.parametrize("files", [1, 4])
def test_what_is_under_way_to_one_partition_stays_under_its_ceiling(rig, log, files):
    memory = 4 << 20
    for n in range(files):
        append(log.with_name(f"{n}.log"), lines(n * 10_000, n * 10_000 + 10_000))
    agent = rig("*.log", memory=memory)
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.waiting_cost > memory // 8, "batches under way")
    agent.run_for(0.3)
    assert agent.writer.waiting_cost <= memory // 4
    come_up(agent)
    agent.run_until(lambda: len(agent.writer.arrived) == files * 10_000, "all", seconds=30)
    assert sorted(agent.writer.arrived) == lines(0, files * 10_000)


class OverFour(OnePartition):
    """Rows go to four partitions in turn, from `first` on."""

    def __init__(self, first):
        self.first = first

    def assign(self, batch):
        return ((np.arange(len(batch)) + self.first) % 4).astype(np.int32)


class SpreadingWriter(LoopbackWriter):
    """Each file begins with another partition."""

    files = 0

    def partitioner(self, seed):
        self.files += 1
        return OverFour(self.files)


def test_what_goes_to_several_partitions_has_a_ceiling_of_its_own(rig, log):
    memory = 4 << 20
    for n in range(4):
        append(log.with_name(f"{n}.log"), lines(n * 10_000, n * 10_000 + 10_000))
    agent = rig("*.log", memory=memory, writers={"out": SpreadingWriter()})
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.waiting_cost > memory // 8, "batches under way")
    agent.run_for(0.3)
    # All of it waits if one of the partitions has no leader: the rest is for others.
    assert agent.writer.waiting_cost <= memory // 4
    come_up(agent)
    agent.run_until(lambda: len(agent.writer.arrived) == 40_000, "all", seconds=30)
    assert sorted(agent.writer.arrived) == lines(0, 40_000)


class CountingSelector(selectors.DefaultSelector):
    """Counts the rounds of a loop."""

    rounds = 0

    def select(self, timeout=None):
        self.rounds += 1
        return super().select(timeout)


def test_waiters_that_do_not_fit_into_a_little_room_sleep():
    selector = CountingSelector()

    async def scenario():
        ceiling = Ceiling(16)
        charge([ceiling], 12)
        tasks = [asyncio.create_task(acquire([ceiling], 8)) for _ in range(3)]
        await asyncio.sleep(0)
        charge([ceiling], -2)  # 10 of 16: there is room, but for none of them
        before = selector.rounds
        await asyncio.sleep(0.2)
        spent = selector.rounds - before
        assert not any(task.done() for task in tasks)
        charge([ceiling], -10)
        await asyncio.wait(tasks[:2], timeout=5.0)
        assert [task.done() for task in tasks] == [True, True, False]
        charge([ceiling], -8)
        await asyncio.wait(tasks, timeout=5.0)
        assert all(task.done() for task in tasks)
        return spent

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(scenario()) < 10


def test_who_waits_for_two_ceilings_with_a_little_room_sleeps():
    selector = CountingSelector()

    async def scenario():
        shared, narrow = Ceiling(16), Ceiling(16)
        charge([shared], 10)
        charge([narrow], 10)
        tasks = [asyncio.create_task(acquire([shared, narrow], 8)) for _ in range(2)]
        tasks += [asyncio.create_task(acquire([narrow, shared], 8)) for _ in range(2)]
        await asyncio.sleep(0)
        charge([shared, narrow], -1)
        before = selector.rounds
        await asyncio.sleep(0.2)
        spent = selector.rounds - before
        charge([shared, narrow], -9)
        for _ in tasks:
            done, left = await asyncio.wait(tasks, timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
            assert done, "somebody has room"
            for task in done:
                task.result()
                charge([shared, narrow], -8)
            tasks = list(left)
            if not tasks:
                break
        assert not tasks
        return spent

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(scenario()) < 10


@pytest.mark.parametrize("acknowledged", [0, 1, 2])
def test_files_that_wait_for_a_stalled_cluster_sleep(rig, log, monkeypatch, acknowledged):
    memory, files, count = 4 << 20, 6, 10_000
    for n in range(files):
        append(log.with_name(f"{n}.log"), lines(0, count, pad=100))
    agent = rig("*.log", memory=memory)
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.waiting_cost > memory // 8, "batches under way")
    agent.run_for(0.1)
    for _ in range(acknowledged):
        agent.writer.settle_one()
    agent.run_for(0.1)  # those who fit now go on
    rounds, select = [], agent.loop._selector.select

    def counting(timeout=None):
        rounds.append(timeout)
        return select(timeout)

    monkeypatch.setattr(agent.loop._selector, "select", counting)
    agent.run_for(0.3)
    assert len(rounds) < 60, "a look or two, and no more"
    come_up(agent)
    agent.run_until(lambda: len(agent.writer.arrived) == files * count, "all", seconds=30)


def test_a_rewind_while_the_end_of_a_rotated_file_waits_for_its_turn(rig, log):
    agent = rig()
    send_in_parts(agent, log, [lines(0, 5)])
    (pipeline,) = agent.stream.pipelines
    with log.open("ab", buffering=0) as file:
        file.write(b"no newline")
    agent.run_until(lambda: pipeline.held, "the end is read")
    busy = Share(1.0)
    agent.loop.run_until_complete(agent.turns.begin(busy))
    log.rename(log.with_name("app.log.1"))
    agent.run_until(lambda: len(agent.turns._waiting), "the end asks for a turn")
    agent.writer.settle_one(failing=True)
    agent.run_until(lambda: agent.seen(Rewound), "the rewind")
    agent.writer.up = True
    agent.turns.end(busy)
    agent.run_until(lambda: len(agent.writer.arrived) == 6, "all of it")
    assert agent.writer.arrived == [*lines(0, 5), b"no newline"]
    agent.run_until_caught_up()
    assert agent.stop()
