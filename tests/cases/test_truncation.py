"""Files that are truncated, copied and written anew in place, in every order."""

import os
import shutil

import pytest

from singer.base.config import ByteSize, TextReaderConfig
from singer.base.events import FileRewritten, FileRotated, Rewound
from singer.files.source import Source
from singer.readers.text import TextReader
from singer.writers.dead_letters import read_dead_letters
from tests.support.logs import append, expect, later, lines, rewrite, run_until_on_disk

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


def copytruncate(log, *, kept, order):
    """As logrotate does it: shift the numbers, copy, truncate. `order` keeps the times apart."""
    for old in range(kept, 1, -1):
        if (log.parent / f"app.log.{old - 1}").exists():
            (log.parent / f"app.log.{old - 1}").rename(log.parent / f"app.log.{old}")
    shutil.copyfile(log, log.parent / "app.log.1")
    later(log.parent / "app.log.1", order)
    os.truncate(log, 0)


@pytest.mark.parametrize("glob", ["app.log", "app.log*"], ids=["path", "glob"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_copied_and_truncated_several_times_while_stopped(rig, logs, times, glob):
    """The row goes to the oldest copy, and those between have none. Filebeat 39731, 45300."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig(glob).start()
    expect(agent, lines(0, 100))
    agent.stop()
    for n in range(times):
        append(log, lines(100 + n * 20, 120 + n * 20))
        copytruncate(log, kept=5, order=n)
    append(log, lines(500, 510))
    later(log, times)
    agent.start()
    expect(agent, lines(0, 100 + times * 20) + lines(500, 510))


@pytest.mark.parametrize("glob", ["app.log", "app.log*"], ids=["path", "glob"])
def test_copied_and_truncated_running_and_stopped_and_running_again(rig, logs, glob):
    log = logs / "app.log"
    append(log, lines(0, 50))
    agent = rig(glob).start()
    expect(agent, lines(0, 50))
    for n in range(1, 7):
        append(log, lines(n * 50, n * 50 + 20))
        if n in (3, 4):
            agent.stop()
        else:
            expect(agent, lines(0, n * 50 + 20))  # delivered before the copy is made
        append(log, lines(n * 50 + 20, n * 50 + 30))
        copytruncate(log, kept=9, order=n)
        append(log, lines(n * 50 + 30, n * 50 + 50))
        later(log, n)
        if not agent.running:
            agent.start()
        expect(agent, lines(0, n * 50 + 50))


def test_copied_and_truncated_while_no_broker_answers_and_then_killed(rig, logs):
    """What was read and not acknowledged is read again, from the copy."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    run_until_on_disk(agent, log)
    agent.writer.up = False
    append(log, lines(100, 200))
    agent.run_until(lambda: agent.writer.under_way, "batches under way")
    copytruncate(log, kept=5, order=0)
    append(log, lines(200, 210))
    later(log, 1)
    agent.kill()
    agent.writer.up = True
    agent.start()
    expect(agent, lines(0, 210))


@RUNNING
def test_copied_and_truncated_and_then_renamed(rig, logs, running):
    """Two ways of rotation in a row, as after a change of logrotate's configuration."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    if not running:
        agent.stop()
    append(log, lines(100, 120))
    copytruncate(log, kept=5, order=0)
    append(log, lines(120, 140))
    later(log, 1)
    if running:
        expect(agent, lines(0, 140))
    (logs / "app.log.1").rename(logs / "app.log.2")
    log.rename(logs / "app.log.1")
    append(log, lines(140, 160))
    later(log, 2)
    if not running:
        agent.start()
    expect(agent, lines(0, 160))


@RUNNING
def test_renamed_and_then_copied_and_truncated(rig, logs, running):
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    if not running:
        agent.stop()
    append(log, lines(100, 120))
    log.rename(logs / "app.log.1")
    append(log, lines(120, 140))
    later(log, 1)
    if running:
        expect(agent, lines(0, 140))
    copytruncate(log, kept=5, order=2)
    append(log, lines(140, 160))
    later(log, 3)
    if not running:
        agent.start()
    expect(agent, lines(0, 160))


@pytest.mark.parametrize("left", [0, 1, 5], ids=["nothing", "one line", "half of it"])
def test_truncated_while_stopped_to_less_than_was_delivered(rig, logs, left):
    """A position behind the end of the file. Vector 23076, Fluent Bit 1108."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    rewrite(log, lines(100, 100 + left))
    agent.start()
    expect(agent, lines(0, 10) + lines(100, 100 + left))
    append(log, lines(200, 220))
    expect(agent, lines(0, 10) + lines(100, 100 + left) + lines(200, 220))


def test_a_rotated_file_is_written_anew_while_its_successor_waits(rig, logs):
    """No broker answers, so that the successor waits for it: it waits for the new content too."""
    log, old = logs / "app.log", logs / "app.log.1"
    append(log, lines(0, 10))
    agent = rig(rescan=0.1).start()
    expect(agent, lines(0, 10))
    agent.writer.up = False
    append(log, lines(10, 20))
    agent.run_until(lambda: agent.writer.under_way, "batches under way")
    log.rename(old)
    append(log, lines(30, 40))
    agent.run_until(lambda: agent.seen(FileRotated), "rotated")
    agent.run_for(0.1)
    rewrite(old, lines(20, 30))
    agent.run_for(0.2)
    assert set(agent.writer.waiting) == set(lines(10, 20))
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 40))


def test_written_anew_again_and_again(rig, logs):
    """`echo > log` now and then, `echo >> log` otherwise. Fluent Bit 9580."""
    log = logs / "app.log"
    agent = rig().start()
    arrived = []
    for n in range(20):
        if n % 4 == 0:
            rewrite(log, lines(n * 10, n * 10 + n))  # sometimes longer than it was
        else:
            append(log, lines(n * 10, n * 10 + n))
        arrived += lines(n * 10, n * 10 + n)
        expect(agent, arrived)


def test_emptied_and_filled_later(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    os.truncate(log, 0)
    agent.run_for(0.1)
    agent.stop()
    agent.start()
    agent.run_until_caught_up()
    append(log, lines(10, 30))
    expect(agent, lines(0, 30))


@RUNNING
def test_a_writer_that_does_not_append_leaves_a_hole_at_the_beginning(rig, logs, running):
    """After the truncation it goes on at its old offset: zeros, and then its next line."""
    log = logs / "app.log"
    agent = rig()
    agent.reader = TextReader(TextReaderConfig(max_record=ByteSize(100_000)))
    agent.start()
    with log.open("wb", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in lines(0, 100)))
        expect(agent, lines(0, 100))
        if not running:
            agent.stop()
        shutil.copyfile(log, logs / "app.log.1")
        os.truncate(log, 0)
        hole = file.tell()
        file.write(b"".join(line + b"\n" for line in lines(100, 110)))
    if not running:
        agent.start()
    first, *rest = lines(100, 110)
    expect(agent, [*lines(0, 100), bytes(hole) + first, *rest])


def test_a_hole_too_long_for_a_record_is_kept_with_its_line(rig, logs):
    """The line behind the zeros is in the dead letters, and those after it arrive."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig(max_record=1000).start()
    expect(agent, lines(0, 100))
    hole = log.stat().st_size
    os.truncate(log, 0)
    with log.open("r+b", buffering=0) as file:
        file.seek(hole)
        file.write(b"".join(line + b"\n" for line in lines(100, 110)))
    expect(agent, lines(0, 100) + lines(101, 110))
    letters = b"".join(letter.payload for letter in read_dead_letters(agent.state.dead_letters))
    assert letters.rstrip(b"\n") == bytes(hole) + lines(100, 101)[0]


# --- copied and not truncated -------------------------------------------------------------------


@pytest.mark.parametrize("glob", ["app.log", "app.log*"], ids=["path", "glob"])
@pytest.mark.parametrize("unread", [0, 10], ids=["all read", "some unread"])
def test_copied_while_stopped_and_written_on(rig, logs, glob, unread):
    """logrotate's `copy`: the file itself goes on, and the copy holds nothing else."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig(glob).start()
    expect(agent, lines(0, 100))
    agent.stop()
    append(log, lines(100, 100 + unread))
    shutil.copyfile(log, logs / "app.log.1")
    append(log, lines(100 + unread, 120))
    agent.start()
    expect(agent, lines(0, 120))
    append(log, lines(120, 130))
    expect(agent, lines(0, 130))


@pytest.mark.parametrize("glob", ["app.log", "app.log*"], ids=["path", "glob"])
def test_copied_while_running_and_written_on_and_a_restart(rig, logs, glob):
    """The copy is shorter than what was delivered by then, and is still nothing new."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig(glob).start()
    expect(agent, lines(0, 100))
    shutil.copyfile(log, logs / "app.log.1")
    append(log, lines(100, 120))
    expect(agent, lines(0, 120))
    agent.stop()
    shutil.copyfile(log, logs / "app.log.2")
    append(log, lines(120, 130))
    agent.start()
    expect(agent, lines(0, 130))
    agent.stop()
    agent.start()
    agent.run_until_caught_up()
    append(log, lines(130, 140))
    expect(agent, lines(0, 140))


# --- what nobody can have any more ----------------------------------------------------------------


def test_what_was_read_and_truncated_away_before_it_was_delivered_is_counted(rig, logs):
    """Lost by the application's doing, and never silently."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.writer.failing = True
    append(log, lines(10, 20))
    agent.run_until(lambda: agent.seen(Rewound), "the topic refuses")
    rewrite(log, lines(100, 105))
    agent.writer.failing = False
    expect(agent, lines(0, 10) + lines(100, 105))
    (account,) = agent.ledger
    assert account.skipped == {"truncated": sum(len(line) + 1 for line in lines(10, 20))}
    (said,) = agent.seen(FileRewritten)
    assert "is gone" in said.message()


def test_truncated_and_written_anew_just_before_the_first_read(rig, logs, monkeypatch):
    """What was never read cannot come again: the shorter file is taken for what it is."""
    log = logs / "app.log"
    append(log, lines(0, 30))
    read, done = Source.read, []

    def read_late(self, *arguments, **options):
        if not done:
            done.append(True)
            rewrite(log, lines(30, 40))
        return read(self, *arguments, **options)

    monkeypatch.setattr(Source, "read", read_late)
    agent = rig().start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(30, 40)
    append(log, lines(40, 50))
    expect(agent, lines(30, 50))
    assert not agent.seen(FileRewritten)
