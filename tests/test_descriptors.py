"""Ceilings on open files: idle ones are closed, busy ones waited for, deleted ones given up."""

import gzip
import os
import shutil
from collections import Counter

import pytest

from singer.base.events import FileFound, FileGivenUp, FileRotated, FilesWait
from singer.files.walk import Walker
from tests.support.descriptors import open_below
from tests.support.logs import later
from tests.support.rig import LoopbackWriter, Rig


class Keeps(LoopbackWriter):
    """Never acknowledges batches with one payload; all others at once."""

    def __init__(self, payload):
        super().__init__()
        self._payload = payload

    def settle(self):
        index = 0
        while index < self.under_way:
            batch = self._waiting[index][1]
            if self._payload in [batch.payload(row) for row in range(len(batch))]:
                index += 1
            else:
                self.settle_one(index)


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def rig(tmp_path, logs):
    made = []

    def make(**options):
        made.append(Rig(str(tmp_path / "state"), [str(logs / "*.log")], **options))
        return made[-1]

    yield make
    for one in made:
        if one.running:
            one.kill()


def lines(name, first, last):
    return [b"%s %06d " % (name.encode(), n) + b"x" * 40 for n in range(first, last)]


def append(path, some):
    with path.open("ab", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in some))


def expect(agent, some):
    agent.run_until(lambda: set(some) <= set(agent.writer.arrived), f"{len(some)} lines", 15)
    agent.run_until_caught_up()
    assert Counter(agent.writer.arrived) == Counter(some)


def test_more_files_than_may_be_open_are_all_read(rig, logs):
    some = []
    for number in range(40):
        some += lines(f"f{number}", 0, 5)
        append(logs / f"{number}.log", lines(f"f{number}", 0, 5))
    agent = rig(max_open_files=4).start()
    expect(agent, some)
    assert len(open_below(logs)) <= 4


def test_a_file_that_was_closed_for_others_is_read_on_when_it_grows(rig, logs):
    some = []
    agent = rig(max_open_files=2).start()
    for turn in range(3):
        for number in range(8):
            more = lines(f"f{number}", 3 * turn, 3 * turn + 3)
            append(logs / f"{number}.log", more)
            some += more
        expect(agent, some)
    assert len(open_below(logs)) <= 2


def test_an_idle_file_is_closed_and_its_growth_still_noticed_at_once(rig, logs):
    log = logs / "a.log"
    append(log, lines("a", 0, 5))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 5))
    agent.run_until(lambda: not open_below(logs), "idle file closed")
    append(log, lines("a", 5, 10))
    expect(agent, lines("a", 0, 10))


def test_a_closed_rotated_file_that_is_compressed_is_not_sent_again(rig, logs):
    log, old = logs / "a.log", logs / "a.log.1"
    append(log, lines("a", 0, 50))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 50))
    log.rename(old)
    append(log, lines("a", 50, 60))
    expect(agent, lines("a", 0, 60))
    agent.run_until(lambda: not open_below(logs), "both closed")
    packed = logs / "a.log.1.gz"
    packed.write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    append(logs / "other.log", lines("other", 0, 1))
    expect(agent, lines("a", 0, 60) + lines("other", 0, 1))
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    expect(agent, lines("a", 0, 60) + lines("other", 0, 1))


def test_a_copy_of_a_closed_file_is_held_back_and_nothing_arrives_twice(rig, logs):
    log = logs / "a.log"
    append(log, lines("a", 0, 50))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 50))
    agent.run_until(lambda: not open_below(logs), "idle file closed")
    shutil.copyfile(log, logs / "a.log.1")
    append(logs / "b.log", lines("b", 0, 5))
    expect(agent, lines("a", 0, 50) + lines("b", 0, 5))
    os.truncate(log, 0)
    append(log, lines("a", 50, 55))
    expect(agent, lines("a", 0, 50) + lines("b", 0, 5) + lines("a", 50, 55))


def test_a_rotated_file_that_is_closed_for_another_just_after_it_was_compressed(rig, logs):
    """It is deleted when it is closed, and its archive holds nothing new."""
    log, old = logs / "a.log", logs / "a.log.1"
    append(log, lines("a", 0, 50))
    agent = rig(max_open_files=1).start()
    expect(agent, lines("a", 0, 50))
    log.rename(old)
    agent.run_until(lambda: bool(agent.seen(FileRotated)), "rotated")
    agent.run_until_caught_up()
    (logs / "a.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    append(logs / "b.log", lines("b", 0, 5))
    expect(agent, lines("a", 0, 50) + lines("b", 0, 5))
    append(log, lines("a", 50, 55))
    expect(agent, lines("a", 0, 50) + lines("b", 0, 5) + lines("a", 50, 55))
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    expect(agent, lines("a", 0, 50) + lines("b", 0, 5) + lines("a", 50, 55))


def test_swapped_while_stopped_a_file_that_waits_is_still_the_one_at_its_path(rig, logs):
    """The line that is being written is not sent as of a rotated file."""
    one, other = logs / "a.log", logs / "b.log"
    append(one, lines("a", 0, 5))
    append(other, lines("b", 0, 5))
    agent = rig(max_open_files=1).start()
    expect(agent, lines("a", 0, 5) + lines("b", 0, 5))
    assert agent.stop()
    one.rename(logs / "aside")
    other.rename(one)
    (logs / "aside").rename(other)
    for path in (one, other):
        with path.open("ab") as file:
            file.write(b"begun at " + path.name.encode())
    agent.start()
    agent.run_until_caught_up()
    agent.run_for(0.2)  # longer than the grace of a rotated file
    agent.run_until_caught_up()
    assert len(agent.writer.arrived) == 10


@pytest.mark.parametrize("to", ["a.log.1", "odd-name"])
def test_a_closed_file_that_is_renamed_and_grows_is_finished(rig, logs, to):
    log = logs / "a.log"
    append(log, lines("a", 0, 5))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 5))
    agent.run_until(lambda: not open_below(logs), "idle file closed")
    log.rename(logs / to)
    append(logs / to, lines("a", 5, 10))
    append(log, lines("a", 10, 15))
    expect(agent, lines("a", 0, 15))


def test_a_closed_rotated_file_that_grows_later_is_read_on(rig, logs):
    log = logs / "a.log"
    append(log, lines("a", 0, 5))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 5))
    log.rename(logs / "a.log.1")
    append(log, lines("a", 5, 10))
    expect(agent, lines("a", 0, 10))
    agent.run_until(lambda: not open_below(logs), "both closed")
    append(logs / "a.log.1", lines("late", 0, 5))
    expect(agent, lines("a", 0, 10) + lines("late", 0, 5))


def test_a_closed_file_that_is_truncated_and_rewritten_is_read_anew(rig, logs):
    log = logs / "a.log"
    append(log, lines("a", 0, 20))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 20))
    agent.run_until(lambda: not open_below(logs), "idle file closed")
    os.truncate(log, 0)
    append(log, lines("b", 0, 20))
    expect(agent, lines("a", 0, 20) + lines("b", 0, 20))


def test_a_held_line_is_read_again_after_its_file_was_closed(rig, logs):
    log = logs / "a.log"
    log.write_bytes(b"begun ")
    agent = rig(close_idle=0.2).start()
    agent.run_until(lambda: len(open_below(logs)) == 1, "opened")
    agent.run_until(lambda: not open_below(logs), "idle file closed")
    with log.open("ab") as file:
        file.write(b"and ended\n")
    expect(agent, [b"begun and ended"])


def test_files_wait_while_all_that_may_be_open_are_busy(rig, logs):
    agent = rig(max_open_files=1)
    agent.writer.up = False
    append(logs / "a.log", lines("a", 0, 5))
    append(logs / "b.log", lines("b", 0, 5))
    agent.start()
    agent.run_until(lambda: bool(agent.seen(FilesWait)), "said so")
    assert len(open_below(logs)) == 1
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines("a", 0, 5) + lines("b", 0, 5))
    assert [event.files for event in agent.seen(FilesWait)] == [1, 0]


def test_the_number_of_files_that_wait_is_kept_up_to_date_and_said_once(rig, logs):
    agent = rig(max_open_files=2)
    agent.writer.up = False
    some = [line for name in "abcdefgh" for line in lines(name, 0, 5)]
    for name in "abcdefgh":
        append(logs / f"{name}.log", lines(name, 0, 5))
    agent.start()
    agent.run_until(lambda: bool(agent.seen(FilesWait)), "said so")
    assert agent.seen(FilesWait)[-1].files == 6
    append(logs / "i.log", lines("i", 0, 5))
    agent.run_until(lambda: agent.seen(FilesWait)[-1].files == 7, "one more")
    (logs / "i.log").unlink()
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, some)
    agent.run_until(lambda: agent.seen(FilesWait)[-1].files == 0, "none any more")
    assert len([event for event in agent.seen(FilesWait) if event.message()]) == 2


def test_files_that_wait_are_not_opened_until_there_is_room(rig, logs, monkeypatch):
    agent = rig(max_open_files=1)
    agent.writer.up = False
    for name in "abcdefgh":
        append(logs / f"{name}.log", lines(name, 0, 5))
    agent.start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    agent.run_until(lambda: bool(agent.seen(FilesWait)), "said so")
    opened, opening = [], Walker.open

    def counting(walker, path):
        opened.append(path)
        return opening(walker, path)

    monkeypatch.setattr(Walker, "open", counting)
    for name in "abcdefgh":
        append(logs / f"{name}.log", lines(name, 5, 10))
    agent.run_for(1.2)  # two rescans, and looks in between
    assert not opened
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, [line for name in "abcdefgh" for line in lines(name, 0, 10)])


def test_a_rotation_larger_than_what_is_left_by_a_busy_neighbour_is_read_in_order(rig, logs):
    log = logs / "a.log"
    writer = Keeps(b"busy")
    agent = rig(max_open_files=2, writers={"out": writer}).start()
    append(logs / "b.log", [b"busy"])
    agent.run_until(lambda: agent.writer.under_way, "the neighbour is busy")
    append(log, lines("a", 0, 5))
    agent.run_until(lambda: len(writer.arrived) == 5, "the first")
    for number in (3, 2, 1):
        append(log, lines("a", 10 * (4 - number), 10 * (4 - number) + 5))
        later(log, 10 * (4 - number))
        log.rename(logs / f"a.log.{number}")
    append(log, lines("a", 40, 45))
    later(log, 100)
    rest = [line for first in (0, 10, 20, 30, 40) for line in lines("a", first, first + 5)]
    agent.run_until(lambda: len(writer.arrived) >= len(rest), "the chain", 15)
    assert writer.arrived == rest
    assert str(logs / "b.log") in open_below(logs)


def test_a_path_that_waits_and_whose_file_is_deleted_waits_no_more(rig, logs):
    agent = rig(max_open_files=1)
    agent.writer.up = False
    append(logs / "a.log", lines("a", 0, 5))
    append(logs / "b.log", lines("b", 0, 5))
    agent.start()
    agent.run_until(lambda: bool(agent.seen(FilesWait)), "said so")
    waiting = "a" if open_below(logs) == [str(logs / "b.log")] else "b"
    (logs / f"{waiting}.log").unlink()
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines("b" if waiting == "a" else "a", 0, 5)


def test_a_rotation_is_never_larger_than_what_may_be_open(rig, logs):
    """Files of one path are opened together, however few may be: else none of them would be."""
    log = logs / "a.log"
    append(log, lines("a", 0, 5))
    agent = rig(max_open_files=1).start()
    expect(agent, lines("a", 0, 5))
    assert agent.stop()
    append(log, lines("a", 5, 10))
    for number in (3, 2, 1):
        log.rename(logs / f"a.log.{number}")
        append(log, lines("a", 10 * (4 - number), 10 * (4 - number) + 5))
    agent.start()
    expect(agent, lines("a", 0, 15) + lines("a", 20, 25) + lines("a", 30, 35))


@pytest.mark.parametrize("ceiling", [{"max_deleted_files": 1}, {"max_deleted_bytes": 1000}])
def test_deleted_files_above_the_ceiling_are_given_up_the_oldest_first(rig, logs, ceiling):
    agent = rig(**ceiling).start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    agent.writer.up = False
    for name in ("a", "b"):
        log = logs / f"{name}.log"
        append(log, lines(name, 0, 15))
        agent.run_until(lambda: agent.writer.under_way, "sent")
        agent.run_until(lambda path=str(log): path in open_below(logs), "opened")
        log.unlink()
        agent.run_until(lambda path=str(log): path not in open_below(logs), "deleted")
    agent.run_until(lambda: bool(agent.seen(FileGivenUp)), "given up")
    (given_up,) = agent.seen(FileGivenUp)
    assert given_up.path == str(logs / "a.log")
    assert given_up.unread == sum(len(line) + 1 for line in lines("a", 0, 15))
    agent.run_for(0.6)  # one more review must not give up the other
    assert len(agent.seen(FileGivenUp)) == 1
    assert open_below(logs) == [f"{logs / 'b.log'} (deleted)"]


def test_a_deleted_file_that_still_grows_is_given_up_above_the_ceiling(rig, logs):
    """Nothing happens in any directory: it is asked at every rescan how large it is."""
    log = logs / "a.log"
    append(log, lines("a", 0, 15))
    agent = rig(max_deleted_bytes=5_000, rescan=0.1).start()
    expect(agent, lines("a", 0, 15))
    agent.writer.up = False
    append(log, lines("a", 15, 20))
    agent.run_until(lambda: agent.writer.under_way, "sent")
    with log.open("ab", buffering=0) as writer:
        log.unlink()
        agent.run_until(lambda: bool(agent.seen(FileRotated)), "deleted")
        agent.run_for(0.3)
        assert not agent.seen(FileGivenUp)
        for line in lines("a", 20, 200):
            writer.write(line + b"\n")
        agent.run_until(lambda: bool(agent.seen(FileGivenUp)), "given up")
    assert not open_below(logs)


def test_a_copy_that_was_seen_before_the_truncation_is_not_sent_again(rig, logs):
    """Lines are written and delivered between the copy and the truncation of a copytruncate."""
    log, copy = logs / "a.log", logs / "a.log.1"
    append(log, lines("a", 0, 50))
    agent = rig().start()
    expect(agent, lines("a", 0, 50))
    copy.write_bytes(log.read_bytes())
    agent.run_until(lambda: bool(agent.stream._inquiries.copies), "copy recognised")
    append(log, lines("a", 50, 60))
    expect(agent, lines("a", 0, 60))
    os.truncate(log, 0)
    append(log, lines("b", 0, 10))
    expect(agent, lines("a", 0, 60) + lines("b", 0, 10))


@pytest.mark.parametrize("grown", [0, 10])
def test_a_copy_of_a_closed_file_is_not_sent_again(rig, logs, grown):
    """copytruncate of a file that was idle for so long that it was closed."""
    log, copy = logs / "a.log", logs / "a.log.1"
    append(log, lines("a", 0, 50))
    agent = rig(close_idle=0.2).start()
    expect(agent, lines("a", 0, 50))
    agent.run_until(lambda: not open_below(logs), "idle file closed")
    copy.write_bytes(log.read_bytes())
    agent.run_until(lambda: bool(agent.stream._inquiries.copies), "copy recognised")
    append(log, lines("a", 50, 50 + grown))
    expect(agent, lines("a", 0, 50 + grown))
    os.truncate(log, 0)
    append(log, lines("b", 0, 10))
    expect(agent, lines("a", 0, 50 + grown) + lines("b", 0, 10))


def test_a_restart_with_more_files_at_rest_than_may_be_open_lets_none_of_them_wait(rig, logs):
    names = [f"f{n:02}" for n in range(12)]
    for name in names:
        append(logs / f"{name}.log", lines(name, 0, 5))
    sent = [line for name in names for line in lines(name, 0, 5)]
    agent = rig(max_open_files=3).start()
    expect(agent, sent)
    agent.stop()
    append(logs / "f11.log", lines("f11", 5, 6))
    agent = rig(max_open_files=3).start()
    expect(agent, lines("f11", 5, 6))
    assert len(open_below(logs)) == 3
    assert not agent.seen(FilesWait)
    append(logs / "f07.log", lines("f07", 5, 6))
    expect(agent, lines("f11", 5, 6) + lines("f07", 5, 6))


def test_a_file_that_waits_is_found_once(rig, logs):
    names = [f"f{n:02}" for n in range(12)]
    for name in names:
        append(logs / f"{name}.log", lines(name, 0, 5))
    agent = rig(max_open_files=3).start()
    expect(agent, [line for name in names for line in lines(name, 0, 5)])
    found = Counter(os.path.basename(event.path) for event in agent.seen(FileFound))
    assert found == Counter(f"{name}.log" for name in names)
    assert agent.seen(FilesWait)
