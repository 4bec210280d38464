"""`singer positions set` and `forget`: real stores, real files, and an agent that goes on."""

from __future__ import annotations

import asyncio
import os

import pytest

from singer.base.config import Start
from singer.base.position import FileIdentity
from singer.files.stat import stat_path
from tests.cli.host import Host
from tests.positions.parts import a_position, opened


@pytest.fixture
def host(tmp_path, capsys):
    host = Host(str(tmp_path), capsys)
    yield host
    host.close()


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr("singer.positions.state_dir.LOCK_GRACE_SECONDS", 0.05)


def lines(first, last):
    return [b"line %04d" % n for n in range(first, last)]  # 10 bytes with their newline


TEN = lines(0, 10)


class TestSet:
    def test_back(self, host):
        log = host.log("a.log", *TEN)
        assert host.run() == TEN
        done = host.singer("set", log, "--offset", "40")
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines() == [
            f"set {log} in stream s for {name}: offset 100 -> offset 40 of 100; "
            "sends 60 bytes again"
            for name in ("out", "second")
        ]
        host.log("a.log", b"more")
        assert host.run() == [*TEN[4:], b"more"]

    def test_on(self, host):
        log = host.log("a.log", *TEN)
        assert host.run() == TEN
        host.log("a.log", *TEN)
        done = host.singer("set", log, "--offset", "180")
        assert "skips 80 bytes" in done.out
        assert host.run() == TEN[8:]

    @pytest.mark.parametrize(
        ("offset", "expected"), [("beginning", [*TEN, b"held on"]), ("end", [b"held on"])]
    )
    def test_the_ends(self, host, offset, expected):
        log = host.log("a.log", *TEN)
        with open(log, "ab") as file:
            file.write(b"held")
        assert host.run() == TEN
        assert host.singer("set", log, "--offset", offset).status == 0
        with open(log, "ab") as file:
            file.write(b" on\n")
        assert host.run() == expected

    def test_before_the_first_start(self, host):
        """Rows are made, and files that have none begin as `start` says."""
        log = host.log("a.log", *TEN)
        host.log("b.log", *TEN)
        done = host.singer("set", log, "--offset", "50")
        assert "no position -> offset 50 of 100; skips 50 bytes" in done.out
        assert host.run(start=Start.END) == TEN[5:]

    def test_one_destination_of_one_stream(self, host):
        host.configure(
            f"  - name: other\n    paths: [{host.paths[0]}]\n"
            f"    publish: [{{cluster: main, topic: t, name: out}}]\n"
        )
        log = host.log("a.log", *TEN)
        assert host.run() == TEN
        done = host.singer(
            *("set", log, "--offset", "90", "--stream", "s", "--destination", "second", "--json")
        )
        assert done.records() == [
            {
                "action": "set",
                "dry_run": False,
                "stream": "s",
                "destination": "second",
                "path": log,
                "file": log,
                "old_offset": 100,
                "offset": 90,
                "size": 100,
            }
        ]
        agent = host.agent()
        agent.run_until_caught_up()
        assert [w.arrived for w in agent.writers.values()] == [[], TEN[9:]]
        done = host.singer("list")  # works while the agent runs
        assert len(done.out.splitlines()) == 3

    def test_a_rotated_file_by_where_it_is_now(self, host):
        log = host.log("a.log", *TEN)
        assert host.run() == TEN
        os.rename(log, f"{log}.1")
        host.log("a.log", b"new")
        done = host.singer("set", f"{log}.1", "--offset", "70", "--json")
        assert {(r["path"], r["file"], r["old_offset"]) for r in done.records()} == {
            (log, f"{log}.1", 100)
        }
        assert host.run() == [*TEN[7:], b"new"]

    def test_a_rotated_file_without_a_row(self, host):
        log = host.log("a.log", b"new")
        host.log("a.log.1", *TEN)
        done = host.singer("set", f"{log}.1", "--offset", "30", "--json")
        assert {(r["path"], r["old_offset"]) for r in done.records()} == {(log, None)}
        assert sorted(host.run()) == [*TEN[3:], b"new"]

    def test_a_file_that_was_rewritten(self, host):
        """The row's marks are those of the bytes that are there now."""
        log = host.log("a.log", *TEN)
        assert host.run() == TEN
        other = lines(50, 70)
        with open(log, "wb") as file:
            file.write(b"".join(line + b"\n" for line in other))
        assert host.singer("set", log, "--offset", "150").status == 0
        assert host.run() == other[15:]

    def test_another_file_at_the_path(self, host):
        """The old row is that of the file that was rotated, and stays with it."""
        log = host.log("a.log", *TEN)
        assert host.run() == TEN
        os.rename(log, f"{log}.1")
        host.log("a.log.1", b"late")
        host.log("a.log", *lines(20, 25))
        assert host.singer("set", log, "--offset", "20").status == 0
        assert host.run() == [b"late", *lines(22, 25)]

    @pytest.mark.parametrize(
        ("birth", "device", "known"),
        [
            (0, 0, True),
            (1, 0, False),
            (0, 1, True),
            (1, 1, False),
            (None, 0, True),
            (None, 1, False),
        ],
    )
    def test_which_row_is_the_file(self, host, birth, device, known):
        """By device, inode and birth; after a remount the device is another one."""
        log = host.log("a.log", *TEN)
        stat = stat_path(log)
        if stat.birth_ns is None:
            pytest.skip("this file system tells no birth times")
        identity = FileIdentity(
            device=stat.device + device,
            inode=stat.inode,
            birth_ns=None if birth is None else stat.birth_ns + birth,
        )
        row = a_position(stream="s", destination="out", path=log, identity=identity, offset=30)

        async def fill():
            os.makedirs(host.state)
            async with opened(os.path.join(host.state, "positions")) as store:
                await store.sight([row])

        asyncio.run(fill())
        (done,) = host.singer(
            *("set", log, "--offset", "60", "--destination", "out", "--json")
        ).records()
        assert done["old_offset"] == (30 if known else None)
        assert host.run("out") == TEN[6:]

    def test_the_middle_of_a_line_wants_force(self, host):
        log = host.log("a.log", *TEN)
        before = host.snapshot()
        done = host.singer("set", log, "--offset", "45")
        assert (done.status, done.out) == (os.EX_USAGE, "")
        assert "in the middle of a line; lines begin at 40 and 50:" in done.err
        assert host.snapshot() == before
        assert host.singer("set", log, "--offset", "45", "--force").status == 0
        assert host.run() == [TEN[4][5:], *TEN[5:]]

    def test_the_end_of_an_unfinished_line_is_its_middle(self, host):
        log = host.log("a.log", *TEN)
        with open(log, "ab") as file:
            file.write(b"held")
        done = host.singer("set", log, "--offset", "104")
        assert (done.status, "lines begin at 100:" in done.err) == (os.EX_USAGE, True)

    def test_a_dry_run_changes_nothing(self, host):
        log = host.log("a.log", *TEN)
        done = host.singer("set", log, "--offset", "40", "--dry-run")
        assert done.out.startswith(f"would set {log} in stream s for out: no position -> offset 40")
        assert not os.path.exists(host.state)
        assert host.run() == TEN
        before = host.snapshot()
        assert "positions" in before
        done = host.singer("set", log, "--offset", "40", "--dry-run", "--json")
        assert [(r["dry_run"], r["offset"]) for r in done.records()] == [(True, 40), (True, 40)]
        assert host.snapshot() == before
        assert host.run() == []

    def test_refused_while_an_agent_runs(self, host, short_grace):
        log = host.log("a.log", *TEN)
        host.agent()
        for more in ([], ["--dry-run"]):
            done = host.singer("set", log, "--offset", "0", *more)
            assert (done.status, done.out) == (os.EX_UNAVAILABLE, "")
            assert f"an agent runs on '{host.state}'" in done.err
            assert "stop it first" in done.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["a.log", "--offset", "101"], "offset 101 is behind its end (100)"),
            (["a.log", "--offset", "-1"], "--offset"),
            (["a.log", "--offset", "1e3"], "neither a number"),
            (["a.log"], "--offset"),
            (["b.log", "--offset", "0"], "no such file"),
            (["a.txt", "--offset", "0"], "reads it"),
            (["/etc/hostname", "--offset", "0"], "reads it"),
            ([".", "--offset", "0"], "reads it"),
            (["a.log", "--offset", "0", "--stream", "x"], "(stream x)"),
            (
                ["a.log", "--offset", "0", "--stream", "s", "--destination", "x"],
                "(stream s and destination x)",
            ),
            (["a.log", "--offset", "0", "--destination", "tryout/t"], "embedded clusters"),
            (["a.log.1.gz", "--offset", "0"], "it is compressed"),
        ],
    )
    def test_usage(self, host, arguments, message):
        host.log("a.log", *TEN)
        host.log("a.txt", *TEN)
        host.log("a.log.1.gz", b"x")
        done = host.singer("set", os.path.join(host.logs, arguments[0]), *arguments[1:])
        assert (done.status, done.out) == (os.EX_USAGE, "")
        assert message in done.err
        assert host.snapshot() == {}

    def test_a_path_whose_file_was_rotated_says_so(self, host):
        log = host.log("a.log", *TEN)
        host.run()
        os.rename(log, f"{log}.1")
        done = host.singer("set", log, "--offset", "0")
        assert "2 position(s) are of files that were at that path" in done.err

    def test_a_name_that_is_not_utf8(self, host):
        log = host.log(os.fsdecode(b"a\xff.log"), *TEN)
        assert "a\\udcff.log" in host.singer("set", log, "--offset", "50").out
        assert host.run() == TEN[5:]


class TestForget:
    def test_a_file_is_a_new_one(self, host):
        log = host.log("a.log", *TEN)
        host.log("b.log", *TEN)
        assert len(host.run()) == 20
        done = host.singer("forget", log)
        inode = os.stat(log).st_ino
        assert done.out.splitlines() == [
            f"forgot {log} (inode {inode}) in stream s for {name}: offset 100"
            for name in ("out", "second")
        ]
        assert host.run(start=Start.END) == TEN

    def test_only_the_file_that_is_there(self, host):
        log = host.log("a.log", *TEN)
        host.run()
        os.rename(log, f"{log}.1")
        host.log("a.log", b"new")
        host.run()
        done = host.singer("forget", log, "--destination", "second", "--json")
        assert [(r["destination"], r["offset"]) for r in done.records()] == [("second", 4)]
        assert host.run() == [b"new"]

    def test_a_rotated_file_by_its_inode(self, host):
        log = host.log("a.log", *TEN)
        host.run()
        os.rename(log, f"{log}.1")
        done = host.singer("forget", f"{log}.1", "--json")
        assert [(r["path"], r["file"]) for r in done.records()] == [(log, f"{log}.1")] * 2

    def test_files_that_are_gone_by_their_path(self, host):
        log = host.log("a.log", *TEN)
        host.run()
        os.unlink(log)
        assert len(host.singer("forget", log).out.splitlines()) == 2
        assert host.singer("list").out == ""

    def test_a_whole_stream(self, host):
        host.log("a.log", *TEN)
        host.log("b.log", *TEN)
        host.run()
        done = host.singer("forget", "--stream", "s", "--all", "--json")
        assert sorted((r["destination"], r["rows"]) for r in done.records()) == [
            ("out", 2),
            ("second", 2),
        ]
        assert host.run(start=Start.END) == []  # `start` applies again

    def test_one_destination_of_a_stream(self, host):
        host.log("a.log", *TEN)
        host.run()
        args = ("forget", "--stream", "s", "--all", "--destination", "second")
        done = host.singer(*args)
        assert (
            done.out
            == "forgot stream s for second: 1 position(s), and that it was ever looked at\n"
        )
        agent = host.agent()
        agent.run_until_caught_up()
        assert [w.arrived for w in agent.writers.values()] == [[], TEN]

    def test_dry_runs_change_nothing(self, host):
        log = host.log("a.log", *TEN)
        host.run()
        before = host.snapshot()
        for arguments in ([log], ["--stream", "s", "--all"]):
            done = host.singer("forget", *arguments, "--dry-run")
            assert done.out.count("would forget") == 2
            assert host.snapshot() == before

    def test_all_or_nothing(self, host):
        log = host.log("a.log", *TEN)
        host.run()
        before = host.snapshot()
        done = host.singer("forget", log, "/absent.log")
        assert (done.status, done.out) == (os.EX_USAGE, "")
        assert "/absent.log: no position" in done.err
        assert host.snapshot() == before

    def test_refused_while_an_agent_runs(self, host, short_grace):
        log = host.log("a.log", *TEN)
        host.agent()
        done = host.singer("forget", log)
        assert (done.status, done.out) == (os.EX_UNAVAILABLE, "")

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--all"],
            ["/x", "--all", "--stream", "s"],
            ["--stream", "s"],
            ["--stream", "x", "--all"],
        ],
    )
    def test_usage(self, host, arguments):
        host.log("a.log", *TEN)
        host.run()
        done = host.singer("forget", *arguments)
        assert (done.status, done.out) == (os.EX_USAGE, "")
        assert "forget positions: " in done.err
