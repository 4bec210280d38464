"""What globs match, and that a walk with their places finds exactly that."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from singer.files import globs


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("/a/b.log", ["/a/b.log"], ["/a/b.log2", "/a/bxlog", "/x/a/b.log", "/a/b.log/c"]),
        ("/a/*.log", ["/a/b.log", "/a/b.c.log"], ["/a/.log", "/a/.b.log", "/a/b/c.log"]),
        ("/a/.*.log", ["/a/.b.log"], ["/a/b.log"]),
        ("/a/?", ["/a/b", "/a/é"], ["/a/", "/a/bc", "/a/."]),
        ("/a/[bc]?", ["/a/bx", "/a/cx"], ["/a/dx"]),
        ("/a/[!b]", ["/a/c", "/a/]"], ["/a/b", "/a/.", "/a//"]),
        ("/a/[^b]", ["/a/c"], ["/a/b"]),
        ("/a/[]x]", ["/a/]", "/a/x"], ["/a/y"]),
        ("/a/[0-9-]", ["/a/5", "/a/-"], ["/a/x"]),
        ("/a/[.]b", [], ["/a/.b"]),
        ("/a/[*]", ["/a/*"], ["/a/b"]),
        ("/a/[{,}]", ["/a/{", "/a/,"], ["/a/b"]),
        ("/a/b+(c).log", ["/a/b+(c).log"], ["/a/bb.log"]),
        ("/a\\*", ["/a\\b"], ["/a*"]),
        ("/a/**/x", ["/a/x", "/a/b/x", "/a/b/c/x"], ["/a/.b/x", "/x", "/a/b/xx"]),
        ("/a/**", ["/a/x", "/a/b/x"], ["/a", "/a/.x", "/a/.b/x"]),
        ("/**/x", ["/x", "/a/x", "/a/b/x"], ["/a/y"]),
        ("/a/**/b/**/x", ["/a/b/x", "/a/q/b/q/x", "/a/b/b/x"], ["/a/x", "/a/q/x"]),
        ("/a/x**y", ["/a/xy", "/a/xzzy"], ["/a/x/y"]),
        ("/{a,b}/x", ["/a/x", "/b/x"], ["/c/x"]),
        ("/a/{b,c{d,e}}.log", ["/a/b.log", "/a/cd.log", "/a/ce.log"], ["/a/c.log"]),
        ("/a/x{,y/z}", ["/a/x", "/a/xy/z"], ["/a/y/z"]),
        ("/a/{b}", ["/a/b"], ["/a/{b}"]),
        ("/a//b", ["/a/b"], ["/a//b"]),
        ("/a/*", ["/a/x\ny", os.fsdecode(b"/a/\xff\xfe"), "/a/-rf *"], ["/a/b/c"]),
        (os.fsdecode(b"/\xff/*.log"), [os.fsdecode(b"/\xff/\xfe.log")], ["/x/y.log"]),
    ],
)
def test_a_glob_matches_as_in_a_shell(glob, matching, others):
    pattern = globs.compile(glob)
    assert [path for path in matching if not pattern.matches(path)] == []
    assert [path for path in others if pattern.matches(path)] == []


@pytest.mark.parametrize(
    ("glob", "complaint"),
    [
        ("", "must be a path"),
        ("/a\0", "must be a path"),
        ("a/*.log", "absolute"),
        ("{/a,b}/x", "absolute"),
        ("/a/", "must name files"),
        ("/", "must name files"),
        ("/a/../b", "must not contain"),
        ("/a/{b,c", "balance its braces"),
        ("/a/b}", "balance its braces"),
        ("/a/{b,{c}", "balance its braces"),
        ("/a/[bc", "close its bracket"),
        ("/a/[b/c]", "slash between"),
        ("/a/[z-a]", "empty range z-a"),
        ("/a/[[:digit:]]", "write it out"),
        ("/" + "{a,b}" * 11, "more than 1024"),
    ],
)
def test_a_wrong_glob_is_refused_with_a_reason(glob, complaint):
    with pytest.raises(ValueError, match=complaint):
        globs.compile(glob)


def test_the_base_is_what_is_written_out():
    starts = {base for base, _ in globs.compile("/var/{log/*/x,lib/y.log,z}").starts()}
    assert starts == {"/var/log", "/var/lib", "/var"}


def test_excludes_without_a_slash_are_names_with_one_whole_paths():
    excludes = globs.compile_excludes(["*.tmp", "/srv/old/*.log", "**/cache/**", "{a,b}"])
    covered = ["/x/y.tmp", "/x/.tmp", "/srv/old/a.log", "/srv/cache/x/y", "/x/.y/cache/z", "/q/b"]
    free = ["/x/tmp", "/srv/old/sub/a.log", "/srv/cache", "/x/ab", "/x.tmp/y"]
    assert [path for path in covered if not excludes.cover(path)] == []
    assert [path for path in free if excludes.cover(path)] == []
    assert excludes.cover_tree("/srv/cache")
    assert not excludes.cover_tree("/srv/old")


def test_no_excludes_cover_nothing():
    excludes = globs.compile_excludes([])
    assert not excludes.cover("/a")
    assert not excludes.cover_tree("/a")


def test_an_exclude_that_could_never_match_is_refused():
    with pytest.raises(ValueError, match="whole path"):
        globs.compile_excludes(["old/*.log"])


PARTS = st.sampled_from(["a", "b", ".h", "*", "?", "[ab]", "**", "a*", "{a,b}", ".*"])
NAMES = st.sampled_from(["a", "b", "ab", ".h", ".a"])


@given(
    st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.lists(NAMES, min_size=1, max_size=5),
)
def test_walking_along_the_places_agrees_with_matching_the_path(glob, names):
    pattern = globs.compile(glob)
    places = set()
    for base, start in pattern.starts():
        below = [name for name in base.split("/") if name]
        if names[: len(below)] != below or len(names) == len(below):
            continue
        here = {start}
        for name in names[len(below) : -1]:
            here = {deeper for place in here for deeper in place.enter(name)}
        places |= here
    walked = any(place.accepts(names[-1]) for place in places)
    assert walked == pattern.matches("/" + "/".join(names))


EXCLUDES = st.one_of(
    st.sampled_from(["a", "*b", "?", "{a,.h}"]),
    st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "**/" + "/".join(parts)),
)


@given(st.lists(EXCLUDES, max_size=3), st.lists(NAMES, min_size=1, max_size=4))
@example(["/*/**"], ["a"])
def test_what_a_directory_excludes_is_what_its_paths_say(globs_, names):
    excludes = globs.compile_excludes(globs_)
    path = "/" + "/".join(names)
    directory, name = os.path.split(path)
    excluded = excludes.inside(directory)
    if not excludes.cover_tree(directory):
        assert bool(excluded and excluded(name)) == excludes.cover(path)
    else:
        assert excludes.cover(path)


def test_a_directory_in_which_nothing_is_excluded_says_so():
    excludes = globs.compile_excludes(["/a/*.tmp", "/b/**"])
    assert excludes.inside("/c") is None
    assert excludes.inside("/a") is not None
    assert globs.compile_excludes(["*.tmp"]).inside("/c") is not None
