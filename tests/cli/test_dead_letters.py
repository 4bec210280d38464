"""`singer dead-letters`: what is shown, and what becomes of letters that are sent again."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter

import pytest

from singer.base.clock import SystemClock
from singer.base.config import EmbeddedConfig
from singer.base.events import discard
from singer.cli.main import main
from singer.kafka.embedded import EmbeddedCluster
from singer.writers.dead_letters import DeadLetter, DeadLetters
from singer.writers.letter_files import LetterFiles
from tests.cli.host import Done
from tests.kafka.support import consume

CONFIG = """\
agent: {state_dir: state}
clusters: {main: {bootstrap: ["%s"]}, tryout: {bootstrap: embedded}}
streams:
  - name: web
    paths: [/logs/*.log]
    publish: [{cluster: main, topic: web, name: out}, {cluster: tryout, topic: t, name: try}]
"""


def letter(payload, *, refused=True, destination="out", offset=0, reason="too large"):
    return DeadLetter(
        stream="web",
        destination=destination,
        path="/logs/app.log",
        device=1,
        inode=2,
        offset=offset,
        length=len(payload) + 1,
        reason=reason,
        payload=payload,
        refused=refused,
    )


class Host:
    """A configuration, a state directory with letters, and the command."""

    def __init__(self, directory, capsys):
        self.state = directory / "state"
        self.path = self.state / "dead_letters"
        self.config = directory / "singer.yaml"
        self.state.mkdir()
        self.configure("127.0.0.1:1")
        self._capsys = capsys

    def configure(self, bootstrap):
        self.config.write_text(CONFIG % bootstrap)

    def bury(self, *letters):
        asyncio.run(self.dead_letters().write(letters))

    def dead_letters(self):
        return DeadLetters(
            str(self.path), max_bytes=1 << 20, files=3, emit=discard, clock=SystemClock()
        )

    def run(self, *arguments):
        status = main(["dead-letters", *arguments, "-c", str(self.config)])
        return Done(status, *self._capsys.readouterr())

    def listed(self, *arguments):
        return self.run("list", "--json", *arguments).records()

    def left(self):
        return [stored.letter.payload for stored in LetterFiles(str(self.path)).read()]


@pytest.fixture
def host(tmp_path, capsys):
    return Host(tmp_path, capsys)


@pytest.fixture(scope="module")
def broker():
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=1, partitions=1))
    yield cluster
    cluster.close()


class TestList:
    def test_all_files_the_newest_last(self, host):
        host.bury(letter(b"one"))
        host.path.rename(f"{host.path}.1")
        host.bury(letter(b"two", offset=7, refused=False, reason="oversized"))
        assert [each["offset"] for each in host.listed()] == [0, 7]
        shown = host.run("list").out.splitlines()
        assert len(shown) == 3
        assert "\trecord\ttoo large\t/logs/app.log" in shown[1]
        assert "\tbytes\toversized\t/logs/app.log" in shown[2]

    def test_filters(self, host):
        host.bury(letter(b"one"), letter(b"two", destination="other", reason="torn"))
        assert len(host.listed("--destination", "other")) == 1
        assert len(host.listed("--reason", "large")) == 1
        assert len(host.listed("--stream", "nobody")) == 0
        assert len(host.listed("--since", "2020-01-01")) == 2
        assert len(host.listed("--since", "2999-01-01T00:00:00")) == 0

    def test_nothing(self, host):
        done = host.run("list")
        assert (done.status, done.out, done.err) == (os.EX_OK, "", "no dead letters\n")

    def test_lines_that_are_none_are_passed_over(self, host):
        host.bury(letter(b"one"))
        with host.path.open("ab") as file:
            file.write(b'{"half')
        assert len(host.listed()) == 1

    def test_a_state_directory_that_is_not_there(self, host):
        done = host.run("list", "--state-dir", "/nowhere")
        assert done.status == os.EX_UNAVAILABLE
        assert "/nowhere" in done.err
        assert "--state-dir" in done.err


class TestShow:
    def test_one(self, host):
        host.bury(letter(b"one \xff"), letter(b"two"))
        wanted = host.listed()[0]["id"]
        shown = host.run("show", wanted).out
        assert "payload      one \\xff" in shown
        assert "reason       too large" in shown

    def test_a_letter_that_is_not_there(self, host):
        host.bury(letter(b"one"))
        done = host.run("show", "0123")
        assert done.status == os.EX_USAGE
        assert "singer dead-letters list" in done.err


class TestReplay:
    def test_what_is_acknowledged_is_taken_out(self, host, broker):
        host.configure(broker.bootstrap)
        broker.create_topic("web")
        host.bury(*(letter(b"line %d" % n, offset=n) for n in range(3)))
        host.bury(letter(b"raw", refused=False))
        chosen = host.listed()[1]["id"]
        done = host.run("replay", chosen)
        assert (done.status, done.out) == (os.EX_OK, f"{chosen}\tsent to web\n")
        assert host.left() == [b"line 0", b"line 2", b"raw"]
        done = host.run("replay", "--all")
        assert done.status == os.EX_TEMPFAIL
        assert done.out.count("sent to web") == 2
        assert "--as-is" in done.out
        assert host.left() == [b"raw"]
        assert host.run("replay", "--all", "--as-is").status == os.EX_OK
        assert not host.path.exists()
        values = [value for _, _, value in consume(broker.bootstrap, "web", 1, 4)]
        assert values == [b"line 1", b"line 0", b"line 2", b"raw"]

    def test_a_dry_run_sends_nothing(self, host):
        host.bury(letter(b"one"))
        done = host.run("replay", "--all", "--dry-run")
        assert done.status == os.EX_OK
        assert "would be sent to web on main" in done.out
        assert host.left() == [b"one"]

    def test_where_nobody_answers_all_stays(self, host):
        host.bury(letter(b"one"))
        done = host.run("replay", "--all")
        assert done.status == os.EX_TEMPFAIL
        assert "stays: " in done.out
        assert host.left() == [b"one"]

    def test_a_destination_that_is_no_more(self, host):
        host.bury(letter(b"one", destination="gone"))
        done = host.run("replay", "--all")
        assert done.status == os.EX_TEMPFAIL
        assert "has no destination gone any more: name --cluster and --topic" in done.out

    def test_an_embedded_cluster(self, host):
        host.bury(letter(b"one", destination="try"))
        assert "embedded" in host.run("replay", "--all").out

    def test_another_topic(self, host, broker):
        host.configure(broker.bootstrap)
        broker.create_topic("elsewhere")
        host.bury(letter(b"one", destination="gone"))
        arguments = ("--cluster", "main", "--topic", "elsewhere")
        assert host.run("replay", "--all", *arguments).status == os.EX_OK
        assert consume(broker.bootstrap, "elsewhere", 1, 1) == [(0, None, b"one")]

    def test_none_chosen(self, host):
        done = host.run("replay")
        assert done.status == os.EX_USAGE
        assert "--all" in done.err


def test_what_is_buried_while_others_are_taken_out_stays(tmp_path):
    """The agent appends, and begins new files, while letters are taken out."""
    host = Host(tmp_path, None)
    files = LetterFiles(str(host.path))
    taken, stop = Counter(), threading.Event()

    def take():
        while not stop.is_set():
            for stored in files.read()[:3]:
                files.remove(Counter([stored.line]))
                taken[stored.letter.payload] += 1

    async def bury():
        letters = host.dead_letters()
        for number in range(100):
            await letters.write([letter(b"%d" % number, offset=number)])

    thread = threading.Thread(target=take)
    thread.start()
    try:
        asyncio.run(bury())
    finally:
        stop.set()
        thread.join()
    assert taken + Counter(host.left()) == Counter(b"%d" % number for number in range(100))
