"""The books of what is under way, without librdkafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.batch import Run
from singer.base.errors import InvariantError, TopicError
from singer.base.ports import Rejection, Settlement
from singer.kafka.delivery import Failed, Lane, Sending
from tests.kafka.support import batch_of


def _sending(rows: int) -> Sending:
    batch = batch_of([b"x"] * rows)
    receipt = asyncio.get_running_loop().create_future()
    return Sending("t", batch, receipt, lambda _: None)


def _walk(lane: Lane, serials: Iterable[int], code: int = 0) -> list[Failed]:
    """A report of these serials; each lies at its own number and 100 in the partition."""
    numbers = np.array(list(serials))
    return lane.walk(numbers, np.full(len(numbers), code, np.int32), numbers + 100)


def _offsets(runs: tuple[Run, ...], rows: int) -> dict[int, int]:
    """The offset of each row that some run names; every row is in one of them at most."""
    offsets: dict[int, int] = {}
    for run in runs:
        numbers = np.arange(rows)[run.rows].tolist()
        assert len(numbers) == run.count
        assert not offsets.keys() & set(numbers)
        offsets |= dict(zip(numbers, range(run.offset, run.offset + run.count), strict=True))
    return offsets


def _on_loop(test: Callable[[], None]) -> None:
    async def main() -> None:
        test()

    asyncio.run(main())


def test_reports_in_order_settle_batch_after_batch() -> None:
    def test() -> None:
        lane = Lane(0, "t", 0)
        sendings = [_sending(rows) for rows in (3, 1, 4)]
        for sending in sendings:
            lane.push(sending, len(sending.batch), None, None)
        for serial, count, done in ((0, 2, 0), (2, 3, 2), (5, 3, 3)):
            assert lane.is_next(serial)
            lane.acknowledge(count, 100 + serial)
            assert sum(sending.receipt.done() for sending in sendings) == done
        assert [sending.receipt.result() for sending in sendings] == [Settlement()] * 3
        assert lane.expected == lane.next == 8

    _on_loop(test)


def test_rejections_do_not_fail_a_batch() -> None:
    def test() -> None:
        sending = _sending(5)
        sending.reject(np.array([3, 1]), "bad")
        lane = Lane(0, "t", 0)
        lane.push(sending, 3, np.array([0, 2, 4]), None)
        lane.acknowledge(3, 0)
        bad = (Rejection(row=1, reason="bad"), Rejection(row=3, reason="bad"))
        assert sending.receipt.result() == Settlement(rejected=bad)

    _on_loop(test)


def test_a_failed_batch_waits_for_its_last_row_and_counts_the_leading_ones() -> None:
    def test() -> None:
        sending, lane = _sending(6), Lane(0, "t", 0)
        lane.push(sending, 6, None, None)
        lane.acknowledge(2, 0)
        failed = _walk(lane, [3], 29)
        assert [f.rows.tolist() for f in failed] == [[3]]
        sending.fail(failed[0].rows, lambda settled: TopicError("no", settled=settled))
        assert not lane.is_next(2)  # a hole: reports need not be consecutive any more
        assert _walk(lane, [2, 4]) == []
        assert not sending.receipt.done()
        assert _walk(lane, [5]) == []
        error = sending.receipt.exception()
        assert isinstance(error, TopicError)
        assert error.settled == 3
        assert lane.expected == lane.next
        assert lane.is_next(6)

    _on_loop(test)


def test_serials_never_handed_over_are_not_waited_for() -> None:
    def test() -> None:
        sending, lane = _sending(4), Lane(0, "t", 0)
        lane.push(sending, 4, None, np.array([False, True, False, True]))
        sending.reject(np.array([0, 2]), "large")
        assert not lane.is_next(1)
        assert _walk(lane, [1, 3]) == []
        assert [r.row for r in sending.receipt.result().rejected] == [0, 2]
        assert lane.is_next(4)

    _on_loop(test)


def test_what_is_reported_twice_or_was_never_sent_is_a_bug() -> None:
    def test() -> None:
        lane = Lane(0, "t", 0)
        lane.push(_sending(2), 2, None, None)
        _walk(lane, [1])
        with pytest.raises(InvariantError, match="reported twice"):
            _walk(lane, [1])
        with pytest.raises(InvariantError, match="are under way"):
            _walk(lane, [9])

    _on_loop(test)


def test_runs_break_where_offsets_do_and_where_nobody_knows_them() -> None:
    def test() -> None:
        sending, lane = _sending(8), Lane(0, "t", 7)
        lane.push(sending, 8, None, None)
        offsets = np.array([5, 6, -1, -1, -1001, 9, 11, 12])
        assert lane.walk(np.arange(8), np.zeros(8, np.int32), offsets) == []
        found = [(run.partition, run.offset, run.count) for run in sending.receipt.result().runs]
        assert found == [(7, 5, 2), (7, -1, 3), (7, 9, 1), (7, 11, 2)]

    _on_loop(test)


@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=8),
    data=st.data(),
)
def test_any_reports_settle_every_row_exactly_once(sizes: list[int], data: st.DataObject) -> None:
    """Requests are reported in any order, some of them failed; the model is a list of rows."""

    def test() -> None:
        lane = Lane(0, "t", 0)
        sendings = [_sending(size) for size in sizes]
        for sending in sendings:
            lane.push(sending, len(sending.batch), None, None)
        total = sum(sizes)
        cuts = data.draw(st.sets(st.integers(1, total), max_size=6)) | {0, total}
        ends = sorted(cuts)
        requests = list(pairwise(ends))
        failing = data.draw(st.sets(st.sampled_from(requests)))
        failed: list[tuple[Sending, list[int]]] = []
        for request in data.draw(st.permutations(requests)):
            low, high = request
            if request not in failing and lane.is_next(low):
                lane.acknowledge(high - low, 100 + low)
                continue
            for failure in _walk(lane, range(low, high), 29 if request in failing else 0):
                failed.append((failure.sending, failure.rows.tolist()))
                failure.sending.fail(
                    failure.rows, lambda settled: TopicError("no", settled=settled)
                )
        assert lane.expected == lane.next == total
        assert lane.is_next(total)
        first = 0
        for sending, size in zip(sendings, sizes, strict=True):
            mine = [
                serial - first
                for low, high in sorted(failing)
                for serial in range(max(low, first), min(high, first + size))
            ]
            assert sorted(row for t, rows in failed if t is sending for row in rows) == mine
            error = sending.receipt.exception()
            runs = error.runs if isinstance(error, TopicError) else sending.receipt.result().runs
            assert _offsets(runs, size) == {
                row: 100 + first + row for row in range(size) if row not in mine
            }
            if mine:
                assert isinstance(error, TopicError)
                assert error.settled == mine[0]
            else:
                assert error is None
            first += size

    _on_loop(test)
