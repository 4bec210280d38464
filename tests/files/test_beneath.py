"""Directories are opened beneath others, and nobody can lead us out."""

from __future__ import annotations

import errno
import os
import time

import pytest

from singer.files import beneath
from singer.files.beneath import RefusedLinkError, open_beneath, open_written_out
from tests.files.privileges import STRANGER, needs_root
from tests.files.swapping import swapping

ODD = os.fsdecode(b"d\xff\xfe")


@pytest.fixture
def root(tmp_path):
    return os.fspath(tmp_path)


def answers_openat2() -> bool:
    fd = beneath._openat2(-100, ".", os.O_PATH)
    if fd is not None:
        os.close(fd)
    return fd is not None


@pytest.fixture(params=["openat2", "no openat2"])
def way(request, monkeypatch):
    """With the kernel's help, and with a kernel that answers that it has no such call."""
    if request.param == "no openat2":
        monkeypatch.setattr(beneath, "_OPENAT2", 100_000)
    elif not answers_openat2():
        pytest.skip("this kernel has no openat2")
    return request.param


def where(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@pytest.fixture
def directory(root):
    os.makedirs(f"{root}/top/a/b")
    os.makedirs(f"{root}/top/{ODD}/{ODD}")
    os.makedirs(f"{root}/outside/b")
    os.mkfifo(f"{root}/top/fifo")
    for name, target in {"in": "a", "up": "..", "out": "../outside", "abs": "/"}.items():
        os.symlink(target, f"{root}/top/{name}")
    fd = os.open(f"{root}/top", os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("flags", [os.O_PATH, os.O_RDONLY])
def test_what_lies_beneath_is_opened(root, directory, way, flags):
    for path, real in {".": "", "a": "/a", "a/b": "/a/b", f"{ODD}/{ODD}": f"/{ODD}/{ODD}"}.items():
        fd = open_beneath(directory, path, flags)
        assert not os.get_inheritable(fd)
        if flags == os.O_RDONLY:
            assert os.listdir(fd) == os.listdir(f"{root}/top{real}")
        assert where(fd) == f"{root}/top{real}"


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("in", {errno.ELOOP, errno.ENOTDIR}),
        ("in/b", {errno.ELOOP, errno.ENOTDIR}),
        ("out/b", {errno.ELOOP, errno.ENOTDIR}),
        ("up", {errno.ELOOP, errno.ENOTDIR}),
        ("abs/etc", {errno.ELOOP, errno.ENOTDIR}),
        ("..", {errno.EXDEV}),
        ("a/../../outside", {errno.EXDEV}),
        ("a/..", {errno.EXDEV}),
        ("/etc", {errno.EXDEV}),
        ("fifo", {errno.ENOTDIR}),
        ("gone/b", {errno.ENOENT}),
    ],
)
def test_no_link_and_no_way_up_is_taken(directory, way, path, codes):
    for flags in (os.O_PATH, os.O_RDONLY):
        with pytest.raises(OSError) as caught:
            open_beneath(directory, path, flags)
        assert caught.value.errno in codes


def test_a_directory_swapped_with_a_link_never_leads_out(root, directory, way):
    inside = os.stat(f"{root}/top/a/b").st_ino
    answers = {"opened": 0, "refused": 0}
    until = time.monotonic() + 20
    with swapping(f"{root}/top/a", f"{root}/top/out"):
        while min(answers.values()) < 100 and time.monotonic() < until:
            try:
                fd = open_beneath(directory, "a/b", os.O_RDONLY)
            except OSError:
                answers["refused"] += 1
                continue
            answers["opened"] += 1
            assert os.fstat(fd).st_ino == inside
            os.close(fd)
    assert min(answers.values()) >= 100


def test_no_descriptor_is_left_behind(root, directory, way):
    before = os.listdir("/proc/self/fd")
    for path in ("a/b", "in/b", "gone/x", "..", "fifo"):
        try:
            os.close(open_beneath(directory, path))
        except OSError:
            continue
    for path in ("/top/a", "/top/in/b", "/gone", "/top/fifo", "/top/fifo/x"):
        try:
            os.close(open_written_out(root + path))
        except OSError:
            continue
    assert os.listdir("/proc/self/fd") == before


# --- what is written out -------------------------------------------------------------------------


def test_ones_own_links_lead_to_what_is_written_out(root):
    os.makedirs(f"{root}/real/{ODD}/sub")
    os.symlink(f"real/{ODD}", f"{root}/relative")
    os.symlink(f"{root}/relative/../{ODD}", f"{root}/absolute")
    for path in (f"real/{ODD}/sub", "relative/sub", "absolute/sub", "absolute//sub/"):
        assert where(open_written_out(f"{root}/{path}")) == f"{root}/real/{ODD}/sub"
    assert where(open_written_out("/")) == "/"
    fd = open_written_out(f"{root}/absolute", os.O_RDONLY)
    assert os.listdir(fd) == ["sub"]
    assert where(fd) == f"{root}/real/{ODD}"


def test_links_that_lead_in_a_circle_or_nowhere_end(root):
    os.symlink("two", f"{root}/one")
    os.symlink("one", f"{root}/two")
    os.symlink("gone", f"{root}/dangling")
    with pytest.raises(OSError) as caught:
        open_written_out(f"{root}/one/x")
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(FileNotFoundError):
        open_written_out(f"{root}/dangling")
    os.mkfifo(f"{root}/fifo")
    with pytest.raises(NotADirectoryError):
        open_written_out(f"{root}/fifo")


@needs_root
def test_links_of_others_are_refused_wherever_they_are_on_the_way(root):
    os.makedirs(f"{root}/real/sub")
    os.symlink("real", f"{root}/theirs")
    os.lchown(f"{root}/theirs", STRANGER, -1)
    os.symlink("theirs/sub", f"{root}/ours")
    for path in ("theirs", "theirs/sub", "ours"):
        with pytest.raises(RefusedLinkError) as caught:
            open_written_out(f"{root}/{path}")
        assert f"'{root}/theirs' is a symbolic link to 'real'" in caught.value.strerror
        assert f"user {STRANGER}" in caught.value.strerror
        assert "write out the directory" in caught.value.strerror


@needs_root
def test_a_link_of_root_that_others_may_have_moved_there_is_refused(root):
    os.makedirs(f"{root}/real")
    os.makedirs(f"{root}/home")
    os.symlink(f"{root}/real", f"{root}/link")
    os.chown(f"{root}/home", STRANGER, -1)
    os.link(f"{root}/link", f"{root}/home/logs", follow_symlinks=False)
    with pytest.raises(RefusedLinkError):
        open_written_out(f"{root}/home/logs")
    assert where(open_written_out(f"{root}/link")) == f"{root}/real"


def test_links_of_proc_lead_where_the_kernel_says_not_where_their_text_does(root):
    os.mkdir(f"{root}/a")
    fd = os.open(f"{root}/a", os.O_PATH)
    try:
        os.rename(f"{root}/a", f"{root}/b")
        os.mkdir(f"{root}/a")
        os.rmdir(f"{root}/b")
        reached = open_written_out(f"/proc/self/fd/{fd}")
        assert os.path.samestat(os.fstat(reached), os.fstat(fd))
        os.close(reached)
    finally:
        os.close(fd)


def test_a_written_out_directory_swapped_with_a_link_is_itself_or_where_the_link_leads(root):
    """Ours may be followed: but what was judged is what is opened."""
    os.makedirs(f"{root}/logs")
    os.makedirs(f"{root}/elsewhere")
    os.symlink(f"{root}/elsewhere", f"{root}/link")
    stranger = os.geteuid() == 0
    if stranger:
        os.lchown(f"{root}/link", STRANGER, -1)
    elsewhere = os.stat(f"{root}/elsewhere").st_ino
    opened, until = 0, time.monotonic() + 20
    with swapping(f"{root}/logs", f"{root}/link"):
        while opened < 200 and time.monotonic() < until:
            try:
                fd = open_written_out(f"{root}/logs")
            except OSError:
                continue
            opened += 1
            assert not stranger or os.fstat(fd).st_ino != elsewhere
            os.close(fd)
    assert opened >= 200
