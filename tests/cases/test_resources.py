"""Many files, few descriptors, no watches, long lines: nothing is lost, and it stays small."""

import contextlib
import os
import resource
import sqlite3
import time

import psutil
import pytest

from singer.base.config import ByteSize, Oversize, TextReaderConfig
from tests.support.consume import Collector, read_topic
from tests.support.logs import append, expect, expect_all, expect_each, lines
from tests.support.waiting import wait_until


def values(brokers, topic):
    return sorted(r.value for p in read_topic(brokers.bootstrap, topic).values() for r in p)


def open_logs(pid, logs):
    return [file.path for file in psutil.Process(pid).open_files() if str(logs) in file.path]


def inotify_instances(pid):
    links = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return sum(link == "anon_inode:inotify" for link in links)


# --- the kernel's limits --------------------------------------------------------------------------


def test_the_queue_of_watches_overflows_and_files_were_rotated_meanwhile(rig, logs):
    """Events are hints: a look finds what they would have told. Fluent Bit 1108, Java Singer."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as limit:
        most = int(limit.read())
    (logs / "web").mkdir()
    append(logs / "web" / "app.log", lines(0, 10))
    agent = rig("**/app.log").start()
    expect(agent, lines(0, 10))
    noise = [logs / "noise1", logs / "noise2"]  # in turn, because the kernel joins equal events
    for _ in range(most // 4 + 10):
        for path in noise:
            path.touch()
        for path in noise:
            path.unlink()
    (logs / "web" / "app.log").rename(logs / "web" / "app.log.1")
    append(logs / "web" / "app.log", lines(10, 20))
    (logs / "api").mkdir()
    append(logs / "api" / "app.log", lines(100, 110))
    expect_each(agent, lines(0, 20), lines(100, 110))
    append(logs / "api" / "app.log", lines(110, 120))
    expect_each(agent, lines(0, 20), lines(100, 120))


def test_no_watches_are_left(agent, brokers, logs):
    """ENOSPC from inotify: it polls, says so once, and loses nothing. Fluent Bit 717."""
    limited = 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh")
    if os.geteuid() != 0:
        pytest.skip("a user namespace with limits of its own takes root here")
    one = agent(paths="*/app.log", prefix=prefix)
    for n in range(20):
        (logs / f"{n:02}").mkdir()
        append(logs / f"{n:02}" / "app.log", lines(n * 10, n * 10 + 5))
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(100, 60)
        one.wait_for_log("event=watches-exhausted")
        for n in range(20):
            append(logs / f"{n:02}" / "app.log", lines(n * 10 + 5, n * 10 + 7))
            (logs / f"{n:02}" / "app.log").rename(logs / f"{n:02}" / "app.log.1")
            append(logs / f"{n:02}" / "app.log", lines(n * 10 + 7, n * 10 + 10))
        collector.wait_for(200, 60)
        assert one.log().count("event=watches-exhausted") == 1
        assert one.stop() == 0
    assert values(brokers, one.topic) == lines(0, 200)


def test_fewer_descriptors_than_files(agent, brokers, logs):
    """EMFILE: the rest is read when others are done, and the agent goes on. Vector 14818."""
    for n in range(300):
        append(logs / f"{n:03}.log", lines(n * 10, n * 10 + 5))
    one = agent(prefix=("prlimit", "--nofile=256:256"))
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(1500, 20)
        for n in range(300):
            append(logs / f"{n:03}.log", lines(n * 10 + 5, n * 10 + 10))
        collector.wait_for(3000, 20)
        assert one.stop() == 0
        one.assert_balanced()
    assert values(brokers, one.topic) == lines(0, 3000)


def test_more_files_than_may_be_open_are_rotated(rig, logs):
    """Whatever is closed by then is found again by its marks. Vector 14928, Filebeat 16076."""
    agent = rig("*.log", max_open_files=20).start()
    for n in range(100):
        append(logs / f"{n:03}.log", lines(n * 100, n * 100 + 10))
    expect_each(agent, *(lines(n * 100, n * 100 + 10) for n in range(100)))
    for n in range(0, 100, 3):
        append(logs / f"{n:03}.log", lines(n * 100 + 10, n * 100 + 20))
        (logs / f"{n:03}.log").rename(logs / f"{n:03}.log.1")
        append(logs / f"{n:03}.log", lines(n * 100 + 20, n * 100 + 30))
    expected = [lines(n * 100, n * 100 + (30 if n % 3 == 0 else 10)) for n in range(100)]
    expect_each(agent, *expected)


def test_a_slow_state_disk_does_not_make_the_agent_look_away(rig, logs):
    """A rotation that comes right after a slow write of positions is seen as soon as any other."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    path = os.path.join(agent.state_dir, "positions")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log.rename(logs / "app.log.1")
        append(log, lines(10, 20))
        agent.run_for(0.5)  # how long the disk takes
        other.execute("ROLLBACK")
    expect(agent, lines(0, 20))
    log.rename(logs / "app.log.2")
    append(log, lines(20, 30))
    agent.run_until(lambda: len(agent.writer.arrived) == 30, "the next rotation", seconds=1.0)


# --- many files -----------------------------------------------------------------------------------


def test_fifteen_hundred_files_in_many_directories(agent, brokers, logs):
    """Small, few threads, one inotify instance, and idle when they are.

    Fluent Bit 7865 (2 GB), OTel 27404 (1.1 cores when idle), Java Singer (an instance and two
    threads for each directory).
    """
    for pod in range(150):
        (logs / f"pod{pod:03}").mkdir()
        for n in range(10):
            number = pod * 10 + n
            append(logs / f"pod{pod:03}" / f"{n}.log", lines(number * 2, number * 2 + 1))
    one = agent(paths="*/*.log", agent={"rescan": "1s", "max_open_files": 500})
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(1500, 60)
        process = psutil.Process(one.pid)
        wait_until(lambda: len(open_logs(one.pid, logs)) <= 500, 10, "at most 500 are open")
        assert inotify_instances(one.pid) == 1
        assert process.num_threads() < 40
        assert process.memory_info().rss < 200 << 20
        busy = sum(process.cpu_times()[:2])
        begun = time.monotonic()
        time.sleep(2.0)  # what is measured is a stretch of idling
        share = (sum(process.cpu_times()[:2]) - busy) / (time.monotonic() - begun)
        assert share < 0.2, f"{share:.0%} of a core for 1500 idle files, walked every second"
        for pod in range(0, 150, 10):
            append(logs / f"pod{pod:03}" / "0.log", lines(pod * 20 + 1, pod * 20 + 2))
        collector.wait_for(1515, 30)
        assert one.stop() == 0
        one.assert_balanced()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_many_thousand_files_that_all_grow(rig, logs):
    """Vector 14928 lagged with 12,500 files, Fluent Bit 728 failed with 60,000."""
    for n in range(12_500):
        append(logs / f"{n:05}.log", lines(n * 10, n * 10 + 3))
    agent = rig("*.log", max_open_files=1000).start()
    agent.run_until(lambda: len(agent.writer.arrived) == 37_500, "all files", seconds=120)
    for n in range(12_500):
        append(logs / f"{n:05}.log", lines(n * 10 + 3, n * 10 + 5))
    agent.run_until(lambda: len(agent.writer.arrived) == 62_500, "all growth", seconds=120)
    expect_all(agent, [line for n in range(12_500) for line in lines(n * 10, n * 10 + 5)])


def test_files_of_an_hour_come_and_go_without_leaving_anything(rig, logs):
    """800 files a day, a state file for each. rsyslog 3204, Fluent Bit 1143, Vector 23076."""
    agent = rig("*.log", rotate_grace=0.02).start()
    before = len(os.listdir("/proc/self/fd"))
    for n in range(60):
        append(logs / f"{n}.log", lines(n * 10, n * 10 + 10))
        if n >= 3:
            (logs / f"{n - 3}.log").unlink()
        expect(agent, lines(0, n * 10 + 10))
    agent.run_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 5, "they are let go")
    agent.stop()
    size = sum(os.path.getsize(path) for path in _files(agent.state_dir))
    assert size < 1 << 20


def _files(directory):
    return [os.path.join(where, name) for where, _, names in os.walk(directory) for name in names]


# --- long lines -----------------------------------------------------------------------------------


@pytest.mark.long
def test_a_gigabyte_without_a_newline(rig, logs):
    """For other readers see tests/readers: what they give up goes to the dead letters, whole."""
    log = logs / "app.log"
    with log.open("wb") as file:
        file.truncate(1 << 30)
    reader = TextReaderConfig(max_record=ByteSize(16 << 10), oversize=Oversize.TRUNCATE)
    before = psutil.Process().memory_info().rss
    agent = rig(reader=reader).start()
    account = agent.ledger.account("s", "out")
    agent.run_until(lambda: account.read == 1 << 30, "all of it", 120)
    append(log, [b"", *lines(0, 10)])
    expect(agent, [bytes(16 << 10), *lines(0, 10)])
    assert psutil.Process().memory_info().rss - before < 64 << 20
    assert agent.stop()


def test_a_line_of_a_hundred_megabytes(agent, brokers, logs):
    """Neither does it fill the memory, nor is it looked at again and again.

    Filebeat 26563 (out of memory), Vector 6730 (quadratic), Fluent Bit 370 (stuck behind it).
    """
    log = logs / "app.log"
    append(log, lines(0, 10))
    with log.open("ab") as file:
        for _ in range(100):
            file.write(b"y" * (1 << 20))
        file.write(b"\n")
    append(log, lines(10, 20))
    reader = {"type": "text", "max_record": "16KiB", "oversize": "truncate"}
    one = agent(reader=reader)
    with Collector(brokers.bootstrap, one.topic) as collector:
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        one.start()
        collector.wait_for(21, 60)
        assert psutil.Process(one.pid).memory_info().rss < 250 << 20
        assert one.stop() == 0
        one.assert_balanced()
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.ru_utime - begun.ru_utime < 10.0, "each byte was looked at once or twice"
    found = values(brokers, one.topic)
    assert found == sorted([*lines(0, 20), b"y" * (16 << 10)])
