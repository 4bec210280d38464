"""Who has the next turn: the order by properties, the waiting with real tasks and real files."""

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.config import Priority
from singer.turns import TURN_BYTES, WEIGHTS, Order, Share, Turns
from tests.support.rig import LoopbackWriter, Rig, SlowDisk

WINDOW = 1 << 20
PRIORITIES = st.sampled_from(list(Priority))
SIZES = st.integers(1, WINDOW)


def serve(order, nbytes):
    """One turn; whose it was."""
    share = order.next()
    assert share is not None
    order.charge(share, nbytes)
    return share


# --- the order ------------------------------------------------------------------------------


@given(st.lists(PRIORITIES, min_size=2, max_size=8), st.data())
def test_who_always_asks_gets_by_weight_within_one_window_each(priorities, data):
    order = Order()
    shares = [Share(WEIGHTS[priority]) for priority in priorities]
    taken = dict.fromkeys(shares, 0)
    for share in shares:
        order.ask(share)
    for nbytes in data.draw(st.lists(SIZES, max_size=200)):
        share = serve(order, nbytes)
        taken[share] += nbytes + TURN_BYTES
        order.ask(share)
        for one in shares:
            for other in shares:
                lead = taken[one] / one.weight - taken[other] / other.weight
                assert lead <= (WINDOW + TURN_BYTES) / one.weight


def test_weights_are_four_to_one_to_a_quarter():
    order = Order()
    shares = {priority: Share(WEIGHTS[priority]) for priority in Priority}
    for share in shares.values():
        order.ask(share)
    turns = dict.fromkeys(shares.values(), 0)
    for _ in range(2100):
        share = serve(order, WINDOW)
        turns[share] += 1
        order.ask(share)
    assert [round(turns[shares[p]] / 100) for p in Priority] == [16, 4, 1]


@given(
    st.lists(PRIORITIES, min_size=1, max_size=8),
    st.lists(PRIORITIES, min_size=1, max_size=4),
    st.data(),
)
def test_who_was_idle_comes_before_all_who_are_busy(busy, idle, data):
    order = Order()
    newcomers = [Share(WEIGHTS[priority]) for priority in idle]
    for share in newcomers:  # they had something once
        order.ask(share)
        serve(order, data.draw(SIZES))
    others = [Share(WEIGHTS[priority]) for priority in busy]
    for share in others:
        order.ask(share)
    least = min(share.mark for share in newcomers)
    while order.now <= max(share.mark for share in newcomers):
        order.ask(serve(order, WINDOW))
    assert least <= order.now
    running = order.next()
    for share in newcomers:
        order.ask(share)
    order.charge(running, data.draw(SIZES))
    order.ask(running)
    assert {serve(order, 1) for _ in newcomers} == set(newcomers)


@given(PRIORITIES, st.lists(PRIORITIES, min_size=1, max_size=6), SIZES)
def test_nobody_starves_whatever_the_others_ask(priority, priorities, had):
    order = Order()
    waiting = Share(WEIGHTS[priority])
    order.ask(waiting)
    serve(order, had)
    order.ask(waiting)
    others = [Share(WEIGHTS[each]) for each in priorities]
    for share in others:
        order.ask(share)
    # Each of them moves up by at least this much a turn, and comes first only while behind.
    most = sum(math.ceil(waiting.mark * share.weight / TURN_BYTES) + 1 for share in others)
    for turn in range(most + 1):
        share = serve(order, 1)
        if share is waiting:
            return
        order.ask(share)
        assert turn < most, "it waits for ever"


def test_rest_is_not_saved_up():
    order = Order()
    busy, rested = Share(1.0), Share(1.0)
    order.ask(busy)
    for _ in range(50):
        order.ask(serve(order, WINDOW))
    order.ask(rested)
    order.ask(serve(order, WINDOW))  # the rested one, once
    assert [serve(order, WINDOW) is busy for _ in range(2)] == [True, False]


def test_small_turns_count_too():
    order = Order()
    small, busy = Share(1.0), Share(1.0)
    order.ask(small)
    order.ask(busy)
    turns = {small: 0, busy: 0}
    for _ in range(200):
        share = order.next()
        order.charge(share, 1 if share is small else WINDOW)
        turns[share] += 1
        order.ask(share)
    assert 15 <= turns[small] / turns[busy] <= 17, "a window costs as much as 17 lines"


@given(st.lists(st.tuples(st.sampled_from(["ask", "withdraw", "next"]), st.integers(0, 5))))
def test_the_line_has_each_who_asked_and_did_not_leave_once(steps):
    order, model = Order(), set()
    shares = [Share(1.0) for _ in range(6)]
    for step, number in steps:
        share = shares[number]
        if step == "ask" and share not in model:
            order.ask(share)
            model.add(share)
        elif step == "withdraw":
            order.withdraw(share)
            model.discard(share)
        elif step == "next":
            served = order.next()
            assert (served in model) if model else served is None
            model.discard(served)
            if served is not None:
                order.charge(served, 1)
        assert len(order) == len(model)


# --- the waiting ----------------------------------------------------------------------------


class Party:
    """Takes `count` turns; `breaks` in one of them, by an exception."""

    def __init__(self, turns, running, count, breaks):
        self.share = turns.share(Priority.NORMAL)
        self.turns, self.running = turns, running
        self.count, self.breaks = count, breaks
        self.had = 0

    async def run(self):
        for number in range(self.count):
            try:
                await self.turns.begin(self.share)
                self.running.append(self)
                assert self.running == [self], "one at a time"
                self.had += 1
                self.share.nbytes = number  # none in the first: as if it had to wait
                self.running.remove(self)
                if number == self.breaks:
                    raise ZeroDivisionError
            finally:
                self.turns.end(self.share)
            if number % 2:
                await asyncio.sleep(0)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(-1, 5), st.none() | st.integers(0, 30)),
        min_size=1,
        max_size=8,
    )
)
def test_no_turn_is_lost_to_cancellation_or_exceptions(parties):
    async def scenario():
        turns, running = Turns(), []
        made = [Party(turns, running, count, breaks) for count, breaks, _ in parties]
        tasks = [asyncio.create_task(party.run()) for party in made]
        last = max((when for *_, when in parties if when is not None), default=0)
        for tick in range(last + 1):
            for task, (*_, when) in zip(tasks, parties, strict=True):
                if when == tick:
                    task.cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        for party, task, (count, breaks, when) in zip(made, tasks, parties, strict=True):
            if when is None:
                assert party.had == (breaks + 1 if 0 <= breaks < count else count)
                assert not task.cancelled()
        await asyncio.wait_for(turns.begin(turns.share(Priority.LOW)), 1)

    asyncio.run(scenario())


def test_a_turn_that_is_free_is_had_without_waiting():
    turns = Turns()
    share = turns.share(Priority.NORMAL)
    for _ in range(2):  # to have it already is as good
        began = turns.begin(share)
        try:
            began.send(None)
        except StopIteration:
            continue
        raise AssertionError("it waited")


def test_a_turn_that_comes_with_the_cancellation_goes_on():
    async def scenario():
        turns = Turns()
        first, second, third = (turns.share(Priority.NORMAL) for _ in range(3))
        await turns.begin(first)
        waiting = asyncio.create_task(turns.begin(second))
        await asyncio.sleep(0)
        turns.end(first)  # it is the second's now
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.wait_for(turns.begin(third), 1)

    asyncio.run(scenario())


def test_between_two_turns_the_loop_comes_round():
    async def scenario():
        turns, had = Turns(), []

        async def take(name):
            share = turns.share(Priority.NORMAL)
            await turns.begin(share)
            had.append(name)
            share.nbytes = 1
            turns.end(share)

        tasks = [asyncio.create_task(take(name)) for name in "abc"]
        await asyncio.sleep(0)
        assert had == ["a"], "all were ready, and only one had its turn"
        await asyncio.gather(*tasks)
        assert had == ["a", "b", "c"]

    asyncio.run(scenario())


def test_a_place_is_kept_by_who_gives_the_turn_back_unused():
    async def scenario():
        turns = Turns()
        first, second = turns.share(Priority.NORMAL), turns.share(Priority.NORMAL)
        await turns.begin(first)
        before = first.mark
        turns.end(first)
        assert first.mark == before
        await turns.begin(second)
        second.nbytes = 100
        turns.end(second)
        assert second.mark == 100 + TURN_BYTES
        await turns.begin(second)
        turns.end(second)
        assert second.mark == 100 + TURN_BYTES, "what was read counts once"

    asyncio.run(scenario())


# --- with files -----------------------------------------------------------------------------

LINE = b"x" * 100_000


def fill(path, windows):
    with path.open("wb") as file:
        for _ in range(windows * 10):
            file.write(LINE + b"\n")


def test_a_small_file_comes_between_the_windows_of_many_busy_ones(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    small = logs / "small.log"
    small.write_bytes(b"first\n")
    agent = Rig(
        str(tmp_path / "state"), [str(logs / "*.log")], max_record=200_000, memory=512 << 20
    )
    agent.start()
    try:
        agent.run_until_caught_up()
        for number in range(20):
            fill(logs / f"busy-{number}.log", 4)
        arrived = agent.writer.arrived
        agent.run_until(lambda: len(arrived) > 20 * 10, "a window of each, and more", 30)
        with small.open("ab", buffering=0) as file:
            file.write(b"second\n")
        before = len(arrived)
        agent.run_until(lambda: b"second" in arrived, "the small file's line", 30)
        windows = (arrived.index(b"second") - before) / 10
        # The one that runs, the one that was chosen, and what happens until the kernel's hint
        # is heard; all of the others would be twenty.
        assert windows <= 8
        agent.run_until_caught_up()
    finally:
        agent.kill()


class SlowWriter(LoopbackWriter):
    """Acknowledges after a while, and looks that what is sent is sent in a turn."""

    def __init__(self, seconds):
        super().__init__()
        self.up = False
        self.seconds = seconds
        self.rig = None

    def send(self, batch, route):
        assert self.rig.turns._running is not None, "sent in a turn"
        asyncio.get_running_loop().call_later(self.seconds, self.settle)
        return super().send(batch, route)


def test_where_many_wait_for_room_windows_are_not_read_twice(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(8):
        fill(logs / f"busy-{number}.log", 8)
    writer = SlowWriter(0.005)
    agent = Rig(
        str(tmp_path / "state"),
        [str(logs / "*.log")],
        writers={"out": writer},
        max_record=200_000,
        memory=12 << 20,  # 3 MiB for the partition
    )
    writer.rig = agent.start()
    try:
        agent.run_until_caught_up()
        account = agent.ledger.account("s", "out")
        assert account.delivered == 8 * 80 * len(LINE + b"\n")
        assert account.rewound < account.delivered / 4
        assert [p._hint for p in agent.stream.pipelines] == [()] * 8, "at rest it is forgotten"
    finally:
        agent.kill()


def test_who_waits_for_memory_does_not_keep_the_turn(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    fill(logs / "app.log", 8)
    stalled, other = LoopbackWriter(), LoopbackWriter()
    stalled.up = False
    agent = Rig(
        str(tmp_path / "state"),
        [str(logs / "*.log")],
        writers={"stalled": stalled, "other": other},
        max_record=200_000,
        memory=8 << 20,
    )
    agent.start()
    try:
        agent.run_until(lambda: len(other.arrived) == 80, "all lines at the other one")
        assert 0 < stalled.under_way < 8
    finally:
        agent.kill()


def test_a_cold_read_does_not_keep_the_turn(tmp_path, monkeypatch):
    logs = tmp_path / "logs"
    logs.mkdir()
    disk = SlowDisk(monkeypatch)
    writer = SlowWriter(0.0)
    agent = Rig(
        str(tmp_path / "state"),
        [str(logs / "*.log")],
        writers={"out": writer},
        max_record=200_000,
    )
    writer.rig = agent.start()
    try:
        agent.run_until_caught_up()
        disk.arm()
        fill(logs / "slow.log", 1)
        agent.run_until(disk.holds_one_up, "a read that hangs")
        (logs / "quick.log").write_bytes(b"quick\n")
        agent.run_until(lambda: b"quick" in agent.writer.arrived, "the other file's line")
        assert LINE not in agent.writer.arrived
        disk.release()
        agent.run_until(lambda: agent.writer.arrived.count(LINE) == 10, "all lines")
        agent.run_until_caught_up()
    finally:
        disk.release()
        agent.kill()
