"""What the agent does, and leaves alone, while it only looks: walks, and files that do not grow."""

import threading
import time

import pytest
from inotify_simple import INotify, flags

from singer.files.walk import Walker
from tests.support.logs import append, expect, expect_all, expect_each, lines

#: What anybody who used a file could be seen by.
USES = flags.OPEN | flags.ACCESS | flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE


class Walks:
    """When each walk of all directories began, and when it had ended."""

    def __init__(self, monkeypatch):
        self.times = []
        walk = Walker.walk

        def timed(walker, *known):
            begun = time.monotonic()
            try:
                return walk(walker, *known)
            finally:
                self.times.append((begun, time.monotonic()))

        monkeypatch.setattr(Walker, "walk", timed)

    def __len__(self):
        return len(self.times)

    def pauses(self):
        """Seconds between the end of a walk and the beginning of the next."""
        return [b[0] - a[1] for a, b in zip(self.times, self.times[1:], strict=False)]


@pytest.fixture
def walks(monkeypatch):
    return Walks(monkeypatch)


class Unrest:
    """A thread that makes, renames and removes files and directories until told to stop."""

    def __init__(self, directory):
        self._directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unrest")
        self.rounds = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.001):
            below = self._directory / f"d{self.rounds}"
            below.mkdir()
            (below / "x.tmp").touch()
            (below / "x.tmp").rename(below / "y.tmp")
            (below / "y.tmp").unlink()
            below.rmdir()
            self.rounds += 1


def test_however_much_happens_all_directories_are_walked_once_per_rescan(rig, logs, walks):
    """Java Singer walked the whole tree every 20 s per wildcard; others at every event."""
    (logs / "web").mkdir()
    agent = rig("**/*.log").start()
    append(logs / "web" / "0.log", lines(0, 10))
    count = 1
    with Unrest(logs) as unrest:
        while len(walks) < 5:
            expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(count)))
            append(logs / "web" / f"{count}.log", lines(count * 10, count * 10 + 10))
            count += 1
            agent.run_for(0.05)
    expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(count)))
    assert unrest.rounds > 100, "there was something to hear of"
    # The rig's `rescan` is 0.5 s, and its jitter a fifth.
    assert min(walks.pauses()) >= 0.5 * 0.8 - 0.001


def test_files_at_rest_are_neither_opened_nor_read_nor_written(rig, logs, walks):
    """Java Singer opened idle files at each cycle, and wrote its positions beside them."""
    (logs / "web").mkdir()
    for n in range(5):
        append(logs / "web" / f"{n}.log", lines(n * 10, n * 10 + 10))
    agent = rig("**/*.log").start()
    expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(5)))
    with INotify() as inotify:
        for path in logs.rglob("*.log"):
            inotify.add_watch(path, USES)
        inotify.add_watch(logs / "web", USES | flags.CREATE | flags.DELETE | flags.MOVED_TO)
        already = len(walks)
        agent.run_until(lambda: len(walks) >= already + 3, "three walks")
        # Directories are listed, files are only asked for their stat.
        used = [event for event in inotify.read(timeout=0) if not event.mask & flags.ISDIR]
    assert used == []


@pytest.mark.parametrize(
    ("files", "directories"),
    [(1000, 20), pytest.param(10_000, 200, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
def test_many_files_in_many_directories_are_all_found(rig, logs, files, directories):
    """At the start, one more in a directory that is known, and in one that is new."""
    for d in range(directories):
        (logs / f"{d:03}").mkdir()
    for n in range(files):
        append(logs / f"{n % directories:03}" / f"{n}.log", lines(n, n + 1))
    agent = rig("*/*.log", max_open_files=500).start()
    agent.run_until(lambda: len(agent.writer.arrived) >= files, "all files", seconds=120)
    append(logs / "007" / "one-more.log", lines(files, files + 1))
    (logs / "new").mkdir()
    append(logs / "new" / "app.log", lines(files + 1, files + 2))
    expect_all(agent, lines(0, files + 2))


def test_windows_follow_each_other_without_waiting_for_the_broker(rig, logs):
    """Java Singer's producer stood still for each round trip."""
    log, some = logs / "app.log", lines(0, 20_000, pad=140)
    agent = rig(memory=64 << 20).start()
    agent.writer.up = False
    append(log, some)
    agent.run_until(lambda: agent.writer.under_way >= 3, "three windows under way")
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, some)
