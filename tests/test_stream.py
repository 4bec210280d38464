"""What happens to files, case by case; the names say what happens."""

import os
import shutil

import pytest

from singer.base.config import Rotated, Start
from singer.base.events import FileRewritten, FileUnreadable
from tests.support.logs import append, expect, later, lines
from tests.support.rig import LoopbackWriter, Rig


def test_lines_arrive_as_they_are_written(rig, logs):
    log = logs / "app.log"
    agent = rig().start()
    append(log, lines(0, 10))
    expect(agent, lines(0, 10))
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    agent.stop()


def test_a_clean_stop_loses_nothing_and_repeats_nothing(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 1000))
    agent = rig().start()
    agent.run_until(lambda: agent.writer.arrived, "first lines")
    assert agent.stop()
    append(log, lines(1000, 1100))
    agent.start()
    expect(agent, lines(0, 1100))


def test_a_kill_loses_nothing(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 1000))
    agent = rig().start()
    agent.run_until(lambda: agent.writer.arrived, "first lines")
    agent.kill()
    append(log, lines(1000, 1100))
    agent.start()
    agent.run_until(lambda: set(agent.writer.arrived) == set(lines(0, 1100)), "all lines")


def test_renamed_while_running_is_read_to_its_end_before_the_successor(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.writer.up = False
    append(log, lines(10, 20))
    log.rename(logs / "app.log.1")
    append(logs / "app.log.1", lines(20, 30))
    append(log, lines(30, 40))
    agent.run_for(0.1)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 40))


@pytest.mark.parametrize("name", ["app.log.1", "app.log-20260101", "kept-elsewhere"])
def test_renamed_while_stopped_is_finished_first_whatever_its_new_name(rig, logs, name):
    log = logs / "app.log"
    append(log, lines(0, 1000))
    agent = rig().start()
    expect(agent, lines(0, 1000))
    agent.stop()
    append(log, lines(1000, 2000))
    log.rename(logs / name)
    append(log, lines(2000, 3000))
    agent.start()
    expect(agent, lines(0, 3000))


@pytest.mark.parametrize("name", ["app.log.1", "kept-elsewhere"])
def test_renamed_while_stopped_without_a_successor(rig, logs, name):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    append(log, lines(10, 20))
    log.rename(logs / name)
    agent.start()
    expect(agent, lines(0, 20))


def test_several_rotations_while_stopped_are_read_oldest_first(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    for n in range(1, 4):
        for old in range(n, 0, -1):
            source = logs / f"app.log.{old - 1}" if old > 1 else log
            source.rename(logs / f"app.log.{old}")
        append(log, lines(n * 10, n * 10 + 10))
        later(log, n)
    agent.start()
    expect(agent, lines(0, 40))


def test_rotations_faster_than_the_agent_looks(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    for n in range(1, 30):
        log.rename(logs / f"app.log.{n}")
        append(log, lines(n * 10, n * 10 + 10))
        later(log, n)
        if n % 5 == 0:
            agent.run_for(0.01)
    expect(agent, lines(0, 300))


def test_history_from_before_the_first_look_is_left_alone(rig, logs):
    append(logs / "app.log.1", lines(0, 10))
    os.utime(logs / "app.log.1", ns=(0, 10**18))
    append(logs / "app.log", lines(10, 20))
    agent = rig().start()
    expect(agent, lines(10, 20))
    agent.stop()
    agent.start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(10, 20)


def test_history_is_read_when_asked_for(rig, logs):
    append(logs / "app.log.1", lines(0, 10))
    append(logs / "app.log", lines(10, 20))
    os.utime(logs / "app.log.1", ns=(0, 10**18))
    agent = rig(rotated_files=Rotated.ALL).start()
    expect(agent, lines(0, 20))


def test_a_neighbour_with_a_similar_name_is_not_swallowed(rig, logs):
    append(logs / "app.log", lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    append(logs / "app.log2", lines(100, 110))
    append(logs / "app.log.bak", lines(200, 210))
    (logs / "app.log").rename(logs / "app.log.1")
    append(logs / "app.log", lines(10, 20))
    agent.start()
    expect(agent, lines(0, 20))


def test_deleted_while_unread_is_read_to_the_end(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.writer.up = False
    append(log, lines(10, 5000))
    log.unlink()
    agent.run_for(0.05)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 5000))


def test_truncated_and_written_anew(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    log.write_bytes(b"")
    append(log, lines(100, 110))
    expect(agent, lines(0, 110))
    assert agent.seen(FileRewritten)


def test_truncated_and_regrown_past_the_offset_while_running(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    log.write_bytes(b"".join(line + b"\n" for line in lines(100, 200)))
    expect(agent, lines(0, 10) + lines(100, 200))


def test_truncated_and_regrown_past_the_offset_while_stopped(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    log.write_bytes(b"".join(line + b"\n" for line in lines(100, 200)))
    agent.start()
    expect(agent, lines(0, 10) + lines(100, 200))
    agent.stop()
    agent.start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 10) + lines(100, 200)


@pytest.mark.parametrize("running", [True, False])
def test_copytruncate_with_unread_lines_finishes_the_copy(rig, logs, running):
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    if running:
        agent.loop.run_until_complete(_nothing())
    else:
        agent.stop()
    append(log, lines(100, 200))
    shutil.copyfile(log, logs / "app.log.1")
    os.truncate(log, 0)
    append(log, lines(200, 210))
    if not running:
        agent.start()
    expect(agent, lines(0, 210))


async def _nothing():
    return None


def test_an_unterminated_line_is_held_and_survives_a_restart(rig, logs):
    log = logs / "app.log"
    log.write_bytes(b"whole\nhal")
    agent = rig().start()
    expect(agent, [b"whole"])
    agent.run_for(0.2)
    assert agent.stop()
    agent.start()
    agent.run_for(0.2)
    assert agent.writer.arrived == [b"whole"]
    with log.open("ab") as file:
        file.write(b"f\n")
    expect(agent, [b"whole", b"half"])


def test_an_unterminated_line_at_rotation_is_sent_when_it_was_quiet(rig, logs):
    log = logs / "app.log"
    log.write_bytes(b"whole\nlast words")
    agent = rig().start()
    expect(agent, [b"whole"])
    log.rename(logs / "app.log.1")
    append(log, lines(0, 3))
    expect(agent, [b"whole", b"last words", *lines(0, 3)])


def test_an_unterminated_line_is_sent_after_flush_partial_after(rig, logs):
    (logs / "app.log").write_bytes(b"no newline")
    agent = rig(flush_partial_after=0.1).start()
    expect(agent, [b"no newline"])


def test_hard_links_are_delivered_once(rig, logs):
    append(logs / "a.log", lines(0, 10))
    os.link(logs / "a.log", logs / "b.log")
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    (logs / "a.log").unlink()
    agent.run_for(0.05)
    append(logs / "b.log", lines(10, 20))
    expect(agent, lines(0, 20))


def test_two_files_swap_names(rig, logs):
    append(logs / "a.log", lines(0, 10))
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    append(logs / "b.log", lines(100, 110))
    expect(agent, lines(0, 10) + lines(100, 110))
    (logs / "a.log").rename(logs / "t")
    (logs / "b.log").rename(logs / "a.log")
    (logs / "t").rename(logs / "b.log")
    append(logs / "a.log", lines(110, 120))
    expect(agent, lines(0, 10) + lines(100, 120))
    append(logs / "b.log", lines(10, 20))
    expect(agent, lines(0, 10) + lines(100, 120) + lines(10, 20))


def test_a_directory_created_after_the_start_is_found(rig, logs):
    agent = rig("**/*.log").start()
    agent.run_until_caught_up()
    (logs / "x" / "y").mkdir(parents=True)
    append(logs / "x" / "y" / "z.log", lines(0, 5))
    expect(agent, lines(0, 5))
    shutil.rmtree(logs / "x")
    agent.run_for(0.05)
    (logs / "x" / "y").mkdir(parents=True)
    append(logs / "x" / "y" / "z.log", lines(5, 10))
    expect(agent, lines(0, 10))


def test_start_at_the_end_skips_what_is_there_and_nothing_more(rig, logs):
    log = logs / "app.log"
    log.write_bytes(b"old\nolder\nbegun ")
    agent = rig(start=Start.END).start()
    agent.run_until_caught_up()
    agent.kill()
    with log.open("ab") as file:
        file.write(b"before and ended after\n")
    append(logs / "app.log", lines(0, 5))
    agent.start()
    expect(agent, [b"begun before and ended after", *lines(0, 5)])
    log.rename(logs / "app.log.1")
    append(log, lines(5, 10))
    expect(agent, [b"begun before and ended after", *lines(0, 10)])


def test_things_that_are_not_regular_files_are_left_alone(rig, logs):
    os.mkfifo(logs / "fifo.log")
    (logs / "directory.log").mkdir()
    os.symlink("/etc/hostname", logs / "link.log")
    append(logs / "real.log", lines(0, 3))
    agent = rig("*.log").start()
    expect(agent, lines(0, 3))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_said_once_and_read_when_it_can_be(rig, logs):
    append(logs / "app.log", lines(0, 3))
    (logs / "app.log").chmod(0)
    agent = rig().start()
    agent.run_until(lambda: agent.seen(FileUnreadable), "a complaint")
    agent.run_for(1.2)
    assert len(agent.seen(FileUnreadable)) == 1
    (logs / "app.log").chmod(0o600)
    expect(agent, lines(0, 3))


def test_a_dead_destination_does_not_hold_the_other_up(tmp_path, logs):
    log = logs / "app.log"
    writers = {"good": LoopbackWriter(), "dead": LoopbackWriter()}
    writers["dead"].up = False
    agent = Rig(str(tmp_path / "state"), [str(log)], writers=writers).start()
    append(log, lines(0, 50_000))
    agent.run_until(lambda: writers["good"].arrived == lines(0, 50_000), "the good one")
    assert not writers["dead"].arrived
    writers["dead"].up = True
    agent.loop.call_soon(writers["dead"].settle)
    agent.run_until(lambda: writers["dead"].arrived == lines(0, 50_000), "the dead one")
    agent.stop()
