"""Records of several lines in files that grow, rotate and are read again after a stop or a kill."""

import os
import time

import pytest

from singer.base.config import ByteSize, MultilineReaderConfig, Regex, Rotated, Seconds, Start
from tests.support.logs import expect
from tests.support.waiting import wait_until


@pytest.fixture
def multiline(rig, logs):
    def begin(*, timeout=60.0, once=False, **options):
        reader = MultilineReaderConfig(
            start=Regex("^[0-9]"), timeout=Seconds(timeout), max_record=ByteSize(100_000)
        )
        return rig("*.log", reader=reader, **options).start(once=once)

    return begin


def test_a_record_that_is_written_in_pieces_stays_one(multiline, logs):
    agent = multiline()
    log = logs / "app.log"
    for piece in (b"1 one", b"\n  at", b" a\n", b"  at b\n", b"2", b" two\n  at"):
        write(log, piece)
        agent.run_until(lambda: held(agent) == log.stat().st_size - delivered(agent), "read")
    assert agent.writer.arrived == [b"1 one\n  at a\n  at b"]
    write(log, b" c\n3\n")
    expect(agent, [b"1 one\n  at a\n  at b", b"2 two\n  at c"])


def test_the_last_record_is_sent_when_nothing_came_for_the_timeout(multiline, logs):
    agent = multiline(timeout=0.05)
    write(logs / "app.log", b"1 one\n  at a\n")
    expect(agent, [b"1 one\n  at a"])
    # What is being written is not cut, and nobody waits for it with the processor.
    write(logs / "app.log", b"2 two\n  a")
    agent.run_until(lambda: held(agent) == 9, "held")
    agent.run_until(lambda: agent.stream.caught_up, "at rest although something is held")
    assert agent.writer.arrived == [b"1 one\n  at a"]
    write(logs / "app.log", b"t\n")
    expect(agent, [b"1 one\n  at a", b"2 two\n  at"])


def test_at_the_end_of_a_rotated_file_the_last_record_waits_no_longer_than_the_timeout(
    multiline, logs
):
    agent = multiline(timeout=0.2, rotate_grace=Seconds(60.0))
    write(logs / "app.log", b"1 one\n  at a\n")
    agent.run_until(lambda: held(agent), "held")
    (logs / "app.log").rename(logs / "app.log.1")
    write(logs / "app.log", b"2 two\n3 three\n")
    agent.run_until(lambda: b"3 three" in agent.writer.arrived, "the successor")
    assert agent.writer.arrived == [b"1 one\n  at a", b"2 two", b"3 three"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_record_that_is_half_written_when_the_agent_ends_stays_one(multiline, logs, killed):
    agent = multiline()
    write(logs / "app.log", b"1 one\n2 two\n  at a\n")
    expect(agent, [b"1 one"])
    if killed:
        agent.kill()
    else:
        assert agent.stop()
    write(logs / "app.log", b"  at b\n3 three\n")
    agent.start()
    agent.run_until(lambda: b"2 two\n  at a\n  at b" in agent.writer.arrived, "whole")
    assert set(agent.writer.arrived) == {b"1 one", b"2 two\n  at a\n  at b"}


def test_a_record_that_is_half_written_when_its_file_is_rotated_stays_one(multiline, logs):
    agent = multiline(rotate_grace=0.3)
    write(logs / "app.log", b"1 one\n  at a\n")
    agent.run_until(lambda: held(agent) == 13, "held")
    os.rename(logs / "app.log", logs / "app.log.1")
    write(logs / "app.log", b"2 two\n  at c\n3 three\n")
    write(logs / "app.log.1", b"  at b\n")
    agent.run_until(lambda: len(agent.writer.arrived) == 2, "both")
    assert agent.writer.arrived == [b"1 one\n  at a\n  at b", b"2 two\n  at c"]


def test_once_sends_the_last_record_and_holds_a_line_that_is_being_written(multiline, logs):
    write(logs / "a.log", b"1 one\n  at a\n")
    write(logs / "b.log", b"1 other\n  at")
    agent = multiline(once=True)
    expect(agent, [b"1 one\n  at a"])
    assert held(agent) == len(b"1 other\n  at")


def held(agent):
    return sum(account.held for account in agent.ledger)


def delivered(agent):
    return sum(account.delivered for account in agent.ledger)


def write(path, data):
    with path.open("ab", buffering=0) as file:
        file.write(data)


def test_rotated_files_that_were_quiet_for_long_are_not_waited_for_one_by_one(multiline, logs):
    """Else a chain of them would take a `rotate_grace` each after an outage."""
    long_ago = time.time() - 3600
    for number in range(5, 0, -1):
        path = logs / f"app.log.{number}"
        write(path, b"%d\n  at a\n" % number)
        os.utime(path, (long_ago - number, long_ago - number))
    write(logs / "app.log", b"9\n")
    # A new inode's ctime cannot be set: the grace passes once, while the files lie there.
    ends = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > ends, 5, "quiet for a rotate_grace")
    agent = multiline(rotate_grace=0.45, rotated_files=Rotated.ALL)
    begun = time.monotonic()
    agent.run_until(lambda: len(agent.writer.arrived) == 5, "all rotated ones")
    assert time.monotonic() - begun < 2 * 0.45, "no grace for each"
    assert agent.writer.arrived == [b"%d\n  at a" % number for number in range(5, 0, -1)]


def test_what_is_there_is_skipped_up_to_its_last_line(multiline, logs):
    write(logs / "app.log", b"1 one\n  at a\n  at")
    agent = multiline(start=Start.END)
    agent.run_until(agent.stream.scanned.is_set, "the first look")
    write(logs / "app.log", b" b\n2 two\n3 three\n")
    agent.run_until(lambda: len(agent.writer.arrived) == 2, "what is new")
    assert agent.writer.arrived == [b"  at b", b"2 two"]
