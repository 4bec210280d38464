"""The benchmarks of scale in their shortest form: they run, and their figures make sense."""

from __future__ import annotations

import pytest

from bench import report, workspace
from bench.broker import broker
from bench.discovery import discovery
from bench.fairness import fairness
from bench.fleet_host import WAYS, fleet_host
from bench.idle_many import idle_many
from bench.known import known
from bench.many_positions import many_positions
from bench.rescan import rescan


@pytest.fixture(scope="module")
def bootstrap():
    with broker(workspace.TOPIC) as addresses:
        yield addresses


def test_idle_many(bootstrap):
    result = idle_many(bootstrap, files=20, directories=4, seconds=0.2)
    assert 0 <= result.core_share < 2
    assert result.resident_bytes > 10 << 20
    assert "| % of a core |" in report.idle_many_table(result)


def test_rescan(bootstrap):
    result = rescan(bootstrap, files=20, directories=4, seconds=0.2)
    assert all(shape.walk_ms > 0 for shape in result.shapes)
    assert len(result.shapes) == 2
    assert "20 known files in 4 directories" in report.rescan_table(result)


def test_discovery(bootstrap):
    result = discovery(bootstrap, files=20, directories=4, creations=3)
    assert 0 < result.found_seconds < result.delivered_seconds
    assert len(result.created_ms) == 3
    assert result.created_ms[0] > 0
    assert "then 3 more" in report.discovery_table(result)


def test_known(bootstrap):
    result = known(bootstrap, files=20, directories=4, active=10, seconds=0.5)
    assert len(result.latency_ms) == 5
    assert result.core_share > 0
    assert "20 known files, 10 of them" in report.known_table(result)


def test_many_positions():
    result = many_positions(1000)
    assert 0 < result.open_seconds < 5
    assert result.store_bytes > 100_000
    assert "A store of 1,000 rows" in report.many_positions_table(result)


def test_fairness(bootstrap):
    result = fairness(
        bootstrap,
        small=10,
        firehoses=2,
        priorities=("low", "high"),
        round_trip_ms=0,
        lines_per_second=50.0,
        seconds=0.5,
    )
    assert len(result.latency_ms) == 25
    assert "| 2 | low | high | 0 |" in report.fairness_table([result], small=10)


def test_fleet_host(bootstrap):
    result = fleet_host(bootstrap, WAYS[1], seconds=1.0)
    assert len(result.latency_ms) == 400
    assert 1 <= result.records_per_batch < 400
    assert 0.5 < result.ratio < 10
    assert "| linger.ms 5 | sticky |" in report.fleet_host_table([result])
