"""Blocking calls in threads of our own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from singer.base.errors import ReadError
from singer.files.events import MountAnswers, MountHangs
from singer.files.stat import mount_point
from singer.files.threads import DeviceThreads
from tests.positions.parts import until
from tests.support.waiting import wait_until

DEADLINE_SECONDS = 10.0


class Gate:
    """A call that blocks until it is let go, as on a hung mount."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def pass_through(self, value: int = 0) -> int:
        self.entered.release()
        assert self.open.wait(DEADLINE_SECONDS)
        return value

    def wait_entered(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.entered.acquire(timeout=DEADLINE_SECONDS)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def in_time(coroutine):
    async def run():
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await coroutine

    return asyncio.run(run())


def test_results_and_errors_come_back_from_a_daemon_thread():
    async def main():
        threads = DeviceThreads()
        thread = await threads.run(1, threading.current_thread)
        assert thread.daemon
        assert thread is not threading.main_thread()
        assert await threads.run(1, divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(1, divmod, 7, 0)
        assert 1 <= threads.alive <= 2

    in_time(main())


def test_a_device_has_at_most_two_threads_and_serves_in_order(gate):
    async def main():
        threads = DeviceThreads()
        first = [asyncio.create_task(threads.run("a", gate.pass_through, n)) for n in range(2)]
        await asyncio.sleep(0)
        order = []
        rest = [asyncio.create_task(threads.run("a", order.append, n)) for n in range(5)]
        await asyncio.sleep(0)
        gate.wait_entered(2)
        assert threads.alive == 2
        assert order == []
        gate.open.set()
        assert await asyncio.gather(*first) == [0, 1]
        await asyncio.gather(*rest)
        assert sorted(order) == list(range(5))
        assert threads.alive == 2

    in_time(main())


def test_a_hung_device_holds_up_neither_the_loop_nor_other_devices(gate):
    async def main():
        threads = DeviceThreads()
        hung = [asyncio.create_task(threads.run("hung", gate.pass_through)) for _ in range(5)]
        await asyncio.sleep(0)
        gate.wait_entered(2)
        assert await threads.run("sound", int, "7") == 7
        assert not any(task.done() for task in hung)
        gate.open.set()
        await asyncio.gather(*hung)

    in_time(main())


def test_a_cancelled_call_returns_at_once_and_never_begins_if_it_has_not(gate):
    async def main():
        threads = DeviceThreads(per_device=1)
        running = asyncio.create_task(threads.run("a", gate.pass_through))
        await asyncio.sleep(0)
        gate.wait_entered()
        begun = []
        waiting = asyncio.create_task(threads.run("a", begun.append, 1))
        await asyncio.sleep(0)
        for task in (running, waiting):
            task.cancel()
        await asyncio.wait([running, waiting])
        assert running.cancelled()
        assert waiting.cancelled()
        gate.open.set()
        assert await threads.run("a", int, "7") == 7
        assert begun == []

    in_time(main())


def test_idle_threads_end_and_new_ones_begin_on_demand():
    async def main():
        threads = DeviceThreads(idle_seconds=0.01)
        for _ in range(3):
            thread = await threads.run("a", threading.current_thread)
            await asyncio.to_thread(thread.join, DEADLINE_SECONDS)
            assert not thread.is_alive()
            assert threads.alive == 0
        await threads.run("b", int)
        assert list(threads._devices) == ["b"]

    in_time(main())


def test_calls_that_meet_a_thread_about_to_end_are_served():
    async def main():
        threads = DeviceThreads(idle_seconds=0.0005)
        for n in range(300):
            assert await threads.run("a", int, n) == n
            await asyncio.sleep(0.0005 * (n % 3))

    in_time(main())


def test_a_result_that_comes_after_the_loop_is_closed_is_dropped(gate):
    async def main():
        threads = DeviceThreads(idle_seconds=0.01)
        task = asyncio.create_task(threads.run("a", gate.pass_through))
        await asyncio.sleep(0)
        gate.wait_entered()
        task.cancel()
        return threads

    threads = in_time(main())
    gate.open.set()
    wait_until(lambda: threads.alive == 0, DEADLINE_SECONDS, "the thread has ended")


def test_a_device_that_hangs_is_said_once_and_so_is_its_answer(gate, tmp_path):
    events = []
    device = tmp_path.stat().st_dev

    async def main():
        threads = DeviceThreads(events.append, patience_seconds=0.05)
        assert await threads.run(device, int, "7") == 7
        tasks = [asyncio.create_task(threads.run(device, gate.pass_through)) for _ in range(3)]
        await until(lambda: threads.hung, DEADLINE_SECONDS, "it is said")
        assert not threads.are_stuck(device, 60.0)
        await until(lambda: threads.are_stuck(device, 0.2), DEADLINE_SECONDS, "it is stuck")
        assert not threads.are_stuck("another", 0.0)
        (event,) = events
        assert isinstance(event, MountHangs)
        assert event.what == mount_point(device) or f":{os.minor(device)}" in event.what
        assert event.seconds >= 0.05
        gate.open.set()
        await asyncio.gather(*tasks)
        await until(lambda: not threads.hung, DEADLINE_SECONDS, "it is said")
        assert not threads.are_stuck(device, 0.0)
        assert [type(event) for event in events] == [MountHangs, MountAnswers]
        assert event.what in events[1].message()
        (only,) = threads._devices.values()
        await until(lambda: only.watchdog is None, DEADLINE_SECONDS, "nobody watches any more")

    in_time(main())


def test_many_calls_that_are_not_slow_are_no_hang():
    async def main():
        events = []
        threads = DeviceThreads(events.append, patience_seconds=0.5)
        await asyncio.gather(*(threads.run(1, time.sleep, 0.01) for _ in range(120)))
        assert events == []

    in_time(main())


def test_work_without_a_device_goes_by_its_name(gate):
    async def main():
        events = []
        threads = DeviceThreads(events.append, patience_seconds=0.01)
        task = asyncio.create_task(threads.run(("look", "access"), gate.pass_through))
        await until(lambda: events, DEADLINE_SECONDS, "it is said")
        assert "look access has not answered" in events[0].message()
        gate.open.set()
        await task

    in_time(main())


def test_cancelled_calls_do_not_pile_up_behind_a_hung_one(gate):
    async def main():
        threads = DeviceThreads(per_device=1)
        hung = asyncio.create_task(threads.run("a", gate.pass_through))
        await asyncio.sleep(0)
        gate.wait_entered()
        for _ in range(5):
            waiting = [asyncio.create_task(threads.run("a", int)) for _ in range(10)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        assert not threads._devices["a"].calls
        gate.open.set()
        await hung

    in_time(main())


def test_what_is_posted_is_done_and_nobody_waits_for_it(gate):
    done = threading.Event()

    def fail():
        raise OSError("nobody hears of it")

    async def main():
        threads = DeviceThreads(per_device=1)
        threads.post("a", gate.pass_through)
        threads.post("a", fail)
        threads.post("a", done.set)
        gate.wait_entered()
        assert not done.is_set()
        gate.open.set()
        assert await threads.run("a", done.wait, DEADLINE_SECONDS)

    in_time(main())
    # There may be no loop any more.
    done.clear()
    DeviceThreads().post("a", done.set)
    assert done.wait(DEADLINE_SECONDS)


def test_a_hung_call_does_not_keep_the_process_from_its_end():
    program = (
        "import asyncio, threading\n"
        "from singer.files.threads import DeviceThreads\n"
        "async def main():\n"
        "    entered = threading.Event()\n"
        "    def hang(): entered.set(); threading.Event().wait()\n"
        "    task = asyncio.create_task(DeviceThreads().run(1, hang))\n"
        "    await asyncio.to_thread(entered.wait)\n"
        "    print('leaving')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=30, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr


def test_without_another_thread_the_first_comes_to_it_and_without_any_the_caller_knows(
    gate, monkeypatch
):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    async def main():
        threads = DeviceThreads()
        first = asyncio.create_task(threads.run("a", gate.pass_through, 1))
        await asyncio.sleep(0)
        gate.wait_entered()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            second = asyncio.create_task(threads.run("a", int, "2"))
            await asyncio.sleep(0)
            with pytest.raises(ReadError, match="no more; raise the limit of processes"):
                await threads.run("b", int)
        gate.open.set()
        assert await asyncio.gather(first, second) == [1, 2]
        assert await threads.run("b", int, "3") == 3

    in_time(main())
