"""`singer promote`: what it asks for, what it refuses, what it shows."""

from __future__ import annotations

import os

import pytest
import yaml

from singer.cli.main import main
from tests.cli.host import Done, Host
from tests.support.agent_process import AgentProcess

LINES = [b"line %04d" % n for n in range(10)]  # 10 bytes with their newline


class Promoting(Host):
    """Destinations `out` (primary) and `second`, of which one may be behind."""

    def promote(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        status = main(["promote", *arguments, "-c", self.config])
        return Done(status, *self._capsys.readouterr())

    def shadow(self, *names: str) -> None:
        with open(self.config, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        for each in config["streams"][0]["publish"]:
            each["shadow"] = each.get("name") in names or each["cluster"] == "tryout"
        with open(self.config, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)


@pytest.fixture
def host(tmp_path, capsys):
    host = Promoting(str(tmp_path), capsys)
    host.shadow("second")
    yield host
    host.close()


@pytest.fixture
def log(host):
    """`out` has ten lines of it, `second` five."""
    path = host.log("a.log", *LINES[:5])
    host.run()
    rig = host.agent()
    rig.writers["second"].up = False
    host.log("a.log", *LINES[5:])
    rig.run_until(lambda: rig.writers["out"].arrived == LINES[5:], "one has them")
    rig.stop()
    return path


def test_says_what_is_cut_and_what_is_still_to_be_sent(host, log):
    done = host.promote("s", "second", "--dry-run")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "would make second the primary of stream s in place of out; 1 file(s) are cut",
        "  out: 0 bytes of 0 file(s) are to be sent before its cut",
        "  second: 50 bytes of 1 file(s) are to be sent before its cut",
    ]
    assert host.promote("--list").out == "no promotions\n"
    [asked] = host.promote("s", "second", "--json").records()
    inode = os.stat(log).st_ino
    assert asked == {
        "action": "promote",
        "dry_run": False,
        "stream": "s",
        "old": "out",
        "new": "second",
        "behind": {"out": {"files": 0, "bytes": 0}, "second": {"files": 1, "bytes": 50}},
        "files": [{"path": log, "inode": inode, "offset": 100}],
    }


def test_shows_what_is_complete_and_what_is_not(host, log):
    host.promote("s", "second")
    out = host.promote("--list").out
    assert "s: second in place of out" in out
    assert "NOT COMPLETE: consumers wait" in out
    assert out.count("on the way to the cut") == 2
    rig = host.agent()
    rig.run_until(lambda: rig.promotions()[-1].complete, "it is complete")
    out = host.promote("--list").out  # while it runs
    assert ": complete" in out
    assert "  out: read up to t 0:0 (" in out
    assert "  second: read from t 0:5 (" in out
    rig.stop()
    [shown] = host.promote("--list", "--json").records()
    assert shown["complete"]
    assert shown["ends"]["second"]["offsets"] == {"t": [5]}
    assert shown["files"] == [{"path": log, "inode": os.stat(log).st_ino, "offset": 100}]


def test_the_second_one_is_the_way_back(host, log):
    host.promote("s", "second")
    rig = host.agent()
    rig.run_until(lambda: rig.promotions()[-1].complete, "it is complete")
    rig.stop()
    assert "is the primary of stream s already" in host.promote("s", "second").err
    done = host.promote("s", "out")
    assert (done.status, done.err) == (0, "")
    assert [each["old"] for each in host.promote("--list", "--json").records()] == ["out", "second"]


def test_cancel(host, log):
    host.promote("s", "second")
    again = host.promote("s", "second")
    assert again.status == os.EX_USAGE
    assert "is not complete: start the agent" in again.err
    assert "would cancel" in host.promote("s", "--cancel", "--dry-run").out
    done = host.promote("s", "--cancel")
    assert done.out == "cancelled the promotion of second for stream s: consumers stay with out\n"
    assert host.promote("--list").out == "no promotions\n"
    nothing = host.promote("s", "--cancel")
    assert nothing.status == os.EX_USAGE
    assert "no promotion that is not complete" in nothing.err
    assert host.promote("s", "second").status == 0


def test_refused_while_an_agent_runs(host, log, monkeypatch):
    monkeypatch.setattr("singer.positions.state_dir.LOCK_GRACE_SECONDS", 0.05)
    rig = host.agent()
    done = host.promote("s", "second")
    assert done.status == os.EX_UNAVAILABLE
    assert "stop it first" in done.err
    rig.stop()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", "second"), "there is no stream x"),
        (("s", "secnd"), "is not published to secnd: did you mean second?"),
        (("s", "out"), "out is the primary of stream s already"),
        (("s", "second", "--from", "second"), "second is no primary"),
        (("s", "tryout/t"), "embedded in the agent"),
        (("s",), "name STREAM and DESTINATION"),
        ((), "name STREAM and DESTINATION"),
        (("s", "second", "--cancel"), "name STREAM and DESTINATION"),
    ],
)
def test_what_is_refused(host, log, arguments, said):
    before = host.snapshot()
    done = host.promote(*arguments)
    assert done.status == os.EX_USAGE
    assert said in done.err
    assert host.snapshot() == before


def test_several_primaries(host, log):
    host.shadow()
    host.run("out", "second")
    done = host.promote("s", "second")
    assert done.status == 0  # there is one other
    assert host.promote("s", "--cancel").status == 0
    with open(host.config, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    config["streams"][0]["publish"].append({"cluster": "main", "topic": "t3", "name": "third"})
    with open(host.config, "w", encoding="utf-8") as file:
        yaml.safe_dump(config, file)
    done = host.promote("s", "second")
    assert "has several primaries: out, third: say with --from" in done.err
    assert host.promote("s", "second", "--from", "out").status == 0


def test_a_destination_that_nothing_was_ever_read_for(host):
    host.log("a.log", *LINES)
    host.run("out")
    done = host.promote("s", "second")
    assert done.status == os.EX_USAGE
    assert "was ever read for second: start the agent with it" in done.err


def test_an_agent_that_ends_by_itself_completes_it(tmp_path, brokers):
    """`run --once`, from cron: nothing is behind the cut, and still there are ends."""
    for topic in ("once-one", "once-two"):
        brokers.create_topic(topic, 2)
    (tmp_path / "a.log").write_bytes(b"".join(line + b"\n" for line in LINES))
    config = {
        "agent": {"state_dir": str(tmp_path / "state")},
        "clusters": {"main": {"bootstrap": brokers.bootstrap.split(",")}},
        "streams": [
            {
                "name": "s",
                "paths": [str(tmp_path / "*.log")],
                "publish": [
                    {"cluster": "main", "topic": "once-one", "name": "one"},
                    {"cluster": "main", "topic": "once-two", "name": "two", "shadow": True},
                ],
            }
        ],
    }
    with AgentProcess(str(tmp_path / "agent"), config) as agent:
        assert agent.run_once() == 0, agent.tail()
        assert main(["promote", "s", "two", "-c", agent.config_path]) == 0
        assert agent.run_once() == 0, agent.tail()
        [done] = agent.events("promotion-complete")
        assert sum(int(each.split(":")[1]) for each in done["old_ends"].split()[1:]) == 10
        [roles] = agent.events("roles-known")
        assert (roles["primaries"], roles["shadows"], roles["promoted"]) == ("two", "one", "true")
