"""What the Java agent's watermarks say: real directories, real inodes."""

from __future__ import annotations

import os
import time

import pytest

from singer.files import watermarks
from singer.files.events import WatermarkRefused, WatermarkTaken
from singer.files.walk import Walker
from singer.files.watermarks import Watermark, heads_of, parse
from tests.files.privileges import reads_everything

GOOD = b'{"1":{"rec":{"1":{"i64":1234}}},"2":{"i64":5678}}'
LINES = b"".join(b"line %04d\n" % n for n in range(100))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GOOD, Watermark(1234, 5678)),
        (GOOD + b"\n", Watermark(1234, 5678)),
        (GOOD.replace(b":", b" :\t").replace(b"{", b"\r\n{ "), Watermark(1234, 5678)),
        (GOOD.replace(b"1234", b"0").replace(b"5678", b"0"), Watermark(0, 0)),
        (GOOD.replace(b"1234", b"9223372036854775807"), Watermark(2**63 - 1, 5678)),
        (GOOD.replace(b"1234", b"-1"), Watermark(2**64 - 1, 5678)),  # Java's long
        (GOOD.replace(b"5678", b"9223372036854775807"), Watermark(1234, 2**63 - 1)),
        (b"", None),
        (b"\n", None),
        (GOOD[:-1], None),
        (GOOD[: len(GOOD) // 2], None),
        (GOOD * 2, None),
        (GOOD + b"\0", None),
        (GOOD.replace(b"1234", b"12 34"), None),
        (GOOD.replace(b"1234", b"1234.0"), None),
        (GOOD.replace(b"1234", b'"1234"'), None),
        (GOOD.replace(b"1234", b"9223372036854775808"), None),
        (GOOD.replace(b"1234", b"9" * 4000), None),
        (GOOD.replace(b"5678", b"-1"), None),
        (GOOD.replace(b"5678", b"true"), None),
        (GOOD.replace(b"i64", b"i32"), None),
        (GOOD.replace(b'"rec"', b'"str"'), None),
        (b'{"2":{"i64":5678}}', None),
        (b'{"1":{"rec":{"1":{"i64":1234}}}}', None),
        (b"[" * 4096, None),
        (b"\xff\xfe" + GOOD, None),
    ],
)
def test_parse(content, expected):
    assert parse(content) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".x.app.log", ["app.log", "log"]),
        (".x.y.app", ["y.app", "app"]),
        ("x.app.log", []),
        (".app", []),
        ("..app", []),
        (".x.", []),
        (".x..app", [".app", "app"]),
        (".", []),
        ("", []),
    ],
)
def test_names_of_heads(name, expected):
    assert list(heads_of(name)) == expected


class Directory:
    """A directory of logs, as the Java agent leaves it."""

    def __init__(self, path):
        self.path = path
        self.now_ns = time.time_ns()

    def log(self, name, data=LINES, *, age=0.0):
        """A file that was last written to `age` seconds ago."""
        path = self.path / name
        path.write_bytes(data)
        moment = self.now_ns - int(age * 1e9)
        os.utime(path, ns=(moment, moment))
        return path

    def mark(self, name, file, offset, *, age=-1.0):
        inode = file if isinstance(file, int) else os.stat(file).st_ino
        content = b'{"1":{"rec":{"1":{"i64":%d}}},"2":{"i64":%d}}\n' % (inode, offset)
        return self.log(name, content, age=age)  # by default younger than the file's birth

    def take(self, pattern="app.log", *, destinations=("out",), rotated=()):
        walker = Walker([str(self.path / pattern)], rotated=[str(self.path / r) for r in rotated])
        listing = walker.list_directory(str(self.path)).sightings
        return watermarks.rows(
            stream="s",
            destinations=destinations,
            paths=watermarks.heads(listing, walker.matches),
            listing=listing,
            now_ns=77,
            open=walker.open,
            is_rotated=walker.is_rotated,
        )

    def offsets(self, *arguments, **options):
        """By file name, the offsets of the rows; asserts that nothing moved meanwhile."""
        taken = self.take(*arguments, **options)
        assert not taken.unsettled
        by_inode = {entry.inode(): entry.name for entry in os.scandir(self.path)}
        return {by_inode[row.identity.inode]: row.offset for row in taken.rows}


@pytest.fixture
def logs(tmp_path):
    return Directory(tmp_path)


def refused(taken):
    return [(event.watermark, event.cause) for event in taken.events if is_refusal(event)]


def is_refusal(event):
    return isinstance(event, WatermarkRefused)


def test_no_watermark_no_rows(logs):
    logs.log("app.log")
    taken = logs.take()
    assert (taken.rows, taken.events, taken.unsettled) == ((), (), frozenset())


def test_the_head_goes_on_at_the_offset_for_every_destination(logs):
    head = logs.log("app.log")
    logs.mark(".conf.log.app.log", head, 50)
    taken = logs.take(destinations=("one", "two"))
    assert [(row.destination, row.offset) for row in taken.rows] == [("one", 50), ("two", 50)]
    for row in taken.rows:
        assert (row.id, row.stream, row.path, row.first_seen_ns) == (0, "s", str(head), 77)
        assert (row.tail.length, row.identity.fingerprint.length) == (50, 50)
        assert row.tail.agrees(LINES[:50])
    (event,) = taken.events
    assert isinstance(event, WatermarkTaken)
    assert (event.path, event.offset) == (str(head), 50)


def test_a_rotated_file_goes_on_and_what_is_younger_is_read(logs):
    logs.log("app.log.4", age=50)
    logs.log("app.log.3", age=40)
    old = logs.log("app.log.2", age=30)
    logs.log("app.log.1", age=20)
    logs.log("app.log", age=10)
    logs.log("app.log2", age=5)  # a neighbour
    logs.log("other.log.1", age=5)
    logs.mark(".x.y.app.log", old, 30)
    assert logs.offsets() == {"app.log.2": 30, "app.log.1": 0, "app.log": 0}


def test_as_young_is_in_doubt_and_read(logs):
    old = logs.log("app.log.2", age=30)
    logs.log("app.log.1", age=30)
    logs.mark(".x.app.log", old, 30)
    assert logs.offsets() == {"app.log.2": 30, "app.log.1": 0}


def test_the_file_at_the_path_is_read_however_old_it_looks(logs):
    old = logs.log("app.log.1", age=10)
    logs.log("app.log", age=99)
    logs.mark(".x.app.log", old, 30)
    assert logs.offsets() == {"app.log.1": 30, "app.log": 0}


def test_a_path_that_is_gone_but_for_its_rotated_files(logs):
    old = logs.log("app.log.1")
    logs.mark(".x.app.log", old, 20)
    (row,) = logs.take("*.log").rows
    assert (row.path, row.offset) == (str(logs.path / "app.log"), 20)


def test_compressed_files_that_are_younger_are_read(logs):
    logs.log("app.log.4.gz", age=19)
    old = logs.log("app.log.3", age=9)
    logs.log("app.log.2.gz", age=5)
    logs.log("app.log.1", age=4)
    logs.log("app.log.1.gz", age=4)  # being made of that
    logs.mark(".x.app.log", old, 20)
    assert logs.offsets() == {"app.log.3": 20, "app.log.2.gz": 0, "app.log.1": 0}


def test_an_offset_in_a_compressed_file_says_nothing(logs):
    logs.mark(".x.app.log", logs.log("app.log.1.gz"), 20)
    taken = logs.take("*.log")
    assert taken.rows == ()
    assert len(refused(taken)) == 1


def test_names_that_only_a_glob_makes_rotated(logs):
    old = logs.log("app-old.log", age=9)
    logs.log("app.log")
    logs.mark(".x.app.log", old, 20)
    assert logs.offsets() == {}
    assert logs.offsets(rotated=["app-*.log"]) == {"app-old.log": 20, "app.log": 0}


def test_rotated_names_that_the_paths_match_are_still_rotated(logs):
    old = logs.log("app.log.1", age=9)
    logs.log("app.log.2", age=19)
    logs.log("app.log")
    logs.mark(".x.app.log", old, 20)
    assert logs.offsets("app.log*") == {"app.log.1": 20, "app.log": 0}


def test_an_offset_behind_the_end_is_a_truncation_and_read_from_the_beginning(logs):
    logs.log("app.log.1", age=20)
    head = logs.log("app.log", LINES[:30])
    logs.mark(".x.app.log", head, 31)
    assert logs.offsets() == {"app.log": 0}


def test_and_so_is_the_copy_that_was_made_of_it(logs):
    logs.log("app.log.2", age=20)  # finished before the watermark was written
    logs.log("app.log.1", age=-20)  # copied after that
    head = logs.log("app.log", LINES[:30], age=-30)
    logs.mark(".x.app.log", head, 31)
    assert logs.offsets() == {"app.log.1": 0, "app.log": 0}


def test_an_offset_at_the_end_is_finished(logs):
    head = logs.log("app.log")
    logs.mark(".x.app.log", head, len(LINES))
    assert logs.offsets() == {"app.log": len(LINES)}


def test_an_inode_that_is_gone_says_nothing(logs):
    logs.log("app.log")
    mark = logs.mark(".x.app.log", 2**40, 20)
    taken = logs.take()
    assert taken.rows == ()
    assert refused(taken) == [
        (str(mark), f"the file it is about (inode {2**40}) is not there"),
    ]


def test_an_inode_number_that_was_given_out_again(logs):
    """The file was born after the watermark was written: it is another one."""
    head = logs.log("app.log")
    if Walker([str(head)]).walk().sightings[0].stat.birth_ns is None:
        pytest.skip("this file system tells no birth times")
    logs.mark(".x.app.log", head, 20, age=60)
    taken = logs.take()
    assert taken.rows == ()
    assert len(refused(taken)) == 1


def test_an_inode_of_a_file_of_another_name_says_nothing(logs):
    logs.log("app.log")
    logs.mark(".x.app.log", logs.log("else"), 20)
    assert logs.take().rows == ()


@pytest.mark.parametrize("content", [b"", b"{}", GOOD[:20], b"x" * 100_000])
def test_a_broken_watermark_is_named(logs, content):
    logs.log("app.log")
    mark = logs.log(".x.app.log", content)
    taken = logs.take()
    assert taken.rows == ()
    assert refused(taken) == [(str(mark), "it is not a watermark, or half of one")]
    assert str(mark) in taken.events[0].message()


@pytest.mark.skipif(reads_everything(), reason="root reads everything")
def test_a_watermark_that_cannot_be_read_is_named(logs):
    head = logs.log("app.log")
    mark = logs.mark(".x.app.log", head, 5)
    mark.chmod(0)
    ((named, cause),) = refused(logs.take())
    assert named == str(mark)
    assert "permission denied" in cause


def test_a_watermark_that_is_no_file_is_nobody(logs):
    logs.log("app.log")
    os.symlink("/etc/passwd", logs.path / ".x.app.log")
    (logs.path / ".y.app.log").mkdir()
    taken = logs.take()
    assert (taken.rows, taken.events) == ((), ())


def test_of_several_the_one_that_is_furthest_behind_counts(logs):
    old = logs.log("app.log.1", age=9)
    head = logs.log("app.log")
    logs.mark(".a.app.log", head, 40)
    logs.mark(".b.app.log", head, 10)
    assert logs.offsets() == {"app.log": 10}
    logs.mark(".c.app.log", old, 90)
    logs.mark(".d.app.log", 2**40, 1)
    assert logs.offsets() == {"app.log.1": 90, "app.log": 0}


def test_shadow_instances_count_only_alone(logs):
    head = logs.log("app.log")
    logs.mark(".shadow.x.app.log", head, 40)
    assert logs.offsets() == {"app.log": 40}
    logs.mark(".x.app.log", head, 60)
    assert logs.offsets() == {"app.log": 60}
    logs.mark(".x.app.log", 2**40, 60)
    assert logs.offsets() == {}


def test_a_watermark_of_a_longer_name_is_not_ours(logs):
    logs.log("app.log")
    longer = logs.log("x.app.log")
    logs.mark(".conf.x.app.log", longer, 40)
    taken = logs.take("*.log")
    assert [(os.path.basename(row.path), row.offset) for row in taken.rows] == [("x.app.log", 40)]
    assert refused(taken) == []
    short = logs.path / "app.log"
    logs.mark(".conf.y.app.log", short, 20)
    assert logs.offsets("*.log") == {"x.app.log": 40, "app.log": 20}


def test_names_that_are_not_utf8(logs):
    name = os.fsdecode(b"a\xff.log")
    head = logs.log(name)
    logs.mark(f".x.{name}", head, 40)
    assert logs.offsets("*.log") == {name: 40}


def test_files_that_are_renamed_meanwhile_are_unsettled(logs):
    head = logs.log("app.log", age=5)
    logs.mark(".x.app.log", head, 40)
    other = logs.log("b.log")
    logs.mark(".x.b.log", other, 30)
    walker = Walker([str(logs.path / "*.log")])
    listing = walker.list_directory(str(logs.path)).sightings
    head.rename(logs.path / "app.log.1")

    def take():
        return watermarks.rows(
            stream="s",
            destinations=("out",),
            paths={str(head), str(other)},
            listing=listing,
            now_ns=1,
            open=walker.open,
        )

    taken = take()
    assert taken.unsettled == {str(head)}
    assert [row.path for row in taken.rows] == [str(other)]
    logs.log("app.log")  # and another takes its place
    assert take().unsettled == {str(head)}
    assert logs.offsets("*.log") == {"app.log.1": 40, "app.log": 0, "b.log": 30}


def test_a_file_that_is_truncated_meanwhile_is_read_from_the_beginning(logs):
    head = logs.log("app.log")
    logs.mark(".x.app.log", head, 40)
    walker = Walker([str(head)])
    listing = walker.list_directory(str(logs.path)).sightings
    os.truncate(head, 39)
    taken = watermarks.rows(
        stream="s",
        destinations=("out",),
        paths={str(head)},
        listing=listing,
        now_ns=1,
        open=walker.open,
    )
    assert [(row.offset, row.tail.length) for row in taken.rows] == [(0, 0)]


def test_nothing_is_left_open_and_nothing_written(logs):
    head = logs.log("app.log")
    logs.mark(".x.app.log", head, 40)
    before = [(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(logs.path)]
    open_before = len(os.listdir("/proc/self/fd"))
    logs.take()
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert [(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(logs.path)] == before
