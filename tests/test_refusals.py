"""A stream that the kernel refuses something: everything arrives all the same."""

import os
import resource
from contextlib import contextmanager

from singer.base.events import FilesWait
from singer.files import wakeup
from singer.files.events import WatchesExhausted, WatchesOverflowed
from singer.observe.counters import Counters
from tests.support.confined import confined, limit
from tests.support.rig import Rig


def lines(name, first, last):
    return [b"%s %06d " % (name.encode(), n) + b"x" * 40 for n in range(first, last)]


def append(path, some):
    with open(path, "ab", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in some))


class Logs:
    """Files of a directory, and all that was written to them."""

    def __init__(self, tmp_path):
        self.directory = tmp_path / "logs"
        self.directory.mkdir()
        self.written = []
        self._next = {}

    def write(self, name, count=5):
        first = self._next.get(name, 0)
        self._next[name] = first + count
        some = lines(name, first, first + count)
        append(self.directory / f"{name}.log", some)
        self.written += some

    def rotate(self, name):
        path = self.directory / f"{name}.log"
        os.rename(path, f"{path}.1")


@contextmanager
def running(tmp_path, logs):
    rig = Rig(str(tmp_path / "state"), [str(logs.directory / "*.log")]).start()
    try:
        yield rig
        rig.stop()
    finally:
        if rig.running:
            rig.kill()


def arrive(rig, logs):
    """All that was written, nothing twice, the lines of a name in order."""
    rig.run_until(lambda: len(rig.writer.arrived) >= len(logs.written), "everything")
    rig.run_until_caught_up()
    assert sorted(rig.writer.arrived) == sorted(logs.written)
    for name in {line.split()[0] for line in logs.written}:
        mine = [line for line in rig.writer.arrived if line.split()[0] == name]
        assert mine == sorted(mine)


def live(rig, logs, names):
    """What happens to files in a day."""
    for name in names:
        logs.write(name)
    arrive(rig, logs)
    for name in names:
        logs.write(name)
    arrive(rig, logs)
    logs.rotate(names[0])
    logs.write(names[0])
    logs.write(f"{names[0]}-new")
    arrive(rig, logs)


def assert_said_once(rig, cause):
    (event,) = rig.seen(WatchesExhausted)
    assert cause in event.message()
    counters = Counters()
    for each in rig.events:
        counters(each)
    assert counters.total("singer_watches_exhausted_total") == 1


def watches_come_back(rig, logs):
    rig.run_until(lambda: not rig.wakeup.polled, "no file is polled")
    rig.run_until(lambda: rig.wakeup._directories, "the directory is watched")
    live(rig, logs, ["back", "again"])
    assert not rig.wakeup.polled


@confined
def test_without_a_single_watch(tmp_path):
    limit("max_inotify_watches", 0)
    logs = Logs(tmp_path)
    with running(tmp_path, logs) as rig:
        live(rig, logs, ["a", "b", "c"])
        assert rig.wakeup.polled >= 4
        assert not rig.wakeup._directories
        assert_said_once(rig, "no space left on device")
        limit("max_inotify_watches", 1000)
        watches_come_back(rig, logs)
        assert_said_once(rig, "no space left on device")


@confined
def test_with_fewer_watches_than_files(tmp_path):
    limit("max_inotify_watches", 5)
    logs = Logs(tmp_path)
    with running(tmp_path, logs) as rig:
        names = [f"f{n}" for n in range(10)]
        live(rig, logs, names)
        assert 0 < rig.wakeup.polled < len(names)
        assert_said_once(rig, "no space left on device")
        limit("max_inotify_watches", 1000)
        watches_come_back(rig, logs)


@confined
def test_without_an_instance(tmp_path):
    limit("max_inotify_instances", 0)
    wakeup._RETRY_SECONDS = 0.1
    logs = Logs(tmp_path)
    with running(tmp_path, logs) as rig:
        live(rig, logs, ["a", "b", "c"])
        assert rig.wakeup.polled >= 4
        assert_said_once(rig, "too many open files")
        limit("max_inotify_instances", 1)
        watches_come_back(rig, logs)
        assert_said_once(rig, "too many open files")


def test_an_overflow_loses_nothing(tmp_path):
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        most = int(file.read())
    logs = Logs(tmp_path)
    with running(tmp_path, logs) as rig:
        live(rig, logs, ["a", "b", "c"])
        before = len(rig.seen(WatchesOverflowed))
        # The loop stands still meanwhile. Two names in turn: the kernel joins equal events.
        names = [str(logs.directory / name) for name in ("x", "y")]
        for _ in range(most // 4 + 10):
            for name in names:
                os.close(os.open(name, os.O_CREAT))
            for name in names:
                os.unlink(name)
        # All this is not reported any more.
        for name in ("a", "b", "c", "d"):
            logs.write(name)
        logs.rotate("b")
        logs.write("b")
        arrive(rig, logs)
        assert len(rig.seen(WatchesOverflowed)) == before + 1
        live(rig, logs, ["c", "e"])


@confined
def test_with_fewer_descriptors_than_files(tmp_path):
    """Idle files are closed for others; while there are none, files wait, and it is said."""
    logs = Logs(tmp_path)
    with running(tmp_path, logs) as rig:
        logs.write("first")
        arrive(rig, logs)
        rig.run_until(rig.stream.scanned.is_set, "the first look")
        used = len(os.listdir("/proc/self/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
        for n in range(30):
            logs.write(f"f{n:02}")
        arrive(rig, logs)
        assert rig.seen(FilesWait)
        logs.write("first")
        arrive(rig, logs)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for n in range(30):
            logs.write(f"f{n:02}")
        arrive(rig, logs)
