"""Files that are renamed, rewritten, copied or unreadable in unkind ways, case by case."""

import contextlib
import errno
import json
import os
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from singer.base.config import Seconds, Start
from singer.base.events import (
    FileFound,
    FileGone,
    FileLetGo,
    FileQuarantined,
    FileRewritten,
    FileRotated,
    FileUnreadable,
    InternalError,
)
from singer.files.stat import stat_path
from singer.positions.query import read_positions
from singer.positions.state_dir import StateDir
from tests.files.privileges import STRANGER, bound_by_permissions
from tests.support.logs import (
    append,
    descriptors,
    expect,
    expect_all,
    lines,
    rewrite,
    run_until_let_go,
    run_until_looked,
    run_until_on_disk,
)
from tests.support.rig import LoopbackWriter, SlowDisk

#: Names that the glob `*.log` matches as well, and that are no rotated names of app.log.
ALSO_MATCHED = ["app.1.log", "app-2026-01-01.log"]


# --- rotation to names that the glob matches ----------------------------------------------------


@pytest.mark.parametrize("name", ALSO_MATCHED)
def test_renamed_to_a_name_the_glob_matches_the_successor_is_read(rig, logs, name):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    log.rename(logs / name)
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    append(logs / name, lines(20, 30))
    append(log, lines(30, 40))
    expect_all(agent, lines(0, 40))


@pytest.mark.parametrize("name", ALSO_MATCHED)
def test_renamed_while_stopped_to_a_name_the_glob_matches_both_are_read(rig, logs, name):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    agent.stop()
    append(log, lines(10, 20))
    log.rename(logs / name)
    append(log, lines(20, 30))
    agent.start()
    expect_all(agent, lines(0, 30))


def test_numbered_rotation_within_the_glob_reads_everything_and_lets_the_oldest_go(rig, logs):
    log = logs / "app.log"
    agent = rig("*.log").start()
    for n in range(6):
        append(log, lines(n * 10, n * 10 + 10))
        expect(agent, lines(0, n * 10 + 10))
        append(log, lines(1000 + n, 1001 + n))  # unread when it is renamed
        for number in (2, 1):
            if (logs / f"app.{number}.log").exists():
                (logs / f"app.{number}.log").rename(logs / f"app.{number + 1}.log")
        log.rename(logs / "app.1.log")
        expect_all(agent, lines(0, n * 10 + 10) + lines(1000 + n, 1001 + n))
        agent.writer.arrived = lines(0, n * 10 + 10)
    run_until_let_go(agent, logs)
    assert len(descriptors(logs)) <= 3


def test_rotated_again_and_again_without_a_successor_the_overwritten_are_let_go(rig, logs):
    log = logs / "app.log"
    agent = rig(rotate_grace=Seconds(0.02)).start()
    for n in range(8):
        append(log, lines(n, n + 1))
        expect(agent, lines(0, n + 1))
        log.rename(logs / "app.log.1")
    run_until_let_go(agent, logs)
    assert len(descriptors(logs)) <= 1


def test_overwritten_by_a_rename_a_file_is_read_to_its_end_and_let_go(rig, logs):
    append(logs / "a.log", lines(0, 10))
    append(logs / "b.log", lines(10, 20))
    agent = rig("*.log").start()
    expect(agent, lines(0, 20))
    append(logs / "b.log", lines(20, 30))
    (logs / "a.log").rename(logs / "b.log")
    append(logs / "b.log", lines(30, 40))
    expect_all(agent, lines(0, 40))
    run_until_let_go(agent, logs)
    append(logs / "b.log", lines(40, 50))
    expect_all(agent, lines(0, 50))


def test_renamed_away_and_back_nobody_waits_for_ever(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    with log.open("ab") as file:
        file.write(b"half ")
    agent = rig(rotate_grace=Seconds(3.0)).start()  # longer than the test: no half is sent
    expect(agent, lines(0, 10))
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    agent.run_until(lambda: len(agent.seen(FileFound)) == 2, "the successor was found")
    log.rename(logs / "app.log.2")
    (logs / "app.log.1").rename(log)
    expect(agent, lines(0, 20))
    append(log, [b"and half"])
    expect(agent, [*lines(0, 20), b"half and half"])
    log.rename(logs / "app.log.3")
    append(log, lines(20, 30))
    expect(agent, [*lines(0, 20), b"half and half", *lines(20, 30)])


def test_renamed_over_another_file_of_the_stream_the_successor_does_not_wait_for_ever(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    with log.open("ab") as file:
        file.write(b"half ")
    append(logs / "web.log", lines(100, 110))
    agent = rig("*.log", rotate_grace=Seconds(30.0)).start()  # the half is never sent as it is
    expect_all(agent, lines(0, 10) + lines(100, 110))
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    agent.run_until(lambda: len(agent.seen(FileFound)) == 3, "the successor was found")
    (logs / "app.log.1").rename(logs / "web.log")
    expect_all(agent, lines(0, 20) + lines(100, 110))
    append(logs / "web.log", [b"and half"])
    expect_all(agent, [*lines(0, 20), *lines(100, 110), b"half and half"])


def test_a_sibling_that_appears_late_and_that_the_glob_matches_is_read(rig, logs):
    append(logs / "app.log", lines(0, 10))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 10))
    append(logs / "app.log.1", lines(10, 20))
    expect(agent, lines(0, 20))
    append(logs / "app.log", lines(20, 30))
    expect(agent, lines(0, 30))


def test_a_sibling_that_appears_late_with_the_same_header_is_read(rig, logs):
    header = b"# the header that every file begins with"
    append(logs / "app.log", [header])
    agent = rig("app.log*").start()
    expect(agent, [header])
    append(logs / "app.log.1", [header, *lines(0, 10)])
    expect(agent, [header, header, *lines(0, 10)])


def test_renamed_within_the_glob_and_rotated_from_there_while_stopped_is_finished(rig, logs):
    append(logs / "a.log", lines(0, 10))
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    (logs / "a.log").rename(logs / "b.log")
    run_until_looked(agent, logs / "look.log")
    agent.stop()
    append(logs / "b.log", lines(10, 20))
    (logs / "b.log").rename(logs / "b.log.1")
    append(logs / "b.log", lines(20, 30))
    agent.start()
    expect_all(agent, lines(0, 30))


# --- truncated and rewritten ------------------------------------------------------------------


def test_truncated_with_a_dead_destination_the_other_goes_on(rig, logs):
    log = logs / "app.log"
    writers = {"good": LoopbackWriter(), "dead": LoopbackWriter()}
    writers["dead"].up = False
    agent = rig(writers=writers).start()
    append(log, lines(0, 100))
    agent.run_until(lambda: writers["good"].arrived == lines(0, 100), "the good one")
    rewrite(log, lines(100, 110))
    agent.run_until(lambda: writers["good"].arrived == lines(0, 110), "the good one", seconds=5)
    append(log, lines(110, 120))
    agent.run_until(lambda: writers["good"].arrived == lines(0, 120), "the good one", seconds=5)
    assert not writers["dead"].arrived
    writers["dead"].up = True
    agent.loop.call_soon(writers["dead"].settle)
    agent.run_until(lambda: writers["dead"].arrived == lines(0, 120), "the dead one", seconds=5)
    agent.run_until_caught_up()
    assert agent.stop()


def test_rewritten_with_exactly_the_size_that_was_read_is_noticed(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    rewrite(log, lines(100, 110))
    expect(agent, lines(0, 10) + lines(100, 110))
    assert agent.seen(FileRewritten)


def test_rewritten_with_the_same_size_while_stopped_is_noticed_at_the_start(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    rewrite(log, lines(100, 110))
    agent.start()
    expect(agent, lines(0, 10) + lines(100, 110))


@pytest.mark.parametrize("running", [True, False])
def test_rewritten_with_the_same_size_and_rotated_is_noticed(rig, logs, running):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    if not running:
        agent.stop()
    rewrite(log, lines(100, 110))
    log.rename(logs / "app.log.1")
    append(log, lines(200, 210))
    if not running:
        agent.start()
    expect_all(agent, lines(0, 10) + lines(100, 110) + lines(200, 210))


def test_a_touched_file_is_not_read_again(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 10))
    os.utime(log)
    run_until_looked(agent, logs / "app.logs")
    assert agent.writer.arrived == lines(0, 10)
    assert not agent.seen(FileRewritten)


@pytest.mark.parametrize("copy_seen", [True, False])
@pytest.mark.parametrize("unread", [0, 20])
def test_a_copy_of_copytruncate_that_the_glob_matches_brings_nothing_twice(
    rig, logs, copy_seen, unread
):
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 100))
    append(log, lines(100, 100 + unread))
    shutil.copyfile(log, logs / "app.log.1")
    if copy_seen:
        run_until_looked(agent, logs / "app.logs")
    os.truncate(log, 0)
    append(log, lines(200, 210))
    expect(agent, lines(0, 100 + unread) + lines(200, 210))
    run_until_looked(agent, logs / "app.logs2")
    assert agent.writer.arrived == lines(0, 100 + unread) + lines(200, 210)


def test_copied_and_truncated_while_stopped_under_a_glob_brings_nothing_twice(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig("app.log*").start()
    expect(agent, lines(0, 100))
    agent.stop()
    append(log, lines(100, 120))
    shutil.copyfile(log, logs / "app.log.1")
    os.truncate(log, 0)
    append(log, lines(200, 210))
    agent.start()
    expect(agent, lines(0, 120) + lines(200, 210))


@pytest.mark.parametrize("copy_seen", [True, False])
@pytest.mark.parametrize("regrown", [10, 150])
@pytest.mark.parametrize("delivered", [0, 20])
def test_copied_and_truncated_while_no_broker_answers_nothing_arrives_twice(
    rig, logs, copy_seen, regrown, delivered
):
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = rig("app.log*").start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    append(log, lines(0, delivered))
    expect(agent, lines(0, delivered))
    agent.writer.up = False
    append(log, lines(delivered, 100))
    agent.run_until(lambda: agent.writer.under_way, "sent")
    shutil.copyfile(log, copy)
    if copy_seen:
        agent.run_until(lambda: agent.stream._inquiries.copies, "copy recognised")
    os.truncate(log, 0)
    append(log, lines(200, 200 + regrown))
    agent.run_until(lambda: bool(agent.stream._rewrites), "truncation noticed")
    agent.run_for(0.8)  # a rescan while it waits for the broker
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect_all(agent, lines(0, 100) + lines(200, 200 + regrown))
    run_until_looked(agent, logs / "app.logs")
    assert Counter(agent.writer.arrived) == Counter(lines(0, 100) + lines(200, 200 + regrown))


def test_copied_and_truncated_before_its_reader_has_room_to_notice_nothing_arrives_twice(rig, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = rig("app.log*", memory=1 << 20).start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    agent.writer.up = False
    append(log, lines(0, 20_000))
    agent.run_until(lambda: agent.writer.under_way, "sent")
    agent.run_for(0.3)  # until there is no room
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    append(log, lines(30_000, 45_000))
    agent.run_for(0.8)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect_all(agent, lines(0, 20_000) + lines(30_000, 45_000))


def test_a_copy_is_finished_for_a_dead_destination_after_the_other_let_it_go(rig, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    writers = {"good": LoopbackWriter(), "dead": LoopbackWriter()}
    agent = rig("app.log*", writers=writers, close_idle=0.1).start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    writers["dead"].up = False
    append(log, lines(0, 100))
    agent.run_until(lambda: writers["good"].arrived == lines(0, 100), "the good one")
    agent.run_until(lambda: writers["dead"].under_way, "sent")
    append(log, lines(100, 120))
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    append(log, lines(200, 210))
    expected = lines(0, 120) + lines(200, 210)
    agent.run_until(
        lambda: Counter(writers["good"].arrived) == Counter(expected), "the good one", seconds=5
    )
    agent.run_until(lambda: str(copy) not in descriptors(logs), "the copy let go")
    append(logs / "app.logs", lines(900, 901))
    agent.run_until(lambda: lines(900, 901)[0] in writers["good"].arrived, "a look")
    os.utime(copy)  # somebody asks again
    agent.run_for(0.8)
    writers["dead"].up = True
    agent.loop.call_soon(writers["dead"].settle)
    expected += lines(900, 901)
    for writer in writers.values():
        agent.run_until(lambda w=writer: set(w.arrived) == set(expected), "both")
    agent.run_until_caught_up()
    for writer in writers.values():
        assert Counter(writer.arrived) == Counter(expected)


@pytest.fixture
def slow_disk(monkeypatch):
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.release()


def test_a_read_given_up_because_the_file_was_truncated_keeps_the_books(rig, logs, slow_disk):
    log = logs / "app.log"
    writers = {"a": LoopbackWriter(), "b": LoopbackWriter()}
    agent = rig(writers=writers).start()
    append(log, lines(0, 100))
    for writer in writers.values():
        agent.run_until(lambda w=writer: w.arrived == lines(0, 100), "both")
    agent.run_until_caught_up()
    slow_disk.arm(number=2)
    append(log, lines(100, 110))
    agent.run_until(slow_disk.holds_one_up, "one of them waits for the disk")
    agent.run_until(
        lambda: any(w.arrived == lines(0, 110) for w in writers.values()), "the other does not"
    )
    rewrite(log, lines(200, 205))
    agent.run_for(0.1)  # the other notices
    slow_disk.release()
    for writer in writers.values():
        agent.run_until(lambda w=writer: w.arrived[-5:] == lines(200, 205), "both", seconds=5)
    agent.run_until_caught_up()
    agent.check()
    assert agent.stop()


# --- what is found at the start and between two looks -------------------------------------------


@pytest.mark.parametrize("pattern", ["app.log*", "app.log{,.1}"])
def test_start_at_the_end_skips_rotated_files_that_the_glob_matches(rig, logs, pattern):
    append(logs / "app.log.1", lines(0, 10))
    append(logs / "app.log", lines(10, 20))
    agent = rig(pattern, start=Start.END).start()
    agent.run_until_caught_up()
    append(logs / "app.log", lines(20, 30))
    expect(agent, lines(20, 30))
    agent.stop()
    agent.start()
    append(logs / "app.log", lines(30, 40))
    expect(agent, lines(20, 40))


def test_a_new_destination_that_starts_at_the_end_skips_rotated_files_too(rig, logs):
    log = logs / "app.log"
    writers = {"old": LoopbackWriter()}
    agent = rig(writers=writers, start=Start.END).start()
    agent.run_until_caught_up()
    append(log, lines(0, 10))
    expect(agent, lines(0, 10))
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    agent.stop()
    writers["new"] = LoopbackWriter()
    agent.start()
    agent.run_until_caught_up()
    append(log, lines(20, 30))
    agent.run_until(lambda: writers["new"].arrived, "the new one")
    agent.run_until_caught_up()
    assert writers["new"].arrived == lines(20, 30)
    assert writers["old"].arrived == lines(0, 30)


def test_created_and_rotated_between_two_looks_is_read(rig, logs):
    append(logs / "other.log", lines(900, 901))
    agent = rig("*.log").start()
    expect(agent, lines(900, 901))
    append(logs / "app.log", lines(0, 10))
    (logs / "app.log").rename(logs / "app.log.1")
    append(logs / "app.log", lines(10, 20))
    expect(agent, lines(900, 901) + lines(0, 20))


def test_created_and_rotated_while_stopped_is_read(rig, logs):
    append(logs / "other.log", lines(900, 901))
    agent = rig("*.log").start()
    expect(agent, lines(900, 901))
    agent.stop()
    append(logs / "app.log", lines(0, 10))
    (logs / "app.log").rename(logs / "app.log.1")
    append(logs / "app.log", lines(10, 20))
    agent.start()
    expect(agent, lines(900, 901) + lines(0, 20))


def test_what_was_rotated_before_the_first_scan_is_still_history(rig, logs):
    append(logs / "other.log", lines(900, 901))
    append(logs / "app.log.1", lines(0, 10))
    os.utime(logs / "app.log.1", ns=(0, 10**18))
    agent = rig("*.log").start()
    expect(agent, lines(900, 901))
    append(logs / "app.log", lines(10, 20))
    expect(agent, lines(900, 901) + lines(10, 20))


@pytest.mark.parametrize("to", ["app.log.1", "odd-name"])
def test_lines_that_come_late_to_a_rotated_file_found_finished_at_the_start_are_read(rig, logs, to):
    log, rotated = logs / "app.log", logs / to
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    run_until_on_disk(agent, log)
    log.rename(rotated)
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    assert str(rotated) not in descriptors(logs), "it is finished"
    append(rotated, lines(100, 110))
    expect(agent, lines(0, 20) + lines(100, 110))
    append(rotated, lines(110, 120))
    expect(agent, lines(0, 20) + lines(100, 120))


@pytest.mark.parametrize("unmounted", ["gone", "empty"])
def test_rows_of_files_in_a_directory_that_is_not_mounted_are_not_forgotten(
    rig, logs, tmp_path, unmounted
):
    log, old, away = logs / "app.log", tmp_path / "old", tmp_path / "away"
    old.mkdir()
    append(log, lines(0, 10))
    agent = rig(rotated_dirs=(str(old),)).start()
    expect(agent, lines(0, 10))
    log.rename(old / "app.log.1")
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    assert agent.stop()
    old.rename(away)
    if unmounted == "empty":
        old.mkdir()
    append(away / "app.log.1", lines(100, 110))
    agent.start()
    agent.run_until_caught_up()
    append(log, lines(20, 30))
    log.rename(logs / "app.log.1")  # its path is asked about
    append(log, lines(30, 40))
    expect(agent, lines(0, 40))
    assert not agent.seen(FileGone)
    present = agent.loop.run_until_complete(agent.stream.present_rows())
    assert (present is None) == (unmounted == "gone")
    assert agent.stop()
    if unmounted == "empty":
        old.rmdir()
    away.rename(old)
    agent.start()
    expect_all(agent, lines(0, 40) + lines(100, 110))


# --- what cannot be read ------------------------------------------------------------------------


def test_an_unreadable_copy_stops_nobody_and_leaks_no_descriptors(rig, logs, monkeypatch):
    log, copy = logs / "app.log", logs / "app.log.1"
    append(log, lines(0, 100))
    agent = rig("*.log").start()
    expect(agent, lines(0, 100))
    agent.stop()
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    append(log, lines(100, 110))
    append(logs / "other.log", lines(200, 210))
    bad, pread, refused = copy.stat().st_ino, os.pread, []

    def on_a_bad_disk(fd, length, offset):
        if os.fstat(fd).st_ino == bad:
            refused.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", on_a_bad_disk)
    agent.start()
    agent.run_until(
        lambda: set(lines(100, 110) + lines(200, 210)) <= set(agent.writer.arrived),
        "the readable ones",
        seconds=5,
    )
    assert refused, "it was asked"
    run_until_looked(agent, logs / "look.log")
    run_until_looked(agent, logs / "look2.log")
    assert set(Counter(descriptors(logs)).values()) == {1}, "each is open once"


def quarantine(path, state_dir):
    """As if the process had crashed on this file, again and again."""
    stat = stat_path(str(path))
    with StateDir(str(state_dir)) as state, open(state.crash_counts, "w") as file:
        json.dump(
            [
                {
                    "file": {
                        "stream": "s",
                        "destination": "out",
                        "device": stat.device,
                        "inode": stat.inode,
                        "birth_ns": stat.birth_ns,
                    },
                    "crashes": {"offset": 0, "count": 3},
                }
            ],
            file,
        )


def test_a_file_that_crashed_the_agent_again_and_again_is_left_alone(rig, logs, tmp_path):
    append(logs / "bad.log", lines(0, 10))
    append(logs / "good.log", lines(10, 20))
    quarantine(logs / "bad.log", tmp_path / "state")
    agent = rig("*.log").start()
    expect(agent, lines(10, 20))
    run_until_looked(agent, logs / "look.log")
    assert agent.writer.arrived == lines(10, 20)
    (said,) = agent.seen(FileQuarantined)
    assert (said.path, said.offset) == (str(logs / "bad.log"), 0)
    assert agent.ledger.account("s", "out").held == (logs / "bad.log").stat().st_size
    offsets = {row.path: row.offset for row in read_positions(agent.state.positions)}
    assert offsets[str(logs / "bad.log")] == 0


def test_what_a_quarantined_file_holds_is_counted_once_however_often_it_is_found(
    rig, logs, tmp_path
):
    log = logs / "bad.log"
    append(log, lines(0, 10))
    quarantine(log, tmp_path / "state")
    agent = rig("*.log", close_idle=0.05).start()
    for n in range(1, 4):
        agent.run_until(lambda n=n: len(agent.seen(FileFound)) == n, "found")
        agent.run_until(lambda: str(log) not in descriptors(logs), "closed")
        append(log, lines(10 * n, 10 * n + 10))
    agent.run_until(lambda: len(agent.seen(FileFound)) == 4, "found again")
    assert not agent.writer.arrived
    assert len(agent.seen(FileQuarantined)) == 1
    account = agent.ledger.account("s", "out")
    assert account.held == account.read == log.stat().st_size


class PartitionerFailsOnce(LoopbackWriter):
    failed = False

    def partitioner(self, seed):
        if not self.failed:
            self.failed = True
            raise ValueError("a bug")
        return super().partitioner(seed)


def test_a_file_that_cannot_be_admitted_leaks_no_descriptors_and_is_tried_again(rig, logs):
    for name in ("a", "b", "c"):
        append(logs / f"{name}.log", [name.encode()])
    agent = rig("*.log", writers={"out": PartitionerFailsOnce()}).start()
    expect_all(agent, [b"a", b"b", b"c"])
    assert set(Counter(descriptors(logs)).values()) == {1}, "each is open once"
    (bug,) = agent.seen(InternalError)
    assert "a bug" in bug.trace
    agent.events.remove(bug)


# --- what is given back -------------------------------------------------------------------------


def test_finished_files_are_closed_and_not_read_again(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig("app.log*").start()
    agent.stream._close_idle_seconds = 0.1
    expect(agent, lines(0, 10))
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    agent.run_until(lambda: agent.seen(FileLetGo), "the rotated one let go", seconds=5)
    assert str(logs / "app.log.1") not in descriptors(logs)
    run_until_looked(agent, logs / "app.logs")
    assert agent.writer.arrived == lines(0, 20)
    append(log, lines(20, 30))
    expect(agent, lines(0, 30))


def test_rows_of_files_long_gone_are_reported_once_and_forgotten(rig, logs):
    log, keep, rounds = logs / "app.log", [], 8
    agent = rig(rotate_grace=Seconds(0.02)).start()
    try:
        for n in range(rounds):
            append(log, lines(n * 10, n * 10 + 10))
            expect(agent, lines(0, n * 10 + 10))
            keep.append(log.open("rb"))  # keeps the inode from being used again
            log.rename(logs / "app.log.1")
            agent.run_until(
                lambda n=n: len(agent.stream._open) <= min(n + 1, 2), "the oldest let go"
            )
    finally:
        for file in keep:
            file.close()
    assert len(agent.seen(FileGone)) <= rounds
    agent.loop.run_until_complete(agent.positions.flush())
    left = list(read_positions(agent.state.positions))
    assert len(left) <= 3, "the ones that are there, and what was gone since the last look"


def test_watches_of_vanished_directories_are_given_back(rig, logs):
    agent = rig("*/app.log").start()
    agent.run_until_caught_up()
    for n in range(5):
        pod = logs / f"pod{n}"
        pod.mkdir()
        append(pod / "app.log", lines(n, n + 1))
        expect(agent, lines(0, n + 1))
        (pod / "app.log").unlink()
        pod.rmdir()
    agent.run_until(lambda: set(agent.wakeup._directories) == {str(logs)}, "the watches", seconds=5)
    run_until_let_go(agent, logs)


# --- directories that cannot be listed for a while ------------------------------------------------


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("way", ["real", "link"])
def test_a_file_whose_directory_cannot_be_listed_is_not_taken_for_rotated(
    rig, logs, tmp_path, way, follow
):
    (logs / "sub").mkdir()
    log = logs / "sub" / "app.log"
    os.symlink(logs, tmp_path / "link")
    append(log, lines(0, 3))
    agent = rig(str(tmp_path / "link" / "sub" / "*.log") if way == "link" else "sub/*.log")
    agent.config = replace(agent.config, follow_symlinks=follow)
    with bound_by_permissions() if os.geteuid() == 0 else contextlib.nullcontext():
        agent.start()
        expect(agent, lines(0, 3))
        file = log.open("ab", buffering=0)
        file.write(b"one ")
        log.parent.chmod(0)
        try:
            run_until_unseen(agent)
            file.write(b"line\n")
            expect(agent, [*lines(0, 3), b"one line"])
            assert not agent.seen(FileRotated)
        finally:
            log.parent.chmod(0o700)
            file.close()
        append(log, lines(3, 6))
        expect(agent, [*lines(0, 3), b"one line", *lines(3, 6)])
        log.rename(log.with_name("app.log.1"))
        agent.run_until(lambda: agent.seen(FileRotated), "now it is rotated")


def run_until_unseen(agent):
    """Until a look could not see the open file, and the stream has said what that means."""
    agent.run_until(lambda: agent.seen(FileUnreadable), "it is said")
    agent.run_until(lambda: agent.stream._open.unseen or agent.seen(FileRotated), "a verdict")


def test_a_root_whose_link_is_another_users_for_a_while_rotates_nothing(rig, logs, tmp_path):
    """The way to the root is refused, so nobody can say where its files are."""
    if os.geteuid() != 0:
        pytest.skip("only root may give links away")
    link = tmp_path / "link"
    os.symlink(logs, link)
    append(logs / "app.log", lines(0, 3))
    agent = rig(str(link / "*.log")).start()
    expect(agent, lines(0, 3))
    os.lchown(link, STRANGER, -1)
    run_until_unseen(agent)
    append(logs / "app.log", lines(3, 6))
    expect(agent, lines(0, 6))
    assert not agent.seen(FileRotated)
    os.lchown(link, 0, -1)
    (logs / "app.log").rename(logs / "app.log.1")
    agent.run_until(lambda: agent.seen(FileRotated), "now it is rotated")
