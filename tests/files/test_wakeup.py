"""Wake-ups by the real kernel, and what takes their place when it refuses."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import tracemalloc

import pytest

from singer.base.events import Event
from singer.files import polling, wakeup
from singer.files.events import WatchesExhausted, WatchesOverflowed
from singer.files.wakeup import Wakeup

DEADLINE_SECONDS = 10.0


class Calls:
    """What was called back, in order."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self._changed = asyncio.Event()

    def note(self, what: object) -> None:
        self.seen.append(what)
        self._changed.set()

    def noting(self, what: object):
        return lambda _: self.note(what)

    async def wait(self, count: int = 1) -> list[object]:
        """At least `count` calls; they are forgotten."""
        await self._until(lambda: len(self.seen) >= count)
        seen, self.seen = self.seen, []
        return seen

    async def wait_for(self, *wanted: object) -> None:
        """All of `wanted`, and whatever came with them; they are forgotten."""
        await self._until(lambda: set(wanted) <= set(self.seen))
        self.seen.clear()

    async def _until(self, condition) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def log(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield fd
    os.close(fd)


def run(body) -> list[Event]:
    """Run `body(wakeup, calls)` on a loop; what was emitted."""
    events: list[Event] = []

    async def main() -> None:
        subject = Wakeup(asyncio.get_running_loop(), events.append)
        try:
            async with asyncio.timeout(6 * DEADLINE_SECONDS):
                await body(subject, Calls())
        finally:
            subject.close()

    asyncio.run(main())
    return events


async def settle(subject: Wakeup, tmp_path) -> None:
    """Return when everything the kernel has reported so far was read."""
    marker = Calls()
    name = tmp_path / "settle"
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    try:
        subject.arm(fd, "settle", marker.noting("settled"))
        os.write(fd, b"x")
        await marker.wait()
    finally:
        os.close(fd)


# --- growth -------------------------------------------------------------------------------


def test_growth_calls_once_until_armed_again(tmp_path, log):
    async def body(subject, calls):
        assert subject.arm(log, "me", calls.noting("grew"))
        os.write(log, b"one")
        os.write(log, b"two")
        assert await calls.wait() == ["grew"]
        os.write(log, b"three")
        await settle(subject, tmp_path)
        assert calls.seen == []
        subject.arm(log, "me", calls.noting("grew again"))
        os.write(log, b"four")
        assert await calls.wait() == ["grew again"]

    assert run(body) == []


@pytest.mark.parametrize("change", ["truncate", "rename", "unlink", "append after rename"])
def test_whatever_may_matter_to_a_reader_calls(tmp_path, log, change):
    path, moved = tmp_path / "log", tmp_path / "log.1"

    async def body(subject, calls):
        os.write(log, b"content")
        if change == "append after rename":
            os.rename(path, moved)
        subject.arm(log, "me", calls.noting("called"))
        if change == "truncate":
            os.truncate(path, 0)
        elif change == "rename":
            os.rename(path, moved)
        elif change == "unlink":
            os.unlink(path)
        else:
            os.write(log, b"more")
        assert await calls.wait() == ["called"]

    run(body)


def test_all_who_wait_for_one_inode_are_called(tmp_path, log):
    os.link(tmp_path / "log", tmp_path / "hard link")
    other = os.open(tmp_path / "hard link", os.O_RDONLY)

    async def body(subject, calls):
        subject.arm(log, "a", calls.noting("a"))
        subject.arm(other, "b", calls.noting("b"))
        subject.arm(log, "c", calls.noting("c"))
        os.write(log, b"x")
        assert await calls.wait(3) == ["a", "b", "c"]

    try:
        run(body)
    finally:
        os.close(other)


def test_disarmed_is_not_called_and_the_others_are(tmp_path, log):
    async def body(subject, calls):
        subject.arm(log, "a", calls.noting("a"))
        subject.arm(log, "b", calls.noting("b"))
        subject.disarm("a")
        subject.disarm("never armed")
        os.write(log, b"x")
        assert await calls.wait() == ["b"]
        subject.arm(log, "b", calls.noting("b"))
        subject.disarm("b")
        os.write(log, b"x")
        await settle(subject, tmp_path)
        assert calls.seen == []
        assert subject._armed == {}

    run(body)


def test_a_callback_may_disarm_and_arm_others(tmp_path, log):
    async def body(subject, calls):
        def first(_) -> None:
            subject.disarm("b")
            subject.arm(log, "c", calls.noting("c again"))
            calls.note("a")

        subject.arm(log, "a", first)
        subject.arm(log, "b", calls.noting("b"))
        subject.arm(log, "c", calls.noting("c"))
        os.write(log, b"x")
        assert await calls.wait() == ["a"]
        os.write(log, b"x")
        assert await calls.wait() == ["c again"]
        await settle(subject, tmp_path)
        assert calls.seen == []

    run(body)


def test_an_event_read_late_does_not_call_who_armed_again_meanwhile(tmp_path, log):
    async def body(subject, calls):
        subject.arm(log, "a", calls.noting("a"))
        subject.arm(log, "b", calls.noting("b"))
        os.write(log, b"x")  # fired, and not read yet
        subject.arm(log, "a", calls.noting("a again"))
        assert await calls.wait() == ["b"]
        os.write(log, b"x")
        assert await calls.wait() == ["a again"]
        await settle(subject, tmp_path)
        assert calls.seen == []

    run(body)


def test_arming_for_another_file_forgets_the_first(tmp_path, log):
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)

    async def body(subject, calls):
        subject.arm(log, "a", calls.noting("first"))
        subject.arm(other, "a", calls.noting("other"))
        os.write(log, b"x")
        await settle(subject, tmp_path)
        assert calls.seen == []
        os.write(other, b"x")
        assert await calls.wait() == ["other"]

    try:
        run(body)
    finally:
        os.close(other)


def test_no_growth_is_missed_by_who_arms_and_then_looks(log):
    program = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "for n in range(3000): os.write(fd, b'x' * 10)\n"
    )
    path = os.readlink(f"/proc/self/fd/{log}")

    async def body(subject, calls):
        seen = 0
        while seen < 30_000:
            subject.arm(log, "me", calls.noting("grew"))
            size = os.fstat(log).st_size
            if size == seen:
                await calls.wait()
            else:
                calls.seen.clear()
            seen = size

    writer = subprocess.Popen([sys.executable, "-c", program, path])
    try:
        assert run(body) == []
        assert writer.wait(DEADLINE_SECONDS) == 0
    finally:
        writer.kill()
        writer.wait()


def test_after_close_nothing_is_called(tmp_path, log):
    async def body(subject, calls):
        subject.arm(log, "me", calls.noting("called"))
        subject.watch_directory(str(tmp_path), "me", calls.note)
        subject.close()
        os.write(log, b"x")
        (tmp_path / "new").touch()
        assert not subject.arm(log, "me", calls.noting("called"))
        assert not subject.watch_directory(str(tmp_path), "me", calls.note)
        await asyncio.sleep(0)
        assert calls.seen == []
        assert subject.polled == 0
        subject.close()

    assert run(body) == []


# --- watches of closed files ------------------------------------------------------------------


def watches(subject) -> int:
    """How many the kernel has."""
    with open(f"/proc/self/fdinfo/{subject._inotify.fileno()}", encoding="ascii") as info:
        return sum(line.startswith("inotify wd:") for line in info)


def in_another_process(program: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-I", "-S", "-c", program, *arguments], check=True)


_APPEND = "import sys; open(sys.argv[1], 'ab').write(b'more')"
_UNLINK = "import os, sys; os.unlink(sys.argv[1])"
_REPLACE = "import os, sys; os.rename(sys.argv[1] + '.new', sys.argv[1])"


@pytest.mark.parametrize("program", [_APPEND, _UNLINK, _REPLACE])
def test_a_closed_file_calls_and_leaves_nothing_behind(tmp_path, program):
    path = tmp_path / "idle"
    path.write_bytes(b"read")
    (tmp_path / "idle.new").write_bytes(b"another")

    async def body(subject, calls):
        fd = os.open(path, os.O_RDONLY)
        stat = os.fstat(fd)
        assert subject.arm(fd, (stat.st_dev, stat.st_ino), calls.note)
        os.close(fd)
        assert watches(subject) == 1
        in_another_process(program, str(path))
        assert await calls.wait() == [(stat.st_dev, stat.st_ino)]
        await settle(subject, tmp_path)
        assert calls.seen == []
        assert subject._waiting == subject._armed == {}
        assert watches(subject) == 0

    assert run(body) == []


def test_closed_files_are_disarmed_and_their_numbers_never_become_those_of_others(tmp_path):
    def idle(name):
        (tmp_path / name).write_bytes(b"")
        return os.open(tmp_path / name, os.O_RDONLY)

    async def body(subject, calls):
        first = idle("first")
        assert subject.arm(first, "first", calls.note)
        os.close(first)
        number = subject._waiting["first"].watch
        subject.disarm("first")
        assert watches(subject) == 0
        # The same descriptor, and the report that the watch was removed is not read yet.
        second = idle("second")
        assert second == first
        assert subject.arm(second, "second", calls.note)
        os.close(second)
        assert subject._waiting["second"].watch != number
        (tmp_path / "first").write_bytes(b"grown")
        await settle(subject, tmp_path)
        assert calls.seen == []
        (tmp_path / "second").write_bytes(b"grown")
        assert await calls.wait() == ["second"]
        # Fired and not read yet, then disarmed: not called, whatever comes for that number.
        third = idle("third")
        assert subject.arm(third, "third", calls.note)
        os.close(third)
        (tmp_path / "third").write_bytes(b"grown")
        subject.disarm("third")
        await settle(subject, tmp_path)
        assert calls.seen == []
        assert watches(subject) == 0

    assert run(body) == []


def test_a_closed_file_and_its_reader_share_the_watch(tmp_path, log):
    async def body(subject, calls):
        again = os.open(tmp_path / "log", os.O_RDONLY)
        subject.arm(again, "idle", calls.note)
        os.close(again)
        subject.arm(log, "reader", calls.note)
        subject.arm(log, "third", calls.note)
        assert watches(subject) == 1
        subject.disarm("reader")  # from the middle
        assert watches(subject) == 1
        subject.arm(log, "reader", calls.note)
        subject.disarm("idle")  # from the beginning
        os.write(log, b"x")
        assert await calls.wait(2) == ["third", "reader"]
        assert subject._armed == {}

    assert run(body) == []


def test_an_armed_file_takes_little_memory(tmp_path):
    count = 2000
    fds = [os.open(tmp_path / str(n), os.O_RDONLY | os.O_CREAT) for n in range(count)]
    keys = [(0, n) for n in range(count)]

    async def body(subject, calls):
        grew = calls.note
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for fd, key in zip(fds, keys, strict=True):
            assert subject.arm(fd, key, grew)
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert taken / count < 300

    try:
        assert run(body) == []
    finally:
        for fd in fds:
            os.close(fd)


# --- directories --------------------------------------------------------------------------


def test_a_directory_is_reported_when_first_watched_and_when_its_entries_change(tmp_path):
    path = str(tmp_path)

    async def body(subject, calls):
        assert subject.watch_directory(path, "me", calls.note)
        assert await calls.wait() == [path]
        assert subject.watch_directory(path, "me", calls.note)
        for change in (
            (tmp_path / "a").touch,
            lambda: os.rename(tmp_path / "a", tmp_path / "b"),
            lambda: os.unlink(tmp_path / "b"),
            lambda: os.mkdir(tmp_path / "sub"),
        ):
            await settle(subject, tmp_path)
            calls.seen.clear()
            change()
            assert set(await calls.wait()) == {path}

    run(body)


def test_every_stream_that_watches_a_directory_is_told(tmp_path):
    path = str(tmp_path)

    async def body(subject, calls):
        subject.watch_directory(path, "a", lambda _: calls.note("a"))
        subject.watch_directory(path, "b", lambda _: calls.note("b"))
        await calls.wait(2)
        await settle(subject, tmp_path)
        calls.seen.clear()
        subject.unwatch_directory(path, "a")
        (tmp_path / "new").touch()
        assert set(await calls.wait()) == {"b"}
        subject.unwatch_directory(path, "b")
        subject.unwatch_directory(path, "b")
        assert subject._directories == subject._paths == {}

    run(body)


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_a_directory_that_another_one_replaced_is_watched_anew(tmp_path, how):
    path = tmp_path / "logs"
    path.mkdir()

    async def body(subject, calls):
        subject.watch_directory(str(path), "me", calls.note)
        await calls.wait()
        if how == "deleted":
            path.rmdir()
        else:
            path.rename(tmp_path / "old")
        await calls.wait()
        assert not subject.watch_directory(str(path), "me", calls.note)
        path.mkdir()
        assert subject.watch_directory(str(path), "me", calls.note)
        assert await calls.wait() == [str(path)]
        if how == "renamed":
            (tmp_path / "old" / "elsewhere").touch()
            await settle(subject, tmp_path)
            assert calls.seen == []
        (path / "new").touch()
        assert set(await calls.wait()) == {str(path)}

    assert run(body) == []


def test_only_directories_are_watched_as_such(tmp_path, log):
    async def body(subject, calls):
        assert not subject.watch_directory(str(tmp_path / "log"), "me", calls.note)
        assert not subject.watch_directory(str(tmp_path / "gone"), "me", calls.note)
        assert subject._directories == {}

    assert run(body) == []


# --- when the kernel refuses --------------------------------------------------------------


def refuse(monkeypatch, code: int) -> None:
    def add_watch(self, path, mask):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(wakeup.INotify, "add_watch", add_watch)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
def test_without_watches_files_are_polled_and_it_is_said_once(monkeypatch, tmp_path, log, code):
    refuse(monkeypatch, code)

    async def body(subject, calls):
        assert not subject.watch_directory(str(tmp_path), "me", calls.note)
        for _ in range(3):
            assert not subject.arm(log, "me", calls.noting("look"))
            assert subject.polled == 1
            assert await calls.wait() == ["look"]
        subject.arm(log, "me", calls.noting("look"))
        subject.disarm("me")
        assert subject.polled == 0

    (event,) = run(body)
    assert isinstance(event, WatchesExhausted)
    assert os.strerror(code).lower() in event.message()
    assert "(sysctl)" in event.message()
    assert [count.amount for count in event.counts()] == [1]


def test_without_an_instance_files_are_polled_until_there_is_one(monkeypatch, log):
    real = wakeup.INotify

    def no_instance(**_):
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(wakeup, "INotify", no_instance)

    async def body(subject, calls):
        assert not subject.arm(log, "me", calls.noting("look"))
        await calls.wait()
        monkeypatch.setattr(wakeup, "INotify", real)
        subject._retry_at = 0.0
        assert subject.arm(log, "me", calls.noting("grew"))
        assert subject.polled == 0
        os.write(log, b"x")
        assert await calls.wait() == ["grew"]

    assert len(run(body)) == 1


def test_a_file_is_polled_without_being_touched(tmp_path, log):
    async def body(subject, calls):
        for _ in range(3):
            subject.poll(0, "me", calls.note)
            assert subject.polled == 1
            assert await calls.wait() == ["me"]
        subject.poll(0, "me", calls.noting("forgotten"))
        assert subject.arm(log, "me", calls.noting("grew"))
        assert subject.polled == 0
        os.write(log, b"x")
        assert await calls.wait() == ["grew"]
        subject.arm(log, "me", calls.noting("grew"))
        subject.poll(0, "me", calls.noting("looked"))
        assert subject._armed == {}
        assert await calls.wait() == ["looked"]
        subject.poll(0, "me", calls.noting("looked"))
        subject.disarm("me")
        assert subject.polled == 0
        assert subject._waiting == {}

    assert run(body) == []


def test_a_directory_of_a_mount_that_may_hang_is_not_asked(tmp_path):
    path = str(tmp_path)

    async def body(subject, calls):
        assert not subject.watch_directory(path + "/no such name", "me", calls.note, remote=True)
        assert subject.watch_directory(path, "me", calls.note)
        await calls.wait()
        # Another file system was mounted there.
        assert not subject.watch_directory(path, "me", calls.note, remote=True)
        assert subject._directories == subject._paths == {}
        (tmp_path / "new").touch()
        await settle(subject, tmp_path)
        assert calls.seen == []

    assert run(body) == []


def test_the_pace_of_polling_follows_the_growth(monkeypatch):
    delays = []

    class Loop:
        def call_later(self, delay, callback, *arguments):
            delays.append(delay)
            callback(*arguments)

            class Handle:
                def cancel(self):
                    pass

            return Handle()

    poller = polling.Poller(Loop())
    for size in (1, 1, 1, 2, 2):
        poller.start("me", size, lambda _: None, "me")
        poller.pause("me")
    assert delays == pytest.approx([0.01, 0.02, 0.04, 0.01, 0.02])
    for _ in range(20):
        poller.start("me", 2, lambda _: None, "me")
        poller.pause("me")
    assert delays[-1] == 1.0
    for key in range(2000):
        poller.start(key, 0, lambda _: None, key)
    assert delays[-1] == pytest.approx(2.001)
    assert len(poller) == 2001
    poller.close()
    assert len(poller) == 0


def test_an_overflow_calls_everybody_and_is_said(monkeypatch, tmp_path, log):
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as limit:
        most = int(limit.read())
    directory = str(tmp_path)

    async def body(subject, calls):
        subject.arm(log, "me", calls.noting("looked"))
        subject.watch_directory(directory, "me", calls.note)
        await calls.wait()
        # The loop stands still meanwhile, so nothing is read. Two names in turn, because the
        # kernel joins equal events.
        names = [os.path.join(directory, name) for name in ("a", "b")]
        for _ in range(most // 4 + 10):
            for name in names:
                os.close(os.open(name, os.O_CREAT))
            for name in names:
                os.unlink(name)
        await calls.wait_for("looked", directory)
        await settle(subject, tmp_path)
        calls.seen.clear()
        assert subject.arm(log, "me", calls.noting("grew"))
        os.write(log, b"x")
        await calls.wait_for("grew")

    (event,) = run(body)
    assert isinstance(event, WatchesOverflowed)
    assert event.directories == 1
    assert "max_queued_events" in event.message()
    assert [count.amount for count in event.counts()] == [1]
