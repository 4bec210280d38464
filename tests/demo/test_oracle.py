"""The demo's judge against a naive one that keeps every line."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from singer.demo.oracle import Oracle, Ranges, Verdict

P0, P1 = ("t", 0), ("t", 1)


def feed(oracle: Oracle, partition: tuple[str, int], *lines: tuple[int, int]) -> None:
    files = np.array([file for file, _ in lines], np.int64)
    numbers = np.array([number for _, number in lines], np.int64)
    oracle.take(partition, files, numbers)


def numbers(file: int, *chosen: int) -> list[tuple[int, int]]:
    return [(file, number) for number in chosen]


def test_everything_once_in_order() -> None:
    oracle = Oracle(2)
    feed(oracle, P0, *numbers(0, 0, 1, 2), *numbers(1, 0, 1))
    feed(oracle, P1, *numbers(0, 3, 4))
    assert oracle.judge([5, 2]) == Verdict(
        written=7, lost=0, duplicated=0, out_of_order=0, foreign=0
    )
    assert oracle.judge([5, 2]).good
    assert oracle.complete == (5, 2)


def test_a_hole_is_lost_and_not_complete() -> None:
    oracle = Oracle(1)
    feed(oracle, P0, *numbers(0, 0, 1, 4))
    verdict = oracle.judge([6])
    assert verdict.lost == 3
    assert not verdict.good
    assert oracle.complete == (2,)


def test_what_never_began_is_lost() -> None:
    oracle = Oracle(2)
    feed(oracle, P0, (0, 0))
    assert oracle.judge([1, 9]).lost == 9


def test_sent_again_after_a_crash_is_duplicated_but_not_out_of_order() -> None:
    oracle = Oracle(1)
    feed(oracle, P0, *numbers(0, *range(10)))
    feed(oracle, P0, *numbers(0, *range(6, 12)))
    verdict = oracle.judge([12])
    assert (verdict.lost, verdict.duplicated, verdict.out_of_order) == (0, 4, 0)
    assert verdict.good


def test_first_arrivals_behind_a_later_line_are_out_of_order() -> None:
    oracle = Oracle(1)
    feed(oracle, P0, *numbers(0, 0, 1, 5, 6, 2, 3, 4))
    verdict = oracle.judge([7])
    assert (verdict.lost, verdict.duplicated, verdict.out_of_order) == (0, 0, 3)
    assert not verdict.good


def test_order_is_per_partition_and_file() -> None:
    oracle = Oracle(2)
    feed(oracle, P0, *numbers(0, 5, 6, 7))
    feed(oracle, P1, *numbers(0, 0, 1, 2, 3, 4))
    feed(oracle, P0, *numbers(1, 0, 1))
    assert oracle.out_of_order == 0


def test_records_nobody_wrote() -> None:
    oracle = Oracle(1)
    feed(oracle, P0, *numbers(0, 0, 1, 2))
    oracle.take_foreign(1)
    verdict = oracle.judge([2])
    assert (verdict.lost, verdict.foreign, verdict.good) == (0, 2, False)
    assert str(verdict) == "lost 0, duplicated 0, out of order 0, foreign 2"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12))))
def test_ranges_are_a_set(parts: list[tuple[int, int]]) -> None:
    ranges, model = Ranges(), set[int]()
    for start, length in parts:
        added = set(range(start, start + length))
        new = [number for part in ranges.add(start, start + length) for number in range(*part)]
        assert new == sorted(added - model)
        model |= added
    assert {number for part in ranges for number in range(*part)} == model
    assert all(end < start for (_, end), (start, _) in zip(ranges, list(ranges)[1:], strict=False))
    assert ranges.count == len(model)
    assert ranges.below(20) == len([number for number in model if number < 20])
    assert ranges.complete == min(set(range(60)) - model)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([P0, P1]),
            st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=1),
        )
    )
)
def test_agrees_with_a_naive_judge(
    arrivals: list[tuple[tuple[str, int], list[tuple[int, int]]]],
) -> None:
    oracle = Oracle(2)
    seen: Counter[tuple[int, int]] = Counter()
    here: set[tuple[object, int, int]] = set()
    highest: dict[tuple[object, int], int] = {}
    out_of_order = 0
    for partition, lines in arrivals:
        feed(oracle, partition, *lines)
        # Within one call only the order in a file counts.
        for file, number in lines:
            seen[file, number] += 1
            key = (partition, file)
            if (partition, file, number) not in here:
                here.add((partition, file, number))
                out_of_order += number < highest.get(key, -1)
            highest[key] = max(number, highest.get(key, -1))
    assert oracle.delivered == len(seen)
    assert oracle.duplicated == seen.total() - len(seen)
    assert oracle.out_of_order == out_of_order
    written = [10, 10]
    present = sum(number < 10 for _, number in seen)
    assert oracle.judge(written).lost == 20 - present
    assert oracle.judge(written).foreign == len(seen) - present
