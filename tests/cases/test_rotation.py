"""Rotation by renaming, in every order that other agents failed in. `docs/cases.md` has the table.

Projects and numbers in docstrings are the reports the cases come from.
"""

import os
import threading
import time

import pytest

from singer.base.events import FileRotated
from singer.surroundings import Surroundings
from tests.support.lines import LogWriter
from tests.support.logs import (
    append,
    expect,
    expect_each,
    expect_written,
    later,
    lines,
    rewrite,
    run_until_looked,
)

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


def rename_all(logs, **to):
    """Rename several files at once, as far as names go: `a="b"` makes a.log b.log."""
    for old in to:
        (logs / f"{old}.log").rename(logs / f"{old}.aside")
    for old, new in to.items():
        (logs / f"{old}.aside").rename(logs / f"{new}.log")


# --- one after the other --------------------------------------------------------------------------


@RUNNING
def test_renamed_and_the_new_file_truncated_and_a_restart(rig, logs, running):
    """Rename, truncate, restart: each is harmless alone. Vector 22954, OTel 31074."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    if not running:
        agent.stop()
    append(log, lines(100, 110))
    log.rename(logs / "app.log.1")
    append(log, lines(200, 250))
    seen = lines(0, 110)
    if running:
        seen = lines(0, 110) + lines(200, 250)
        expect(agent, seen)
        agent.stop()
    rewrite(log, lines(300, 310))
    agent.start()
    expect(agent, seen + lines(300, 310))
    append(log, lines(310, 320))
    agent.stop()
    agent.start()
    expect(agent, seen + lines(300, 320))


def test_rotated_while_running_and_while_stopped_and_while_running_again(rig, logs):
    """What was rotated is neither read again nor left behind. Vector 22954, 18820."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    first = 10

    def rotate(number):
        nonlocal first
        append(log, lines(first, first + 20))
        later(log, number)
        for old in range(9, 0, -1):
            if (logs / f"app.log.{old}").exists():
                (logs / f"app.log.{old}").rename(logs / f"app.log.{old + 1}")
        log.rename(logs / "app.log.1")
        first += 20

    for number in range(9):
        if number in (3, 4):
            agent.stop()
        rotate(number)
        if number in (3, 4, 6):  # between these nobody looks
            rotate(number)
        append(log, lines(first, first + 5))
        first += 5
        if not agent.running:
            agent.start()
        expect(agent, lines(0, first))


def test_created_and_rotated_between_two_looks_without_a_successor(rig, logs):
    """`nocreate`, and a program that wrote a little and ended; its path is known."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    log.rename(logs / "app.log.1")
    agent.run_until(lambda: agent.seen(FileRotated), "the rotation is noticed")
    agent.run_for(0.1)  # and everything that follows from it is done
    append(log, lines(10, 20))
    (logs / "app.log.1").rename(logs / "app.log.2")
    log.rename(logs / "app.log.1")
    expect(agent, lines(0, 20))


def test_rotated_again_and_again_while_no_broker_answers_and_then_killed(rig, logs):
    """Nothing of it was delivered, and the process that had it all open is gone."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.writer.up = False
    for number in range(1, 6):
        append(log, lines(number * 10, number * 10 + 10))
        later(log, number)
        log.rename(logs / f"app.log.{number}")
        agent.run_for(0.05)
    append(log, lines(60, 70))
    agent.kill()
    agent.writer.up = True
    agent.start()
    expect(agent, lines(0, 70))


@pytest.mark.parametrize("name", ["app.log.1", "elsewhere"])
def test_a_writer_that_is_slow_to_reopen_goes_on_in_the_rotated_file(rig, logs, name):
    """Long after the successor began, both are written to. Filebeat 46923, OTel 40200."""
    log, old = logs / "app.log", logs / name
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    log.rename(old)
    append(log, lines(100, 110))
    expect(agent, lines(0, 10) + lines(100, 110))
    for n in range(1, 4):
        append(old, lines(n * 10, n * 10 + 10))
        append(log, lines(100 + n * 10, 110 + n * 10))
        expect_each(agent, lines(0, n * 10 + 10), lines(100, 110 + n * 10))


def test_a_line_begun_before_the_rotation_and_ended_after_it_is_one_line(rig, logs):
    """Neither its first bytes nor its last are missing. Vector 20914, Fluent Bit 5382."""
    log = logs / "app.log"
    agent = rig(rotate_grace=30.0).start()
    with LogWriter(str(log), 0) as writer:
        for number in range(5):
            writer.write(10)
            writer.begin_line()
            agent.run_for(0.01)
            log.rename(logs / f"app.log.{number}")
            agent.run_for(0.01)
            writer.finish_line()
            writer.reopen()
            writer.write(10)
            expect_written(agent, writer)


@RUNNING
def test_moved_to_an_archive_under_any_name(rig, logs, tmp_path, running):
    """`login.log` becomes `archive/2024-09-11.login.01.log` every few seconds. OTel 35137."""
    log, archive = logs / "login.log", tmp_path / "archive"
    archive.mkdir()
    append(log, lines(0, 10))
    agent = rig("login.log", rotated_dirs=(str(archive),)).start()
    expect(agent, lines(0, 10))
    for n in range(1, 5):
        if not running:
            agent.stop()
        append(log, lines(n * 10, n * 10 + 5))
        log.rename(archive / f"2024-09-11.login.{n:02}.log")
        append(log, lines(n * 10 + 5, n * 10 + 10))
        if not running:
            agent.start()
        expect(agent, lines(0, n * 10 + 10))


def test_archived_several_times_while_stopped_under_names_of_a_glob(rig, logs, tmp_path):
    """Files that came and went unseen, with the date in front. OTel 35137."""
    log, archive = logs / "login.log", tmp_path / "archive"
    archive.mkdir()
    append(log, lines(0, 10))
    agent = rig(
        "login.log", rotated_dirs=(str(archive),), rotated=(f"{archive}/*.login.*.log",)
    ).start()
    expect(agent, lines(0, 10))
    agent.stop()
    for n in range(1, 4):
        append(log, lines(n * 10, n * 10 + 10))
        later(log, n)
        log.rename(archive / f"2024-09-11.login.{n:02}.log")
    append(log, lines(40, 50))
    agent.start()
    expect(agent, lines(0, 50))


def test_moved_to_an_archive_while_stopped_and_nothing_is_left_at_the_path(rig, logs):
    """Made and moved between two runs: only the name in the archive says whose file it was."""
    log, archive = logs / "app.log", logs / "archive"
    archive.mkdir()
    agent = rig("app.log", rotated_dirs=(str(archive),)).start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    assert agent.stop()
    append(log, lines(0, 10))
    log.rename(archive / "app.log.1")
    agent.start()
    expect(agent, lines(0, 10))


@pytest.mark.parametrize("paths", ["*.log", "app.log", "**/*.log"])
def test_moved_to_an_archive_while_stopped_and_its_directory_removed(rig, tmp_path, logs, paths):
    archive = tmp_path / "archive"
    archive.mkdir()
    agent = rig(paths, rotated_dirs=(str(archive),)).start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    assert agent.stop()
    append(logs / "app.log", lines(0, 10))
    (logs / "app.log").rename(archive / "app.log.1")
    logs.rmdir()
    agent.start()
    expect(agent, lines(0, 10))


@RUNNING
def test_logrotate_sets_a_log_aside_that_was_there_before_its_own(rig, logs, running):
    """`create`, and an application that was faster: `app.log-YYYYMMDDHH.backup` has its lines."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    if not running:
        agent.stop()
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    later(log, 1)
    log.rename(logs / "app.log-2026013117.backup")
    append(log, lines(20, 30))
    later(log, 2)
    if not running:
        agent.start()
    expect(agent, lines(0, 30))


# --- names go round -------------------------------------------------------------------------------


@RUNNING
def test_two_files_swap_their_names(rig, logs, running):
    append(logs / "a.log", lines(0, 10))
    append(logs / "b.log", lines(100, 110))
    agent = rig("*.log").start()
    expect_each(agent, lines(0, 10), lines(100, 110))
    for n in (1, 2):
        if not running:
            agent.stop()
        rename_all(logs, a="b", b="a")
        here, there = ("b", "a") if n == 1 else ("a", "b")
        append(logs / f"{here}.log", lines(n * 10, n * 10 + 10))
        append(logs / f"{there}.log", lines(100 + n * 10, 110 + n * 10))
        if not running:
            agent.start()
        expect_each(agent, lines(0, n * 10 + 10), lines(100, 110 + n * 10))


@RUNNING
def test_two_files_swap_their_names_and_are_copied_and_truncated(rig, logs, running):
    append(logs / "a.log", lines(0, 10))
    append(logs / "b.log", lines(100, 120))
    agent = rig("*.log").start()
    expect_each(agent, lines(0, 10), lines(100, 120))
    if not running:
        agent.stop()
    rename_all(logs, a="b", b="a")
    if not running:
        agent.start()
    append(logs / "a.log", lines(120, 130))
    append(logs / "b.log", lines(10, 20))
    expect_each(agent, lines(0, 20), lines(100, 130))
    run_until_looked(agent, logs / "look.log")
    for name in "ab":
        (logs / f"{name}.log.1").write_bytes((logs / f"{name}.log").read_bytes())
        (logs / f"{name}.log").write_bytes(b"")
    append(logs / "a.log", lines(130, 140))
    append(logs / "b.log", lines(20, 30))
    expect_each(agent, lines(0, 30), lines(100, 140))
    run_until_looked(agent, logs / "again.log")
    expect_each(agent, lines(0, 30), lines(100, 140))


@RUNNING
def test_three_files_pass_their_names_round(rig, logs, running):
    """a to b, b to c, c to a. Vector 20512."""
    for n, name in enumerate("abc"):
        append(logs / f"{name}.log", lines(n * 100, n * 100 + 10))
    agent = rig("*.log").start()
    expect_each(agent, *(lines(n * 100, n * 100 + 10) for n in range(3)))
    for turn in (1, 2, 3):
        if not running:
            agent.stop()
        rename_all(logs, a="b", b="c", c="a")
        for n in range(3):
            name = "abc"[(n + turn) % 3]
            append(logs / f"{name}.log", lines(n * 100 + turn * 10, n * 100 + turn * 10 + 10))
        if not running:
            agent.start()
        expect_each(agent, *(lines(n * 100, n * 100 + turn * 10 + 10) for n in range(3)))


@RUNNING
def test_numbered_files_that_the_glob_matches_shift_their_names(rig, logs, running):
    """`app.log.1` is another file after each rotation. Vector 20512, Promtail 3985."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 10))
    for n in range(1, 5):
        if not running:
            agent.stop()
        append(log, lines(n * 10, n * 10 + 5))
        for old in range(n, 1, -1):
            (logs / f"app.log.{old - 1}").rename(logs / f"app.log.{old}")
        log.rename(logs / "app.log.1")
        append(log, lines(n * 10 + 5, n * 10 + 10))
        later(log, n)
        if not running:
            agent.start()
        expect(agent, lines(0, n * 10 + 10))


# --- another file in its place --------------------------------------------------------------------


@RUNNING
@pytest.mark.parametrize("length", [3, 20, 200], ids=["shorter", "as long", "longer"])
def test_another_file_is_renamed_over_it(rig, logs, running, length):
    """`mv new app.log`: the old one has no name any more."""
    log = logs / "app.log"
    append(log, lines(0, 20))
    agent = rig().start()
    expect(agent, lines(0, 20))
    if not running:
        agent.stop()
    append(logs / "new", lines(100, 100 + length))
    (logs / "new").rename(log)
    if not running:
        agent.start()
    expect(agent, lines(0, 20) + lines(100, 100 + length))
    append(log, lines(500, 510))
    expect(agent, lines(0, 20) + lines(100, 100 + length) + lines(500, 510))


@pytest.mark.parametrize("length", [3, 200], ids=["shorter", "longer"])
def test_renamed_over_while_unread_the_old_one_is_finished_first(rig, logs, length):
    log = logs / "app.log"
    append(log, lines(0, 20))
    agent = rig().start()
    expect(agent, lines(0, 20))
    agent.writer.up = False
    append(log, lines(20, 50))
    append(logs / "new", lines(100, 100 + length))
    (logs / "new").rename(log)
    agent.run_for(0.1)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 50) + lines(100, 100 + length))


@RUNNING
def test_an_edited_copy_is_renamed_over_it(rig, logs, running):
    """As editors and `sed -i` do it: nothing is lost, and what is sent again is bounded."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    if not running:
        agent.stop()
    append(logs / "new", lines(0, 90) + lines(200, 210))
    (logs / "new").rename(log)
    if not running:
        agent.start()
    agent.run_until(lambda: agent.writer.arrived[-10:] == lines(200, 210), "the new lines")
    agent.run_until_caught_up()
    assert agent.writer.arrived[:100] == lines(0, 100)
    again = agent.writer.arrived[100:-10]
    assert again == lines(0, 90)[90 - len(again) :], "nothing but the beginning of the copy"


@RUNNING
def test_a_hard_link_keeps_the_old_file_and_a_new_one_takes_its_name(rig, logs, running):
    """`ln app.log app.log.0; mv new app.log`, as newsyslog and savelog do it."""
    log = logs / "app.log"
    append(log, lines(0, 20))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 20))
    for n in (1, 2, 3):
        if not running:
            agent.stop()
        append(log, lines(n * 20, n * 20 + 10))
        os.link(log, logs / f"app.log.{n}")
        if running:
            agent.run_for(0.03)
        append(logs / "new", lines(n * 20 + 10, n * 20 + 20))
        (logs / "new").rename(log)
        if not running:
            agent.start()
        expect(agent, lines(0, n * 20 + 20))


# --- under load -----------------------------------------------------------------------------------


class Load:
    """An application that logs and rotates in a thread of its own, until told to stop.

    Every `every` seconds it is renamed to a name of its own, in the middle of a line at times;
    the writer learns of it a little later.
    """

    def __init__(self, log, *, every, kept):
        self._log, self._every, self._kept = log, every, kept
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.rotations = 0

    def __enter__(self):
        self.writer = LogWriter(str(self._log), 0, garble=True)
        self.writer.write(1)  # its text is made now, and not while it is to rotate
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.writer.close()

    def _run(self):
        due = time.monotonic() + self._every
        while not self._stop.wait(0.004):
            self.writer.write(20)
            if time.monotonic() >= due:
                self._rotate()
                due = time.monotonic() + self._every

    def _rotate(self):
        middle = self.rotations % 3 == 0
        if middle:
            self.writer.begin_line()
        self.rotations += 1
        self._log.rename(f"{self._log}.{self.rotations}")
        if self._kept is not None and self.rotations > self._kept:
            os.unlink(f"{self._log}.{self.rotations - self._kept}")
        self._stop.wait(0.002)
        if middle:
            self.writer.finish_line()
        self.writer.write(5)
        self.writer.reopen()


def rotate_under_load(rig, logs, *, seconds, glob, kept):
    agent = rig(glob).start()
    # The stream has to be looked at once, else what was rotated before is history.
    expect(agent, [])
    with Load(logs / "app.log", every=0.05, kept=kept) as load:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            agent.run_for(0.05)
    expect_written(agent, load.writer)
    assert load.rotations >= seconds * 10, "it was rotated all the time"
    assert agent.stop()


@pytest.mark.parametrize("glob", ["app.log", "app.log*"], ids=["path", "glob"])
def test_rotated_twenty_times_a_second_under_load(rig, logs, glob):
    """Promtail 6503, Fluent Bit 2110 and 1108: after a rotation nobody read the new file."""
    rotate_under_load(rig, logs, seconds=1.5, glob=glob, kept=None)


def test_rotated_and_deleted_twenty_times_a_second_under_load(rig, logs):
    """Files live for a second. OTel 35137, rsyslog 4875."""
    rotate_under_load(rig, logs, seconds=1.7, glob="app.log", kept=20)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kept", [None, 20], ids=["all kept", "20 kept"])
def test_rotated_twenty_times_a_second_for_a_minute(rig, logs, kept):
    rotate_under_load(rig, logs, seconds=60, glob="app.log", kept=kept)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_rotated_twenty_times_a_second_while_the_agent_comes_and_goes(rig, logs, end):
    """Fluent Bit 1330, OTel 31074: restarts among rotations."""
    agent = rig().start()
    expect(agent, [])
    with Load(logs / "app.log", every=0.05, kept=None) as load:
        for n in range(6):
            agent.run_for(0.05 + n * 0.03)
            assert end == "kill" or agent.stop()
            if agent.running:
                agent.kill()
            time.sleep(0.08)  # some rotations, while nobody looks
            agent.start()
    lives = 7
    # A kill may repeat what was acknowledged within one commit; a clean stop repeats nothing.
    bound = lives * 20 * 50 if end == "kill" else 0
    expect_written(agent, load.writer, duplicates_at_most=bound)


def test_rotated_after_the_look_and_before_the_files_of_its_path_are_listed(rig, logs, monkeypatch):
    """The successor is found first, and waits all the same."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.writer.up = False
    append(log, lines(10, 20))
    agent.run_until(lambda: agent.writer.waiting, "what is on its way")
    real, done = Surroundings._list, []

    async def list_late(self, directories):
        if not done:
            done.append(True)
            log.rename(logs / "app.log.1")
            append(log, lines(20, 30))
        return await real(self, directories)

    monkeypatch.setattr(Surroundings, "_list", list_late)
    agent.stream._agenda.ask([str(log)])
    agent.stream._lookout.look_soon()
    agent.run_until(lambda: agent.seen(FileRotated), "the rotation")
    agent.run_for(0.1)
    assert agent.writer.waiting == lines(10, 20), "the successor waits for its end"
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 30))
    (rotated,) = agent.seen(FileRotated)
    assert rotated.to == str(logs / "app.log.1")
