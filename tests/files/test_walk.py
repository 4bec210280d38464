"""Walks over real directories."""

from __future__ import annotations

import os
import socket

import pytest

from singer.files import walk as walk_module
from singer.files.stat import stat_path
from singer.files.walk import Walk, Walker
from tests.files.privileges import reads_everything

needs_permissions = pytest.mark.skipif(reads_everything(), reason="root may read everything")


@pytest.fixture
def root(tmp_path):
    return os.fspath(tmp_path)


def make(root: str, *names: str) -> None:
    for name in names:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name.encode(errors="surrogateescape"))


def names(root: str, walk: Walk) -> list[str]:
    return [os.path.relpath(sighting.path, root) for sighting in walk.sightings]


def directories(root: str, walk: Walk) -> set[str]:
    return {os.path.relpath(path, root) for path in walk.directories}


def test_regular_files_that_match_are_sighted_in_order_with_their_stat(root):
    make(root, "b.log", "a.log", "a.txt", "sub/c.log", ".hidden.log")
    walk = Walker([f"{root}/*.log"]).walk()
    assert names(root, walk) == ["a.log", "b.log"]
    assert walk.sightings[0].stat == stat_path(f"{root}/a.log")
    assert walk.directories == {root}
    assert walk.faults == ()


def test_directories_are_entered_only_where_a_match_is_possible(root):
    make(root, "x/logs/a.log", "y/logs/a.log", "y/data/b.log", "y/logs/deep/c.log", ".h/logs/d.log")
    walk = Walker([f"{root}/*/logs/*.log"]).walk()
    assert names(root, walk) == ["x/logs/a.log", "y/logs/a.log"]
    assert directories(root, walk) == {".", "x", "x/logs", "y", "y/logs"}


def test_a_directory_that_several_globs_reach_is_seen_once(root):
    make(root, "app/a.log", "app/b.txt", "app/sub/c.log")
    walker = Walker([f"{root}/**/*.log", f"{root}/app/*.log", f"{root}/*/*.{{txt,log}}"])
    walk = walker.walk()
    assert names(root, walk) == ["app/a.log", "app/b.txt", "app/sub/c.log"]
    assert directories(root, walk) == {".", "app", "app/sub"}


def test_names_that_are_not_utf8_and_odd_ones_work(root):
    odd = [os.fsdecode(b"\xff\xfe.log"), "new\nline.log", "sp ace.log", "*.log", "é.log"]
    make(root, *(os.path.join(os.fsdecode(b"d\xff"), name) for name in odd))
    walk = Walker([f"{root}/d?/*.log"]).walk()
    assert {os.path.basename(sighting.path) for sighting in walk.sightings} == set(odd)


def test_excludes_leave_out_names_paths_and_whole_trees(root):
    make(root, "a.log", "a.tmp", "b.log", "cache/x.log", "sub/cache/y.log", "sub/a.log")
    walker = Walker([f"{root}/**"], ["*.tmp", f"{root}/b.*", "**/cache/**"])
    walk = walker.walk()
    assert names(root, walk) == ["a.log", "sub/a.log"]
    assert directories(root, walk) == {".", "sub"}
    assert walker.matches(f"{root}/q/a.log")
    assert not walker.matches(f"{root}/cache/a.log")
    assert not walker.matches("/elsewhere")


def test_links_are_not_followed_and_said_unless_their_target_is_read_anyway(root):
    make(root, "a.log", "other/b.txt", "dir/c.log")
    os.symlink("a.log", f"{root}/current.log")
    os.symlink("other/b.txt", f"{root}/link.log")
    os.symlink("dir", f"{root}/linkdir")
    os.symlink(".", f"{root}/dir/loop")
    walk = Walker([f"{root}/**/*.log"]).walk()
    assert names(root, walk) == ["a.log", "dir/c.log"]
    assert directories(root, walk) == {".", "dir", "other"}
    assert [path for path, _ in walk.faults] == [f"{root}/link.log"]
    assert "'" + f"{root}/other/b.txt" + "'" in walk.faults[0][1]


def test_directories_that_are_written_out_may_lead_through_links(root):
    make(root, "real/sub/a.log")
    os.symlink("real", f"{root}/link")
    walk = Walker([f"{root}/link/sub/*.log", f"{root}/link/*.log"]).walk()
    assert names(root, walk) == ["link/sub/a.log"]


def test_what_is_no_file_is_never_sighted_and_said_where_it_was_named(root):
    make(root, "dir.log/a.log")
    os.mkfifo(f"{root}/fifo.log")
    os.symlink("fifo.log", f"{root}/link.log")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}/socket.log")
        by_wildcard = Walker([f"{root}/*.log"]).walk()
        named = Walker([f"{root}/{kind}.log" for kind in ("dir", "fifo", "link", "socket")]).walk()
    assert by_wildcard.sightings == named.sightings == ()
    # A directory is nothing to complain about, and the link leads to what is said already.
    said = dict(by_wildcard.faults)
    assert said.keys() == {f"{root}/{kind}.log" for kind in ("fifo", "link", "socket")}
    said = dict(named.faults)
    assert len(said) == 4
    assert "is a directory" in said[f"{root}/dir.log"]
    assert "add /*" in said[f"{root}/dir.log"]
    assert "is a FIFO" in said[f"{root}/fifo.log"]
    assert "is a symbolic link" in said[f"{root}/link.log"]
    assert all(repr(path) in cause for path, cause in walk_faults(by_wildcard, named))


def walk_faults(*walks: Walk) -> list[tuple[str, str]]:
    return [fault for walk in walks for fault in walk.faults]


def test_above_what_is_not_there_the_nearest_directory_is_watched(root):
    walker = Walker([f"{root}/a/b/c/*.log"])
    assert walker.walk() == Walk(sightings=(), directories=frozenset({root}), faults=())
    os.mkdir(f"{root}/a")
    assert walker.list_directory(root).subdirectories == {f"{root}/a"}
    assert walker.walk().directories == {f"{root}/a"}
    make(root, "a/b/c/x.log")
    walk = walker.walk()
    assert names(root, walk) == ["a/b/c/x.log"]
    assert walk.directories == {f"{root}/a/b/c"}
    # Whoever still watches the upper one finds nothing new there.
    assert walker.list_directory(root).subdirectories == walk.directories


def test_a_file_in_place_of_a_directory_is_said(root):
    make(root, "a")
    walk = Walker([f"{root}/a/*.log"]).walk()
    assert [path for path, _ in walk.faults] == [f"{root}/a"]
    assert "not a directory" in walk.faults[0][1]


@needs_permissions
def test_a_directory_that_may_not_be_read_is_said_and_the_others_go_on(root):
    make(root, "closed/a.log", "open/b.log")
    os.chmod(f"{root}/closed", 0)
    try:
        walk = Walker([f"{root}/*/*.log"]).walk()
        listing = Walker([f"{root}/*/*.log"]).list_directory(f"{root}/closed")
    finally:
        os.chmod(f"{root}/closed", 0o755)
    assert names(root, walk) == ["open/b.log"]
    assert directories(root, walk) == {".", "closed", "open"}
    assert [path for path, _ in walk.faults] == [f"{root}/closed"]
    assert "permission denied; let the agent's user" in walk.faults[0][1]
    assert listing.fault == walk.faults[0][1]


def test_a_literal_path_does_not_list_its_directory(root):
    make(root, "a.log", *(f"other{n}" for n in range(50)))
    os.chmod(root, 0o311)  # may be searched, not listed
    try:
        walk = Walker([f"{root}/a.log", f"{root}/b.log"]).walk()
    finally:
        os.chmod(root, 0o755)
    assert names(root, walk) == ["a.log"]
    assert walk.faults == ()


def test_the_agents_own_files_and_directories_are_never_seen(root):
    make(root, "a.log", "own.log", "state/dead.log")
    own = [stat_path(f"{root}/own.log"), stat_path(f"{root}/state")]
    walker = Walker([f"{root}/**"], avoid=[(stat.device, stat.inode) for stat in own])
    assert names(root, walker.walk()) == ["a.log"]
    assert directories(root, walker.walk()) == {"."}
    listed = walker.list_directory(root)
    assert [sighting.path for sighting in listed.sightings] == [f"{root}/a.log"]
    assert walker.list_directory(f"{root}/state").sightings == ()


def test_a_listing_has_all_regular_files_and_the_directories_a_walk_would_enter(root):
    make(root, "a.log", "a.log.1", ".hidden", "sub/x", "cache/y", "other/z")
    os.mkfifo(f"{root}/fifo")
    os.symlink("a.log", f"{root}/link")
    walker = Walker([f"{root}/{{sub,cache}}/*", f"{root}/a.log"], [f"{root}/cache/**"])
    listing = walker.list_directory(root)
    assert [os.path.basename(s.path) for s in listing.sightings] == [".hidden", "a.log", "a.log.1"]
    assert listing.sightings[1].stat == stat_path(f"{root}/a.log")
    assert listing.subdirectories == {f"{root}/sub"}
    assert listing.fault is None


def test_a_listing_and_a_walk_agree_on_directories(root):
    make(root, "a/b/c/x.log", "a/q/x.log", ".h/x.log", "a/.h/x.log")
    walker = Walker([f"{root}/**/c/*.log", f"{root}/a/*/x.log"])
    walk = walker.walk()
    listed = {s for d in walk.directories for s in walker.list_directory(d).subdirectories}
    assert listed | {root} == walk.directories | {root}


def test_a_directory_that_is_gone_lists_as_empty(root):
    listing = Walker([f"{root}/*/*.log"]).list_directory(f"{root}/gone")
    assert (listing.sightings, listing.subdirectories, listing.fault) == ((), frozenset(), None)


@pytest.mark.parametrize("way", ["walk", "list_directory"])
def test_a_file_renamed_while_its_directory_is_read_is_not_missed(root, monkeypatch, way):
    make(root, "a.log")
    before = stat_path(f"{root}/a.log").inode
    really_look = walk_module._look

    def rotate_once(name, directory):
        if not os.path.exists(f"{root}/a.log.1"):
            os.rename(f"{root}/a.log", f"{root}/a.log.1")
            make(root, "a.log")
        return really_look(name, directory)

    monkeypatch.setattr(walk_module, "_look", rotate_once)
    walker = Walker([f"{root}/a.log*"])
    found = walker.walk() if way == "walk" else walker.list_directory(root)
    assert [os.path.basename(s.path) for s in found.sightings] == ["a.log", "a.log.1"]
    assert found.sightings[1].stat.inode == before


def test_a_directory_that_never_rests_is_still_listed(root, monkeypatch):
    make(root, "a.log")
    really_look = walk_module._look
    looks = []

    def disturb(name, directory):
        looks.append(name)
        make(root, f"x{len(looks)}")
        return really_look(name, directory)

    monkeypatch.setattr(walk_module, "_look", disturb)
    assert names(root, Walker([f"{root}/*.log"]).walk()) == ["a.log"]
    assert 1 < len(looks) < 10


def test_rotated_globs_are_matched_and_not_walked(root):
    make(root, "old/a.log.one")
    walker = Walker([f"{root}/a.log"], ["*.bak"], [f"{root}/old/a.log.*"])
    assert walker.is_rotated(f"{root}/old/a.log.one")
    assert not walker.is_rotated(f"{root}/old/a.log.bak")
    assert not walker.is_rotated(f"{root}/a.log")
    assert walker.walk().sightings == ()


def test_no_descriptor_is_left_behind(root):
    make(root, "a/b/x.log", "a/c/x.log")
    before = len(os.listdir("/proc/self/fd"))
    Walker([f"{root}/**", "/proc/self/nothing/*"]).walk()
    Walker([f"{root}/**"]).list_directory(f"{root}/a")
    assert len(os.listdir("/proc/self/fd")) == before
