import asyncio
import contextlib

import pytest

from singer.base.config import Priority
from singer.budget import FILE_CEILING_BYTES, Budget, Ceiling, Room, acquire, blocked, charge


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 10))


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def test_waits_until_there_is_room():
    async def scenario():
        ceiling = Ceiling(100)
        await acquire([ceiling], 80)
        waiting = asyncio.create_task(acquire([ceiling], 50))
        await turns()
        assert not waiting.done()
        charge([ceiling], -80)
        await waiting
        assert ceiling.used == 50

    run(scenario())


def test_something_larger_than_the_ceiling_passes_alone():
    async def scenario():
        ceiling = Ceiling(100)
        await acquire([ceiling], 500)
        waiting = asyncio.create_task(acquire([ceiling], 1))
        await turns()
        assert not waiting.done()
        charge([ceiling], -500)
        await waiting

    run(scenario())


def test_who_waits_for_one_ceiling_holds_nothing_of_another():
    async def scenario():
        total, stalled = Ceiling(100), Ceiling(10)
        await acquire([stalled, total], 10)
        waiting = asyncio.create_task(acquire([stalled, total], 10))
        await turns()
        await acquire([total], 90)
        assert total.used == 100
        assert not waiting.done()
        waiting.cancel()

    run(scenario())


def test_first_come_first_served():
    async def scenario():
        ceiling, order = Ceiling(10), []

        async def take(name):
            await acquire([ceiling], 10)
            order.append(name)
            charge([ceiling], -10)

        await acquire([ceiling], 10)
        tasks = [asyncio.create_task(take(n)) for n in range(50)]
        await turns()
        charge([ceiling], -10)
        await asyncio.gather(*tasks)
        assert order == list(range(50))

    run(scenario())


def test_the_lowest_rank_first():
    async def scenario():
        ceiling, order = Ceiling(10), []

        async def take(rank, cost):
            await acquire([ceiling], cost, rank)
            order.append((rank, cost))

        await acquire([ceiling], 10)
        wants = [(3, 10), (1, 6), (2, 4), (1, 4)]
        tasks = [asyncio.create_task(take(*want)) for want in wants]
        await turns()
        charge([ceiling], -10)
        await turns()
        assert order == [(1, 6), (1, 4)]
        charge([ceiling], -10)
        await turns()
        assert order[2:] == [(2, 4)], "who does not fit is not overtaken by who comes after it"
        charge([ceiling], -4)
        await asyncio.gather(*tasks)
        assert order[3:] == [(3, 10)]

    run(scenario())


def test_only_who_comes_before_the_line_passes_it():
    async def scenario():
        ceiling = Ceiling(10)
        await acquire([ceiling], 5, 0)
        waiting = asyncio.create_task(acquire([ceiling], 8, 2))
        await turns()
        assert blocked([ceiling], 5, 2) is ceiling
        assert blocked([ceiling], 6, 1) is ceiling
        assert blocked([ceiling], 5, 1) is None
        await acquire([ceiling], 5, 1)
        charge([ceiling], -5)
        await turns()
        assert not waiting.done()
        charge([ceiling], -5)
        await waiting

    run(scenario())


@pytest.mark.parametrize("cancel_after_wake", [False, True])
def test_a_cancelled_waiter_passes_its_turn_on(cancel_after_wake):
    async def scenario():
        ceiling = Ceiling(10)
        await acquire([ceiling], 10)
        first = asyncio.create_task(acquire([ceiling], 10))
        second = asyncio.create_task(acquire([ceiling], 10))
        await turns()
        if cancel_after_wake:
            charge([ceiling], -10)
            first.cancel()
        else:
            first.cancel()
            charge([ceiling], -10)
        await second
        with contextlib.suppress(asyncio.CancelledError):
            await first
        assert ceiling.used == 10

    run(scenario())


def test_many_small_waiters_all_fit_after_one_release():
    async def scenario():
        ceiling = Ceiling(100)
        await acquire([ceiling], 100)
        tasks = [asyncio.create_task(acquire([ceiling], 10)) for _ in range(10)]
        await turns()
        charge([ceiling], -100)
        await asyncio.gather(*tasks)
        assert ceiling.used == 100

    run(scenario())


def test_a_waiter_that_moves_to_another_ceiling_does_not_block_the_line():
    async def scenario():
        shared, narrow = Ceiling(10), Ceiling(10)
        await acquire([shared], 10)
        await acquire([narrow], 10)
        blocked = asyncio.create_task(acquire([shared, narrow], 10))
        free = asyncio.create_task(acquire([shared], 10))
        await turns()
        charge([shared], -10)  # wakes `blocked`, which finds `narrow` full
        await free
        assert not blocked.done()
        charge([shared], -10)
        charge([narrow], -10)
        await blocked

    run(scenario())


def test_room_that_is_lent_is_others_until_it_is_taken_again():
    async def body():
        own, shared = Ceiling(100), Ceiling(100)
        await acquire((own, shared), 80)
        room = Room((own, shared), 80)
        assert room.take_again()  # it was never lent
        assert shared.used == 80
        other = asyncio.create_task(acquire((shared,), 50))
        await asyncio.sleep(0)
        assert not other.done()
        room.lend()
        room.lend()
        await other
        assert (own.used, shared.used) == (0, 50)
        assert not room.take_again()
        assert (own.used, shared.used) == (0, 50)
        charge((shared,), -50)
        assert room.take_again()
        assert (own.used, shared.used) == (80, 80)
        room.lend()
        assert (own.used, shared.used) == (0, 0)

    run(body())


def test_shares():
    budget = Budget(64 << 20, clusters=2)
    cluster, total = budget.destination("main", shadow=False)
    assert (cluster.limit, total.limit) == (48 << 20, 64 << 20)
    _, shadows, _ = budget.destination("canary", shadow=True)
    assert shadows.limit == 16 << 20
    assert budget.partition("main", "t", 0).limit == 12 << 20
    assert budget.partition("main", "t", 0) is budget.partition("main", "t", 0)
    assert budget.file("main").limit == FILE_CEILING_BYTES
    assert Budget(1 << 20, clusters=1).file("main").limit == 256 << 10


def test_shares_of_low_priority():
    budget = Budget(64 << 20, clusters=1)
    one = budget.destination("main", shadow=False, priority=Priority.LOW)
    other = budget.destination("canary", shadow=True, priority=Priority.LOW)
    assert [c.limit >> 20 for c in one] == [64, 32, 64]
    assert [c.limit >> 20 for c in other] == [64, 16, 32, 64]
    assert one[1] is other[2], "all together"
    assert len(budget.destination("main", shadow=False, priority=Priority.HIGH)) == 2
    low = budget.partition("main", "t", 0, priority=Priority.LOW)
    assert low.limit == 4 << 20
    assert low is not budget.partition("main", "t", 0), "beside what the others may take"
    assert budget.partition("main", "t", 0, priority=Priority.HIGH) is budget.partition(
        "main", "t", 0
    )


def test_a_file_may_have_less_under_way_when_others_of_its_cluster_have_something():
    budget = Budget(64 << 20, clusters=2)
    files = [budget.file("main") for _ in range(10)]
    elsewhere = budget.file("canary")

    def limit(file):
        charge([file], 1)
        charge([file], -1)
        return file.limit >> 20

    assert limit(files[0]) == 16
    charge([elsewhere], 1)
    assert limit(files[0]) == 16
    charge([files[1]], 1)
    assert limit(files[0]) == 8
    charge(files[2:], 1)
    assert limit(files[0]) == 8
    charge(files[2:], -1)
    charge([files[1]], -1)
    assert limit(files[0]) == 16
