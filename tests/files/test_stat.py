"""statx against the file system and against os.stat."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

import pytest

from singer.files import stat
from singer.files.stat import FileStat, is_shared, mount_point, stat_fd, stat_path
from tests.positions.parts import mounted


def as_os_says(answer: os.stat_result) -> tuple[int, ...]:
    return (
        answer.st_dev,
        answer.st_ino,
        answer.st_size,
        answer.st_mtime_ns,
        answer.st_ctime_ns,
        answer.st_nlink,
        answer.st_mode,
        answer.st_uid,
    )


def without_birth(answer: FileStat) -> tuple[int | None, ...]:
    return answer[:2] + answer[3:]


@pytest.fixture(params=["statx", "plain stat", "statx forbidden"])
def way(request, monkeypatch):
    if request.param == "plain stat":
        monkeypatch.setattr(stat, "_statx", None)
    elif request.param == "statx forbidden":

        def refuse(*arguments):
            ctypes.set_errno(errno.EPERM)
            return -1

        monkeypatch.setattr(stat, "_statx", refuse)
    return request.param


def test_it_says_what_the_system_says(tmp_path, way):
    path = str(tmp_path / os.fsdecode(b"log \xff"))
    with open(path, "wb") as file:
        file.write(b"x" * 1234)
    os.link(path, path + ".2")
    os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    expected = as_os_says(os.stat(path))
    fd = os.open(path, os.O_RDONLY)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        answers = [
            stat_path(path),
            stat_fd(fd),
            stat_path(os.path.basename(path), directory=directory),
        ]
    finally:
        os.close(fd)
        os.close(directory)
    assert [without_birth(answer) for answer in answers] == [expected] * 3
    assert len(set(answers)) == 1
    assert answers[0].is_regular


def test_links_are_not_followed(tmp_path, way):
    os.symlink("nowhere", tmp_path / "link")
    answer = stat_path(str(tmp_path / "link"))
    assert not answer.is_regular
    assert answer.kind == "a symbolic link"


def test_kinds_have_names(tmp_path, way):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        names = [str(tmp_path / "fifo"), str(tmp_path / "socket"), str(tmp_path), "/dev/null"]
        kinds = [stat_path(name).kind for name in names]
    assert kinds == ["a FIFO", "a socket", "a directory", "a character device"]


def test_what_is_not_there_is_said_with_its_name(tmp_path, way):
    path = str(tmp_path / "gone")
    with pytest.raises(FileNotFoundError) as caught:
        stat_path(path)
    assert caught.value.filename == path
    with pytest.raises(OSError, match="Bad file descriptor"):
        stat_fd(-1)


def test_a_birth_time_stays_when_all_else_changes(tmp_path):
    path = str(tmp_path / "log")
    with open(path, "wb") as file:
        born = stat_fd(file.fileno()).birth_ns
        if born is None:
            pytest.skip("this file system keeps no birth times")
        file.write(b"more")
    os.utime(path, ns=(0, 0))
    assert stat_path(path).birth_ns == born


def test_an_inode_number_used_again_has_another_birth_time(tmp_path):
    path = str(tmp_path / "log")
    seen = set()
    for _ in range(3):
        with open(path, "wb") as file:
            seen.add(stat_fd(file.fileno()).birth_ns)
        os.unlink(path)
    if seen == {None}:
        pytest.skip("this file system keeps no birth times")
    assert len(seen) == 3


def test_local_files_are_not_shared(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not is_shared(fd)
    finally:
        os.close(fd)
    assert not is_shared(-1)


def test_a_device_has_a_mount_point(tmp_path):
    assert mount_point(os.stat("/proc").st_dev) == "/proc"
    assert mount_point(os.makedev(0, 0xFFFFF)) is None


def test_a_mount_point_may_have_any_name(tmp_path):
    with mounted(str(tmp_path / "a b\\040 \n\udcff"), "size=64k") as path:
        assert mount_point(os.stat(path).st_dev) == path
