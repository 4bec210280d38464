"""A destination that is down, while files of its paths are rotated, compressed and rewritten.

The others lose nothing and wait for nothing; and it gets everything once it is up.
"""

import gzip
from dataclasses import replace

import pytest

from singer.files.walk import Walker
from singer.inquiries import Inquiries
from tests.support.logs import append, lines
from tests.support.rig import LoopbackWriter


@pytest.fixture
def pair(rig):
    """An agent with a destination that is up and one that can be taken down, and both writers."""
    up, down = LoopbackWriter(), LoopbackWriter()
    agent = rig(writers={"a": up, "b": down}, rescan=0.1, memory=1 << 20)
    return agent, up, down


def has(writer, some):
    return lambda: set(some) <= set(writer.arrived)


def raise_up(agent, writer):
    writer.up = True
    agent.loop.call_soon(writer.settle)


def goes_down(agent, writer):
    writer.up = not writer.up
    if writer.up:
        agent.loop.call_soon(writer.settle)


def refuses(agent, writer):
    writer.failing = not writer.failing


@pytest.mark.parametrize("fault", [goes_down, refuses])
@pytest.mark.parametrize("times", [1, 4], ids=["for long", "now and then"])
def test_it_is_down_or_refuses_and_the_others_go_on(pair, logs, fault, times):
    """Everything arrives at the others meanwhile, more than there is memory, and nothing twice."""
    agent, up, down = pair
    log = logs / "app.log"
    agent.start()
    written = []
    for number in range(2 * times):
        fault(agent, down)
        some = lines(len(written), len(written) + 12_000 // times, pad=90)
        append(log, some)
        written += some
        agent.run_until(has(up, some), "its lines")
        if number % 2 == 0:
            log.rename(logs / f"app.log.{number}")
    assert up.arrived == written
    agent.run_until(has(down, written), "all of it, when it is well", seconds=30.0)
    agent.run_until_caught_up()
    assert list(dict.fromkeys(down.arrived)) == written
    assert up.arrived == written
    assert agent.stop()


def test_what_it_has_not_read_is_compressed_and_the_others_go_on(pair, logs):
    agent, up, down = pair
    log, old = logs / "app.log", logs / "app.log.1"
    append(log, lines(0, 30))
    agent.start()
    agent.run_until(has(down, lines(0, 30)), "the first lines")
    down.up = False
    append(log, lines(30, 60))
    agent.run_until(has(up, lines(30, 60)), "its lines")
    log.rename(old)
    (logs / "app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    append(log, lines(70, 80))
    agent.run_until(has(up, lines(70, 80)), "the successor")
    append(logs / "other", lines(60, 70))
    (logs / "other").rename(logs / "app.log.2")
    agent.run_until(has(up, lines(60, 70)), "a rotated file that nobody knew")
    assert sorted(up.arrived) == lines(0, 80)
    raise_up(agent, down)
    agent.run_until(has(down, lines(0, 80)), "all of it, when it is up")
    agent.run_until_caught_up()
    assert sorted(down.arrived) == sorted(up.arrived) == lines(0, 80)
    assert agent.stop()
    agent.start()
    append(log, lines(80, 90))
    agent.run_until(has(down, lines(80, 90)), "more")
    agent.run_until_caught_up()
    assert sorted(down.arrived) == sorted(up.arrived) == lines(0, 90)


def test_it_has_no_room_to_notice_a_truncation_and_the_others_go_on(pair, logs):
    agent, up, down = pair
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent.start()
    agent.run_until(has(down, lines(0, 10)), "the first lines")
    down.up = False
    some = lines(10, 20_000, pad=90)
    append(log, some)
    agent.run_until(has(up, some), "its lines")
    assert down.under_way
    log.write_bytes(b"")
    append(log, lines(20_000, 20_010))
    agent.run_until(has(up, lines(20_000, 20_010)), "what was written anew")
    append(logs / "other", lines(30_000, 30_100))
    (logs / "other").rename(logs / "app.log.1")
    agent.run_until(has(up, lines(30_000, 30_100)), "a rotated file that nobody knew")
    raise_up(agent, down)
    wanted = lines(0, 10) + lines(20_000, 20_010) + lines(30_000, 30_100)
    agent.run_until(has(down, wanted), "what is there, when it is up")
    agent.run_until_caught_up()


def test_a_directory_cannot_be_listed_while_one_destination_looks_for_a_copy(
    pair, logs, monkeypatch
):
    agent, up, down = pair
    log, copy = logs / "app.log", logs / "app.log.1"
    append(log, lines(0, 20))
    agent.start()
    agent.run_until(has(down, lines(0, 20)), "the first lines")
    down.up = False
    append(log, lines(20, 40))
    agent.run_until(has(up, lines(20, 40)), "its lines")
    looking = []
    real_ask, real_list = Inquiries.ask_for, Walker.list_directories

    async def ask_for(self, homeless, path, *, first):
        looking.append(homeless.destination)
        try:
            return await real_ask(self, homeless, path, first=first)
        finally:
            looking.append("")

    def list_directories(self, directories, tree):
        listings = real_list(self, directories, tree)
        if looking and looking[-1] == "b" and looking.count("b") == 1:
            return {
                path: replace(listing, sightings=(), fault="input/output error")
                for path, listing in listings.items()
            }
        return listings

    monkeypatch.setattr(Inquiries, "ask_for", ask_for)
    monkeypatch.setattr(Walker, "list_directories", list_directories)
    copy.write_bytes(log.read_bytes())
    log.write_bytes(b"")
    append(log, lines(40, 50))
    agent.run_until(has(up, lines(40, 50)), "what was written anew")
    # What it was sent is lost with the outage, and the copy is all there is of it.
    down.failing = True
    raise_up(agent, down)
    agent.run_until(lambda: "b" in looking, "it looks for a copy")
    down.failing = False
    agent.run_until(has(down, lines(0, 50)), "all of it")
    agent.run_until_caught_up()
    assert sorted(up.arrived) == lines(0, 50)
