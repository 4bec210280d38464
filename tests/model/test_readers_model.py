"""Every reader over files that are written in pieces, rotated, and read by an agent that dies.

The model is a list of records, each a payload and the bytes it is written as. Whatever happens, all
arrive, byte for byte, in the order in which they were written; none twice, unless something failed.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from singer.base.config import (
    ByteSize,
    ContainerReaderConfig,
    FramesReaderConfig,
    MultilineReaderConfig,
    ProtobufReaderConfig,
    ReaderConfig,
    Regex,
    Seconds,
    TextReaderConfig,
    ThriftReaderConfig,
)
from tests.readers.container_logs import cri, docker
from tests.readers.test_frames import varint
from tests.readers.thrift_frames import frame, headers
from tests.support.rig import Rig

#: Longer than any test: parts of a record are never cut by it.
_NEVER = Seconds(3600.0)
_LIMIT = ByteSize(10_000)


@dataclass(frozen=True)
class Kind:
    """A reader, and how the record with a number is written: its bytes, and what arrives of it."""

    config: ReaderConfig
    write: Callable[[int, bytes], tuple[bytes, bytes]]


def _several_lines(number: int, content: bytes) -> tuple[bytes, bytes]:
    lines = [b"%d begins" % number, b"  at " + content, b"", b"  at the end"][: 2 + number % 3]
    return b"\n".join(lines) + b"\n", b"\n".join(lines)


def _container(number: int, content: bytes) -> tuple[bytes, bytes]:
    write = (cri, docker)[number % 2]
    payload = b"%d:%s" % (number, content)
    ms = 1_700_000_000_000 + number
    if number % 3:
        return write(payload, ms=ms), payload
    half = len(payload) // 2
    parts = (payload[:half], False), (payload[half:], True)
    return b"".join(write(part, full=full, ms=ms) for part, full in parts), payload


def _thrift(number: int, content: bytes) -> tuple[bytes, bytes]:
    payload = b"%d:%s" % (number, content)
    more = headers(sequence=number) if number % 2 else b""
    return frame(payload, key=b"k" * (number % 3), timestamp_ns=number, more=more), payload


def _frame(number: int, content: bytes) -> tuple[bytes, bytes]:
    payload = b"%d:%s" % (number, content)
    return struct.pack(">I", len(payload)) + payload, payload


def _delimited(number: int, content: bytes) -> tuple[bytes, bytes]:
    payload = b"%d:%s" % (number, content)
    return varint(len(payload)) + payload, payload


def _line(number: int, content: bytes) -> tuple[bytes, bytes]:
    payload = b"%d:%s" % (number, content)
    return payload + b"\n", payload


def _wide_line(number: int, content: bytes) -> tuple[bytes, bytes]:
    payload = b"%d:%s" % (number, content)
    return (payload + b"\r\n").decode().encode("utf-16le"), payload


KINDS = {
    "text": Kind(TextReaderConfig(max_record=_LIMIT), _line),
    "utf-16le": Kind(
        TextReaderConfig(max_record=_LIMIT, encoding="utf-16le", crlf=True), _wide_line
    ),
    "multiline": Kind(
        MultilineReaderConfig(start=Regex("^[0-9]"), timeout=_NEVER, max_record=_LIMIT),
        _several_lines,
    ),
    "containers": Kind(ContainerReaderConfig(timeout=_NEVER, max_record=_LIMIT), _container),
    "thrift": Kind(ThriftReaderConfig(max_record=_LIMIT), _thrift),
    "frames": Kind(FramesReaderConfig(max_record=_LIMIT), _frame),
    "protobuf": Kind(ProtobufReaderConfig(max_record=_LIMIT), _delimited),
}

_MOMENTS = st.sampled_from([0, 1, 5, 30])
_SIZES = st.sampled_from([0, 1, 80, 1500])


def running(self: Readers) -> bool:
    return self.rig.running


def stopped(self: Readers) -> bool:
    return not self.rig.running


class Readers(RuleBasedStateMachine):
    kind: Kind

    @initialize()
    def begin(self):
        self.root = tempfile.mkdtemp(prefix="singer-readers-")
        self.log = os.path.join(self.root, "logs", "app.log")
        os.mkdir(os.path.dirname(self.log))
        self.rig = Rig(
            os.path.join(self.root, "state"),
            [os.path.join(self.root, "logs", "*.log")],
            reader=self.kind.config,
            rescan=0.2,
        )
        self.expected: list[bytes] = []
        self.rest = b""  # of a record that is written in part
        self.copied_at: list[int] = []  # how many records there were at each copy
        self.again = 0  # records that may have been on their way when something failed
        self.rotations = 0
        self.rig.start()
        self.rig.run_until(self.rig.stream.scanned.is_set, "first scan")

    # --- the application ------------------------------------------------------------------------

    @rule(count=st.integers(1, 5), size=_SIZES)
    def write(self, count, size):
        for _ in range(count):
            self.append(self.record(size))

    @rule(size=_SIZES, share=st.integers(1, 99))
    def write_in_part(self, size, share):
        data = self.record(size)
        cut = max(1, len(data) * share // 100)
        self.append(data[:cut])
        self.rest = data[cut:]

    @rule()
    def rotate(self):
        if os.path.exists(self.log):
            self.rotations += 1
            rotated = f"{self.log}.{self.rotations}"
            os.rename(self.log, rotated)
            self.append(b"", rotated)  # who has it open still completes the record

    @precondition(stopped)
    @rule()
    def copy_and_truncate(self):
        """While it is running, what is copied before it looks comes behind what is younger.

        So it does when a copy is too short to be told from one that is being made.
        """
        if os.path.exists(self.log):
            self.append(b"")
            self.rotations += 1
            shutil.copyfile(self.log, f"{self.log}.{self.rotations}")
            os.truncate(self.log, 0)
            self.copied_at.append(len(self.expected))
            self.failed()  # what proves that it is a copy may not be on disk

    def record(self, size):
        number = len(self.expected)
        data, payload = self.kind.write(number, b"%d " % number * (size // 3))
        self.expected.append(payload)
        return data

    def append(self, data, path=None):
        rest, self.rest = self.rest, b""
        if rest or data:
            with open(path or self.log, "ab", buffering=0) as file:
                file.write(rest + data)

    # --- the agent ------------------------------------------------------------------------------

    @precondition(running)
    @rule(milliseconds=_MOMENTS)
    def run(self, milliseconds):
        self.rig.run_for(milliseconds / 1000)

    @precondition(running)
    @rule()
    def stop(self):
        if not self.rig.stop():
            self.failed()

    @precondition(running)
    @rule(landed=st.booleans())
    def kill(self, landed):
        if landed:
            self.rig.writer.lose_acknowledgements()
        self.rig.kill()
        self.failed()

    @precondition(stopped)
    @rule()
    def start(self):
        self.rig.start()

    @rule(settled=st.integers(0, 3))
    def topic_fails_for_a_while(self, settled):
        if self.rig.running:
            self.rig.writer.failing, self.rig.writer.settled = True, settled
            self.rig.run_for(0.01)
            self.rig.writer.failing = False
            self.failed()

    def failed(self):
        self.again = len(self.expected)

    # --- the promise ----------------------------------------------------------------------------

    def teardown(self):
        if not hasattr(self, "rig"):
            return
        try:
            if stopped(self):
                self.rig.start()
            self.rotate()  # so that nobody waits for what follows the last record
            arrived = self.rig.writer.arrived
            self.rig.run_until(lambda: set(arrived) >= set(self.expected), "all records")
            self.rig.run_until_caught_up()
            counts = Counter(arrived)
            assert counts.keys() == set(self.expected), "nothing but what was written"
            once = list(dict.fromkeys(arrived))
            for first, behind in pairwise([0, *self.copied_at, len(self.expected)]):
                some = self.expected[first:behind]
                assert [payload for payload in once if payload in set(some)] == some, "in order"
            twice = [self.expected.index(payload) for payload, n in counts.items() if n > 1]
            assert all(number < self.again for number in twice), f"twice: {twice}"
            assert self.rig.stop()
        finally:
            if self.rig.running:
                self.rig.kill()
            shutil.rmtree(self.root, ignore_errors=True)


def _run(name: str, examples: int) -> None:
    machine = type(f"Readers_{name}", (Readers,), {"kind": KINDS[name]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            report_multiple_bugs=False,
            verbosity=Verbosity.normal,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("name", KINDS)
def test_records_of_every_reader_survive_what_happens_to_files(name):
    _run(name, 25)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_records_of_every_reader_survive_what_happens_to_files_for_longer(name):
    _run(name, 400)
