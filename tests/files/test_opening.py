"""Only regular files are opened, and what is there instead does not notice."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import threading

import pytest

from singer.base.errors import ReadError
from singer.files.opening import explain, open_in
from tests.files.privileges import reads_everything


def opened(path: str) -> int:
    above, name = os.path.split(path)
    directory = os.open(above or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        return open_in(directory, name, path)
    finally:
        os.close(directory)


def refused(path: str) -> str:
    with pytest.raises(ReadError) as caught:
        os.close(opened(path))
    assert repr(path) in str(caught.value)
    assert str(caught.value).startswith("open ")
    return str(caught.value)


def test_a_regular_file_is_opened_for_reading_only(tmp_path):
    path = str(tmp_path / os.fsdecode(b"l\xffg"))
    with open(path, "wb") as file:
        file.write(b"content")
    fd = opened(path)
    try:
        assert os.read(fd, 100) == b"content"
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert os.readlink(f"/proc/self/fd/{fd}") == path
    finally:
        os.close(fd)


def test_a_fifo_is_refused_at_once_and_its_writer_is_not_let_go(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    about_to, written = threading.Event(), threading.Event()

    def write() -> None:
        about_to.set()
        with open(path, "wb"):
            written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert about_to.wait(5)
        for _ in range(100):
            assert "is a FIFO" in refused(path)
        # A reader that comes and goes would have let the writer's open return.
        assert not written.wait(0.1)
    finally:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer.join(5)
        os.close(fd)
    assert not writer.is_alive()


def test_other_things_are_refused_by_name(tmp_path):
    link, server = str(tmp_path / "link"), str(tmp_path / "socket")
    with open(tmp_path / "target", "wb"):
        os.symlink("target", link)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(server)
        assert "is a socket" in refused(server)
    assert "is a symbolic link" in refused(link)
    assert "is a directory" in refused(str(tmp_path))
    assert "is a character device" in refused("/dev/zero")


def test_what_is_gone_can_be_told_from_what_is_forbidden(tmp_path):
    with pytest.raises(ReadError, match="no such file") as caught:
        opened(str(tmp_path / "gone"))
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.skipif(reads_everything(), reason="root may read everything")
def test_a_file_that_may_not_be_read_says_what_to_do(tmp_path):
    path = tmp_path / "secret"
    path.touch(mode=0)
    message = refused(str(path))
    assert "permission denied; let the agent's user read" in message


def test_no_descriptor_is_left_behind(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    before = set(os.listdir("/proc/self/fd"))
    for name in ("fifo", "gone"):
        refused(str(tmp_path / name))
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.EMFILE, "LimitNOFILE"), (errno.ENFILE, "fs.file-max"), (errno.EACCES, "user read")],
)
def test_a_cause_with_a_remedy_says_it(code, remedy):
    said = explain(OSError(code, os.strerror(code)))
    assert said.startswith(os.strerror(code).lower() + "; ")
    assert remedy in said


def test_without_descriptors_it_says_what_to_raise(tmp_path):
    (tmp_path / "app.log").touch()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    directory = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    # The next descriptor is the lowest that is free.
    free = os.dup(directory)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(ReadError, match=r"too many open files; raise .*LimitNOFILE") as caught:
            os.close(open_in(directory, "app.log", "app.log"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(directory)
    assert isinstance(caught.value.__cause__, OSError)
