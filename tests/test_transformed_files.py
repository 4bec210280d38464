"""Records that are changed or taken out on their way, and streams with a limit."""

import json
import time

import pytest

from singer.base.config import (
    ByteSize,
    Excess,
    LimitConfig,
    PatternConfig,
    RedactConfig,
    Regex,
    SampleConfig,
    TransformConfig,
)
from singer.base.events import DecidersRead, DecidersUnreadable
from singer.deciders import Deciders
from singer.limit import Limit
from tests.support.logs import append, expect, lines

DROP = TransformConfig(drop=PatternConfig(pattern=Regex("^DEBUG")))
REDACT = TransformConfig(redact=RedactConfig(pattern=Regex("token=[0-9]+"), replacement="token=*"))


def mixed(first, last):
    """Of three lines one is a secret, and one is noise."""
    return [
        (b"INFO %d", b"INFO %d token=7", b"DEBUG %d")[number % 3] % number
        for number in range(first, last)
    ]


def cleaned(some):
    return [line.replace(b"token=7", b"token=*") for line in some if not line.startswith(b"DEBUG")]


def account(agent):
    (one,) = agent.ledger
    return one


def test_records_are_changed_and_those_taken_out_are_counted(rig, logs):
    agent = rig(transforms=(DROP, REDACT)).start()
    some = mixed(0, 3000)
    append(logs / "app.log", some)
    expect(agent, cleaned(some))
    noise = sum(len(line) + 1 for line in some if line.startswith(b"DEBUG"))
    assert account(agent).filtered == noise
    assert account(agent).delivered == sum(len(line) + 1 for line in some) - noise
    assert agent.stop()


def test_positions_move_past_what_nobody_is_sent(rig, logs):
    agent = rig(transforms=(DROP,)).start()
    append(logs / "app.log", [b"DEBUG"] * 100)
    agent.run_until(lambda: account(agent).filtered == 600, "taken out")
    assert agent.stop()
    append(logs / "app.log", [b"INFO"])
    agent.start()
    expect(agent, [b"INFO"])
    assert account(agent).read == 5


@pytest.mark.parametrize("settled", [0, 1, 5])
def test_what_fails_is_sent_again_as_it_was(rig, logs, settled):
    agent = rig(transforms=(DROP, REDACT)).start()
    agent.writer.failing, agent.writer.settled = True, settled
    some = mixed(0, 30)
    append(logs / "app.log", some)
    agent.run_until(lambda: account(agent).rewound > 0, "failed")
    agent.writer.failing = False
    agent.run_until(lambda: agent.stream.caught_up, "sent again")
    assert list(dict.fromkeys(agent.writer.arrived)) == cleaned(some)
    assert len(agent.writer.arrived) <= len(cleaned(some)) + settled
    assert agent.stop()


def test_a_kill_in_between_loses_nothing(rig, logs):
    agent = rig(transforms=(DROP, REDACT)).start()
    some = mixed(0, 900)
    append(logs / "app.log", some[:600])
    agent.run_until(lambda: agent.writer.arrived, "first")
    agent.kill()
    append(logs / "app.log", some[600:])
    agent.start()
    agent.run_until(lambda: set(agent.writer.arrived) == set(cleaned(some)), "all")


def test_a_record_that_is_refused_is_dead_lettered_with_its_own_bytes_only(rig, logs):
    agent = rig(transforms=(DROP, REDACT)).start()
    agent.writer.refuses = lambda payload: payload == b"INFO 4 token=*"
    some = mixed(0, 9)
    append(logs / "app.log", some)
    expect(agent, [line for line in cleaned(some) if line != b"INFO 4 token=*"])
    assert account(agent).dead_lettered == len(b"INFO 4 token=7\n")
    assert account(agent).filtered == 3 * len(b"DEBUG 2\n")
    assert agent.stop()


def test_a_decider_is_followed_while_the_agent_runs(rig, logs):
    agent = rig(transforms=(TransformConfig(sample=SampleConfig(decider="web")),))
    agent.deciders["web"] = 0.0
    agent.start()
    append(logs / "app.log", lines(0, 10))
    agent.run_until(lambda: account(agent).sampled > 0, "none published")
    agent.deciders["web"] = 100.0
    append(logs / "app.log", lines(10, 20))
    expect(agent, lines(10, 20))


def test_a_limit_delays_and_drops_nothing(rig, logs):
    some = [b"%0199d" % number for number in range(1500)]  # 300 kB
    append(logs / "app.log", some)
    limit = LimitConfig(bytes_per_second=ByteSize(200_000), burst=ByteSize(100_000))
    agent = rig(limit=limit)
    begun = time.monotonic()
    agent.start()
    expect(agent, some)
    # What was sent less a burst and a window, over the rate: the last one is not waited for.
    assert time.monotonic() - begun > (300_000 - 100_000 - 100_000) / 200_000
    assert agent.stop()


def test_a_limit_that_drops_counts_what_it_drops(rig, logs):
    some = [b"%0199d" % number for number in range(15_000)]  # 3 MB
    append(logs / "app.log", some)
    limit = LimitConfig(
        bytes_per_second=ByteSize(1000), burst=ByteSize(100_000), excess=Excess.DROP
    )
    agent = rig(limit=limit).start()
    agent.run_until(lambda: agent.stream.caught_up, "read to its end")
    dropped = account(agent).skipped["limited"]
    assert 0 < dropped < 3_000_000
    assert account(agent).delivered == 3_000_000 - dropped
    assert agent.writer.arrived == some[: len(agent.writer.arrived)]
    assert agent.stop()


def test_a_bucket():
    limit = Limit(100.0, 50, 10.0)
    assert limit.wait(10.0) == 0
    limit.spend(50, 10.0)
    assert limit.wait(10.0) == 0  # what is empty is not overdrawn
    limit.spend(30, 10.0)
    assert limit.wait(10.0) == pytest.approx(0.3)
    assert limit.wait(10.2) == pytest.approx(0.1)
    assert limit.wait(99.0) == 0
    limit.spend(60, 99.0)  # no more than a burst was saved
    assert limit.wait(99.0) == pytest.approx(0.1)


def test_the_decider_file(tmp_path):
    path = tmp_path / "deciders.json"
    deciders = Deciders(str(path))
    assert "no such file" in deciders.look().message()
    assert deciders.percent("web") == 100
    path.write_text(json.dumps({"web": 25, "db": 0.5}))
    assert deciders.look() == DecidersRead(path=str(path), names=2)
    assert deciders.look() is None
    assert (deciders.percent("web"), deciders.percent("db"), deciders.percent("x")) == (
        25,
        0.5,
        100,
    )
    for broken, cause in (
        ("{", "Expecting"),
        ("[1]", "must be an object"),
        ('{"web": 101}', "web: must be a number from 0 to 100, not 101"),
        ('{"web": "1"}', "web: must be a number"),
        ('{"web": true}', "web: must be a number"),
        ('{"web": NaN}', "web: must be a number"),
        ("[" * 100_000, "recursion"),
    ):
        path.write_text(broken)
        said = deciders.look()
        assert isinstance(said, DecidersUnreadable)
        assert cause in said.message()
        assert deciders.percent("web") == 25
    path.unlink()
    deciders.look()
    assert deciders.percent("web") == 25
    assert Deciders(None).look() is None
    assert Deciders(None).percent("web") == 100


def test_after_a_flood_a_limit_that_drops_sends_what_it_allows(rig, logs):
    limit = LimitConfig(
        bytes_per_second=ByteSize(200_000), burst=ByteSize(20_000), excess=Excess.DROP
    )
    agent = rig(limit=limit).start()
    append(logs / "app.log", [b"%0199d" % number for number in range(25_000)])  # 5 MB
    agent.run_until(lambda: account(agent).skipped["limited"] > 0, "some are dropped")
    agent.run_until(lambda: agent.stream.caught_up, "read to its end")
    before = len(agent.writer.arrived)

    def one_more_arrives():
        append(logs / "app.log", [b"later"])
        return len(agent.writer.arrived) > before

    begun = time.monotonic()
    # What was let through before is over a second's worth by a window at most; 5 MB would be 25.
    agent.run_until(one_more_arrives, "the flood is over", 20)
    assert time.monotonic() - begun < 10
