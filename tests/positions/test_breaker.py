"""The crash-loop breaker, with processes that really crash."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys

import pytest

from singer.base.position import FileIdentity
from singer.positions.breaker import QUARANTINE_CRASHES, CrashBreaker
from singer.positions.events import BreakerImpaired, CrashFound
from singer.positions.state_dir import StateDir
from tests.positions.parts import Heard, contents, fill, mounted
from tests.support import child

STREAM, DESTINATION = "access", "main/web"
FILE = FileIdentity(device=2**64 - 1, inode=7, birth_ns=None)
OTHER = FileIdentity(device=2**64 - 1, inode=7, birth_ns=5)

#: Opens the breaker, marks FILE at an offset (or nothing) and does what it is told.
CHILD = """
import ctypes, faulthandler, os, signal, sys, time
from singer.base.events import discard
from singer.positions.breaker import CrashBreaker
from singer.positions.state_dir import StateDir
from tests.positions.test_breaker import DESTINATION, FILE, STREAM

state_dir, offset, deed = sys.argv[1:]
for each in signal.SIGINT, signal.SIGHUP:
    signal.signal(each, signal.SIG_DFL)  # whoever runs the tests may ignore them
breaker = CrashBreaker(StateDir(state_dir), discard)
breaker.open()
if offset != "none":
    breaker.mark(STREAM, DESTINATION, FILE, int(offset))
print("marked", flush=True)
if deed == "sleep":
    time.sleep(600)
elif deed == "close":
    breaker.close()
else:
    eval(deed)
"""

CRASHES = {
    "ctypes.string_at(0)": signal.SIGSEGV,
    "faulthandler._sigsegv()": signal.SIGSEGV,
    "os.abort()": signal.SIGABRT,
    "faulthandler._sigfpe()": signal.SIGFPE,
    "os.kill(os.getpid(), signal.SIGBUS)": signal.SIGBUS,
    "os.kill(os.getpid(), signal.SIGILL)": signal.SIGILL,
}


def run(state_dir, deed, offset=0, sent=None):
    """Let a child do `deed`; returns what ended it."""
    process = child.spawn(
        [sys.executable, "-c", CHILD, state_dir, str(offset), deed],
        output=subprocess.PIPE,
        errors=subprocess.DEVNULL,
        cwd=os.getcwd(),
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"marked\n"
        if sent is not None:
            process.send_signal(sent)
        return process.wait(30)
    finally:
        child.end(process)


@pytest.fixture(autouse=True)
def keep_the_test_run_s_own_traces():
    enabled = faulthandler.is_enabled()
    yield
    if enabled:
        faulthandler.enable(sys.__stderr__)


@contextlib.contextmanager
def watched(path, heard=None):
    with StateDir(path) as state:
        breaker = CrashBreaker(state, Heard() if heard is None else heard)
        breaker.open()
        try:
            yield breaker
        finally:
            breaker.close()


@pytest.mark.parametrize("deed", CRASHES)
def test_a_crash_counts_and_its_trace_is_kept(tmp_path, deed):
    path, heard = str(tmp_path), Heard()
    assert run(path, deed, offset=5) == -CRASHES[deed]
    with watched(path, heard) as breaker:
        assert not breaker.quarantined(STREAM, DESTINATION, FILE)
    [crash] = heard.of(CrashFound)
    assert (crash.stream, crash.destination) == (STREAM, DESTINATION)
    assert (crash.device, crash.inode) == (FILE.device, FILE.inode)
    assert (crash.offset, crash.crashes) == (5, 1)
    assert crash.trace in crash.message()
    assert "not read any more" not in crash.message()
    assert b"Fatal Python error" in (contents(crash.trace) or b"")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_kill_never_counts(tmp_path, sent):
    path, heard = str(tmp_path), Heard()
    for _ in range(QUARANTINE_CRASHES):
        assert run(path, "sleep", sent=sent) != 0
    with watched(path, heard) as breaker:
        assert not breaker.quarantined(STREAM, DESTINATION, FILE)
    assert heard == []


def test_crashes_in_a_row_without_progress_quarantine_the_file(tmp_path):
    path, heard = str(tmp_path), Heard()
    for _ in range(QUARANTINE_CRASHES - 1):
        run(path, "os.abort()")
    # Neither kills nor clean stops in between make a difference.
    run(path, "sleep", sent=signal.SIGKILL)
    run(path, "close")
    with watched(path, heard) as breaker:
        assert not breaker.quarantined(STREAM, DESTINATION, FILE)
    run(path, "os.abort()")
    with watched(path, heard) as breaker:
        assert breaker.quarantined(STREAM, DESTINATION, FILE)
        assert not breaker.quarantined(STREAM, DESTINATION, OTHER)
        assert not breaker.quarantined(STREAM, "canary/web", FILE)
        assert not breaker.quarantined("other", DESTINATION, FILE)
    [event] = heard.of(CrashFound)
    assert "not read any more" in event.message()
    assert event.crashes == QUARANTINE_CRASHES
    assert event.counts_path in event.message()
    # It lasts, until a person ends it as the message says.
    with watched(path) as breaker:
        assert breaker.quarantined(STREAM, DESTINATION, FILE)
    os.unlink(event.counts_path)
    with watched(path) as breaker:
        assert not breaker.quarantined(STREAM, DESTINATION, FILE)


def test_progress_between_crashes_begins_the_count_anew(tmp_path):
    path, heard = str(tmp_path), Heard()
    for offset in (0, 0, 10, 10):
        run(path, "os.abort()", offset=offset)
    with watched(path, heard) as breaker:
        assert not breaker.quarantined(STREAM, DESTINATION, FILE)
        assert heard.of(CrashFound)[0].crashes == 2
        breaker.progressed(STREAM, DESTINATION, OTHER)
        breaker.progressed(STREAM, DESTINATION, FILE)
    run(path, "os.abort()", offset=10)
    with watched(path, heard):
        assert heard.of(CrashFound)[1].crashes == 1


def test_a_crash_while_no_file_is_under_work_is_told_and_not_counted(tmp_path):
    path, heard = str(tmp_path), Heard()
    run(path, "sleep", offset=3, sent=signal.SIGKILL)  # leaves a mark that must not be blamed
    run(path, "os.abort()", offset="none")
    with watched(path, heard):
        pass
    [crash] = heard.of(CrashFound)
    assert crash.crashes == 0
    assert "no file" in crash.message()
    assert contents(str(tmp_path / "crash_counts")) is None


def test_long_names_and_the_largest_numbers_fit(tmp_path):
    stream, destination = "é" * 500, "d" * 500
    identity = FileIdentity(device=2**64 - 1, inode=2**64 - 1, birth_ns=-(2**63))
    with StateDir(str(tmp_path)) as state:
        breaker = CrashBreaker(state, Heard())
        breaker.open()
        breaker.mark(stream, destination, identity, 2**63 - 1)
        with open(state.crash_trace, "w") as file:
            file.write("Fatal Python error: Aborted\n")
        heard = Heard()
        after = CrashBreaker(state, heard)
        after.open()
        after.close()
        [crash] = heard.of(CrashFound)
        assert (crash.device, crash.inode) == (identity.device, identity.inode)
        assert crash.offset == 2**63 - 1
        assert crash.stream.startswith("ééé")
        after.progressed(stream, destination, identity)
        assert contents(state.crash_counts) is None
        breaker.close()


@pytest.mark.parametrize("text", ["{", "[1]", '[{"file": {}, "crashes": {}}]', "\0\0\0"])
def test_unusable_counts_are_told(tmp_path, text):
    heard = Heard()
    (tmp_path / "crash_counts").write_text(text)
    with watched(str(tmp_path), heard) as breaker:
        assert not breaker.quarantined(STREAM, DESTINATION, FILE)
    assert "crash_counts" in heard.of(BreakerImpaired)[0].message()


def test_other_traces_are_no_crashes(tmp_path):
    heard = Heard()
    (tmp_path / "crash_trace").write_text("Timeout (0:00:01)!\nThread 0x1:\n")
    with watched(str(tmp_path), heard):
        assert heard == []


def test_a_full_disk_does_not_stop_the_agent(tmp_path):
    heard = Heard()
    with mounted(str(tmp_path / "disk"), "size=64k") as path:
        fill(path)
        with watched(path, heard) as breaker:
            breaker.mark(STREAM, DESTINATION, FILE, 1)
            breaker.unmark()
        assert heard.of(BreakerImpaired)
