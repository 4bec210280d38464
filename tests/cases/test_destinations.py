"""Destinations that are added, removed and added again by a restart with another configuration."""

import gzip

from singer.base.config import DestinationStartConfig, Start
from singer.base.events import DestinationBegins
from singer.positions.query import read_positions
from tests.support.logs import append, expect, lines, long_ago
from tests.support.rig import LoopbackWriter

END = DestinationStartConfig(at=Start.END)
BEGINNING = DestinationStartConfig(at=Start.BEGINNING)
LIKE_A = DestinationStartConfig(like="a")


def has(writer, some):
    return lambda: set(some) <= set(writer.arrived)


def life(rig, writers, log, first, last, **options):
    """A run with these destinations in which more lines arrive at all of them."""
    agent = rig(writers=writers, rescan=0.1, **options).start()
    agent.run_until_caught_up()
    append(log, lines(first, last))
    for writer in writers.values():
        agent.run_until(has(writer, lines(first, last)), "its lines")
    agent.run_until_caught_up()
    assert agent.stop()
    return agent


def test_a_new_one_begins_as_its_stream_does(rig, logs):
    for start, expected in ((Start.BEGINNING, 0), (Start.END, 10)):
        log = logs / f"{start.value}.log"
        a, b = LoopbackWriter(), LoopbackWriter()
        state = {"start": start}
        one = rig(log.name, writers={"a": a}, **state)
        one.state_dir += start.value
        append(log, lines(0, 10))
        one.start()
        one.run_until_caught_up()
        assert one.stop()
        two = rig(log.name, writers={"a": a, "b": b}, **state)
        two.state_dir += start.value
        two.start()
        two.run_until_caught_up()
        append(log, lines(10, 20))
        two.run_until(has(b, lines(10, 20)), "what came then")
        two.run_until_caught_up()
        assert b.arrived == lines(expected, 20)
        assert two.stop()


def test_a_new_one_begins_at_the_end_although_its_stream_does_not(rig, logs):
    log, a, b = logs / "app.log", LoopbackWriter(), LoopbackWriter()
    life(rig, {"a": a}, log, 0, 10)
    life(rig, {"a": a, "b": b}, log, 10, 20, begins={"b": END})
    assert a.arrived == lines(0, 20)
    assert b.arrived == lines(10, 20)
    # What is new has begun: from then on it is as the others.
    life(rig, {"a": a, "b": b}, log, 20, 30, begins={"b": END})
    assert b.arrived == lines(10, 30)


def test_a_new_one_begins_at_the_beginning_although_its_stream_does_not(rig, logs):
    log, a, b = logs / "app.log", LoopbackWriter(), LoopbackWriter()
    append(log, lines(0, 10))
    agent = rig(writers={"a": a}, start=Start.END).start()
    agent.run_until_caught_up()
    assert agent.stop()
    agent = rig(writers={"a": a, "b": b}, start=Start.END, begins={"b": BEGINNING}).start()
    agent.run_until(has(b, lines(0, 10)), "all of it")
    append(log, lines(10, 20))
    agent.run_until(has(b, lines(10, 20)), "more")
    agent.run_until(has(a, lines(10, 20)), "more")
    assert (a.arrived, b.arrived) == (lines(10, 20), lines(0, 20))
    assert agent.stop()


def test_a_new_one_begins_where_another_is(rig, logs):
    """Rotated files, archives and what is held included: all that is known of the other."""
    log, a, b, c = logs / "app.log", LoopbackWriter(), LoopbackWriter(), LoopbackWriter()
    append(log, lines(0, 10))
    agent = rig(writers={"a": a}, rescan=0.1).start()
    expect(agent, lines(0, 10))
    (logs / "app.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, lines(20, 30))
    agent.run_until(has(a, lines(20, 30)), "the successor")
    agent.run_until(
        lambda: any(
            row.identity.inode == log.stat().st_ino and row.offset == log.stat().st_size
            for row in read_positions(agent.state.positions)
        ),
        "its position is on disk",
    )
    a.up = False
    append(log, lines(30, 40))
    agent.run_until(lambda: a.under_way, "what is not acknowledged")
    agent.kill()
    a.up = True
    a.lose_acknowledgements()
    begins = {"b": LIKE_A, "c": DestinationStartConfig(like="b")}
    agent = life(rig, {"c": c, "b": b, "a": a}, log, 40, 50, begins=begins)
    assert b.arrived == c.arrived == lines(30, 50)
    begun = {event.destination: event.like for event in agent.seen(DestinationBegins)}
    assert begun["b"] == "a"
    assert begun["c"] in "ab"
    ids = [row.id for row in read_positions(agent.state.positions)]
    assert len(set(ids)) == len(ids)
    agent = life(rig, {"c": c, "b": b, "a": a}, log, 50, 60, begins=begins)
    assert b.arrived == c.arrived == lines(30, 60)
    assert not agent.seen(DestinationBegins)


def test_where_both_are_new_one_begins_as_the_other(rig, logs):
    log, a, b = logs / "app.log", LoopbackWriter(), LoopbackWriter()
    append(log, lines(0, 10))
    agent = rig(writers={"a": a, "b": b}, begins={"a": END, "b": LIKE_A}).start()
    agent.run_until_caught_up()
    append(log, lines(10, 20))
    agent.run_until(has(b, lines(10, 20)), "what came then")
    agent.run_until(has(a, lines(10, 20)), "what came then")
    assert a.arrived == b.arrived == lines(10, 20)
    assert agent.stop()


def test_one_that_is_removed_and_added_again_goes_on_where_it_was(rig, logs):
    log, a, b = logs / "app.log", LoopbackWriter(), LoopbackWriter()
    append(logs / "app.log.9", lines(900, 910))
    long_ago(logs / "app.log.9")
    life(rig, {"a": a, "b": b}, log, 0, 10)
    agent = life(rig, {"a": a}, log, 10, 20)
    assert {row.destination for row in read_positions(agent.state.positions)} == {"a", "b"}
    log.rename(logs / "app.log.1")
    life(rig, {"a": a}, log, 20, 30)
    assert b.arrived == lines(0, 10)
    life(rig, {"a": a, "b": b}, log, 30, 40, begins={"b": END})
    assert a.arrived == b.arrived == lines(0, 40)
