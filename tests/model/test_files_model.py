"""The agent against a list of lines: whatever happens to files and processes, every line arrives.

The machine writes, cuts, renames, truncates and deletes real files, stops and kills a real stream
with all its parts, and takes the broker down. The model is, for each file that ever was, the list
of lines written to it, and which of them must arrive: all but those that vanished where no open
descriptor and no position could save them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.rig import LoopbackWriter, Rig


@dataclass
class ModelFile:
    """One inode's content since it was created or last truncated."""

    name: str
    lines: list[bytes] = field(default_factory=list)  # complete lines
    partial: bytes = b""
    optional: set[bytes] = field(default_factory=set)  # may be lost: gone before they were read


class Files(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.root = tempfile.mkdtemp(prefix="singer-model-")
        self.logs = os.path.join(self.root, "logs")
        os.mkdir(self.logs)
        self.writer = LoopbackWriter()
        self.count = 0
        self.rotations = 0
        self.files: dict[str, ModelFile] = {}  # by current name
        self.past: list[ModelFile] = []
        self.deleted: list[ModelFile] = []
        self.disturbed = False  # something happened that may deliver twice
        self.known: set[int] = set()
        self.rig = Rig(
            os.path.join(self.root, "state"),
            [os.path.join(self.logs, "*.log")],
            writers={"out": self.writer},
        )
        self.rig.start()
        self.rig.run_until(self.rig.stream.scanned.is_set, "first scan")

    # --- helpers ------------------------------------------------------------------------------

    def path(self, name: str) -> str:
        return os.path.join(self.logs, name)

    def line(self, size: int) -> bytes:
        self.count += 1
        return b"%d:" % self.count + b"x" * size

    def append(self, name: str, data: bytes) -> None:
        with open(self.path(name), "ab", buffering=0) as file:
            file.write(data)

    def is_open(self, name: str) -> bool:
        """Whether the running agent holds this very file open."""
        stat = os.stat(self.path(name))
        return self.rig.running and (stat.st_dev, stat.st_ino) in self.rig.stream._open

    def unsaved(self, file: ModelFile) -> set[bytes]:
        """Lines of a file that have not arrived yet."""
        return (set(file.lines) | {file.partial}) - set(self.writer.arrived)

    # --- the application ----------------------------------------------------------------------

    NAMES = st.sampled_from(["a.log", "b.log"])

    @rule(name=NAMES, sizes=st.lists(st.integers(0, 300), min_size=1, max_size=20))
    def write(self, name, sizes):
        file = self.files.setdefault(name, ModelFile(name))
        data = b""
        for size in sizes:
            line = self.line(size)
            file.lines.append(file.partial + line)
            data += line + b"\n"
            file.partial = b""
        self.append(name, data)

    @rule(name=NAMES, size=st.integers(0, 590))
    def write_part(self, name, size):
        part = self.line(size)
        before = self.files[name].partial if name in self.files else b""
        if len(before) + len(part) > 600:
            return  # with what completes it, it would be oversized
        file = self.files.setdefault(name, ModelFile(name))
        file.partial += part
        self.append(name, part)

    @rule(name=NAMES, odd=st.booleans())
    def rename(self, name, odd):
        if name in self.files:
            self.rotations += 1
            to = f"old-{self.rotations}" if odd else f"{name}.{self.rotations}"
            os.rename(self.path(name), self.path(to))
            file = self.files.pop(name)
            # Never seen, and under a name that no rule covers: nothing says that it is ours.
            if not self.known_to_agent(file, to) and odd:
                file.optional |= self.unsaved(file)
            self.past.append(file)

    def known_to_agent(self, file: ModelFile, at: str) -> bool:
        inode = os.stat(self.path(at)).st_ino
        if self.rig.running and any(key[1] == inode for key in self.rig.stream._open):
            return True
        return inode in self.known

    @rule(name=NAMES)
    def truncate(self, name):
        if name in self.files:
            file = self.files[name]
            file.optional |= self.unsaved(file)
            self.past.append(file)
            self.files[name] = ModelFile(name)
            os.truncate(self.path(name), 0)

    @rule(name=NAMES)
    def copytruncate(self, name):
        if name in self.files:
            file = self.files[name]
            self.rotations += 1
            shutil.copyfile(self.path(name), self.path(f"{name}.{self.rotations}"))
            os.truncate(self.path(name), 0)
            self.past.append(file)
            self.files[name] = ModelFile(name)
            # With less than 256 bytes delivered a copy cannot be told from another file.
            self.disturbed = True
            if not self.known_to_agent(file, name):
                file.optional |= self.unsaved(file)

    @rule(name=NAMES)
    def delete(self, name):
        if name in self.files:
            file = self.files.pop(name)
            if not self.is_open(name):
                file.optional |= self.unsaved(file)
            os.unlink(self.path(name))
            self.past.append(file)
            self.deleted.append(file)

    # --- the agent and the broker -------------------------------------------------------------

    @precondition(lambda self: self.rig.running)
    @rule(milliseconds=st.sampled_from([0, 1, 5, 30]))
    def run(self, milliseconds):
        self.rig.run_for(milliseconds / 1000)
        self.remember()

    @precondition(lambda self: self.rig.running and self.writer.up and not self.writer.failing)
    @rule()
    def catch_up(self):
        self.rig.run_for(0.02)
        self.rig.run_until_caught_up()
        self.remember()

    def remember(self) -> None:
        """Files whose rows are on disk by now."""
        self.known |= {key[1] for key in self.rig.stream._open}

    @precondition(lambda self: self.rig.running and self.writer.up)
    @rule()
    def stop(self):
        self.disturbed |= not self.rig.stop()
        self.let_go()

    @precondition(lambda self: self.rig.running)
    @rule()
    def kill(self):
        self.disturbed = True
        self.rig.kill()
        self.let_go()

    def let_go(self) -> None:
        """The process is gone, and with it the only way to what was deleted."""
        for file in self.deleted:
            file.optional |= self.unsaved(file)

    @precondition(lambda self: not self.rig.running)
    @rule()
    def start(self):
        self.rig.start()

    @rule()
    def broker_down(self):
        self.writer.up = False

    @rule()
    def broker_up(self):
        self.writer.up = True
        if self.rig.running:
            self.rig.loop.call_soon(self.writer.settle)

    @precondition(lambda self: self.rig.running and self.writer.up)
    @rule(settled=st.integers(0, 5))
    def topic_fails_for_a_while(self, settled):
        self.disturbed = True
        self.writer.failing, self.writer.settled = True, settled
        self.rig.run_for(0.01)
        self.writer.failing = False

    # --- the oracle ---------------------------------------------------------------------------

    def teardown(self):
        if not hasattr(self, "rig"):
            return
        try:
            self.judge()
        finally:
            if self.rig.running:
                self.rig.kill()
            shutil.rmtree(self.root, ignore_errors=True)

    def judge(self) -> None:
        self.writer.up, self.writer.failing = True, False
        if not self.rig.running:
            self.rig.start()
        self.rig.loop.call_soon(self.writer.settle)
        # What came and went between two looks is found at the next start at the latest.
        self.rig.run_for(0.1)
        self.disturbed |= not self.rig.stop()
        self.let_go()
        self.rig.start()
        every = [*self.past, *self.files.values()]
        must: set[bytes] = set()
        may: set[bytes] = set()
        for file in every:
            ended = file in self.past
            whole = set(file.lines) | ({file.partial} if ended and file.partial else set())
            must |= whole - file.optional
            may |= whole | file.optional
        self.rig.run_until(
            lambda: must <= set(self.writer.arrived),
            f"the rest of {sorted(must - set(self.writer.arrived))[:3]}",
        )
        self.rig.run_for(0.15)  # what must not arrive has had the time to
        self.rig.run_until_caught_up()
        arrived = self.writer.arrived
        fragments = {
            line for line in set(arrived) - may if any(whole.startswith(line) for whole in may)
        }
        cut = {whole for whole in may if b":" in whole}
        unexpected = [line for line in set(arrived) - may - fragments if not _made_of(line, cut)]
        assert not unexpected, unexpected[:3]
        first = {line: index for index, line in reversed(list(enumerate(arrived)))}
        for file in every:
            order = [first[line] for line in file.lines if line in first]
            assert order == sorted(order), f"out of order in {file.name}"
        if not self.disturbed:
            assert len(arrived) == len(set(arrived)), "delivered twice without a reason"
        assert self.rig.stop()


def _made_of(line: bytes, wholes: set[bytes]) -> bool:
    """Whether a line is the end of one that was cut by a restart after its start was sent."""
    return any(whole.endswith(line) for whole in wholes)


#: Time is real here, so a failing example can take ten seconds: it is not shrunk for ever.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
Files.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    phases=_PHASES,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestFiles = Files.TestCase


@pytest.mark.long
@pytest.mark.timeout(3600)
class TestFilesLong(Files.TestCase):
    settings = settings(
        max_examples=2000,
        stateful_step_count=40,
        deadline=None,
        phases=_PHASES,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
