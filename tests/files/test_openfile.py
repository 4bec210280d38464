"""A regular file held open."""

from __future__ import annotations

import os
import threading

import pytest

from singer.base.position import FileIdentity
from singer.files.openfile import OpenFile, give_back
from singer.files.stat import stat_fd
from singer.files.threads import DeviceThreads
from tests.support.waiting import wait_until


@pytest.fixture
def path(tmp_path):
    (tmp_path / "app.log").write_bytes(b"12345")
    return tmp_path / "app.log"


@pytest.fixture
def opened(path):
    fd = os.open(path, os.O_RDONLY)
    stat = stat_fd(fd)
    identity = FileIdentity(device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns)
    file = OpenFile(fd, str(path), str(path), identity)
    yield file
    file.close()


def test_it_begins_at_its_path_and_not_final(opened, path):
    assert (opened.path, opened.seen_at) == (str(path), str(path))
    assert opened.final_since is None
    assert not opened.deleted


def test_its_key_is_that_of_the_inode(opened, path):
    stat = path.stat()
    assert opened.key == (stat.st_dev, stat.st_ino)


def test_its_size_is_that_of_now(opened, path):
    assert opened.size() == 5
    with path.open("ab") as file:
        file.write(b"678")
    assert opened.size() == 8
    os.truncate(path, 0)
    assert opened.size() == 0


def test_the_kernel_knows_where_it_went(opened, path):
    assert opened.whereabouts() == (1, str(path))
    path.rename(path.with_name("app.log.1"))
    assert opened.whereabouts() == (1, str(path) + ".1")
    os.link(path.with_name("app.log.1"), path)
    assert opened.whereabouts()[0] == 2
    path.unlink()
    path.with_name("app.log.1").unlink()
    assert opened.whereabouts()[0] == 0
    assert opened.size() == 5, "what is deleted can still be read"


def test_overwritten_by_a_rename_it_has_no_name(opened, path):
    path.with_name("other").write_bytes(b"other")
    path.with_name("other").rename(path)
    assert opened.whereabouts()[0] == 0


def test_its_seed_is_its_own_and_survives_a_rename_and_a_restart(opened, path):
    def seed(inode, birth_ns, device=1):
        identity = FileIdentity(device=device, inode=inode, birth_ns=birth_ns)
        return OpenFile(-1, "/a", "/b", identity).seed

    assert seed(1, 100) == seed(1, 100, device=2)
    assert len({seed(1, 100), seed(2, 100), seed(1, 200), seed(1, None)}) == 4
    before = opened.seed
    path.rename(path.with_name("app.log.1"))
    assert opened.seed == before


def test_closing_gives_the_descriptor_back_once(opened):
    fd = opened.fd
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    again = os.open("/dev/null", os.O_RDONLY)  # most likely the same number
    opened.close()
    os.fstat(again)
    os.close(again)
    with pytest.raises(OSError, match="Bad file descriptor"):
        opened.size()


def test_a_remote_file_is_closed_by_a_thread_that_nobody_waits_for(path):
    gate, entered = threading.Event(), threading.Semaphore(0)
    threads = DeviceThreads()

    def hang():
        entered.release()
        assert gate.wait(10)

    def opened(remote):
        fd = os.open(path, os.O_RDONLY)
        stat = stat_fd(fd)
        identity = FileIdentity(device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns)
        return OpenFile(fd, str(path), str(path), identity, remote=remote)

    local, remote = opened(remote=False), opened(remote=True)
    fds = local.fd, remote.fd
    for _ in range(2):
        threads.post(remote.identity.device, hang)
        assert entered.acquire(timeout=10)
    for file in (local, remote, remote):
        file.close(threads)
    assert remote.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[0])
    os.fstat(fds[1])
    gate.set()

    def is_closed():
        try:
            os.fstat(fds[1])
        except OSError:
            return True
        return False

    wait_until(is_closed, 10, "the thread closed it")


def test_where_the_system_has_no_thread_a_remote_file_is_left_to_the_end(opened, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    give_back(opened.fd, opened.identity.device, DeviceThreads())
    assert opened.size() == 5, "nobody closed it, nobody complained"
