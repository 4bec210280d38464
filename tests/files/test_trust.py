"""Which hard links may have been put there by others."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from singer.files.stat import stat_fd
from singer.files.trust import is_planted, is_trusted
from tests.files.privileges import STRANGER, needs_root


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"secret")
    return os.fspath(path)


def make_directory(tmp_path, mode: int, owner: int = -1) -> str:
    path = os.fspath(tmp_path / "logs")
    os.mkdir(path)
    os.chmod(path, mode)
    os.chown(path, owner, -1)
    return path


def planted(directory: str, name: str) -> bool:
    with ExitStack() as stack:
        above = os.open(directory, os.O_PATH)
        stack.callback(os.close, above)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
        stack.callback(os.close, fd)
        return is_planted(above, fd, stat_fd(fd))


def test_root_and_the_agents_user_are_trusted():
    assert is_trusted(0)
    assert is_trusted(os.geteuid())
    assert not is_trusted(STRANGER)


def test_hard_links_in_a_directory_where_only_we_write_are_our_own(tmp_path, secret):
    logs = make_directory(tmp_path, 0o755)
    os.link(secret, f"{logs}/a.log")
    assert not planted(logs, "a.log")


@needs_root
@pytest.mark.parametrize(
    ("mode", "owner"), [(0o755, STRANGER), (0o777, 0), (0o1777, 0), (0o775, 0), (0o702, 0)]
)
def test_hard_links_where_others_write_are_not_trusted(tmp_path, secret, mode, owner):
    logs = make_directory(tmp_path, mode, owner)
    os.link(secret, f"{logs}/a.log")
    assert planted(logs, "a.log")
    os.unlink(secret)  # its last name is its own
    assert not planted(logs, "a.log")


@needs_root
def test_a_user_may_link_what_he_owns(tmp_path, secret):
    logs = make_directory(tmp_path, 0o755, STRANGER)
    os.chown(secret, STRANGER, -1)
    os.link(secret, f"{logs}/a.log")
    assert not planted(logs, "a.log")
    os.chown(secret, STRANGER - 1, -1)
    assert planted(logs, "a.log")


@needs_root
def test_a_link_that_is_removed_and_made_anew_meanwhile_is_still_found_out(tmp_path, secret):
    logs = make_directory(tmp_path, 0o755, STRANGER)
    os.link(secret, f"{logs}/a.log")
    above = os.open(logs, os.O_PATH)
    fd = os.open("a.log", os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
    try:
        os.unlink(f"{logs}/a.log")
        assert os.fstat(fd).st_nlink == 1
        assert is_planted(above, fd, stat_fd(fd))
        os.link(secret, f"{logs}/a.log")
        os.unlink(secret)
        assert os.fstat(fd).st_nlink == 1
        assert is_planted(above, fd, stat_fd(fd))
    finally:
        os.close(fd)
        os.close(above)


@needs_root
def test_a_file_deleted_meanwhile_was_nobody_elses(tmp_path):
    logs = make_directory(tmp_path, 0o755, STRANGER)
    above = os.open(logs, os.O_PATH)
    fd = os.open("a.log", os.O_CREAT | os.O_WRONLY, dir_fd=above)
    try:
        os.unlink(f"{logs}/a.log")
        assert not is_planted(above, fd, stat_fd(fd))
    finally:
        os.close(fd)
        os.close(above)
