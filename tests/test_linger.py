"""How wide rounds become, with moments that are given."""

from __future__ import annotations

import pytest

from singer.base.config import LingerConfig, Seconds
from singer.linger import ENOUGH_RECORDS, Linger

LATENCY = 0.1
DELIVERY = 0.02


def auto(latency: float = LATENCY) -> Linger:
    linger = Linger(LingerConfig(latency=Seconds(latency)))
    for _ in range(100):
        linger.delivered(DELIVERY)
    return linger


def let_flow(linger: Linger, records_per_second: float, seconds: float) -> list[float]:
    """The widths of the rounds when records come evenly, each of its own file."""
    widths, due, now = [], -1.0, 0.0
    while now < seconds:
        now += 1 / records_per_second
        if now >= due:
            due = linger.due(now)
            widths.append(due - now)
        else:
            assert linger.due(now) == due
        linger.sent(1)
    return widths


def test_what_comes_alone_does_not_wait() -> None:
    linger = auto()
    assert let_flow(linger, records_per_second=2, seconds=20) == [0.0] * 40


def test_rounds_widen_until_they_hold_enough_and_no_more() -> None:
    widths = let_flow(auto(), records_per_second=400, seconds=2)
    assert widths[0] == 0.0
    assert widths[-1] == pytest.approx(ENOUGH_RECORDS / 400, rel=0.25)
    busy = let_flow(auto(), records_per_second=20_000, seconds=2)
    assert busy[-1] < 0.001


def test_the_budget_bounds_them_whatever_they_hold() -> None:
    widths = let_flow(auto(), records_per_second=30, seconds=5)
    assert max(widths) == pytest.approx(LATENCY - DELIVERY, rel=0.01)


def test_a_delivery_that_takes_the_whole_budget_leaves_no_room() -> None:
    linger = auto(latency=DELIVERY)
    assert linger.room == 0.0
    assert set(let_flow(linger, records_per_second=400, seconds=1)) == {0.0}


def test_a_slow_delivery_narrows_rounds_until_it_is_over() -> None:
    linger = auto()
    assert linger.room == pytest.approx(LATENCY - DELIVERY, rel=0.01)
    linger.delivered(2.0)
    assert linger.room == 0.0
    for _ in range(100):
        linger.delivered(DELIVERY)
    assert linger.room == pytest.approx(LATENCY - DELIVERY, rel=0.01)


def test_deliveries_that_vary_leave_less_room() -> None:
    linger = auto()
    for number in range(200):
        linger.delivered(DELIVERY + 0.01 * (number % 2))
    assert linger.room < LATENCY - DELIVERY - 0.02


def far(seconds: float = 0.2, latency: float = 0.005) -> Linger:
    linger = Linger(LingerConfig(latency=Seconds(latency)))
    for _ in range(100):
        linger.delivered(seconds)
    return linger


def test_far_away_one_round_after_the_other_is_under_way() -> None:
    """Else librdkafka's thread turns round and round until the request that is returns."""
    for seconds in (0.05, 0.2):
        widths = let_flow(far(seconds), records_per_second=1000, seconds=5)
        assert widths[1:] == pytest.approx([seconds] * (len(widths) - 1), rel=0.01)
    assert max(let_flow(far(10.0), records_per_second=200, seconds=5)) == pytest.approx(
        0.25, rel=0.01
    )


def test_far_away_what_comes_alone_does_not_wait_either() -> None:
    assert set(let_flow(far(), records_per_second=2, seconds=5)) == {0.0}


def test_what_a_busy_machine_adds_is_no_distance() -> None:
    assert set(let_flow(far(0.025), records_per_second=1000, seconds=1)) == {0.0}


def test_far_away_is_only_what_no_delivery_is_faster_than() -> None:
    linger = far(10.0)
    linger.delivered(0.001)  # it was not far away, but stood still
    assert set(let_flow(linger, records_per_second=200, seconds=1)) == {0.0}


def test_a_fixed_width_is_neither_widened_nor_skipped() -> None:
    linger = Linger(LingerConfig(wait=Seconds(0.05)))
    linger.delivered(9.0)
    assert linger.due(1.0) == 1.05
    linger.sent(100)
    assert linger.due(1.04) == 1.05
    assert linger.due(1.05) == 1.1


def test_no_wait_at_all() -> None:
    linger = Linger(LingerConfig(wait=Seconds(0.0)))
    assert [linger.due(now) for now in (1.0, 1.001)] == [1.0, 1.001]
