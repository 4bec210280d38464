"""Shadows that lag: what they skip, what they do not, and what the others notice of it."""

import gzip

import pytest

from singer import shadows
from singer.base.config import ByteSize, FramesReaderConfig, MaxLagConfig, Seconds
from singer.base.events import ShadowGoesOn, ShadowLags, ShadowSkipped
from singer.base.position import READ_TO_END
from singer.positions.query import read_positions
from tests.support.logs import append, lines
from tests.support.rig import LoopbackWriter

KIB = 1 << 10


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(shadows, "LOOK_SECONDS", 0.01)


@pytest.fixture
def pair(rig):
    """`pair(max_lag)`: a primary `a`, its shadow `b`, and both writers."""

    def make(max_lag, *patterns, **options):
        up, shadow = LoopbackWriter(), LoopbackWriter()
        agent = rig(
            *patterns,
            writers={"a": up, "b": shadow},
            rescan=0.1,
            max_lag={"b": max_lag} if max_lag else None,
            **options,
        )
        return agent, up, shadow

    return make


def has(writer, some):
    return lambda: set(some) <= set(writer.arrived)


def raise_up(agent, writer):
    writer.up = True
    agent.loop.call_soon(writer.settle)


def skipped(agent):
    return agent.ledger.account("s", "b").skipped["lag"]


def size(some):
    return sum(len(line) + 1 for line in some)


def goes_on(agent, count=1):
    return lambda: len(agent.seen(ShadowGoesOn)) == count


def finished(row):
    return row.resume == READ_TO_END


def begin(agent, log, shadow):
    """The first lines arrive at both, then the shadow is down with one line under way."""
    append(log, lines(0, 10))
    agent.start()
    agent.run_until(has(shadow, lines(0, 10)), "the first lines")
    shadow.up = False
    append(log, lines(10, 11))
    agent.run_until(lambda: shadow.under_way == 1, "a line under way")


def test_a_shadow_that_is_down_skips_to_the_end_of_what_is_there(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(64 * KIB)))
    log = logs / "app.log"
    begin(agent, log, shadow)
    append(log, lines(11, 2000))
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    append(log, lines(2000, 4000))
    agent.run_until(has(up, lines(0, 4000)), "the primary has all")
    agent.run_until(lambda: shadow.arrived == lines(0, 10), "and the shadow nothing")
    sent = set(shadow.waiting)
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    append(log, lines(4000, 4010))
    agent.run_until(has(shadow, lines(4000, 4010)), "what came then")
    agent.run_until_caught_up()
    # One stretch is missing; what was under way has arrived, and nothing came twice.
    left = [line for line in lines(0, 4010) if line in sent or line in set(shadow.arrived)]
    assert shadow.arrived == left
    missing = [line for line in lines(0, 4010) if line not in set(left)]
    first = int(missing[0].split()[1])
    assert missing == lines(first, 4000)
    assert skipped(agent) == size(missing)
    assert up.arrived == lines(0, 4010)
    assert [event.nbytes for event in agent.seen(ShadowGoesOn)] == [size(missing)]
    assert sum(event.nbytes for event in agent.seen(ShadowSkipped)) == size(missing)
    assert len(agent.seen(ShadowLags)) == 1
    assert agent.ledger.account("s", "a").skipped.total() == 0
    assert agent.stop()
    # The books are balanced, and the positions are at the end: nothing comes again.
    agent.start()
    append(log, lines(4010, 4020))
    agent.run_until(has(shadow, lines(4010, 4020)), "more")
    agent.run_until_caught_up()
    assert shadow.arrived == [*left, *lines(4010, 4020)]
    assert skipped(agent) == 0


def test_without_max_lag_nothing_is_ever_skipped(pair, logs):
    agent, up, shadow = pair(None)
    log = logs / "app.log"
    begin(agent, log, shadow)
    append(log, lines(11, 20_000))
    agent.run_until(has(up, lines(0, 20_000)), "the primary has all")
    raise_up(agent, shadow)
    agent.run_until(has(shadow, lines(0, 20_000)), "the shadow too")
    agent.run_until_caught_up()
    assert shadow.arrived == lines(0, 20_000)
    assert not agent.seen(ShadowLags)


def test_a_shadow_that_is_less_behind_skips_nothing(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(1 << 20)))
    log = logs / "app.log"
    begin(agent, log, shadow)
    append(log, lines(11, 10_000))
    agent.run_until(has(up, lines(0, 10_000)), "the primary has all")
    agent.run_for(0.1)
    raise_up(agent, shadow)
    agent.run_until(has(shadow, lines(0, 10_000)), "the shadow too")
    assert not agent.seen(ShadowLags)


def test_too_old_is_too_far_behind(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(age=Seconds(0.3)))
    log = logs / "app.log"
    begin(agent, log, shadow)
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags by one line")
    append(log, lines(11, 30))
    agent.run_until(has(up, lines(0, 30)), "the primary has all")
    agent.run_until(lambda: agent.ledger.account("s", "b").in_flight == size(lines(10, 30)), "skip")
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    append(log, lines(30, 40))
    agent.run_until(has(shadow, lines(30, 40)), "what came then")
    assert shadow.arrived == lines(0, 11) + lines(30, 40)
    assert skipped(agent) == size(lines(11, 30))


def test_an_unfinished_line_at_the_end_is_not_behind(pair, logs):
    agent, _, shadow = pair(MaxLagConfig(age=Seconds(0.3)))
    log = logs / "app.log"
    log.write_bytes(b"whole\n")
    agent.start()
    agent.run_until_caught_up()
    before = len(agent.seen(ShadowLags))  # the start alone may take as long
    with log.open("ab") as file:
        file.write(b"not whole")
    agent.run_for(0.9)
    assert len(agent.seen(ShadowLags)) == before
    with log.open("ab") as file:
        file.write(b" yet\n")
    agent.run_until(has(shadow, [b"not whole yet"]), "the other")


def test_a_line_is_not_cut_where_it_lands(pair, logs):
    agent, _, shadow = pair(MaxLagConfig(bytes=ByteSize(8 * KIB)))
    log = logs / "app.log"
    begin(agent, log, shadow)
    append(log, lines(11, 500))
    with log.open("ab") as file:
        file.write(b"begun")
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    agent.run_for(0.1)
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    with log.open("ab") as file:
        file.write(b" and ended\n")
    agent.run_until(lambda: b"begun and ended" in shadow.arrived, "the line")
    agent.run_until_caught_up()
    assert set(shadow.arrived) <= {*lines(0, 500), b"begun and ended"}


def test_rotated_files_that_wait_are_skipped_as_well(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(40 * KIB)))
    log = logs / "app.log"
    begin(agent, log, shadow)
    for number in range(1, 4):
        append(log, lines(1000 * number, 1000 * number + 300))
        agent.run_until(has(up, lines(1000 * number, 1000 * number + 300)), "its lines")
        log.rename(logs / f"app.log.{number}")
        append(log, lines(9000 + number, 9001 + number))
        agent.run_until(has(up, lines(9000 + number, 9001 + number)), "the successor")
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    agent.run_for(0.1)
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    append(log, lines(9500, 9510))
    agent.run_until(has(shadow, lines(9500, 9510)), "the end")
    agent.run_until_caught_up()
    assert skipped(agent) > 300 * 50
    assert set(shadow.arrived) < set(up.arrived)
    assert skipped(agent) == size(up.arrived) - size(shadow.arrived)
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    assert skipped(agent) == 0
    assert len(set(shadow.arrived)) == len(shadow.arrived)


def test_archives_that_wait_are_skipped_as_well(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(4 * KIB)))
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent.start()
    agent.run_until(has(shadow, lines(0, 10)), "the first lines")
    assert agent.stop()
    append(log, lines(10, 2000))
    (logs / "app.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, lines(3000, 3300))
    shadow.up = False
    agent.start()
    agent.run_until(has(up, lines(0, 2000) + lines(3000, 3300)), "the primary has all")
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    append(log, lines(4000, 4001))
    agent.run_until(has(shadow, lines(4000, 4001)), "the end")
    agent.run_until_caught_up()
    assert set(shadow.arrived) <= set(up.arrived)
    agent.run_until(
        lambda: (
            {row.destination for row in read_positions(agent.state.positions) if finished(row)}
            == {"a", "b"}
        ),
        "both rows say that nothing is left of it",
    )
    assert agent.stop()
    arrived = list(shadow.arrived)
    agent.start()
    agent.run_until_caught_up()
    assert shadow.arrived == arrived


def test_a_shadow_that_refuses_skips_what_it_does_not_take(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(16 * KIB)))
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent.start()
    agent.run_until(has(shadow, lines(0, 10)), "the first lines")
    shadow.failing = True
    append(log, lines(10, 2000))
    agent.run_until(has(up, lines(0, 2000)), "the primary has all")
    agent.run_until(goes_on(agent), "it went on")
    shadow.failing = False
    append(log, lines(2000, 2010))
    agent.run_until(has(shadow, lines(2000, 2010)), "what came then", seconds=30.0)
    agent.run_until_caught_up()
    assert shadow.arrived == lines(0, 10) + lines(2000, 2010)
    assert skipped(agent) == size(lines(10, 2000))


def test_frames_go_on_where_the_primary_is(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(4 * KIB)), reader=FramesReaderConfig())
    log = logs / "app.log"

    def write(first, last):
        with log.open("ab") as file:
            file.write(b"".join(len(x).to_bytes(4, "big") + x for x in lines(first, last)))

    write(0, 10)
    agent.start()
    agent.run_until(has(shadow, lines(0, 10)), "the first frames")
    shadow.up = False
    write(10, 11)
    agent.run_until(lambda: shadow.under_way == 1, "one under way")
    write(11, 500)
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    write(500, 1000)
    agent.run_until(has(up, lines(0, 1000)), "the primary has all")
    whole = agent.ledger.account("s", "a").delivered
    account = agent.ledger.account("s", "b")
    agent.run_until(lambda: account.delivered + account.in_flight == whole, "all is passed over")
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    write(1000, 1010)
    agent.run_until(has(shadow, lines(1000, 1010)), "what came then")
    agent.run_until_caught_up()
    assert set(shadow.arrived) <= set(lines(0, 1010))
    assert not set(shadow.arrived) & set(lines(500, 1000))
    assert skipped(agent) >= 500 * 56


def test_killed_while_it_lags_it_skips_again_and_loses_nothing_else(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(16 * KIB)))
    log = logs / "app.log"
    begin(agent, log, shadow)
    append(log, lines(11, 1000))
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    agent.run_until(has(up, lines(0, 1000)), "the primary has all")
    agent.kill()
    shadow.lose_acknowledgements()
    agent.start()
    agent.run_until(lambda: len(agent.seen(ShadowLags)) == 2, "it lags again")
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    append(log, lines(1000, 1010))
    agent.run_until(has(shadow, lines(1000, 1010)), "what came then")
    agent.run_until_caught_up()
    assert shadow.arrived[-10:] == lines(1000, 1010)
    assert set(up.arrived) == set(lines(0, 1010))


def test_it_is_passed_over_while_it_waits_for_memory(pair, logs):
    agent, up, shadow = pair(MaxLagConfig(bytes=ByteSize(2 << 20)), memory=1 << 20)
    log = logs / "app.log"
    begin(agent, log, shadow)
    some = lines(11, 40_000, pad=90)
    append(log, some)
    agent.run_until(lambda: agent.seen(ShadowLags), "it lags")
    agent.run_until(has(up, some), "the primary has all")
    raise_up(agent, shadow)
    agent.run_until(goes_on(agent), "it goes on")
    append(log, lines(50_000, 50_010))
    agent.run_until(has(shadow, lines(50_000, 50_010)), "what came then")
    agent.run_until_caught_up()
    assert skipped(agent) > 2 << 20
    assert agent.stop()
