"""Walks over real directories."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import pytest

from singer.base.errors import ReadError
from singer.files import stat as stat_module
from singer.files import walk as walk_module
from singer.files.stat import FileStat, stat_path
from singer.files.walk import Listing, Tree, Walk, Walker
from tests.files.privileges import STRANGER, needs_root, reads_everything
from tests.files.swapping import swapping

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
    assert walker.walk() == Walk(tree={}, directories=frozenset({root}), faults=())
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
    assert directories(root, walk) - {os.path.relpath(d, root) for d in walk.shared} == {
        ".",
        "open",
    }
    assert listing.shared


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


class Disturbed(dict[str, FileStat]):
    """Nothing known; whenever a file is asked about, something happens."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens = happens

    def get(self, name, default=None):
        self.happens()
        return default


@pytest.mark.parametrize("way", ["wildcard", "literal", "list_directory"])
def test_a_file_renamed_while_its_directory_is_read_is_not_missed(root, way):
    make(root, "a.log")
    before = stat_path(f"{root}/a.log").inode

    def rotate_once():
        if not os.path.exists(f"{root}/a.log.1"):
            os.rename(f"{root}/a.log", f"{root}/a.log.1")
            make(root, "a.log")

    known = {root: Disturbed(rotate_once)}
    if way == "literal":
        found = Walker([f"{root}/a.log", f"{root}/a.log.1"]).walk(known)
    elif way == "wildcard":
        found = Walker([f"{root}/a.log*"]).walk(known)
    else:
        found = Walker([f"{root}/a.log*"]).list_directory(root, known)
    assert [os.path.basename(s.path) for s in found.sightings] == ["a.log", "a.log.1"]
    assert found.sightings[1].stat.inode == before


def test_a_directory_that_never_rests_is_still_listed(root):
    make(root, "a.log")
    looks = []

    def disturb():
        looks.append(None)
        make(root, f"x{len(looks)}")

    assert names(root, Walker([f"{root}/*.log"]).walk({root: Disturbed(disturb)})) == ["a.log"]
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
    os.symlink("b", f"{root}/a/link")
    os.symlink("/proc", f"{root}/a/out")
    for follow in (False, True):
        walker = Walker([f"{root}/**", f"{root}/a/*/x.log"], follow_symlinks=follow)
        walker.walk()
        walker.walk_below(f"{root}/a")
        for directory in ("a", "a/link", "a/out", "gone"):
            walker.list_directory(f"{root}/{directory}")
        for name in ("a/b/x.log", "a/link/x.log", "a/out/uptime", "gone"):
            try:
                os.close(walker.open(f"{root}/{name}"))
            except ReadError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before


# --- a second look -------------------------------------------------------------------------------


def stats(walk: Walk) -> dict[str, FileStat]:
    return {sighting.path: sighting.stat for sighting in walk.sightings}


def test_what_has_not_changed_comes_back_as_the_same_object(root):
    make(root, "a/x.log", "a/y.log", "b/x.log", "c.log", "a/z.txt")
    walker = Walker([f"{root}/*/*.log", f"{root}/c.log"])
    known = walker.walk().tree
    assert len(known) == 3
    again = walker.walk(known).tree
    assert again.keys() == known.keys()
    assert all(again[directory] is known[directory] for directory in known)
    make(root, "a/w.log")
    again = walker.walk(known).tree
    assert again[f"{root}/b"] is known[f"{root}/b"]
    assert again[f"{root}/a"].keys() == {"w.log", "x.log", "y.log"}
    assert all(again[f"{root}/a"][name] is stat for name, stat in known[f"{root}/a"].items())
    listed = walker.list_directory(f"{root}/a", again).sightings
    same = [sighting.stat is stats(walker.walk(again)).get(sighting.path) for sighting in listed]
    assert same == [True, True, True, False]


@pytest.mark.parametrize("change", ["append", "chmod", "link", "touch", "replace", "chown"])
def test_whatever_changes_is_asked_about_anew(root, change):
    make(root, "a.log", "b.log")
    path = f"{root}/a.log"
    walker = Walker([f"{root}/*.log"])
    tree = walker.walk().tree
    known = stats(walker.walk(tree))
    before = os.stat(path)
    if change == "append":
        with open(path, "ab") as file:
            file.write(b"x")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "chmod":
        os.chmod(path, 0o600)
    elif change == "link":
        os.link(path, f"{root}/other")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    elif change == "replace":
        make(root, "new")
        os.truncate(f"{root}/new", before.st_size)
        os.utime(f"{root}/new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(f"{root}/new", path)
    elif os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
    else:
        pytest.skip("only root may give files away")
    again = stats(walker.walk(tree))
    assert again[path] is not known[path]
    assert again[path] == stat_path(path) != known[path]
    assert again[f"{root}/b.log"] is known[f"{root}/b.log"]


@pytest.mark.parametrize("field", [name for name in FileStat._fields if name != "birth_ns"])
def test_one_difference_is_enough(root, field):
    make(root, "a.log")
    walker = Walker([f"{root}/*.log"])
    known = walker.walk().tree
    stat = known[root]["a.log"]
    other = {root: {"a.log": stat._replace(**{field: getattr(stat, field) + 1})}}
    assert walker.walk(other).tree == known


def test_what_is_known_of_files_that_are_gone_or_do_not_match_is_no_matter(root):
    make(root, "a.log", "b.txt")
    known = {root: dict.fromkeys(("gone.log", "b.txt"), stat_path(f"{root}/a.log"))}
    assert names(root, Walker([f"{root}/*.log"]).walk(known)) == ["a.log"]


# --- a part of the tree --------------------------------------------------------------------------


def test_a_walk_below_finds_what_a_walk_finds_there(root):
    make(root, "a/x.log", "a/b/x.log", "a/b/c/x.log", "ab/x.log", "a/skip/x.log", "a/b/c.txt")
    make(root, "a/lit/y.log", "d/e/f.log")
    patterns = [f"{root}/**/*.log", f"{root}/a/lit/*.log", f"{root}/d/e/f.log"]
    walker = Walker(patterns, [f"{root}/a/skip/**"])
    whole = walker.walk()
    for below in ("a", "a/b", "a/b/c", "a/lit", "ab", "d", "d/e"):
        part = walker.walk_below(f"{root}/{below}")
        prefix = f"{root}/{below}/"
        assert part.sightings == tuple(s for s in whole.sightings if s.path.startswith(prefix))
        assert part.directories == {d for d in whole.directories if f"{d}/".startswith(prefix)}
        assert part.faults == ()
    assert walker.walk_below(f"{root}/a/skip") == Walk(tree={}, directories=frozenset(), faults=())
    assert walker.walk_below(f"{root}/gone").sightings == ()
    assert walker.walk_below("/").sightings == whole.sightings


def test_a_walk_below_towards_a_written_out_directory_goes_there(root):
    walker = Walker([f"{root}/a/b/c/*.log"])
    os.makedirs(f"{root}/a/b")
    assert walker.walk_below(f"{root}/a").directories == {f"{root}/a/b"}
    make(root, "a/b/c/x.log")
    assert names(root, walker.walk_below(f"{root}/a/b")) == ["a/b/c/x.log"]


def test_a_walk_below_reuses_what_is_known_and_says_what_is_wrong(root):
    make(root, "a/x.log", "b/y.log")
    os.symlink("x.log", f"{root}/a/current.log")
    os.symlink("../b/y.log", f"{root}/a/other.log")
    os.symlink("/etc/hostname", f"{root}/a/out.log")
    walker = Walker([f"{root}/*/*.log"])
    known = walker.walk().tree
    part = walker.walk_below(f"{root}/a", known)
    assert part.tree[f"{root}/a"] is known[f"{root}/a"]
    assert part.faults == walker.walk().faults
    assert [path for path, _ in part.faults] == [f"{root}/a/out.log"]


# --- directories that come and go, and odd ones --------------------------------------------------


def test_a_directory_deleted_and_made_anew_is_found_again(root):
    walker = Walker([f"{root}/app/*.log"])
    for name in ("a.log", "b.log"):
        make(root, f"app/{name}")
        walk = walker.walk()
        assert names(root, walk) == [f"app/{name}"]
        fd = walker.open(f"{root}/app/{name}")
        assert os.fstat(fd).st_ino == walk.sightings[0].stat.inode
        os.close(fd)
        os.unlink(f"{root}/app/{name}")
        os.rmdir(f"{root}/app")
        assert walker.walk().directories == {root}
        assert walker.list_directory(f"{root}/app").fault is None


def test_directories_where_inotify_is_silent_are_named(root, monkeypatch):
    make(root, "a/x.log", "b/y.log")
    walker = Walker([f"{root}/*/*.log", f"{root}/c/d/*.log"])
    assert walker.walk().shared == frozenset()
    assert not walker.list_directory(f"{root}/a").shared
    fd = os.open(root, os.O_PATH)
    monkeypatch.setattr(stat_module, "_SHARED_TYPES", {stat_module._file_system(fd)})
    os.close(fd)
    walk = walker.walk()
    assert walk.shared == walk.directories == {root, f"{root}/a", f"{root}/b"}
    assert walker.list_directory(f"{root}/a").shared
    assert walker.list_directory(os.path.dirname(root)).shared
    assert not walker.list_directory(f"{root}/gone").shared


def test_a_directory_of_its_own_is_no_news(root):
    make(root, "a.log", "state/dead.log")
    own = stat_path(f"{root}/state")
    walker = Walker([f"{root}/**"], avoid=[(own.device, own.inode)])
    assert walker.list_directory(root).subdirectories == frozenset()


def test_above_the_roots_only_the_way_down_is_of_interest(root):
    make(root, "secret", "app/logs/a.log")
    walker = Walker([f"{root}/app/logs/*.log"])
    listing = walker.list_directory(root)
    assert listing.sightings == ()
    assert listing.subdirectories == {f"{root}/app/logs"}


# --- opening -------------------------------------------------------------------------------------


def content(walker: Walker, path: str) -> bytes:
    fd = walker.open(path)
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


def refused(walker: Walker, path: str) -> ReadError:
    with pytest.raises(ReadError) as caught:
        os.close(walker.open(path))
    assert str(caught.value).startswith(f"open {path!r}: ")
    return caught.value


def test_files_below_the_roots_are_opened_and_no_others(root):
    odd = os.fsdecode(b"d\xff")
    make(root, "logs/a.log", f"logs/{odd}/{odd}.log", "old/a.log.1", "secret")
    walker = Walker([f"{root}/logs/**/*.log"], rotated_dirs=[f"{root}/old/"])
    for name in ("logs/a.log", f"logs/{odd}/{odd}.log", "old/a.log.1"):
        assert content(walker, f"{root}/{name}") == name.encode(errors="surrogateescape")
    assert "written out" in str(refused(walker, f"{root}/secret"))
    assert "written out" in str(refused(walker, f"{root}/logs"))
    for path in (f"{root}/logs/../secret", f"{root}/logs/{odd}/../../secret", "secret", ""):
        refused(walker, path)


def test_why_a_file_cannot_be_opened_is_said(root):
    make(root, "logs/a.log", "real/b.log")
    os.symlink("a.log", f"{root}/logs/link.log")
    os.symlink("../real", f"{root}/logs/sub")
    os.mkfifo(f"{root}/logs/fifo.log")
    walker = Walker([f"{root}/logs/**/*.log"])
    assert "is a symbolic link" in str(refused(walker, f"{root}/logs/link.log"))
    assert "a symbolic link is in the way" in str(refused(walker, f"{root}/logs/sub/b.log"))
    assert walker.list_directory(f"{root}/logs/sub") == Listing(
        sightings=(), subdirectories=frozenset()
    )
    assert "is a FIFO" in str(refused(walker, f"{root}/logs/fifo.log"))
    gone = refused(walker, f"{root}/logs/gone.log")
    assert isinstance(gone.__cause__, FileNotFoundError)
    assert "no such file" in str(gone)
    gone = refused(walker, f"{root}/logs/gone/x.log")
    assert isinstance(gone.__cause__, FileNotFoundError)


@needs_root
def test_a_hard_link_to_another_users_file_is_refused(root):
    make(root, "secret", "logs/app/a.log")
    os.chown(f"{root}/logs/app", STRANGER, -1)
    os.link(f"{root}/secret", f"{root}/logs/app/b.log")
    walker = Walker([f"{root}/logs/*/*.log"])
    assert content(walker, f"{root}/logs/app/a.log") == b"logs/app/a.log"
    error = refused(walker, f"{root}/logs/app/b.log")
    assert "hard link" in str(error)
    assert "belongs to user 0" in str(error)
    assert "remove its other names" in str(error)
    assert error.__cause__ is None


@needs_root
def test_a_written_out_directory_behind_a_link_of_others_is_a_fault(root):
    make(root, "secret/a.log")
    os.symlink("secret", f"{root}/logs")
    os.lchown(f"{root}/logs", STRANGER, -1)
    for pattern in ("logs/*.log", "logs/a.log"):
        walker = Walker([f"{root}/{pattern}"])
        walk = walker.walk()
        assert walk.sightings == ()
        assert walk.shared == walk.directories == {f"{root}/logs"}
        [(path, fault)] = walk.faults
        assert path == f"{root}/logs"
        assert f"'{root}/logs' is a symbolic link to 'secret' that user {STRANGER}" in fault
        listing = walker.list_directory(f"{root}/logs")
        assert (listing.fault, listing.sightings, listing.shared) == (fault, (), True)
        assert f"user {STRANGER}" in str(refused(walker, f"{root}/logs/a.log"))


def test_what_is_written_out_twice_is_reached_by_its_own_way(root):
    make(root, "real/b/x.log", "logs/a/x.log")
    os.symlink("../real", f"{root}/logs/link")
    walker = Walker([f"{root}/logs/*/*/*.log", f"{root}/logs/*/*.log", f"{root}/logs/link/c/*.log"])
    assert names(root, walker.walk()) == ["logs/a/x.log"]
    walker = Walker([f"{root}/logs/*/*/*.log", f"{root}/logs/link/*.log"])
    assert names(root, walker.walk()) == ["logs/link/b/x.log"]
    assert content(walker, f"{root}/logs/link/b/x.log") == b"real/b/x.log"


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("kind", ["directory", "file", "retargeted"])
def test_no_byte_from_outside_is_read_while_things_are_swapped(root, kind, follow):
    """Somebody swaps things with links that lead out, while we walk and open."""
    make(root, "logs/top/sub/a.log", "secret/sub/a.log")
    with open(f"{root}/secret/sub/a.log", "wb") as file:
        file.write(b"secret" * 100)
    outside = stat_path(f"{root}/secret/sub/a.log").inode
    swapped = f"{root}/logs/top/sub/a.log" if kind == "file" else f"{root}/logs/top"
    os.symlink(f"{root}/secret/sub/a.log" if kind == "file" else f"{root}/secret", f"{root}/link")
    if kind == "retargeted":  # a link that leads inside, with one that leads out
        os.rename(swapped, f"{root}/logs/real")
        os.symlink("real", swapped)
    walker = Walker([f"{root}/logs/*/sub/*.log"], follow_symlinks=follow)
    path = f"{root}/logs/top/sub/a.log"
    known: Tree = {}
    tally = {"read": 0, "refused": 0}
    # Without `follow` nothing can be read through a link, wherever it leads.
    enough = {"refused": 200} if kind == "retargeted" and not follow else dict.fromkeys(tally, 100)
    until = time.monotonic() + 20
    with swapping(swapped, f"{root}/link"):
        while any(tally[k] < n for k, n in enough.items()) and time.monotonic() < until:
            walk = walker.walk(known)
            known = walk.tree
            assert outside not in {sighting.stat.inode for sighting in walk.sightings}
            for listing in map(walker.list_directory, (f"{root}/logs/top/sub", f"{root}/logs/top")):
                assert outside not in {s.stat.inode for s in listing.sightings}
            for each in {path, *stats(walk)}:
                try:
                    assert content(walker, each) == b"logs/top/sub/a.log"
                    tally["read"] += 1
                except ReadError:
                    tally["refused"] += 1
    assert all(tally[k] >= n for k, n in enough.items())


# --- symbolic links that are followed ------------------------------------------------------------


def following(root: str, *patterns: str, **options) -> Walker:
    return Walker([f"{root}/{pattern}" for pattern in patterns], follow_symlinks=True, **options)


def test_links_that_stay_below_the_roots_are_followed(root):
    odd = os.fsdecode(b"\xff")
    make(root, "logs/real/a.log", f"logs/{odd}/b.log", "old/c.log", "other/logs/d.log")
    os.mkdir(f"{root}/logs/links")
    for name, target in {
        "file.log": "../real/a.log",
        "odd.log": f"{root}/logs/{odd}/b.log",
        "rotated.log": f"{root}/old/c.log",
        "second.log": "file.log",
        "dir": "../real",
        "root": f"{root}/other/logs",
        "dangling.log": "nowhere",
    }.items():
        os.symlink(target, f"{root}/logs/links/{name}")
    walker = following(root, "logs/**/*.log", "other/logs/x", rotated_dirs=[f"{root}/old"])
    walk = walker.walk()
    assert walk.faults == ()
    targets = {
        "logs/links/dir/a.log": "logs/real/a.log",
        "logs/links/file.log": "logs/real/a.log",
        "logs/links/odd.log": f"logs/{odd}/b.log",
        "logs/links/root/d.log": "other/logs/d.log",
        "logs/links/rotated.log": "old/c.log",
        "logs/links/second.log": "logs/real/a.log",
        "logs/real/a.log": "logs/real/a.log",
        f"logs/{odd}/b.log": f"logs/{odd}/b.log",
    }
    assert names(root, walk) == sorted(targets)
    for sighting in walk.sightings:
        target = targets[os.path.relpath(sighting.path, root)]
        assert sighting.stat == stat_path(f"{root}/{target}")
        assert content(walker, sighting.path) == target.encode(errors="surrogateescape")
    assert {"logs/links/dir", "logs/links/root"} <= directories(root, walk)
    known = stats(walk)
    again = walker.walk(walk.tree)
    assert all(stat is known[path] for path, stat in stats(again).items())
    part = walker.walk_below(f"{root}/logs/links", walk.tree)
    assert part.sightings == tuple(s for s in walk.sightings if "/links/" in s.path)
    part = walker.walk_below(f"{root}/logs/links/dir")
    assert names(root, part) == ["logs/links/dir/a.log"]
    listing = walker.list_directory(f"{root}/logs/links")
    assert [s for s in walk.sightings if os.path.dirname(s.path) == f"{root}/logs/links"] == list(
        listing.sightings
    )
    assert listing.subdirectories == {f"{root}/logs/links/{name}" for name in ("dir", "root")}
    listing = walker.list_directory(f"{root}/logs/links/dir")
    assert [s.path for s in listing.sightings] == [f"{root}/logs/links/dir/a.log"]


def test_links_that_lead_out_are_said_and_never_followed(root):
    make(root, "logs/a.log", "secret/b.log", "secret/c.txt")
    os.symlink("/secret", f"{root}/logs/gone")
    os.symlink("../secret/b.log", f"{root}/logs/b.log")
    os.symlink("../secret", f"{root}/logs/dir")
    os.symlink("../secret/c.txt", f"{root}/logs/c.txt")
    os.symlink("loop.log", f"{root}/logs/loop.log")
    walker = following(root, "logs/**/*.log")
    walk = walker.walk()
    assert names(root, walk) == ["logs/a.log"]
    assert directories(root, walk) == {"logs"}
    faults = dict(walk.faults)
    assert faults.keys() == {f"{root}/logs/{name}" for name in ("b.log", "dir", "loop.log")}
    assert f"lead to '{root}/secret/b.log'" in faults[f"{root}/logs/b.log"]
    assert "add it to the paths" in faults[f"{root}/logs/b.log"]
    for name in ("b.log", "dir/b.log", "c.txt"):
        assert f"lead to '{root}/secret" in str(refused(walker, f"{root}/logs/{name}"))
    listing = walker.list_directory(f"{root}/logs")
    assert [s.path for s in listing.sightings] == [f"{root}/logs/a.log"]
    assert listing.subdirectories == frozenset()


def test_links_may_lead_to_a_root_by_another_name(root):
    make(root, "data/a.log", "data/b/c.log")
    os.symlink("data", f"{root}/logs")
    os.symlink(f"{root}/logs/a.log", f"{root}/data/b/by-name.log")
    os.symlink(f"{root}/data/a.log", f"{root}/data/b/really.log")
    walker = following(root, "logs/*/*.log")
    assert names(root, walker.walk()) == [
        f"logs/b/{name}.log" for name in ("by-name", "c", "really")
    ]
    assert content(walker, f"{root}/logs/b/by-name.log") == b"data/a.log"


def test_links_do_not_lead_in_circles(root):
    make(root, "logs/a/x.log", "logs/b/y.log")
    for name, target in {"a/up": "..", "a/self": ".", "a/b": "../b", "b/a": "../a"}.items():
        os.symlink(target, f"{root}/logs/{name}")
    walker = following(root, "logs/**/*.log")
    walk = walker.walk()
    assert names(root, walk) == [
        "logs/a/b/y.log",
        "logs/a/x.log",
        "logs/b/a/x.log",
        "logs/b/y.log",
    ]
    assert directories(root, walk) == {"logs", "logs/a", "logs/a/b", "logs/b", "logs/b/a"}
    # A listing must not promise more, or each would be followed by a walk.
    for directory in walk.directories:
        assert walker.list_directory(directory).subdirectories <= walk.directories
    assert walker.walk_below(f"{root}/logs/a/b").directories == {f"{root}/logs/a/b"}


def test_there_are_only_so_many_ways_through_links(root, monkeypatch):
    monkeypatch.setattr(walk_module, "_MOST_LINKED", 50)
    for one in "abcdef":
        make(root, f"logs/{one}/x.log")
        for other in "abcdef":
            os.symlink(f"../{other}", f"{root}/logs/{one}/{other}")
    walk = following(root, "logs/**/*.log").walk()
    assert set("abcdef") <= {name.split("/")[1] for name in names(root, walk)}
    assert 6 < len(walk.directories) <= 1 + 6 + 50
    assert any("more than 50 directories" in fault for _, fault in walk.faults)


def test_what_is_left_out_is_not_reached_through_links(root):
    make(root, "logs/private/a.log", "logs/app/b.tmp", "logs/app/own.log", "logs/app/c.log")
    os.mkdir(f"{root}/logs/links")
    os.mkfifo(f"{root}/logs/app/fifo")
    for name, target in {
        "private": "../private",
        "private.log": "../private/a.log",
        "tmp.log": "../app/b.tmp",
        "own.log": "../app/own.log",
        "dir": "../app",
        "fifo.log": "../app/fifo",
        "excluded.log": "../app/c.log",
    }.items():
        os.symlink(target, f"{root}/logs/links/{name}")
    own = stat_path(f"{root}/logs/app/own.log")
    walker = following(
        root,
        "logs/links/**/*.log",
        "logs/x",
        excludes=[f"{root}/logs/private/**", "*.tmp", "excluded.log"],
        avoid=[(own.device, own.inode)],
    )
    walk = walker.walk()
    assert names(root, walk) == ["logs/links/dir/c.log"]
    assert directories(root, walk) == {"logs", "logs/links", "logs/links/dir"}
    [(path, fault)] = walk.faults
    assert path == f"{root}/logs/links/fifo.log"
    assert "is a FIFO" in fault
    assert "is a FIFO" in str(refused(walker, path))


def test_excludes_count_by_where_a_linked_directory_is(root):
    make(root, "logs/app/b.log", "logs/app/c.log", "logs/app/deep/d.log")
    os.mkdir(f"{root}/logs/links")
    os.symlink("../app", f"{root}/logs/links/dir")
    excludes = [f"{root}/logs/app/b.*", f"{root}/logs/app/deep/**"]
    walker = following(root, "logs/links/**/*.log", "logs/x", excludes=excludes)
    assert names(root, walker.walk()) == ["logs/links/dir/c.log"]


@needs_root
def test_a_hard_link_is_refused_behind_a_symbolic_one_too(root):
    make(root, "secret", "logs/app/a.log")
    os.chown(f"{root}/logs/app", STRANGER, -1)
    os.link(f"{root}/secret", f"{root}/logs/app/b.log")
    os.symlink("app/b.log", f"{root}/logs/link.log")
    walker = following(root, "logs/*.log")
    assert names(root, walker.walk()) == ["logs/link.log"]
    assert "hard link" in str(refused(walker, f"{root}/logs/link.log"))
