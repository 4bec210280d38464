"""The real logrotate, a real application, and the agent between them.

Every line that is in some file at the end arrives, byte for byte and in order; while the agent
runs, so does every line that logrotate deleted since. What logrotate itself loses (lines written
between its copy and its truncation) is told from the contents of the files, not assumed.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import time
from dataclasses import dataclass

import pytest

from tests.support import child
from tests.support.application import Application, Reopens
from tests.support.consume import Collector
from tests.support.logs import delivered, long_ago
from tests.support.oracle import judge
from tests.support.waiting import wait_until

LINES_A_SECOND = 4000
#: A rotation finds at least so much in the log: some hundred lines.
SOME_BYTES = 30_000
ROTATE_SECONDS = 10.0

pytestmark = pytest.mark.skipif(
    shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None,
    reason="logrotate is not installed",
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to rotate: what logrotate is told, and when the application reopens its log.

    `deletes`       rotated files are deleted after a while
    `truncates`     logrotate may lose lines, and what was delivered meanwhile may come twice
    `every_second`  the names of rotated files differ in the second only
    `rotated_dirs`  what the stream has to know
    """

    directives: str
    reopens: Reopens = Reopens.ON_SIGHUP
    deletes: bool = False
    truncates: bool = False
    every_second: bool = False
    rotated_dirs: tuple[str, ...] = ()

    @property
    def loses(self):
        """Whether lines may go that nobody read: also those written while gzip reads."""
        return self.deletes or self.truncates or "\ncompress\npost" in self.directives


HANGUP = "sharedscripts\npostrotate\nkill -HUP $(cat {pid})\nendscript"
#: With `create` a program that looks by itself may be faster than logrotate, which then sets its
#: file aside; `tests/cases/test_rotation.py` has that.
WAYS = {
    "create": Way(directives=f"create\n{HANGUP}"),
    "nocreate": Way(directives="nocreate", reopens=Reopens.WHEN_MOVED),
    "copytruncate": Way(directives="copytruncate", reopens=Reopens.NEVER, truncates=True),
    "copy": Way(directives="copy", reopens=Reopens.NEVER),
    "compress": Way(directives=f"create\n{HANGUP}\ncompress"),
    "delaycompress": Way(directives=f"create\ncompress\ndelaycompress\n{HANGUP}"),
    "copytruncate-compress": Way(
        directives="copytruncate\ncompress", reopens=Reopens.NEVER, truncates=True
    ),
    "dateext": Way(
        directives=f"create\ndateext\ndateformat -%Y%m%d-%s\n{HANGUP}", every_second=True
    ),
    "olddir": Way(
        directives=f"create\nolddir {{archive}}\ncreateolddir 0755\n{HANGUP}",
        rotated_dirs=("{archive}",),
    ),
    "rotate-1": Way(directives=f"create\nrotate 1\n{HANGUP}", deletes=True),
    "maxage": Way(directives=f"create\nmaxage 1\n{HANGUP}", deletes=True),
}
ways = pytest.mark.parametrize("way", WAYS)


class Logrotate:
    """`logrotate -f` on one log, as often as wanted, in a directory of its own."""

    def __init__(self, tmp_path, logs, way):
        self.log = logs / "app.log"
        self.archive = tmp_path / "archive"
        self.pid_path = tmp_path / "application.pid"
        self._way = way
        self._config = tmp_path / "logrotate.conf"
        self._state = tmp_path / "logrotate.state"
        self._said = tmp_path / "logrotate.out"
        directives = way.directives.format(pid=self.pid_path, archive=self.archive)
        keep = "" if "\nrotate " in directives else "rotate 99\n"
        self._config.write_text(f"{self.log} {{\nmissingok\n{keep}{directives}\n}}\n")
        self._config.chmod(0o644)
        self._last_second = 0

    def rotate(self, until):
        """Rotate once; `until(condition, what)` waits for conditions, and lets an agent run."""
        if self._way.every_second:
            until(lambda: int(time.time()) != self._last_second, "another second")
        if "maxage" in self._way.directives:
            for path in self.log.parent.glob("app.log.*"):
                long_ago(path)  # and so logrotate deletes it
        with self._said.open("wb") as said:
            process = child.spawn(
                ["logrotate", "-f", "-s", str(self._state), str(self._config)],
                output=said,
                environment={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            )
            try:
                until(lambda: process.poll() is not None, "logrotate ends")
            finally:
                child.end(process)
        assert process.returncode == 0, self._said.read_text()
        self._last_second = int(time.time())

    @property
    def packs_copies(self):
        return self._way.truncates and "compress" in self._way.directives

    def rotated(self):
        """Everything there is but the log itself."""
        paths = self.log.parent.glob("app.log?*")
        return [*paths, *(self.archive.iterdir() if self.archive.exists() else ())]

    def on_disk(self):
        """All whole lines in all files, and what the rotated ones end with if not with a line."""
        whole, ends = set(), set()
        for path in [*self.rotated(), *([self.log] if self.log.exists() else ())]:
            *some, end = content(path).split(b"\n")
            whole.update(some)
            ends.add(end)
        return whole, ends


def content(path):
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
    return unpack.get(path.suffix, bytes)(path.read_bytes())


def assert_arrived(logrotate, application, arrived, *, lost_by_logrotate, duplicates_at_most):
    """The oracle, where logrotate may lose what `lost_by_logrotate` says, and cut a line."""
    verdict = judge({0: application.written}, arrived)
    lost = {application.written[line.number] for line in verdict.lost}
    assert not lost - lost_by_logrotate, f"{len(lost - lost_by_logrotate)} lost: {verdict}"
    # A packed copy that nothing proves to be one is read as a whole, behind the live file.
    unproven = logrotate.packs_copies and verdict.duplicated
    assert unproven or not verdict.out_of_order, str(verdict)
    # A copy may end in the middle of a line, and then this half is a last line of its own.
    _, ends = logrotate.on_disk()
    odd = [place for place, _ in (*verdict.corrupted, *verdict.unexpected)]
    assert all(arrived_at(arrived, place) in ends for place in odd), str(verdict)
    assert verdict.duplicated <= duplicates_at_most, str(verdict)


def arrived_at(arrived, place):
    return next(r.value for r in arrived[place.partition] if r.offset == place.offset)


class Play:
    """An application, logrotate and a stream, which may be there or not."""

    def __init__(self, tmp_path, logs, rig, way, glob):
        self.way = WAYS[way]
        self.logrotate = Logrotate(tmp_path, logs, self.way)
        archive = str(self.logrotate.archive)
        rotated_dirs = tuple(each.format(archive=archive) for each in self.way.rotated_dirs)
        self.agent = rig(glob, rotated_dirs=rotated_dirs)
        self.application = Application(
            logs / "app.log", lines_a_second=LINES_A_SECOND, reopens=self.way.reopens
        )

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.application)
            self.logrotate.pid_path.write_text(str(self.application.pid))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def until(self, condition, what):
        if self.agent.running:
            self.agent.run_until(condition, what, seconds=ROTATE_SECONDS)
        else:
            wait_until(condition, ROTATE_SECONDS, what)

    def rotate(self):
        """Once there is something in the log, and the agent has found it if it runs."""
        nbytes = self.logrotate.log.stat().st_size if self.way.directives == "copy" else 0
        self.until(lambda: self.application.has_written(nbytes + SOME_BYTES), "lines to rotate")
        if self.agent.running:
            first = self.logrotate.log.read_bytes().split(b"\n", 1)[0]
            self.until(lambda: first in self.agent.writer.arrived, "it is read")
        self.logrotate.rotate(self.until)

    def _copies(self):
        """How often a line may be read again: from a copy, and from what it is compressed to."""
        return (1 + self.logrotate.packs_copies) * self.way.truncates

    def judge(self, *, lost_before_the_start=()):
        """After the application has ended."""
        whole, _ = self.logrotate.on_disk()
        gone = set(self.application.written) - whole
        lost = gone if self.way.truncates else set(lost_before_the_start)
        must = set(self.application.written) - lost
        self.until(
            lambda: (
                len(self.agent.writer.arrived) >= len(must)
                and must <= set(self.agent.writer.arrived)
            ),
            "every line",
        )
        self.agent.run_until_caught_up()
        assert_arrived(
            self.logrotate,
            self.application,
            delivered(self.agent),
            lost_by_logrotate=lost,
            duplicates_at_most=self._copies() * len(self.application.written),
        )


@pytest.fixture
def play(tmp_path, logs, rig):
    return lambda way, glob="app.log": Play(tmp_path, logs, rig, way, glob)


@ways
def test_while_the_agent_runs(play, way):
    with play(way) as here:
        here.agent.start()
        for _ in range(2 if here.way.every_second else 3):
            here.rotate()
    here.judge()
    assert here.agent.stop()


@ways
def test_twice_while_the_agent_is_stopped_and_once_before_and_after(play, way):
    with play(way) as here:
        here.agent.start()
        here.rotate()
        assert here.agent.stop()
        arrived = set(here.agent.writer.arrived)
        here.rotate()
        here.rotate()
        # What logrotate deleted meanwhile nobody can have: it is gone before the start.
        whole, _ = here.logrotate.on_disk()
        here.agent.start()
        here.rotate()
    written = here.application.written
    found = [n for n, line in enumerate(written) if line in whole or line in arrived]
    missing = set(written[: found[-1] + 1]) - whole - arrived
    assert not missing or here.way.loses, "logrotate keeps everything"
    here.judge(lost_before_the_start=missing)
    assert here.agent.stop()


@pytest.mark.parametrize("way", ["create", "copytruncate", "copy", "compress"])
def test_under_a_glob_that_matches_rotated_names(play, way):
    with play(way, "app.log*") as here:
        here.agent.start()
        here.rotate()
        here.rotate()
        assert here.agent.stop()
        here.rotate()
        here.agent.start()
        here.rotate()
    here.judge()
    assert here.agent.stop()


@pytest.mark.parametrize("way", ["create", "copytruncate"])
def test_the_agent_as_a_process(tmp_path, logs, agent, brokers, way):
    """Two rotations while it runs, two while it is stopped, and one after."""
    way = WAYS[way]
    logrotate = Logrotate(tmp_path, logs, way)
    application = Application(logs / "app.log", lines_a_second=LINES_A_SECOND, reopens=way.reopens)
    one = agent(paths="app.log", rotate_grace="100ms")

    def until(condition, what):
        wait_until(condition, ROTATE_SECONDS, what)

    def rotate():
        until(lambda: application.has_written(SOME_BYTES), "lines to rotate")
        logrotate.rotate(until)

    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        one.wait_for_log("event=agent-started")
        with application:
            logrotate.pid_path.write_text(str(application.pid))
            collector.wait_for(100, 30)
            rotate()
            rotate()
            assert one.stop() == 0
            rotate()
            rotate()
            one.start()
            count = collector.count
            collector.wait_for(count + 1, 30)
            rotate()
        whole, _ = logrotate.on_disk()
        written = application.written
        must = set(written) & whole if way.truncates else set(written)
        collector.wait_for_these(must, 30)
        assert one.stop() == 0
        one.assert_balanced()
        assert_arrived(
            logrotate,
            application,
            collector.close(),
            lost_by_logrotate=set(written) - must,
            duplicates_at_most=len(written) if way.truncates else 0,
        )
