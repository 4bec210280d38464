"""What is on disk, and when: rows before bytes, first looks, paths that come back, power loss."""

import contextlib
import os
import sqlite3

import pytest

from singer.base.config import Start
from singer.positions.query import read_positions
from tests.support.logs import append, expect, expect_each, lines, long_ago, run_until_on_disk
from tests.support.rig import LoopbackWriter

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


class Witness(LoopbackWriter):
    """Looks at the store on disk whenever something is sent: whose rows it `saw`, each time."""

    def __init__(self, store):
        super().__init__()
        self.saw = []
        self._store = store

    def send(self, batch, route):
        self.saw.append({os.path.basename(row.path) for row in read_positions(self._store)})
        return super().send(batch, route)


def test_the_row_of_a_file_is_on_disk_before_anything_of_it_is_sent(rig, logs, tmp_path):
    """Whatever happens from then on, it is known which rotated files are ours."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    witness = Witness(str(tmp_path / "state" / "positions"))
    agent = rig("*.log", writers={"out": witness}).start()
    expect(agent, lines(0, 10))
    assert witness.saw[0] == {"app.log"}
    append(logs / "other.log", lines(10, 20))
    expect(agent, lines(0, 20))
    assert witness.saw[-1] == {"app.log", "other.log"}


@pytest.mark.parametrize("unread", [0, 10])
def test_killed_at_its_first_look_it_still_knows_what_was_there(rig, logs, unread):
    """Rotated right after: found by the row, and older files stay history."""
    log = logs / "app.log"
    append(logs / "app.log.7", lines(900, 910))
    long_ago(logs / "app.log.7")
    append(log, lines(0, 10))
    agent = rig(start=Start.END).start()
    agent.run_until(agent.stream.scanned.is_set, "the first look")
    agent.kill()
    append(log, lines(10, 10 + unread))
    log.rename(logs / "app.log.1")
    append(log, lines(20, 30))
    agent.start()
    expect(agent, lines(10, 10 + unread) + lines(20, 30))


@RUNNING
def test_a_rotated_file_that_is_touched_is_not_read_again(rig, logs, running):
    """Java Singer read a touched rotated file from its beginning."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    if not running:
        agent.stop()
    os.utime(logs / "app.log.1")
    if not running:
        agent.start()
    log.rename(logs / "app.log.2")
    append(log, lines(20, 30))
    expect(agent, lines(0, 30))
    os.utime(logs / "app.log.1")
    append(log, lines(30, 40))
    expect(agent, lines(0, 40))


def test_rotated_files_are_read_by_age_whatever_their_numbers(rig, logs):
    """Numbers and dates are only names: who wrote last comes last."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    names = ["app.log.1", "app.log.9", "app.log-20240911", "app.log.5", "app.log.1726012800"]
    for n, name in enumerate(names, start=1):
        log.rename(logs / name)
        append(log, lines(n * 10, n * 10 + 10))
    newest = max(path.stat().st_mtime_ns for path in logs.iterdir())
    for n, name in enumerate([*names, "app.log"]):
        os.utime(logs / name, ns=(newest, newest + n * 10**6))
    agent.start()
    expect(agent, lines(0, 60))


def test_a_path_is_taken_out_of_the_stream_and_put_back(rig, logs):
    """It goes on where it was, through a rotation. Java Singer waited for the next one."""
    log, writers = logs / "app.log", {"out": LoopbackWriter()}
    append(log, lines(0, 10))
    append(logs / "other.log", lines(100, 110))
    agent = rig("*.log", writers=writers).start()
    expect_each(agent, lines(0, 10), lines(100, 110))
    agent.stop()
    agent = rig("other.log", writers=writers).start()
    append(log, lines(10, 20))
    log.rename(logs / "app.log.1")
    append(log, lines(20, 30))
    append(logs / "other.log", lines(110, 120))
    agent.run_until(lambda: lines(110, 120)[-1] in agent.writer.arrived, "the other one")
    agent.stop()
    assert lines(20, 30)[0] not in agent.writer.arrived
    agent = rig("*.log", writers=writers).start()
    expect_each(agent, lines(0, 30), lines(100, 120))


def test_a_destination_that_is_added_reads_what_was_rotated_since_the_first_look(rig, logs):
    """What was there before that is history to it, as it is to the others."""
    log = logs / "app.log"
    append(logs / "app.log.7", lines(900, 910))
    long_ago(logs / "app.log.7")
    append(log, lines(0, 10))
    first, second = LoopbackWriter(), LoopbackWriter()
    agent = rig(writers={"a": first}).start()
    expect(agent, lines(0, 10))
    log.rename(logs / "app.log.1")
    append(log, lines(10, 20))
    expect(agent, lines(0, 20))
    agent.stop()
    agent = rig(writers={"b": second, "a": first}).start()
    expect(agent, lines(0, 20))
    assert first.arrived == lines(0, 20)


def cut(path, left):
    """Take the end of a file as a power loss does: its size and its times go back together."""
    written_ns = path.stat().st_mtime_ns
    os.truncate(path, sum(len(line) + 1 for line in left))
    os.utime(path, ns=(written_ns, written_ns))


def power_loss(agent):
    """Make the positions look as before a reboot."""
    path = os.path.join(agent.state_dir, "positions")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        changed = connection.execute("UPDATE positions SET boot = boot + 1").rowcount
        connection.commit()
    assert changed


@pytest.mark.parametrize("left", [0, 30, 60], ids=["everything", "a half", "a line"])
def test_a_power_loss_takes_the_end_of_a_file_that_was_delivered(rig, logs, left):
    """What is left was sent; what is written from there on is new. Filebeat 25135."""
    log = logs / "app.log"
    append(log, lines(0, 61))
    agent = rig().start()
    expect(agent, lines(0, 61))
    run_until_on_disk(agent, log)
    agent.kill()
    cut(log, lines(0, left))
    power_loss(agent)
    agent.start()
    agent.run_until_caught_up()
    append(log, lines(100, 110))
    expect(agent, lines(0, 61) + lines(100, 110))


@pytest.mark.parametrize("left", [0, 30, 60], ids=["everything", "a half", "a line"])
def test_after_a_power_loss_it_is_written_to_before_the_agent_starts(rig, logs, left):
    """Which lines are new nobody can know: all of them are sent, none is lost."""
    log = logs / "app.log"
    append(log, lines(0, 61))
    agent = rig().start()
    expect(agent, lines(0, 61))
    run_until_on_disk(agent, log)
    agent.kill()
    cut(log, lines(0, left))
    power_loss(agent)
    append(log, lines(100, 110))
    agent.start()
    agent.run_until(lambda: agent.writer.arrived[-10:] == lines(100, 110), "the new", 3.0)
    agent.run_until_caught_up()
    again = agent.writer.arrived[61:-10]
    assert again in ([], lines(0, left)), "at most what is left of the file is sent again"
