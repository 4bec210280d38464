"""Records of several lines in files that grow, rotate and are read again after a stop or a kill."""

import os

import pytest

from singer.base.config import ByteSize, MultilineReaderConfig, Regex, Seconds
from tests.support.logs import expect


@pytest.fixture
def multiline(rig, logs):
    def start(*, timeout=60.0, once=False, **options):
        reader = MultilineReaderConfig(
            start=Regex("^[0-9]"), timeout=Seconds(timeout), max_record=ByteSize(100_000)
        )
        return rig("*.log", reader=reader, **options).start(once=once)

    return start


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
