"""The cycle of one (file, destination), seen from outside: what arrives, what the books say."""

import os

import pytest

from singer.base.config import ByteSize, Oversize, TextReaderConfig
from singer.base.events import CommitHeldUp, RecordDeadLettered, Rewound
from singer.positions.query import read_positions
from singer.readers.text import TextReader
from singer.writers.dead_letters import read_dead_letters
from tests.support.logs import append, lines
from tests.support.rig import Rig


@pytest.fixture
def log(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "app.log"


@pytest.fixture
def rig(tmp_path, log):
    made = []

    def make(**options):
        made.append(Rig(str(tmp_path / "state"), [str(log)], **options))
        return made[-1]

    yield make
    for one in made:
        if one.running:
            one.kill()


def account(agent, name="out"):
    return agent.ledger.account("s", name)


def test_byte_exact(rig, log):
    odd = [b"", b"\x00\x00", b"\xff\xfe broken utf-8", b"cr\r", b"", "ünïcode".encode(), b" "]
    append(log, odd)
    agent = rig().start()
    agent.run_until(lambda: len(agent.writer.arrived) == len(odd), "all lines")
    assert agent.writer.arrived == odd
    agent.run_until_caught_up()
    assert account(agent).delivered == log.stat().st_size


@pytest.mark.parametrize("settled", [0, 1, 7])
def test_a_failed_batch_is_rewound_to_the_last_row_that_was_acknowledged(rig, log, settled):
    append(log, lines(0, 20))
    agent = rig()
    agent.writer.failing, agent.writer.settled = True, settled
    agent.start()
    agent.run_until(lambda: agent.seen(Rewound), "a rewind")
    agent.writer.failing = False
    agent.run_until_caught_up()
    arrived = agent.writer.arrived
    assert arrived == lines(0, 20), "each attempt began where the one before was acknowledged"
    assert account(agent).read - account(agent).rewound == log.stat().st_size


def test_positions_move_only_past_what_was_acknowledged(rig, log):
    append(log, lines(0, 100))
    agent = rig()
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.under_way, "batches under way")
    agent.loop.run_until_complete(agent.positions.flush())
    assert [row.offset for row in read_positions(agent.state.positions)] == [0]
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    agent.run_until_caught_up()
    agent.loop.run_until_complete(agent.positions.flush())
    assert [row.offset for row in read_positions(agent.state.positions)] == [log.stat().st_size]


def test_a_refused_record_is_dead_lettered_and_its_neighbours_flow_on(rig, log):
    append(log, [*lines(0, 5), b"poison", *lines(5, 10)])
    agent = rig()
    agent.writer.refuses = lambda payload: payload == b"poison"
    agent.start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 10)
    (letter,) = read_dead_letters(agent.state.dead_letters)
    assert (letter.payload, letter.offset, letter.length) == (b"poison", 5 * 53, 7)
    assert letter.reason == "refused"
    assert account(agent).dead_lettered == 7
    assert len(agent.seen(RecordDeadLettered)) == 1


def test_an_oversized_line_is_dead_lettered_and_its_neighbours_flow_on(rig, log):
    append(log, [b"before", b"y" * 5000, b"after"])
    agent = rig(max_record=1000).start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == [b"before", b"after"]
    letters = list(read_dead_letters(agent.state.dead_letters))
    assert b"".join(letter.payload for letter in letters).rstrip(b"\n") == b"y" * 5000
    assert account(agent).dead_lettered == 5001


@pytest.mark.parametrize("mode", list(Oversize))
def test_a_line_longer_than_any_window_is_bounded_in_memory(rig, log, mode):
    size = 5 << 20
    append(log, [b"before", b"y" * size, b"after"])
    agent = rig()
    agent.reader = TextReader(TextReaderConfig(max_record=ByteSize(300_000), oversize=mode))
    agent.start()
    agent.run_until(lambda: b"after" in agent.writer.arrived or agent.seen(CommitHeldUp), "after")
    if mode is Oversize.DEAD_LETTER:  # 5 MiB do not fit into dead letters of 1 MiB: it waits
        return
    agent.run_until_caught_up()
    middle = agent.writer.arrived[1:-1]
    assert b"".join(middle) == b"y" * (300_000 if mode is Oversize.TRUNCATE else size)
    assert account(agent).read == log.stat().st_size


def test_full_dead_letters_hold_the_position_and_lose_nothing(rig, log):
    append(log, [b"before", b"y" * 1_500_000, b"after", *lines(0, 10)])
    agent = rig(max_record=1000).start()
    agent.run_until(lambda: agent.seen(CommitHeldUp), "an alarm")
    assert agent.dead_letters is not None
    for name in os.listdir(os.path.dirname(agent.state.dead_letters)):
        path = os.path.join(os.path.dirname(agent.state.dead_letters), name)
        if path.startswith(agent.state.dead_letters):
            os.rename(path, os.path.join(os.path.dirname(log.parent), name))
    agent.dead_letters._max_bytes = 10 << 20  # the operator made room
    agent.run_until(lambda: agent.writer.arrived[-1:] == lines(9, 10), "the rest", seconds=30)
    agent.run_until_caught_up()
    assert account(agent).dead_lettered == 1_500_001


def test_memory_under_way_stays_within_the_budget(rig, log):
    append(log, lines(0, 40_000, pad=1))
    agent = rig(memory=1 << 20)
    agent.writer.up = False
    agent.start()
    agent.run_for(0.3)
    cost = sum(batch.cost for _, batch in agent.writer._waiting)
    assert 0 < cost <= 1 << 20
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    agent.run_until(lambda: agent.writer.arrived == lines(0, 40_000, pad=1), "all", seconds=30)


def test_the_ledger_has_every_byte_under_way_and_held(rig, log):
    append(log, lines(0, 100))
    with log.open("ab") as file:
        file.write(b"held")
    agent = rig()
    agent.writer.up = False
    agent.start()
    agent.run_until(lambda: agent.writer.under_way, "batches under way")
    books = account(agent)
    assert (books.read, books.held) == (log.stat().st_size, 4)
    assert books.in_flight == log.stat().st_size - 4
    books.check()


def test_what_a_writer_takes_back_of_an_unfinished_record_is_no_other_file(rig, log):
    append(log, lines(0, 50))
    agent = rig().start()
    agent.run_until_caught_up()
    with log.open("ab", buffering=0) as file:
        file.write(b"torn by a full disk")
        agent.run_until(lambda: account(agent).held == 19, "it is held")
        os.ftruncate(file.fileno(), file.tell() - 15)
        agent.run_until(lambda: account(agent).held == 4, "the rest of it is looked at again")
        os.ftruncate(file.fileno(), file.tell() - 19)
        agent.run_until(lambda: account(agent).held == 0, "nothing of it is left")
    append(log, lines(50, 60))
    agent.run_until(lambda: len(agent.writer.arrived) >= 60, "what follows")
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 60)
    assert account(agent).skipped["truncated"] == 19
    assert agent.stop()


def test_a_file_that_is_cut_within_an_unfinished_record_and_is_another_is_read_anew(rig, log):
    append(log, lines(0, 50))
    agent = rig().start()
    agent.run_until_caught_up()
    with log.open("ab", buffering=0) as file:
        file.write(b"unfinished" * 10)
        agent.run_until(lambda: account(agent).held == 100, "it is held")
    other = lines(100, 150)  # as long as what was delivered
    log.write_bytes(b"".join(line + b"\n" for line in other) + b"held")
    agent.run_until(lambda: agent.writer.arrived[50:] == other, "the new content")
    assert agent.stop()
