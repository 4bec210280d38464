from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import pytest

from singer.base.errors import StateError, StateLockedError
from singer.positions import state_dir
from singer.positions.state_dir import StateDir
from tests.positions.parts import mounted
from tests.support import child
from tests.support.waiting import wait_until

HOLD = """
import sys, time
from singer.positions.state_dir import StateDir
held = StateDir(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


def test_is_created_for_its_owner_only(tmp_path):
    path = str(tmp_path / "a" / "state")
    with StateDir(path) as state:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        assert state.boot_id == state_dir.boot_id() != ""
        with open(state.lock) as file:
            assert int(file.read()) == os.getpid()
        inside = {
            state.lock,
            state.positions,
            state.positions_backup,
            state.dead_letters,
            state.crash_trace,
            state.crash_counts,
            state.active_mark,
        }
        assert len(inside) == 7
        assert {os.path.dirname(name) for name in inside} == {path}


def test_a_second_holder_is_told_the_pid(tmp_path, monkeypatch):
    monkeypatch.setattr(state_dir, "LOCK_GRACE_SECONDS", 0.1)
    with StateDir(str(tmp_path)):
        with pytest.raises(StateLockedError) as caught:
            StateDir(str(tmp_path))
        assert f"pid {os.getpid()}" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    StateDir(str(tmp_path)).close()


def test_closing_twice_is_allowed(tmp_path):
    state = StateDir(str(tmp_path))
    state.close()
    state.close()


def test_a_start_right_after_kill_9_works(tmp_path):
    holder = child.spawn(
        [sys.executable, "-c", HOLD, str(tmp_path)], output=subprocess.PIPE, cwd=os.getcwd()
    )
    try:
        assert holder.stdout is not None
        with holder.stdout:
            assert holder.stdout.readline() == b"held\n"
            holder.kill()
            began = time.monotonic()
            StateDir(str(tmp_path)).close()
            assert time.monotonic() - began < state_dir.LOCK_GRACE_SECONDS
    finally:
        child.end(holder)


def test_a_holder_that_ends_is_waited_for(tmp_path):
    holder = StateDir(str(tmp_path))
    other = child.spawn(
        [sys.executable, "-c", HOLD, str(tmp_path)], output=subprocess.PIPE, cwd=os.getcwd()
    )
    try:
        wait_until(lambda: _has_open(other.pid, holder.lock), 10, "the other one tries")
        holder.close()
        assert other.stdout is not None
        with other.stdout:
            assert other.stdout.readline() == b"held\n"
    finally:
        holder.close()
        child.end(other)


def _has_open(pid, path):
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return path in links


def test_a_file_in_its_place_is_named(tmp_path):
    path = tmp_path / "state"
    path.write_text("")
    with pytest.raises(StateError, match="not a directory is in its place: move it away") as caught:
        StateDir(str(path))
    assert str(path) in str(caught.value)
    with pytest.raises(StateError, match=r"correct agent\.state_dir"):
        StateDir(str(path / "below"))


def test_a_lock_file_that_is_a_link_is_refused(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("keep")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(StateError, match="symbolic link"):
        StateDir(str(tmp_path))
    assert victim.read_text() == "keep"


def test_a_read_only_file_system_is_named(tmp_path):
    with (
        mounted(str(tmp_path / "disk"), "size=64k,ro") as path,
        pytest.raises(StateError, match="make the file system writable") as caught,
    ):
        StateDir(path)
    assert path in str(caught.value)


def test_a_full_file_system_can_be_locked(tmp_path):
    with mounted(str(tmp_path / "disk"), "size=64k") as path:
        StateDir(path).close()
        with open(os.path.join(path, "ballast"), "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        StateDir(path).close()
