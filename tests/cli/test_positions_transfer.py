"""`singer positions export` and `import`: what one agent knows, another goes on with."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest

from singer.base.config import Start
from singer.positions.query import Query
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


def everything_in(state):
    with Query(os.path.join(state, "positions"), alone=True) as query:
        return list(query.rows()), sorted(query.scans())


class TestRoundTrip:
    def test_the_agent_goes_on_on_an_empty_store(self, host, tmp_path):
        """A rotated file that is not finished, one that is, a reader that lags, odd names."""
        odd = os.fsdecode(b"o\xff\ndd.log")
        host.log("a.log", *lines(0, 100))
        host.log(odd, *lines(200, 300))
        assert sorted(host.run()) == lines(0, 100) + lines(200, 300)
        os.rename(f"{host.logs}/a.log", f"{host.logs}/a.log.1")
        host.log("a.log.1", *lines(100, 110))
        host.log("a.log", *lines(110, 120))
        assert host.run("out") == lines(100, 120)  # the second one lags
        before = everything_in(host.state)

        export = str(tmp_path / "positions.jsonl")
        assert host.singer("export", "--output", export).out == ""
        shutil.rmtree(host.state)
        done = host.singer("import", export)
        assert (done.status, done.err) == (0, "")
        assert done.out == (
            "imported: 5 positions added, 0 replaced, 0 kept as they are; 2 first scans\n"
        )
        assert everything_in(host.state) == before

        host.log("a.log", b"later")
        host.log("new.log", b"newer")
        agent = host.agent(start=Start.END)
        agent.run_until_caught_up()
        assert agent.stop()
        assert sorted(agent.writers["out"].arrived) == [b"later", b"newer"]
        assert sorted(agent.writers["second"].arrived) == [b"later", *lines(100, 120), b"newer"]

    def test_while_the_agent_runs_and_through_a_pipe(self, host, tmp_path):
        host.log("a.log", *lines(0, 10))
        agent = host.agent()
        agent.run_until_caught_up()
        # Committed, not just delivered: an export sees what is on disk.
        agent.loop.run_until_complete(agent.positions.flush())
        command = [sys.executable, "-m", "singer", "positions"]
        exported = subprocess.run(
            [*command, "export", "--state-dir", host.state], capture_output=True, check=True
        ).stdout
        assert agent.stop()
        subprocess.run(
            [*command, "import", "-", "--state-dir", str(tmp_path / "new")],
            input=exported,
            capture_output=True,
            check=True,
        )
        host.log("a.log", b"more")
        assert host.run(state=str(tmp_path / "new")) == [b"more"]

    def test_one_stream(self, host, tmp_path):
        async def fill():
            os.makedirs(host.state)
            async with opened(os.path.join(host.state, "positions")) as store:
                await store.sight([a_position(1), a_position(2, stream="other")])
                await store.mark_scanned("access", "main/web", 1)
                await store.mark_scanned("other", "main/web", 1)

        asyncio.run(fill())
        records = host.singer("export", "--stream", "other").records()
        assert [(r["type"], r.get("stream")) for r in records] == [
            ("header", None),
            ("position", "other"),
            ("scan", "other"),
            ("end", None),
        ]
        export = str(tmp_path / "all.jsonl")
        host.singer("export", "--output", export)
        host.singer("import", export, "--stream", "access", "--state-dir", str(tmp_path / "new"))
        rows, scans = everything_in(tmp_path / "new")
        assert [row.stream for row in rows] == [scan.stream for scan in scans] == ["access"]


class TestExport:
    def test_an_output_that_cannot_be_written_is_left_as_it_was(self, host, tmp_path):
        host.log("a.log", b"x")
        host.run()
        for output, cause in (
            (str(tmp_path / "absent" / "x"), "No such file or directory"),
            (str(tmp_path), "Is a directory"),
        ):
            done = host.singer("export", "--output", output)
            assert (done.status, done.out) == (os.EX_UNAVAILABLE, "")
            assert done.err.startswith("singer: export positions: ")
            assert cause in done.err
        assert not [name for name in os.listdir(tmp_path.parent) if name.endswith(".tmp")]

    def test_an_output_takes_the_place_of_an_older_one(self, host, tmp_path):
        host.log("a.log", b"x")
        host.run()
        output = tmp_path / "x.jsonl"
        output.write_text("old")
        assert host.singer("export", "--output", str(output)).status == 0
        assert len(output.read_text().splitlines()) == 2 + 2 + 2
        assert output.stat().st_mode & 0o777 == 0o600
        assert os.listdir(tmp_path).count("x.jsonl.tmp") == 0

    def test_no_store(self, host):
        done = host.singer("export")
        assert (done.status, done.out) == (os.EX_UNAVAILABLE, "")


class TestImport:
    @pytest.fixture
    def export(self, host, tmp_path):
        """Positions at 100; the store has moved on to 150 since."""
        host.log("a.log", *lines(0, 10))
        host.run()
        path = str(tmp_path / "x.jsonl")
        assert host.singer("export", "--output", path).status == 0
        host.log("a.log", *lines(10, 15))
        host.run()
        return path

    def test_what_exists_is_kept(self, host, export):
        before = host.snapshot()
        done = host.singer("import", export)
        assert done.out == (
            "imported: 0 positions added, 0 replaced, 2 kept as they are "
            "(--replace replaces them); 0 first scans\n"
        )
        assert host.snapshot() == before
        assert host.run() == []

    def test_what_exists_is_replaced(self, host, export):
        done = host.singer("import", export, "--replace", "--json")
        assert [(r["action"], r["old_offset"], r["offset"]) for r in done.records()] == [
            ("replace", 150, 100)
        ] * 2
        assert host.run() == lines(10, 15)
        assert len(everything_in(host.state)[0]) == 2

    def test_dry_runs_change_nothing(self, host, export):
        before = host.snapshot()
        done = host.singer("import", export, "--replace", "--dry-run")
        *rows, last = done.out.splitlines()
        inode = os.stat(f"{host.logs}/a.log").st_ino
        file = f"{host.logs}/a.log (inode {inode})"
        assert rows == [
            f"would replace {file} in stream s for {name}: offset 100 instead of 150"
            for name in ("out", "second")
        ]
        assert last.startswith("nothing was changed; it would be: 0 positions added, 2 replaced, ")
        assert host.snapshot() == before
        shutil.rmtree(host.state)
        done = host.singer("import", export, "--dry-run")
        assert done.out.count("would add ") == 2
        assert done.out.count("was first looked at") == 2
        assert not os.path.exists(host.state)

    def test_refused_while_an_agent_runs(self, host, export, short_grace):
        host.agent()
        for more in ([], ["--dry-run"]):
            done = host.singer("import", export, *more)
            assert (done.status, done.out) == (os.EX_UNAVAILABLE, "")
            assert "an agent runs" in done.err

    def test_half_an_export_changes_nothing(self, host, export):
        with open(export, "rb") as file:
            whole = file.read()
        with open(export, "wb") as file:
            file.write(whole[: whole.rindex(b"\n", 0, -1) + 1])
        shutil.rmtree(host.state)
        done = host.singer("import", export)
        assert (done.status, done.out) == (os.EX_DATAERR, "")
        assert f"import positions: {export}: line 5: the export was cut off here" in done.err
        assert "positions" not in os.listdir(host.state)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "name a file to import"),
            (["x", "--from-singer-java"], "name a file to import"),
            (["/absent"], "/absent: No such file"),
            (["/"], "Is a directory"),
        ],
    )
    def test_usage(self, host, arguments, message):
        done = host.singer("import", *arguments)
        assert (done.status, done.out) == (os.EX_USAGE, "")
        assert message in done.err


class TestFromJava:
    @staticmethod
    def mark(host, name, file, offset):
        inode = file if isinstance(file, int) else os.stat(f"{host.logs}/{file}").st_ino
        with open(f"{host.logs}/{name}", "w", encoding="ascii") as mark:
            mark.write(f'{{"1":{{"rec":{{"1":{{"i64":{inode}}}}}}},"2":{{"i64":{offset}}}}}')

    @pytest.fixture
    def left(self, host):
        """What the Java agent left when it was stopped: a log in the middle of a rotated file,
        one in the middle of the present one, one that it knew nothing of, broken ones.
        """
        for age, (name, first, last) in enumerate(
            [("a.log.3", 0, 10), ("a.log.2", 10, 20), ("a.log.1", 20, 30), ("a.log", 30, 40)]
        ):
            log = host.log(name, *lines(first, last))
            os.utime(log, ns=(0, os.stat(log).st_mtime_ns - (3 - age) * 10**9))
        self.mark(host, ".web.access.a.log", "a.log.2", 50)
        host.log("b.log", *lines(100, 110))
        self.mark(host, ".web.access.b.log", "b.log", 70)
        host.log("unknown.log", *lines(200, 210))
        host.log("gone.log", *lines(300, 310))
        self.mark(host, ".web.access.gone.log", 2**50, 70)
        host.log("torn.log", *lines(400, 410))
        host.log(".web.access.torn.log", b'{"1":{"rec":')
        return lines(15, 40) + lines(107, 110)

    def test_the_first_start_goes_on_where_java_stopped(self, host, left):
        done = host.singer("import", "--from-singer-java")
        assert done.status == 0
        assert done.out.startswith("imported: 8 positions added, 0 replaced, 0 kept")
        said = done.err.splitlines()
        assert len(said) == 4
        assert any("a.log.2: going on at offset 50" in line for line in said)
        assert any("gone.log" in line and "is not there" in line for line in said)
        assert any("torn.log" in line and "half of one" in line for line in said)
        agent = host.agent(start=Start.END)
        agent.run_until_caught_up()
        assert agent.stop()
        for writer in agent.writers.values():
            assert sorted(writer.arrived) == left
            assert [line for line in writer.arrived if line < b"line 01"] == lines(15, 40)
        host.log("a.log", b"more")
        assert host.run() == [b"more"]

    def test_a_copy_that_was_compressed_is_read_once(self, host):
        """Truncated after a copy was made: what the Java agent had not read is in the copy."""
        log = host.log("a.log", *lines(0, 10))
        self.mark(host, ".web.access.a.log", "a.log", 50)
        with open(log, "rb") as plain, gzip.open(f"{log}.1.gz", "wb") as packed:
            packed.write(plain.read())
        later = os.stat(f"{host.logs}/.web.access.a.log").st_mtime_ns + 10**9
        os.utime(f"{log}.1.gz", ns=(later, later))
        os.truncate(log, 0)
        host.log("a.log", *lines(10, 12))
        host.singer("import", "--from-singer-java")
        assert sorted(host.run()) == lines(0, 12)
        assert host.run() == []

    def test_what_has_no_watermark_begins_as_start_says(self, host, left):
        host.singer("import", "--from-singer-java")
        rest = lines(200, 210) + lines(300, 310) + lines(400, 410)
        assert sorted(host.run()) == sorted(left + rest)

    def test_a_dry_run_says_what_would_be(self, host, left):
        done = host.singer("import", "--from-singer-java", "--dry-run")
        assert done.out.count("would add ") == 8
        assert not os.path.exists(host.state)

    def test_again_changes_nothing(self, host, left):
        host.singer("import", "--from-singer-java")
        host.run()
        before = host.snapshot()
        done = host.singer("import", "--from-singer-java", "--json")
        assert {record["action"] for record in done.records()} == {"keep"}
        assert host.snapshot() == before

    def test_one_stream_and_destinations_with_positions_on_disk(self, host, left):
        host.configure(
            f"  - name: other\n    paths: [{host.logs}/b.*]\n"
            f"    publish: [{{cluster: main, topic: t, name: x}}]\n"
        )
        done = host.singer("import", "--from-singer-java", "--stream", "other", "--json")
        assert [(r["stream"], r["destination"], r["offset"]) for r in done.records()] == [
            ("other", "x", 70)
        ]
        done = host.singer("import", "--from-singer-java", "--json")
        assert {r["destination"] for r in done.records() if r["stream"] == "s"} == {"out", "second"}

    def test_the_watermarks_stay_as_they_are(self, host, left):
        def marks():
            return {
                entry.name: (entry.inode(), entry.stat().st_size, entry.stat().st_mtime_ns)
                for entry in os.scandir(host.logs)
            }

        before = marks()
        host.singer("import", "--from-singer-java")
        assert marks() == before


def test_exports_are_json(host):
    host.log("a.log", b"x")
    host.run()
    for line in host.singer("export").out.splitlines():
        assert json.dumps(json.loads(line)) == line
