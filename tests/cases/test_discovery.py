"""Files and directories that come, go, cannot be read, or are not files at all."""

import os
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest

from singer.base.events import FileRotated, FileUnreadable
from singer.files.walk import Walker
from tests.files.privileges import bound_by_permissions
from tests.support.consume import Collector
from tests.support.logs import append, expect, expect_each, later, lines, long_ago

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


# --- directories ----------------------------------------------------------------------------------


@RUNNING
def test_a_directory_is_deleted_and_made_again(rig, logs, running):
    """Once gone it was never watched again. Java Singer."""
    agent = rig("web/app.log").start()
    for n in range(4):
        if not running and agent.running:
            agent.stop()
        shutil.rmtree(logs / "web", ignore_errors=True)
        if running:
            agent.run_for(0.02 * n)
        (logs / "web").mkdir()
        append(logs / "web" / "app.log", lines(n * 10, n * 10 + 5))
        if not agent.running:
            agent.start()
        expect(
            agent,
            [line for m in range(n) for line in lines(m * 10, m * 10 + 10)]
            + lines(n * 10, n * 10 + 5),
        )
        append(logs / "web" / "app.log", lines(n * 10 + 5, n * 10 + 10))
        expect(agent, lines(0, n * 10 + 10))


def test_a_directory_is_deleted_while_its_files_are_unread(rig, logs):
    """What is open is read to its end, and the directory that takes its place is read as well."""
    (logs / "web").mkdir()
    append(logs / "web" / "app.log", lines(0, 10))
    agent = rig("web/app.log").start()
    expect(agent, lines(0, 10))
    agent.writer.up = False
    append(logs / "web" / "app.log", lines(10, 500))
    shutil.rmtree(logs / "web")
    (logs / "web").mkdir()
    append(logs / "web" / "app.log", lines(500, 510))
    agent.run_for(0.1)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 510))


def test_what_happens_during_a_walk_of_everything_does_not_wait_for_its_end(rig, logs, monkeypatch):
    (logs / "a").mkdir()
    append(logs / "a" / "app.log", lines(0, 10))
    agent = rig("*/app.log*").start()
    expect(agent, lines(0, 10))
    walk, begun, go_on = Walker.walk, threading.Event(), threading.Event()

    def slow_walk(self, *known):
        seen = walk(self, *known)
        begun.set()
        go_on.wait(20)
        return seen

    monkeypatch.setattr(Walker, "walk", slow_walk)
    agent.run_until(begun.is_set, "the next walk")
    try:
        (logs / "a" / "app.log").rename(logs / "a" / "app.log.1")
        append(logs / "a" / "app.log", lines(10, 20))
        expect(agent, lines(0, 20))
        (logs / "b").mkdir()
        append(logs / "b" / "app.log", lines(20, 30))
        expect(agent, lines(0, 30))
    finally:
        go_on.set()
    monkeypatch.undo()
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 30), "what the walk saw before does not count"
    (logs / "b" / "app.log").rename(logs / "b" / "app.log.1")
    append(logs / "b" / "app.log", lines(30, 40))
    expect(agent, lines(0, 40))
    assert len(agent.seen(FileRotated)) == 2


def test_directories_of_pods_appear_one_after_the_other(rig, logs):
    """Only the first directory of a configuration was ever read. Java Singer."""
    agent = rig("*/*/*.log").start()
    agent.run_until_caught_up()
    for n in range(8):
        pod = logs / f"pod{n}" / "container"
        pod.mkdir(parents=True)
        append(pod / "0.log", lines(n * 10, n * 10 + 10))
        if n == 3:
            expect_each(agent, *(lines(m * 10, m * 10 + 10) for m in range(4)))
    expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(8)))


def test_a_directory_is_renamed_with_its_files(rig, logs):
    (logs / "a").mkdir()
    append(logs / "a" / "app.log", lines(0, 10))
    agent = rig("*/app.log").start()
    expect(agent, lines(0, 10))
    (logs / "a").rename(logs / "b")
    append(logs / "b" / "app.log", lines(10, 20))
    (logs / "a").mkdir()
    append(logs / "a" / "app.log", lines(100, 110))
    expect_each(agent, lines(0, 20), lines(100, 110))
    agent.stop()
    shutil.rmtree(logs / "a")
    (logs / "b").rename(logs / "a")
    append(logs / "a" / "app.log", lines(20, 30))
    agent.start()
    expect_each(agent, lines(0, 30), lines(100, 110))


def test_an_unreadable_directory_becomes_readable(rig, logs):
    closed = logs / "closed"
    closed.mkdir()
    append(closed / "app.log", lines(0, 10))
    append(logs / "open.log", lines(100, 110))
    closed.chmod(0)
    with bound_by_permissions():
        agent = rig("open.log", "closed/*.log").start()
        expect(agent, lines(100, 110))
        agent.run_until(lambda: agent.seen(FileUnreadable), "it is said")
        closed.chmod(0o755)
        expect_each(agent, lines(100, 110), lines(0, 10))
        append(closed / "app.log", lines(10, 20))
        expect_each(agent, lines(100, 110), lines(0, 20))
        assert len(agent.seen(FileUnreadable)) == 1, "once for as long as it lasts"
        agent.stop()


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444], ids=["closed", "unlisted", "unsearched"])
def test_a_directory_is_unreadable_for_a_while_and_rotated_meanwhile(rig, logs, mode):
    """What is open is read on, and nothing counts as deleted because it cannot be seen."""
    web = logs / "web"
    web.mkdir()
    append(web / "app.log", lines(0, 10))
    with bound_by_permissions():
        agent = rig("web/*.log").start()
        expect(agent, lines(0, 10))
        with (web / "app.log").open("ab", buffering=0) as file:
            web.chmod(mode)
            file.write(b"".join(line + b"\n" for line in lines(10, 20)))
            expect(agent, lines(0, 20))
            agent.run_until(lambda: agent.seen(FileUnreadable), "it is said")
            file.write(b"".join(line + b"\n" for line in lines(20, 30)))
            expect(agent, lines(0, 30))
        web.chmod(0o755)
        (web / "app.log").rename(web / "app.log.1")
        append(web / "app.log", lines(30, 40))
        expect(agent, lines(0, 40))
        agent.stop()


def test_an_unreadable_file_becomes_readable_after_its_rotation(rig, logs):
    """`create 0600`, and the permissions are corrected later."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    with bound_by_permissions():
        agent = rig().start()
        expect(agent, lines(0, 10))
        log.rename(logs / "app.log.1")
        append(log, lines(10, 20))
        log.chmod(0)
        agent.run_until(lambda: agent.seen(FileUnreadable), "it is said")
        log.rename(logs / "app.log.2")
        append(log, lines(20, 30))
        later(log, 1)
        expect(agent, lines(0, 10) + lines(20, 30))
        (logs / "app.log.2").chmod(0o644)
        log.rename(logs / "app.log.3")
        append(log, lines(30, 40))
        later(log, 2)
        expect_each(agent, lines(0, 10), lines(10, 20), lines(20, 40))
        agent.stop()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [b"app-\xff\xfe.log", b"new\nline.log", "größe.log".encode(), b" .log", b"[a]{b}*?.log"],
    ids=["not-utf8", "newline", "utf8", "blank", "glob-signs"],
)
def test_odd_names_survive_rotation_and_restarts(rig, logs, name):
    log = logs / os.fsdecode(name)
    append(log, lines(0, 10))
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    log.rename(f"{log}.1")
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    agent.stop()
    append(log, lines(20, 25))
    log.rename(f"{log}.2")
    append(log, lines(25, 30))
    agent.start()
    expect(agent, lines(0, 30))


@RUNNING
def test_compressed_files_that_the_glob_matches_are_not_read_as_text(rig, logs, running):
    """A prefix swallowed `app.log.1.gz`. Java Singer, Vector 24295, 13193."""
    log = logs / "app.log"
    append(logs / "app.log.1", lines(900, 910))
    long_ago(logs / "app.log.1")
    subprocess.run(["gzip", str(logs / "app.log.1")], check=True)
    append(log, lines(0, 10))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 10))
    for n in range(1, 4):
        if not running:
            agent.stop()
        for old in range(n, 0, -1):
            (logs / f"app.log.{old}.gz").rename(logs / f"app.log.{old + 1}.gz")
        log.rename(logs / "app.log.1")
        append(log, lines(n * 10, n * 10 + 5))
        if running:
            expect(agent, lines(0, n * 10 + 5))
        subprocess.run(["gzip", str(logs / "app.log.1")], check=True)
        if not running:
            agent.start()
        append(log, lines(n * 10 + 5, n * 10 + 10))
        expect(agent, lines(0, n * 10 + 10))


# --- what is no file ------------------------------------------------------------------------------


def test_pipes_sockets_and_devices_that_the_glob_matches_are_never_opened(rig, logs):
    """Whoever opens a pipe lets its writer go on, and a terminal or a tape drive may answer."""
    os.mkfifo(logs / "fifo.log")
    (logs / "directory.log").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(logs / "socket.log"))
        server.listen()
        server.setblocking(False)
        if os.geteuid() == 0:
            os.mknod(logs / "device.log", 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
        append(logs / "app.log", lines(0, 10))
        agent = rig("*.log", "fifo.log", "socket.log", "device.log").start()
        expect(agent, lines(0, 10))
        for n in range(20):
            with pytest.raises(OSError, match="No such device or address"):
                os.open(logs / "fifo.log", os.O_WRONLY | os.O_NONBLOCK)  # nobody reads it
            agent.run_for(0.01)
            if n == 10:
                (logs / "app.log").rename(logs / "app.log.1")
                os.mkfifo(logs / "app.log")
        with pytest.raises(BlockingIOError):
            server.accept()
        (logs / "app.log").unlink()
        append(logs / "app.log", lines(10, 20))
        expect(agent, lines(0, 20))
        said = {event.path for event in agent.seen(FileUnreadable)}
        assert str(logs / "fifo.log") in said
        agent.stop()


def test_a_symbolic_link_takes_the_place_of_a_log(rig, logs, tmp_path):
    """Not followed, whatever it leads to; the file that was there is finished."""
    secret = tmp_path / "secret"
    append(secret, [b"the secret"])
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    append(log, lines(10, 15))
    log.rename(logs / "app.log.1")
    log.symlink_to(secret)
    expect(agent, lines(0, 15))
    agent.run_for(0.7)  # a walk
    agent.stop()
    agent.start()
    agent.run_until_caught_up()
    log.unlink()
    append(log, lines(15, 20))
    expect(agent, lines(0, 20))


def test_links_are_followed_when_asked_but_not_out_of_the_stream(rig, logs, tmp_path):
    """`current.log -> data/2024-09-11`, and one that leads to somebody else's file."""
    append(tmp_path / "secret", [b"the secret"])
    (logs / "data").mkdir()
    append(logs / "data" / "one", lines(0, 10))
    append(logs / "data" / "two", lines(100, 110))
    (logs / "current.log").symlink_to("data/one")
    (logs / "again.log").symlink_to("data/one")
    (logs / "secret.log").symlink_to(tmp_path / "secret")
    agent = rig("*.log", follow_symlinks=True).start()
    expect(agent, lines(0, 10))
    append(logs / "data" / "one", lines(10, 20))
    (logs / "aside").symlink_to("data/two")
    (logs / "aside").rename(logs / "current.log")
    expect_each(agent, lines(0, 20), lines(100, 110))
    agent.stop()
    append(logs / "data" / "two", lines(110, 120))
    agent.start()
    expect_each(agent, lines(0, 20), lines(100, 120))


def test_the_agents_own_log_state_and_dead_letters_are_never_shipped(agent, brokers, logs):
    """Everything the agent writes lies where its glob looks: it must not feed itself."""
    one = agent(
        paths="**/*",
        state_dir=str(logs / "state"),
        reader={"type": "text", "max_record": "1KiB"},
    )
    one.log_path = str(logs / "singer.log")
    one.output_path = str(logs / "singer.out")
    log = logs / "app.log"
    append(log, [*lines(0, 10), b"y" * 5000, *lines(10, 20)])
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(20, 30)
        for n in range(2, 6):
            append(log, [b"y" * 5000, *lines(n * 10, n * 10 + 10)])
            collector.wait_for(n * 10 + 10, 30)
        log.rename(logs / "app.log.1")
        append(log, lines(60, 70))
        collector.wait_for(70, 30)
        assert one.stop() == 0
        arrived = collector.close()
    dead = [path for path in (logs / "state").iterdir() if path.name.startswith("dead")]
    assert sum(path.stat().st_size for path in dead) > 5 * 5000, "there were dead letters"
    values = [record.value for records in arrived.values() for record in records]
    assert sorted(values) == lines(0, 70)


# --- hands off ------------------------------------------------------------------------------------


def test_nothing_is_ever_changed_where_applications_log(rig, logs):
    """No retention, no lock, no access time. Java Singer deleted logs that were two hours old."""
    (logs / "web").mkdir()
    append(logs / "web" / "app.log", lines(0, 50))
    append(logs / "app.log.1", lines(100, 150))
    append(logs / "app.log", lines(200, 250))
    for path in logs.rglob("*"):
        os.utime(path, ns=(time.time_ns() - 9 * 86400 * 10**9,) * 2)

    def snapshot():
        entries = sorted(logs.rglob("*"))
        stats = [path.lstat() for path in entries]
        return [
            (p, s.st_mode, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_nlink)
            for p, s in zip(entries, stats, strict=True)
        ] + [s.st_atime_ns for p, s in zip(entries, stats, strict=True) if p.is_file()]

    before = snapshot()
    agent = rig("**/*.log*").start()
    expect_each(agent, lines(0, 50), lines(100, 150), lines(200, 250))
    agent.run_for(0.6)  # a walk
    agent.stop()
    agent.start()
    agent.run_until_caught_up()
    agent.stop()
    assert snapshot() == before


@ROOT
def test_a_read_only_file_system_is_all_the_agent_needs(rig, logs, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    append(source / "app.log", lines(0, 10))
    done = subprocess.run(
        ["mount", "--bind", str(source), str(logs)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(logs)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (logs / "x").touch()
        agent = rig().start()
        expect(agent, lines(0, 10))
        (source / "app.log").rename(source / "app.log.1")
        append(source / "app.log", lines(10, 20))
        expect(agent, lines(0, 20))
        agent.stop()
        append(source / "app.log", lines(20, 30))
        (source / "app.log").rename(source / "app.log.2")
        agent.start()
        expect(agent, lines(0, 30))
        agent.stop()
    finally:
        subprocess.run(["umount", str(logs)], check=True)
