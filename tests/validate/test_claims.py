"""Claims and coverage against a partition that the test knows record by record."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.wire.audit import Account, Range
from singer.validate.claims import Claims, digest
from singer.validate.coverage import Coverage
from singer.validate.findings import Findings, Place
from singer.validate.intervals import Intervals
from singer.validate.stretch import Stretch

BLOCK = 4


@dataclass
class Partition:
    """Records of several files among each other, and the ranges that claim them."""

    records: dict[int, bytes] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    ranges: list[tuple[int, Range]] = field(default_factory=list)
    end: int = 0

    def stretches(self, cut: random.Random) -> Iterator[Stretch]:
        """All of it, in stretches of any length."""
        start = 0
        while start < self.end:
            end = min(self.end, start + cut.randint(1, 30))
            offsets = sorted(offset for offset in self.records if start <= offset < end)
            yield Stretch(
                start=start,
                end=end,
                offsets=np.array(offsets, np.int64),
                values=[self.records[offset] for offset in offsets],
            )
            start = end

    def block_of(self, offset: int) -> tuple[int, list[int]]:
        """The file and the offsets of the block that a record is digested with."""
        for file, each in self.ranges:
            mine = _offsets(each)
            if offset in mine:
                first = mine.index(offset) // BLOCK * BLOCK
                return file, mine[first : first + BLOCK]
        raise AssertionError(f"nobody claims {offset}")

    def verified(self, seed: int = 0) -> tuple[list[Findings], list[int]]:
        """What is found of each file, and who claims each record that is there."""
        claims = Claims("t", 3)
        findings = [Findings() for _ in range(3)]
        ranges = [*self.ranges, *self.ranges[:2]]  # some are published twice
        random.Random(seed).shuffle(ranges)
        for file, each in ranges:
            claims.add(each, ("file", file), file, findings[file])
        owners = [
            owner
            for stretch in self.stretches(random.Random(seed))
            for owner in claims.check(stretch).tolist()
        ]
        claims.close()
        return findings, owners


def _offsets(each: Range) -> list[int]:
    offsets, at = [], each.offset
    for place, number in enumerate(each.runs):
        if place % 2 == 0:
            offsets += range(at, at + number)
        at += number
    return offsets


def _range(offsets: list[int], records: dict[int, bytes], start: int) -> Range:
    runs: list[int] = [1]
    for before, offset in pairwise(offsets):
        if offset == before + 1:
            runs[-1] += 1
        else:
            runs += [offset - before - 1, 1]
    values = [records[offset] for offset in offsets]
    return Range(
        start=start,
        end=start + sum(len(value) + 1 for value in values),
        records=len(values),
        nbytes=sum(map(len, values)),
        offset=offsets[0],
        runs=tuple(runs),
        block=BLOCK,
        digests=tuple(digest(values[at : at + BLOCK]) for at in range(0, len(values), BLOCK)),
    )


@st.composite
def partitions(draw: st.DrawFn) -> Partition:
    made = Partition()
    # -1: nobody's; -2: an offset without a record, as a transaction's end has
    owners = draw(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, -1, -2]), min_size=1, max_size=120))
    made.end = len(owners)
    for offset, owner in enumerate(owners):
        if owner != -2:
            made.records[offset] = draw(st.binary(max_size=3)) + b"%d" % offset
            made.owners[offset] = owner
    for file in range(3):
        mine = [offset for offset, owner in made.owners.items() if owner == file]
        start = 0
        while mine:
            size = draw(st.integers(1, 11))
            each = _range(mine[:size], made.records, start)
            made.ranges.append((file, each))
            start, mine = each.end, mine[size:]
    return made


@given(partitions(), st.integers(0, 99))
def test_what_is_as_it_was_sent_is_verified_whole(made: Partition, seed: int) -> None:
    findings, owners = made.verified(seed)
    assert owners == list(made.owners.values())
    for file, found in enumerate(findings):
        assert found.verified == list(made.owners.values()).count(file)
        assert not found.faults
        assert found.unverified == found.again == 0


@given(partitions(), st.data())
def test_a_record_that_is_gone_is_lost_and_its_block_proves_nothing(
    made: Partition, data: st.DataObject
) -> None:
    claimed = [offset for offset, owner in made.owners.items() if owner >= 0]
    if not claimed:
        return
    gone = data.draw(st.sampled_from(claimed))
    file, block = made.block_of(gone)
    total = list(made.owners.values()).count(file)
    del made.records[gone], made.owners[gone]
    findings, _ = made.verified()
    assert findings[file].lost.places == [Place("t", 3, gone, gone + 1)]
    assert findings[file].unverified == len(block) - 1
    assert findings[file].verified == total - len(block)
    assert [found.faults for n, found in enumerate(findings) if n != file] == [{}, {}]


@given(partitions(), st.data())
def test_a_byte_that_differs_is_found_in_its_block(made: Partition, data: st.DataObject) -> None:
    claimed = [offset for offset, owner in made.owners.items() if owner >= 0]
    if not claimed:
        return
    flipped = data.draw(st.sampled_from(claimed))
    file, block = made.block_of(flipped)
    value = bytearray(made.records[flipped])
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    made.records[flipped] = bytes(value)
    findings, _ = made.verified()
    assert findings[file].corrupted.places == [Place("t", 3, block[0], block[-1] + 1)]
    assert findings[file].corrupted.records == len(block)
    assert findings[file].faults == {"corrupted": len(block)}
    assert [found.faults for n, found in enumerate(findings) if n != file] == [{}, {}]


def test_bounds_of_records_count_and_their_order() -> None:
    assert digest([b"a\nb", b"c"]) != digest([b"a", b"b\nc"])
    assert digest([b"a", b"b"]) != digest([b"b", b"a"])
    assert digest([b""]) != digest([])


def test_the_end_of_a_partition_that_was_cut_off_is_lost() -> None:
    made = Partition(records={n: b"%d" % n for n in range(10)}, end=10)
    made.ranges = [(0, _range(list(range(10)), made.records, 0))]
    for offset in range(6, 10):
        del made.records[offset]
    made.end = 6
    (found, *_), _ = made.verified()
    assert found.lost.places == [Place("t", 3, 6, 10)]
    assert found.lost.records == 4
    assert found.expired == 0


def test_what_is_claimed_twice_is_told() -> None:
    made = Partition(records={n: b"%d" % n for n in range(8)}, end=8)
    made.ranges = [
        (0, _range([0, 1, 2, 3, 4], made.records, 0)),
        (1, _range([4, 5, 6, 7], made.records, 0)),
    ]
    findings, _ = made.verified()
    assert findings[1].claimed_twice.places == [Place("t", 3, 4, 8)]


def test_bytes_of_a_file_that_come_behind_later_ones_are_reordered_or_sent_again() -> None:
    made = Partition(records={n: b"%d" % n for n in range(9)}, end=9)
    made.ranges = [
        (0, _range([0, 1, 2], made.records, 100)),
        (0, _range([3, 4, 5], made.records, 0)),  # before what came before it
        (1, _range([6], made.records, 0)),
        (1, _range([7, 8], made.records, 0)),  # the same bytes once more
    ]
    findings, _ = made.verified()
    assert findings[0].reordered.places == [Place("t", 3, 3, 6)]
    assert findings[0].again == 0
    assert findings[1].again == 2
    assert findings[1].reordered.records == 0


def test_neighbours_of_a_refused_record_may_come_late() -> None:
    made = Partition(records={n: b"%d" % n for n in range(4)}, end=4)
    late = replace(_range([2, 3], made.records, 0), displaced=True)
    made.ranges = [(0, _range([0, 1], made.records, 100)), (0, late)]
    (found, *_), _ = made.verified()
    assert not found.faults
    assert found.displaced == 2
    assert found.verified == 4


def test_a_gap_between_accounts_is_missing() -> None:
    findings = Findings()
    coverage = Coverage(path="/a.log", findings=findings)
    for account in (
        Account(start=50, end=80, delivered=30, records=3),
        Account(start=0, end=10, delivered=4, filtered=6, records=1),
        Account(start=10, end=40, delivered=20, skipped=10, records=2),
        Account(start=10, end=40, delivered=20, skipped=10, records=2),
        Account(start=80, end=90, unknown=True),
    ):
        coverage.add(account)
    coverage.claimed = 4
    coverage.close(whole=True)
    assert findings.missing == [("/a.log", 40, 50)]
    assert findings.missing_bytes == 10
    assert findings.skipped_bytes == 10
    assert findings.unknown_bytes == 10
    assert findings.without_range == 2
    assert findings.faults == {"missing bytes": 10}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30))
def test_intervals_are_a_set_of_numbers(pairs: list[tuple[int, int]]) -> None:
    seen: set[int] = set()
    intervals = Intervals()
    for start, length in pairs:
        numbers = set(range(start, start + length))
        assert intervals.add(start, start + length) == len(numbers & seen)
        seen |= numbers
    assert [n for start, end in intervals for n in range(start, end)] == sorted(seen)
    assert intervals.end == max(seen, default=-1) + 1
    missing = {n for start, end in intervals.gaps() for n in range(start, end)}
    assert missing == set(range(min(seen, default=0), max(seen, default=-1))) - seen


@pytest.mark.parametrize("offset", [-1])
def test_of_unknown_offsets_nothing_can_be_said(offset: int) -> None:
    claims, findings = Claims("t", 0), Findings()
    claims.add(Range(records=7, offset=offset), "file", 0, findings)
    assert claims.start is None
    assert findings.unverified == 7
