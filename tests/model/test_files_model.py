"""The agent against a list of lines: whatever happens to files and processes, every line arrives.

The machine does to real files what section "Files" of `docs/design.md` names, with a real stream
and all its parts before, after and in between; stops and kills it; and takes destinations down.
`world` keeps what was written and where it is, `oracle` says what must arrive.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from singer.base.position import Position
from tests.model.oracle import Oracle, rows_on_disk
from tests.model.world import COMPRESS, NAMES, Content, File, Style, World
from tests.support.rig import LoopbackWriter, Rig

LOGS = st.sampled_from(NAMES)
STYLES = st.sampled_from(Style)
#: Lines, as how many and how long.
LINES = st.tuples(st.integers(1, 8), st.sampled_from([0, 0, 30, 100, 300]))
#: Which of the files in question.
PICK = st.integers(0, 3)
#: Interleavings, not waits.
MOMENTS = st.sampled_from([0, 1, 5, 30])
#: A partial line is no longer, so that no line is oversized.
_PARTIAL_BYTES = 600
#: Above what the agent has to open and close sooner or later.
_FEW_FILES = 2


def running(machine):
    return machine.rig.running


def stopped(machine):
    return not machine.rig.running


def well(machine):
    """It runs, and all destinations take what they are sent."""
    return machine.rig.running and all(w.up and not w.failing for w in machine.writers.values())


class Files(RuleBasedStateMachine):
    @initialize(
        headers=st.booleans(),
        two=st.booleans(),
        rotated_dirs=st.booleans(),
        inotify=st.sampled_from([True, True, True, False]),
        few_files=st.sampled_from([False, False, True]),
    )
    def begin(self, headers, two, rotated_dirs, inotify, few_files):
        self.begun = time.monotonic()
        self.trace: list[str] = []
        self.heard = 0  # events of the agent that are in the trace
        self.root = tempfile.mkdtemp(prefix="singer-model-")
        self.world = World(self.root, headers=headers)
        self.writers = {name: LoopbackWriter() for name in ("one", "two")[: 1 + two]}
        self.rotated_dirs = rotated_dirs
        self.rig = Rig(
            os.path.join(self.root, "state"),
            [os.path.join(self.world.logs, "*.log")],
            writers=self.writers,
            rescan=0.2,
            inotify=inotify,
            rotated_dirs=(self.world.old,) if rotated_dirs else (),
            **({"max_open_files": _FEW_FILES, "close_idle": 0.02} if few_files else {}),
        )
        self.shortened: dict[Content, int] = {}  # by a power loss after which nobody looked
        self.oracles = [Oracle(self.world, self.rig, name) for name in self.writers]
        self.copied: set[Content] = set()  # only copies hold it, since a step before
        self.known: set[File] = set()  # their inodes have rows
        self.seen: set[File] = set()  # copies the agent has looked at since it was started
        self.overlooked = False  # something is found at the next start at the latest
        self.rig.start()
        self.rig.run_until(self.rig.stream.scanned.is_set, "first scan")
        self.say(
            f"headers {headers}, two destinations {two}, rotated_dirs {rotated_dirs}, "
            f"inotify {inotify}, few files {few_files}"
        )

    def say(self, what: object) -> None:
        """A line of the trace that a failure shows, behind what the agent said meanwhile."""
        said = [
            (message := event.message())
            and f"{getattr(event, 'destination', '')} {message}".strip()
            for event in self.rig.events[self.heard :]
        ]
        self.heard = len(self.rig.events)
        for message in filter(None, said):
            self.trace.append(f"{'':19}{message.replace(self.root, '')}")
        self.trace.append(f"{1000 * (time.monotonic() - self.begun):7.0f} ms  {what}")

    # --- applications -------------------------------------------------------------------------

    @rule(name=LOGS, lines=LINES)
    def write(self, name, lines):
        self.write_to(self.world.path(name), lines)

    @rule(name=LOGS, size=st.integers(0, 250))
    def write_part_of_a_line(self, name, size):
        self.write_part_to(self.world.path(name), size)

    @rule(name=LOGS, pick=PICK, lines=LINES)
    def write_to_a_rotated_file(self, name, pick, lines):
        """Its application has not opened the new one yet."""
        if path := self.rotated(name, pick):
            self.write_to(path, lines)

    @rule(name=LOGS, pick=PICK, size=st.integers(0, 250))
    def write_part_of_a_line_to_a_rotated_file(self, name, pick, size):
        if path := self.rotated(name, pick):
            self.write_part_to(path, size)

    @rule(name=LOGS)
    def create_empty(self, name):
        path = self.world.path(name)
        if path not in self.world.at and not self.world.headers:
            self.say(f"create {name}")
            self.world.append(path, b"")

    def write_to(self, path: str, lines: tuple[int, int]) -> Content:
        count, size = lines
        data = b"".join(self.world.line(size) + b"\n" for _ in range(count))
        content = self.append(path, data)
        self.say(f"write {count} lines to {self.short(path)}: {content}")
        return content

    def append(self, path: str, data: bytes) -> Content:
        content = self.world.append(path, data)
        kept = self.shortened.pop(content, 0)
        for oracle in self.oracles if kept and stopped(self) else ():
            oracle.allow_from_the_beginning(content, kept)  # nothing tells where its old end is
        return content

    def write_part_to(self, path: str, size: int) -> None:
        file = self.world.at.get(path)
        part = self.world.line(size)
        if file is None or file.content.partial + len(part) <= _PARTIAL_BYTES:
            content = self.append(path, part)
            self.say(f"write {len(part)} bytes to {self.short(path)}: {content}")

    # --- rotation by rename -------------------------------------------------------------------

    @rule(name=LOGS, style=STYLES)
    def rename(self, name, style):
        if (path := self.there(name)) is not None:
            self.move(path, self.world.new_name(name, style))

    @rule(name=LOGS, style=STYLES)
    def rename_into_another_directory(self, name, style):
        """One of `rotated_dirs`, or one that no rule covers."""
        if (path := self.there(name)) is not None:
            # Nobody who has not seen the path looks there.
            self.overlooked |= not self.is_open(self.world.at[path])
            self.move(path, self.world.new_name(name, style, away=True))

    @rule(name=LOGS, lines=LINES)
    def rename_and_create(self, name, lines):
        if (path := self.there(name)) is not None:
            self.move(path, self.world.new_name(name, Style.NUMBER))
            self.write_to(path, lines)

    @rule(name=LOGS)
    def rename_in_a_chain(self, name):
        """.1 to .2, and the log to .1; the oldest first, as logrotate does it."""
        path = self.world.path(name)
        if path not in self.world.at:
            return
        last = 1
        while f"{path}.{last}" in self.world.at:
            last += 1
        for number in range(last, 1, -1):
            self.move(f"{path}.{number - 1}", f"{path}.{number}")
        self.move(path, f"{path}.1")

    @rule(name=LOGS, pick=PICK)
    def rename_back(self, name, pick):
        path = self.world.path(name)
        rotated = self.rotated(name, pick)
        if path not in self.world.at and rotated is not None:
            self.move(rotated, path)

    @rule()
    def swap(self):
        one, other = map(self.world.path, NAMES)
        if one in self.world.at and other in self.world.at:
            self.say("swap")
            self.world.swap(one, other)

    @rule(name=LOGS, lines=LINES)
    def replace_by_rename(self, name, lines):
        path = self.world.path(name)
        if path in self.world.at:
            count, size = lines
            data = b"".join(self.world.line(size) + b"\n" for _ in range(count))
            self.say(f"replace {name}: {self.world.replace(path, data)}, {count} lines")

    def move(self, path: str, to: str) -> None:
        file = self.world.at[path]
        if not self.world.is_rotated(to):
            self.find_out_whether_known(file)
        # Made and rotated between two looks: only watches tell.
        self.overlooked |= not self.rig.inotify and not self.is_open(file)
        self.say(f"rename {self.short(path)} to {self.short(to)}")
        self.world.rename(path, to)

    # --- copies and truncation ----------------------------------------------------------------

    @rule(name=LOGS, style=STYLES)
    def copy(self, name, style):
        """And do not truncate, or later."""
        if (path := self.there(name)) is not None:
            self.copy_to(path, self.world.new_name(name, style))

    @rule(name=LOGS, away=st.booleans())
    def copytruncate(self, name, away):
        if (path := self.there(name)) is not None:
            self.copy_to(path, self.world.new_name(name, Style.NUMBER, away=away))
            self.cut(path)

    @precondition(running)
    @rule(name=LOGS, lines=LINES, milliseconds=MOMENTS)
    def copytruncate_with_lines_in_between(self, name, lines, milliseconds):
        if (path := self.there(name)) is not None:
            self.copy_to(path, self.world.new_name(name, Style.NUMBER))
            self.run(milliseconds)
            self.write_to(path, lines)
            self.run(milliseconds)
            self.cut(path)

    @precondition(stopped)
    @rule(name=LOGS, lines=LINES)
    def copytruncate_twice_while_stopped(self, name, lines):
        if (path := self.there(name)) is not None:
            for _ in range(2):
                self.copy_to(path, self.world.new_name(name, Style.NUMBER))
                self.cut(path)
                self.write_to(path, lines)

    @rule(name=LOGS)
    def truncate(self, name):
        if (path := self.there(name)) is not None:
            self.cut(path)

    @rule(name=LOGS, lines=LINES, past=st.booleans())
    def truncate_and_write(self, name, lines, past):
        """`past`: further than it was written before."""
        if (path := self.there(name)) is not None:
            before = self.world.at[path].length
            self.cut(path)
            content = self.write_to(path, lines)
            while past and len(content.data) <= before:
                self.write_to(path, (8, 300))
            # As long as before, within a tick of the kernel's clock.
            self.overlooked |= len(content.data) == before

    def copy_to(self, path: str, to: str) -> None:
        self.say(f"copy {self.short(path)} to {self.short(to)}")
        file = self.world.at[path]
        self.find_out_whether_known(file)
        self.world.copy(path, to)
        known_by = {row.destination for row in self.rows_of(file) if row.path == path}
        for oracle in self.oracles:
            # Who sees both for the first time reads both; so does who knows it by another name.
            if oracle.name not in known_by:
                oracle.allow_copy(self.world.at[to])

    def cut(self, path: str) -> None:
        rows = rows_on_disk(self.rig)
        length = len(self.world.at[path].content.data)
        self.say(f"truncate {self.short(path)}, {length} bytes")
        # What is copied between two looks is found at the next rotation, or start.
        self.overlooked |= self.rig.running
        self.world.truncate(path)
        for oracle in self.oracles:
            oracle.forgive_the_same_beginning(self.world.at[path].content, rows)

    # --- compression --------------------------------------------------------------------------

    @rule(name=LOGS, pick=PICK, suffix=st.sampled_from(sorted(COMPRESS)), milliseconds=MOMENTS)
    def compress(self, name, pick, suffix, milliseconds):
        """Written in two halves, with the agent running in between."""
        path = self.rotated(name, pick, copies=True)
        if path is None or not self.world.is_rotated(path):
            return
        file = self.world.at[path]
        if file.packed or len(self.world.names(file)) > 1 or path + suffix in self.world.at:
            return
        self.say(f"compress {self.short(path)} to {suffix}")
        self.world.pack(path, suffix, lambda: self.run_if_running(milliseconds))
        for oracle in self.oracles:
            oracle.allow_for_archive(file)

    # --- names come and go --------------------------------------------------------------------

    @rule(name=LOGS, live=st.booleans())
    def hard_link(self, name, live):
        """Another name that the stream's glob matches, or one that no rule covers."""
        to = self.world.path("linked.log" if live else "linked")
        path = self.world.path(name)
        if path in self.world.at and to not in self.world.at:
            self.say(f"link {name} to {self.short(to)}")
            self.world.link(path, to)

    @rule(name=st.sampled_from([*NAMES, "linked.log", "linked"]))
    def delete(self, name):
        path = self.world.path(name)
        if path in self.world.at:
            self.say(f"delete {name}")
            self.world.unlink(path)

    @rule(name=LOGS, pick=PICK)
    def delete_rotated(self, name, pick):
        if path := self.rotated(name, pick, copies=True):
            self.say(f"delete {self.short(path)}")
            self.world.unlink(path)

    @rule(name=LOGS, lines=LINES)
    def delete_and_create(self, name, lines):
        """The file system gives the inode number out again at once, if nobody holds it."""
        path = self.world.path(name)
        if path in self.world.at:
            self.say(f"delete {name}")
            self.world.unlink(path)
            self.forgive()
            self.write_to(path, lines)

    @rule(again=st.booleans())
    def remove_directory(self, again):
        if os.path.isdir(self.world.logs):
            self.say("remove the directory")
            self.world.remove_directory()
            if again:
                os.mkdir(self.world.logs)

    # --- the agent ----------------------------------------------------------------------------

    @precondition(running)
    @rule(milliseconds=MOMENTS)
    def run(self, milliseconds):
        self.rig.run_for(milliseconds / 1000)
        self.say(f"ran {milliseconds} ms")

    @precondition(well)
    @rule()
    def catch_up(self):
        self.rig.run_until_caught_up()
        self.say("caught up")

    @precondition(well)
    @rule()
    def look(self):
        """The agent sees everything that is there: a new file, and it has arrived."""
        self.world.probes += 1
        path = self.world.path(f"probe{self.world.probes}.log")
        content = self.write_to(path, (1, 0))
        line = content.piece(*next(reversed(list(content.lines()))))
        self.rig.run_until(
            lambda: all(line in writer.arrived for writer in self.writers.values()), "a look"
        )
        self.rig.run_until_caught_up()
        self.world.unlink(path)
        self.seen.update(file for file in self.world.files() if file.is_copy)
        self.say("looked")

    @precondition(running)
    @rule()
    def stop(self):
        if self.rig.stop():
            self.say("stopped")
        else:
            self.say("stopped with records under way")
            self.died()
        self.seen.clear()

    @precondition(running)
    @rule(landed=st.booleans())
    def kill(self, landed):
        """`landed`: what was under way arrived, and nobody is told."""
        if landed:
            for writer in self.writers.values():
                writer.lose_acknowledgements()
        self.rig.kill()
        self.say("killed" + " with acknowledgements under way" * landed)
        self.died()

    @precondition(stopped)
    @rule()
    def start(self):
        self.rig.start()
        self.shortened.clear()
        self.say("started")

    @precondition(stopped)
    @rule(milliseconds=MOMENTS)
    def start_and_kill(self, milliseconds):
        self.start()
        self.run(milliseconds)
        self.kill(landed=False)

    def died(self) -> None:
        rows = rows_on_disk(self.rig)
        self.seen.clear()
        for oracle in self.oracles:
            oracle.allow_after_death(rows)
            for content in self.copied_only():
                oracle.allow_for_truncation(content, rows, self.seen)

    # --- the machine --------------------------------------------------------------------------

    @precondition(stopped)
    @rule()
    def devices_have_other_numbers(self):
        """After a reboot, or a mount."""
        self.say("device numbers change")
        self.change_rows("UPDATE positions SET device = device + 4096")

    @precondition(running)
    @rule(name=LOGS, share=st.integers(0, 99))
    def power_loss(self, name, share):
        """What was not synced is gone: positions, and the end of a file."""
        self.kill(landed=False)
        self.change_rows("UPDATE positions SET boot = boot + 1")
        path = self.world.path(name)
        file = self.world.at.get(path)
        if file is None or file.limit is not None or not file.content.data:
            return
        if any(other is not file for other in self.world.holders(file.content)):
            return  # a copy of what is lost is no file of its own any more
        content, kept = file.content, len(file.content.data) * share // 100
        kept = content.data.rfind(b"\n", 0, kept) + 1
        self.say(f"power loss: {name} is {kept} bytes long, not {len(content.data)}")
        rows = rows_on_disk(self.rig)
        for oracle in self.oracles:
            oracle.shorten(content, kept, rows, os.stat(path).st_mtime_ns)
        self.world.lose_end(path, kept)
        self.shortened[content] = kept

    def change_rows(self, statement: str) -> None:
        path = os.path.join(self.rig.state_dir, "positions")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()

    @precondition(running)
    @rule(milliseconds=MOMENTS)
    def state_disk_is_full(self, milliseconds):
        """No file can be written to, for a while."""
        self.say("the state disk is full")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            self.run(milliseconds)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    # --- destinations -------------------------------------------------------------------------

    @rule(index=st.integers(0, 1))
    def broker_down(self, index):
        name = list(self.writers)[index % len(self.writers)]
        self.say(f"destination {name} is down")
        self.writers[name].up = False

    @precondition(lambda self: not all(writer.up for writer in self.writers.values()))
    @rule()
    def brokers_up(self):
        self.say("all destinations are up")
        for writer in self.writers.values():
            writer.up = True
            if self.rig.running:
                self.rig.loop.call_soon(writer.settle)

    @precondition(well)
    @rule(index=st.integers(0, 1), settled=st.integers(0, 5), name=LOGS, lines=LINES)
    def topic_fails_for_a_while(self, index, settled, name, lines):
        oracle = self.oracles[index % len(self.oracles)]
        writer = oracle.writer
        self.say(f"destination {oracle.name} refuses after {settled} records")
        before = len(writer.arrived)
        writer.failing, writer.settled = True, settled
        self.write_to(self.world.path(name), lines)
        self.rig.run_for(0.01)
        # What was sent behind a refused batch before the pipeline heard of that would arrive now,
        # and again after its rewind: it is refused as well.
        writer.settle()
        self.rig.run_for(0.0)
        writer.settle()
        writer.failing = False
        oracle.allow_arrived_since(before)

    # --- the promise --------------------------------------------------------------------------

    @invariant()
    def forgive(self):
        """After every step: say what nobody can get at any more."""
        if not hasattr(self, "oracles"):
            return
        reach: dict[Content, int] = {}
        for file in self.world.files():
            names = self.world.names(file)
            content = file.content
            if self.is_open(file) or any(self.is_covered(file, path) for path in names):
                reach[content] = max(reach.get(content, 0), file.length)
            # Swapped with another that was not seen yet, it was renamed, whatever its new name.
            if (
                content.path not in names
                and file.length
                and content.data[file.length - 1] != ord("\n")
            ):
                content.cuts.add(file.length)
        self.world.nameless = [file for file in self.world.nameless if self.is_open(file)]
        fresh = [content for content in self.copied_only() if content not in self.copied]
        self.copied.update(fresh)
        rows = rows_on_disk(self.rig) if fresh else []
        for oracle in self.oracles:
            for content in fresh:
                oracle.allow_for_truncation(content, rows, self.seen)
            oracle.allow_for_copies()
            oracle.forgive(reach)

    def copied_only(self) -> list[Content]:
        """What was truncated away, or is deleted, and is in copies."""
        return [
            content
            for content in self.world.contents
            if (holders := self.world.holders(content))
            and all(file.limit is not None for file in holders)
        ]

    def is_covered(self, file: File, path: str) -> bool:
        """Whether a rule leads the agent to a file by this name, or its row."""
        looked_at = {self.world.logs, self.world.old} if self.rotated_dirs else {self.world.logs}
        return os.path.dirname(path) in looked_at and (
            self.world.is_live(path) or self.world.is_rotated(path) or file in self.known
        )

    def is_open(self, file: File) -> bool:
        return self.rig.running and file.key in self.rig.stream._open

    def find_out_whether_known(self, file: File) -> None:
        if self.is_open(file) or self.rows_of(file):
            self.known.add(file)

    def rows_of(self, file: File) -> list[Position]:
        return [
            row
            for row in rows_on_disk(self.rig)
            if (row.identity.inode, row.identity.birth_ns) == (file.key[1], file.born)
        ]

    def there(self, name: str) -> str | None:
        """The log's path, if there is a file that is written to, and has one name."""
        path = self.world.path(name)
        file = self.world.at.get(path)
        return path if file is not None and len(self.world.names(file)) == 1 else None

    def rotated(self, name: str, pick: int, *, copies: bool = False) -> str | None:
        paths = [
            path for path in self.world.rotated(name) if copies or self.world.at[path].limit is None
        ]
        return paths[pick % len(paths)] if paths else None

    def short(self, path: str) -> str:
        return os.path.relpath(path, self.world.logs)

    def run_if_running(self, milliseconds: int) -> None:
        if self.rig.running:
            self.run(milliseconds)

    def teardown(self):
        if not hasattr(self, "oracles"):
            return
        failed = sys.exception()  # in a rule
        try:
            if failed is None:
                self.judge()
        except AssertionError as error:
            failed = error
        if failed is not None:
            self.say("failed")
            self.trace += self.open_files()
        try:
            if self.rig.running:
                self.rig.kill()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)
            if failed is not None:
                raise AssertionError("\n".join([said(failed), "", *self.trace])) from None

    def open_files(self) -> list[str]:
        """For a failure: what the agent has open, and how far it is."""
        if not self.rig.running:
            return []
        stream = self.rig.stream
        whole = (
            f"waiting {stream._agenda.waiting_files}, inquiry whole {stream._inquiries.whole}, "
            f"rewriting {bool(stream._rewrites)}"
        )
        return [whole] + [
            f"{self.short(p.file.seen_at)} for {p.destination.name}: at {p.position.offset}, "
            f"read {p.read_offset}, held {p.held}, {'at its end' if p.at_end else 'not at its end'}"
            for p in stream.pipelines
        ]

    def judge(self) -> None:
        """All lines that must arrive do, those of each file in order, and nothing else does."""
        self.brokers_up()
        if stopped(self):
            self.start()
        if self.overlooked:
            self.look()
            self.stop()
            self.forgive()
            self.start()
        with contextlib.suppress(AssertionError):
            self.rig.run_until(lambda: not self.missing(), "everything")
        assert not self.missing(), f"missing: {self.missing()[:5]}"
        self.look()
        self.forgive()
        assert self.rig.stop(), "everything is settled"
        self.say("stopped")
        self.start()
        self.look()
        assert self.rig.stop(), "everything is settled"
        for oracle in self.oracles:
            assert not oracle.missing()
            oracle.assert_nothing_unexpected()
            oracle.assert_order()

    def missing(self) -> list[str]:
        return [f"{oracle.name}: {line}" for oracle in self.oracles for line in oracle.missing()]


def said(failed: BaseException) -> str:
    return "".join(traceback.format_exception(failed))


#: Time is real here, so a failing example can take ten seconds: it is not shrunk. It shows its own
#: trace; what hypothesis would print repeats that in other words.
_SETTINGS = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    verbosity=Verbosity.quiet,
    suppress_health_check=list(HealthCheck),
)
Files.TestCase.settings = _SETTINGS
TestFiles = Files.TestCase


@pytest.mark.long
@pytest.mark.timeout(3600)
class TestFilesLong(Files.TestCase):
    settings = settings(_SETTINGS, max_examples=2000, stateful_step_count=40)
