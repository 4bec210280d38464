"""What a person sees, on a terminal of a fixed width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from singer.demo import table
from singer.demo.child import State
from singer.demo.consumer import Latency, compression
from singer.demo.table import Flow, Happening, View, Zone

VIEW = View(
    phase="writing",
    seconds=11.2,
    of_seconds=20.0,
    written=57_516,
    delivered=49_965,
    written_rate=4987.4,
    delivered_rate=1168.0,
    latency=Latency(p50_ms=10.94, p99_ms=1799.4),
    compression=3.42,
    streams=(
        Flow(name="access", form="text", written=28_800, arrived=25_000),
        Flow(name="events", form="thrift", written=14_300, arrived=12_400),
    ),
    zones=(
        Zone(name="zone-a", nbytes=7_000_000, home=True),
        Zone(name="zone-b", nbytes=0, home=False),
    ),
    agent=State.RESTARTED,
    pid=4711,
    exit_status=None,
    rotations=15,
    duplicated=642,
    out_of_order=0,
    overrun=0,
    journal=(
        Happening(seconds=None, text="agent started"),
        Happening(seconds=10.04, text="agent killed", alarming=True),
    ),
)
EMPTY = replace(VIEW, latency=None, compression=None, streams=(), zones=(), journal=(), pid=None)


def picture(view: View, width: int = 100) -> str:
    console = Console(width=width, height=30, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table.panel(view))
    return capture.get()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_all_figures_are_there(width: int) -> None:
    text = picture(VIEW, width)
    for figure in (
        "singer demo · writing · 11 s of 20 s",
        "written 57,516",
        "delivered 49,965",
        "lag 7,551",
        "written 4,987",
        "delivered 1,168",
        "p50 10.9 ms",
        "p99 1,799 ms",
        "over the last 5 s",
        "compression 3.4 : 1",
        "duplicated 642",
        "out of order 0",
        "rotations 15",
        "written 28,800",
        "in order 12,400",
        "thrift",
        "restarted pid 4711",
        "before  agent started",
        "10.0 s  agent killed",
    ):
        assert figure in text
    assert "…" not in text


@pytest.mark.parametrize("view", [VIEW, EMPTY, replace(VIEW, journal=VIEW.journal * 20)])
def test_has_a_fixed_size_that_fits_a_terminal(view: View) -> None:
    rows = picture(view).splitlines()
    assert len(rows) <= 26  # of 30: the summary comes below
    assert {len(row) for row in rows} == {98}


def test_the_size_does_not_jump_as_the_journal_grows() -> None:
    sizes = {
        len(picture(replace(VIEW, journal=VIEW.journal[:1] * n)).splitlines()) for n in range(12)
    }
    assert len(sizes) == 1


def test_the_newest_happenings_stay() -> None:
    journal = tuple(Happening(seconds=float(n), text=f"number {n}.") for n in range(30))
    text = picture(replace(VIEW, journal=journal))
    assert "number 29." in text
    assert "number 22." not in text


def test_zones_and_their_shares() -> None:
    rows = [row for row in picture(VIEW).splitlines() if "zone-" in row]
    assert "zone-a (here)" in rows[0]
    assert "7.0 MB" in rows[0]
    assert "100%  ████" in rows[0]
    assert "0 B     0%" in rows[1]
    assert "█" not in rows[1]


def test_the_agent_s_states() -> None:
    assert "killed with SIGKILL" in picture(replace(VIEW, agent=State.KILLED))
    stopped = replace(VIEW, agent=State.STOPPED, exit_status=0)
    assert "stopped with exit status 0" in picture(stopped)


def test_the_demo_s_own_shortcomings_are_told() -> None:
    told = "the demo could not keep up: 12 records went unread"
    assert told not in picture(VIEW)
    assert told in picture(replace(VIEW, overrun=12))
    assert told in table.line(replace(VIEW, overrun=12))


def test_as_a_line_of_text() -> None:
    assert table.line(VIEW) == (
        " 11.2 s  written 57,516, delivered 49,965, lag 7,551, 1,168 lines/s, "
        "p50 10.9 ms p99 1,799 ms, compression 3.4, text 25,000 thrift 12,400, "
        "zone-a 7.0 MB zone-b 0 B, rotations 15, duplicated 642, agent restarted"
    )
    assert "p50 - p99 -, compression -" in table.line(EMPTY)
    assert table.happening(VIEW.journal[1]) == " 10.0 s  * agent killed"
    assert table.happening(VIEW.journal[0]) == " before  * agent started"


def test_compression_leaves_empty_answers_out() -> None:
    def broker(node: int, answers: int, nbytes: int) -> dict[str, int]:
        return {"nodeid": node, "rx": answers, "rxbytes": nbytes}

    statistics = {
        "rxmsg_bytes": 3000,
        "brokers": {
            "bootstrap": broker(-1, 3, 999),
            "busy": broker(1, 10, 10 * 50 + 1000),
            "idle": broker(2, 20, 20 * 50),
            "new": broker(3, 0, 0),
        },
    }
    assert compression(statistics) == pytest.approx(3.0)
    assert compression({**statistics, "rxmsg_bytes": 0}) is None
    assert compression({**statistics, "brokers": {}}) is None
