"""Promotions: where files are cut, and that nothing behind the cut is sent too soon."""

from __future__ import annotations

import gzip
import os
import random
import shutil

import pytest

from singer import shadows
from singer.base.config import (
    ByteSize,
    DestinationConfig,
    Glob,
    MaxLagConfig,
    MultilineReaderConfig,
    Seconds,
    StreamConfig,
)
from singer.base.events import CutReached, PromotionCancelled, PromotionComplete, ShadowLags
from singer.base.position import FileIdentity, Position
from singer.base.promotion import Promotion, cuts_of, in_effect
from tests.support.rig import LoopbackWriter


def two(**options):
    return {"writers": {"old": LoopbackWriter(), "new": LoopbackWriter()}, **options}


def append(path, *lines):
    with open(path, "ab", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in lines))


def lines(first, last):
    return [
        b"%06d a line of a log, long enough to be known again by its bytes" % n
        for n in range(first, last)
    ]


def kinds(rig, kind):
    return [event for event in rig.events if isinstance(event, kind)]


def complete(rig):
    rig.run_until(
        lambda: bool(rig.promotions()) and rig.promotions()[-1].complete, "the promotion completes"
    )


def read_by_turns(rig):
    """What a consumer reads that switches at each promotion; one list per turn."""
    begin, turns, reads = 0, [], "old"
    for promotion in rig.promotions():
        assert promotion.complete
        assert promotion.old == reads
        end = promotion.ends[promotion.old].offsets["t"][0]
        turns.append(rig.writers[promotion.old].arrived[begin:end])
        begin, reads = promotion.ends[promotion.new].offsets["t"][0], promotion.new
    return [*turns, rig.writers[reads].arrived[begin:]]


def behind(rig, path, name, ahead, more):
    """Let one destination have all of a file, and the other only what was there before `more`."""
    rig.writers[name].up = False
    append(path, *more)
    rig.run_until(lambda: more[-1] in rig.writers[ahead].arrived, "the other one has it")
    rig.stop()
    rig.writers[name].up = True


# --- roles and cuts, pure -----------------------------------------------------------------------


def row(destination, number, offset, *, inode=1, path="/a", seen=1):
    return Position(
        id=number, stream="s", destination=destination, path=path, offset=offset,
        identity=FileIdentity(device=1, inode=inode, birth_ns=inode), first_seen_ns=seen,
    )  # fmt: skip


def test_a_file_is_cut_where_the_further_one_is():
    cuts = cuts_of([row("old", 1, 10), row("new", 2, 30), row("third", 3, 50)], "old", "new")
    [cut] = cuts
    assert (cut.offset, cut.old, cut.new, cut.file) == (30, (1, 1), (2, 1), (1, 1, 1))


def test_a_file_that_one_has_not_begun_is_cut_where_the_other_is():
    [cut] = cuts_of([row("new", 2, 30)], "old", "new")
    assert (cut.offset, cut.old, cut.new) == (30, None, (2, 1))


def test_a_destination_that_came_later_is_of_the_same_file():
    [cut] = cuts_of([row("old", 1, 10), row("new", 2, 30, seen=9)], "old", "new")
    assert (cut.offset, cut.old, cut.new) == (30, (1, 1), (2, 9))


def test_a_copy_that_one_went_over_to_is_the_file_that_the_other_has_still_to_leave():
    rows = [
        row("old", 1, 50),
        row("new", 2, 100, inode=2),  # the copy of copytruncate
        row("new", 3, 10, seen=5),  # what was written since
    ]
    cuts = {(cut.old, cut.new): cut.offset for cut in cuts_of(rows, "old", "new")}
    assert cuts == {((1, 1), (2, 1)): 100, (None, (3, 5)): 10}


def test_the_last_promotion_says_who_is_primary():
    stream = StreamConfig(
        name="s",
        paths=(Glob("/a"),),
        publish=tuple(
            DestinationConfig(name=name, cluster=name, topic="t", shadow=name != "a")
            for name in ("a", "b", "c")
        ),
    )

    def primaries(*promotions):
        made = [Promotion(stream="s", old=o, new=n, asked_ns=1) for o, n in promotions]
        return [d.name for d in in_effect(stream, made).publish if not d.shadow]

    assert primaries() == ["a"]
    assert primaries(("a", "b")) == ["b"]
    assert primaries(("a", "b"), ("b", "c")) == ["c"]
    assert primaries(("a", "b"), ("b", "a")) == ["a"]
    assert primaries(("gone", "b")) == ["a", "b"]


# --- the barrier --------------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["old", "new"])
def test_nothing_behind_the_cut_is_sent_before_all_before_it(rig, logs, late):
    ahead = "new" if late == "old" else "old"
    one, other = logs / "a.log", logs / "b.log"
    app = rig("*.log", **two()).start()
    append(one, *lines(0, 10))
    append(other, *lines(100, 110))
    app.run_until_caught_up()
    behind(app, one, late, ahead, lines(10, 20))
    app.promote("new", "old")
    append(other, *lines(110, 120))  # behind the cut, of a file that is not behind
    app.writers[late].up = False
    app.start()
    app.run_until(lambda: lines(119, 120)[0] in app.writers[ahead].arrived, "the other goes on")
    app.run_for(0.3)
    assert app.writers[late].waiting == lines(10, 20)
    assert [each.destination for each in kinds(app, CutReached)] == [ahead]
    app.writers[late].up = True
    app.writers[late].settle()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    assert len(kinds(app, PromotionComplete)) == 1
    first, then = read_by_turns(app)
    assert sorted(first) == lines(0, 20) + lines(100, 110)
    assert then == lines(110, 120)


def test_who_waits_at_the_barrier_is_not_busy(rig, logs):
    path = logs / "a.log"
    app = rig("*.log", **two()).start()
    append(path, *lines(0, 10))
    append(logs / "b.log", *lines(0, 10))
    app.run_until_caught_up()
    behind(app, logs / "b.log", "new", "old", lines(10, 20))
    app.promote("new", "old")
    append(path, *lines(10, 20))
    app.writers["new"].up = False
    app.start()
    app.run_until(lambda: app.writers["new"].under_way == 1, "it is on its way to the cut")
    turns = 0
    [held_back] = [
        p for p in app.stream.pipelines if p.destination.name == "new" and p.file.path == str(path)
    ]
    app.run_for(0.2)
    for _ in range(200):
        app.run_for(0.001)
        turns += held_back._task is not None
    assert turns < 20
    app.kill()


def test_a_record_that_only_time_ended_ends_at_the_cut_for_both(rig, logs):
    path = logs / "a.log"
    reader = MultilineReaderConfig(start=r"^\d", timeout=Seconds(0.1))
    app = rig("*.log", **two(reader=reader)).start()
    append(path, b"1 one", b" more")
    app.run_until(lambda: all(w.arrived for w in app.writers.values()), "the first record")
    app.writers["new"].up = False
    append(path, b"2 two", b" more")
    app.run_until(lambda: app.writers["old"].arrived[-1] == b"2 two\n more", "time ends it")
    app.stop()
    app.writers["new"].up = True
    app.promote("new", "old")
    append(path, b" that goes on", b"4 four")
    app.start()
    complete(app)
    app.run_until_caught_up()
    app.run_until(lambda: app.writers["new"].arrived[-1] == b"4 four", "the last one")
    assert app.stop()
    first, then = read_by_turns(app)
    assert b"\n".join(first + then) == path.read_bytes().rstrip(b"\n")


def test_a_line_that_was_sent_before_its_end_is_cut_there_for_both(rig, logs):
    path = logs / "a.log"
    app = rig("*.log", **two(flush_partial_after=Seconds(0.05))).start()
    append(path, b"one")
    app.run_until(lambda: all(w.arrived for w in app.writers.values()), "the first line")
    app.writers["new"].up = False
    with open(path, "ab") as file:
        file.write(b"half")
    app.run_until(lambda: app.writers["old"].arrived[-1] == b"half", "it is sent")
    app.stop()
    app.writers["new"].up = True
    app.promote("new", "old")
    append(path, b" and the rest", b"two")
    app.start()
    complete(app)
    app.run_until(lambda: app.writers["new"].arrived[-1] == b"two", "the last line")
    assert app.stop()
    assert read_by_turns(app) == [[b"one", b"half"], [b" and the rest", b"two"]]


def test_a_shadow_does_not_skip_before_it_is_cut(rig, logs, monkeypatch):
    monkeypatch.setattr(shadows, "LOOK_SECONDS", 0.01)
    path = logs / "a.log"
    app = rig("*.log", **two())
    append(path, *lines(0, 10))
    app.start()
    app.run_until_caught_up()
    app.stop()
    app.start()
    behind(app, path, "old", "new", lines(10, 20))
    app.max_lag = {"old": MaxLagConfig(bytes=ByteSize(100))}
    app.promote("new", "old")
    app.writers["old"].up = False
    append(path, *lines(20, 40))
    app.start()
    app.run_until(lambda: lines(39, 40)[0] in app.writers["new"].arrived, "the new one goes on")
    app.run_for(0.5)
    assert not app.seen(ShadowLags)
    app.writers["old"].up = True
    app.writers["old"].settle()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    assert read_by_turns(app) == [lines(0, 20), lines(20, 40)]


# --- files that are not what they were ---------------------------------------------------------


def half_way(rig, logs, late="new", **options):
    """Both have ten lines of `a.log`, one has ten more; it is stopped."""
    ahead = "new" if late == "old" else "old"
    app = rig("a.log", **two(**options)).start()
    append(logs / "a.log", *lines(0, 10))
    app.run_until_caught_up()
    behind(app, logs / "a.log", late, ahead, lines(10, 20))
    return app


@pytest.mark.parametrize("late", ["old", "new"])
@pytest.mark.parametrize("after", [True, False], ids=["promoted, then", "then promoted"])
@pytest.mark.parametrize("what", ["renamed", "copied and truncated", "compressed"])
def test_a_file_is_rotated_meanwhile(rig, logs, what, after, late):
    app = half_way(rig, logs, late)
    path = str(logs / "a.log")
    append(path, *lines(20, 25))
    if after:
        app.promote("new", "old")
    if what == "renamed":
        os.rename(path, path + ".1")
    elif what == "compressed":
        with open(path, "rb") as source, gzip.open(path + ".1.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        os.unlink(path)
    else:
        shutil.copyfile(path, path + ".1")
        os.truncate(path, 0)
    append(path, *lines(25, 30))
    if not after:
        app.promote("new", "old")
    app.start()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    assert read_by_turns(app) == [lines(0, 20), lines(20, 30)]


@pytest.mark.parametrize("late", ["old", "new"])
def test_one_went_over_to_the_copy_and_the_other_did_not(rig, logs, late):
    ahead = "new" if late == "old" else "old"
    path = str(logs / "a.log")
    app = rig("a.log", **two()).start()
    append(path, *lines(0, 10))
    app.run_until_caught_up()
    app.writers[late].up = False
    append(path, *lines(10, 20))
    app.run_until(lambda: len(app.writers[ahead].arrived) == 20, "the one has it")
    shutil.copyfile(path, path + ".1")
    os.truncate(path, 0)
    append(path, *lines(20, 25))
    app.run_until(lambda: len(app.writers[ahead].arrived) == 25, "and what came then")
    app.stop()
    app.writers[late].up = True
    app.promote("new", "old")
    append(path, *lines(25, 30))
    app.start()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    first, then = read_by_turns(app)
    assert sorted(set(first)) == lines(0, 25)
    assert then == lines(25, 30)


def test_a_file_is_gone_and_nobody_waits_for_it(rig, logs):
    app = half_way(rig, logs)
    app.promote("new", "old")
    os.unlink(logs / "a.log")
    append(logs / "a.log", *lines(50, 60))
    app.start()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    assert app.promotions()[-1].ends["new"].missed == 1
    assert app.promotions()[-1].ends["old"].missed == 0
    assert read_by_turns(app) == [lines(0, 20), lines(50, 60)]


def test_a_file_lost_its_end_and_nobody_waits_for_it(rig, logs):
    app = half_way(rig, logs)
    app.promote("new", "old")
    os.truncate(logs / "a.log", len(b"\n".join(lines(0, 15))) + 1)
    app.start()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    assert app.promotions()[-1].ends["new"].missed == 1


def test_what_was_appended_to_a_rotated_file_does_not_keep_its_successor_from_the_cut(rig, logs):
    path = str(logs / "a.log")
    app = rig("a.log", **two(rotate_grace=Seconds(0.05))).start()
    append(path, *lines(0, 10))
    app.run_until_caught_up()
    app.writers["new"].up = False
    os.rename(path, path + ".1")
    append(path, *lines(20, 30))
    app.run_until(lambda: lines(29, 30)[0] in app.writers["old"].arrived, "the successor is read")
    app.stop()
    app.writers["new"].up = True
    app.promote("new", "old")
    append(path + ".1", *lines(10, 20))
    app.start()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    first, then = read_by_turns(app)
    assert first == lines(0, 10) + lines(20, 30)
    assert then == lines(10, 20)


def test_files_of_a_path_come_to_the_cut_in_order(rig, logs):
    path = str(logs / "a.log")
    app = rig("a.log", **two()).start()
    append(path, *lines(0, 10))
    app.run_until_caught_up()
    app.writers["new"].up = False
    append(path, *lines(10, 30000))  # some windows
    os.rename(path, path + ".2")
    append(path)
    app.run_until(lambda: len(list(app.stream.pipelines)) == 4, "the empty one is found")
    os.rename(path, path + ".1")
    append(path, *lines(30000, 30010))
    for number, name in enumerate((path + ".2", path + ".1", path)):
        os.utime(name, ns=(0, os.stat(path + ".2").st_mtime_ns + number * 10**7))  # ticks apart
    app.run_until(lambda: len(app.writers["old"].arrived) == 30010, "the one has all")
    app.stop()
    app.writers["new"].up = True
    app.promote("new", "old")
    append(path, *lines(30010, 30015))
    app.start()
    complete(app)
    app.run_until_caught_up()
    assert app.stop()
    assert app.writers["new"].arrived == lines(0, 30015)
    assert read_by_turns(app) == [lines(0, 30010), lines(30010, 30015)]


# --- it cannot be -------------------------------------------------------------------------------


def test_what_was_sent_beyond_the_cut_cancels_it(rig, logs):
    app = half_way(rig, logs)
    promotion = app.promote("new", "old")
    # A version that knows nothing of promotions.
    ran = rig("a.log", writers=app.writers)
    ran.promotes = False
    append(logs / "a.log", *lines(20, 30))
    ran.start()
    ran.run_until_caught_up()
    ran.stop()
    app.start()
    app.run_until_caught_up()
    app.stop()
    assert promotion.new == "new"
    assert app.promotions() == []
    assert len(kinds(app, PromotionCancelled)) == 1


# --- at random ----------------------------------------------------------------------------------


class Chance:
    """Whatever may happen to two destinations of two logs, and promotions among it."""

    def __init__(self, app, logs, seed):
        self.app, self.source = app, random.Random(seed)
        self.paths = [str(logs / f"{n}.log") for n in range(2)]
        self.written = [[], []]
        self.reads, self.copied = "old", False

    def run(self, steps):
        for path in self.paths:
            append(path)
        self.app.start()
        self.app.run_until_caught_up()
        for _ in range(steps):
            self.step()
        self.finish()
        if not self.app.running:
            self.app.start()
        complete(self.app) if self.app.promotions() else None
        self.app.run_until_caught_up()
        assert self.app.stop()

    def step(self):
        for _ in range(self.source.randint(1, 3)):
            self.source.choice([self.write, self.write, self.rotate, self.flip, self.pause])()
        if self.source.random() < 0.6:
            self.end()
            if self.source.random() < 0.5:
                self.promote()
            if self.source.random() < 0.5:
                self.source.choice([self.write, self.rotate])()
            self.app.start()
            self.pause()

    def write(self):
        number = self.source.randrange(2)
        done = self.written[number]
        made = [b"%d " % number + line for line in lines(len(done), len(done) + 8)]
        append(self.paths[number], *made)
        done += made

    def rotate(self):
        path = self.source.choice(self.paths)
        newest = next(n for n in range(1, 1000) if not os.path.exists(f"{path}.{n}"))
        for number in range(newest, 1, -1):
            os.rename(f"{path}.{number - 1}", f"{path}.{number}")
        os.rename(path, f"{path}.1")
        append(path)

    def flip(self):
        writer = self.source.choice(list(self.app.writers.values()))
        writer.up = not writer.up
        if writer.up:
            writer.settle()

    def pause(self):
        if self.app.running:
            self.app.run_for(self.source.choice([0.0, 0.02, 0.3]))

    def end(self):
        if not self.app.running:
            return
        if self.source.random() < 0.5:
            if self.source.random() < 0.5:
                for writer in self.app.writers.values():
                    writer.lose_acknowledgements()
            self.app.kill()
        else:
            self.app.stop()

    def promote(self):
        known = self.app.promotions()
        if known and not known[-1].complete:
            return
        reads = known[-1].new if known else "old"
        self.app.promote("new" if reads == "old" else "old", reads)

    def finish(self):
        for writer in self.app.writers.values():
            writer.up = True
            writer.settle()


def assert_read(written, turns):
    """Every line, in order, across the switches as well; those sent again aside."""
    everything = [value for turn in turns for value in turn]
    for number, made in enumerate(written):
        mine = [value for value in everything if value.startswith(b"%d " % number)]
        first = list(dict.fromkeys(mine))
        assert first == made


@pytest.mark.parametrize("seed", range(8))
def test_at_random(rig, logs, seed):
    app = rig("*.log", **two(rotate_grace=Seconds(0.02)))
    chance = Chance(app, logs, seed)
    chance.run(12)
    assert_read(chance.written, read_by_turns(app))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 160))
def test_at_random_for_long(rig, logs, seed):
    app = rig("*.log", **two(rotate_grace=Seconds(0.02)))
    chance = Chance(app, logs, seed)
    chance.run(40)
    assert_read(chance.written, read_by_turns(app))
