"""The arithmetic and the document of the benchmark; the figures themselves are not tested."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import measure, report, workspace
from bench.catchup import CatchUp, Pair
from bench.isolation import FAULTS, Isolation, Run
from bench.latency import Latency
from bench.measure import Usage
from bench.sending import WAYS, Sent
from singer.config.loader import load


def usage(wall_seconds: float, cpu_seconds: float) -> Usage:
    return Usage(wall_seconds=wall_seconds, cpu_seconds=cpu_seconds, peak_bytes=1 << 20)


def test_a_run_is_accounted_with_all_its_threads(tmp_path: Path) -> None:
    program = (
        "import threading, time\n"
        "def burn():\n"
        "    while time.thread_time() < 0.1: pass\n"
        "threads = [threading.Thread(target=burn) for _ in range(2)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "bytearray(64 << 20)\n"
    )
    used = measure.run([sys.executable, "-c", program], str(tmp_path / "log"), 60)
    assert used.cpu_seconds >= 0.2
    assert 0.1 <= used.wall_seconds < 60
    assert used.peak_bytes >= 64 << 20


@pytest.mark.parametrize(
    ("program", "said"),
    [("print('the cause'); raise SystemExit(3)", "status 3:\nthe cause"), ("input()", "status 1")],
)
def test_a_failed_run_says_why(tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        measure.run([sys.executable, "-c", program], str(tmp_path / "log"), 60)


def test_a_run_without_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no end in 0\.3 s"):
        measure.run(["sleep", "600"], str(tmp_path / "log"), 0.3)


def test_ratios_are_medians_of_pairs_with_the_start_taken_off() -> None:
    result = CatchUp(
        line_bytes=150,
        lines=1000,
        starts=Pair(agent=usage(1.0, 0.5), kcat=usage(0.1, 0.1)),
        pairs=(
            Pair(agent=usage(2.0, 1.5), kcat=usage(1.1, 2.1)),  # ratios 1 and 0.5
            Pair(agent=usage(1.5, 1.5), kcat=usage(1.1, 1.1)),  # 2 and 1
            Pair(agent=usage(1.25, 1.5), kcat=usage(1.1, 0.6)),  # 4 and 2
        ),
    )
    assert result.throughput_ratio == pytest.approx(2)
    assert result.cpu_ratio == pytest.approx(1)
    assert "| **ratio** | **2.00** |  | **1.00** |" in report.catch_up_table(result, "somewhere")


def test_what_isolation_is_said_to_hold() -> None:
    def run(rate: float, p99_ms: float) -> Run:
        return Run(bytes_per_second=rate, p50_ms=1.0, p99_ms=p99_ms, core_share=0.1)

    def found(*pairs: tuple[Run, Run]) -> Isolation:
        return Isolation(fault=FAULTS[0], pairs=pairs)

    fast, well, slow = run(100, 12.1), run(100, 10), run(94, 10)
    assert found((well, well), (well, slow), (well, well)).holds
    assert not found((well, slow), (well, slow), (well, well)).holds
    assert not found((well, fast)).holds
    assert found((well, run(100, 11.9))).holds
    assert found((run(100, 100), run(100, 109))).holds
    assert not found((run(100, 100), run(100, 111))).holds
    assert "| 1.000 | 1.0 | 1.0 | 10.0 | 12.1 | +2.1 |" in report.isolation_table(
        [found((well, fast))]
    )


def test_quantiles() -> None:
    result = Latency(steady_ms=tuple(float(n) for n in range(100)), after_silence_ms=())
    assert (result.steady(0.5), result.steady(0.99), result.steady(1.0)) == (50, 99, 99)


def test_sections_are_replaced_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "benchmarks.md"
    report.place("one", "1", str(path))
    path.write_text(path.read_text() + "\nBy a person.\n")
    report.place("two", "2", str(path))
    report.place("one", r"3 \1", str(path))
    text = path.read_text()
    assert "<!-- bench one -->\n3 \\1\n<!-- end one -->" in text
    assert "<!-- bench two -->\n2\n<!-- end two -->" in text
    assert "\nBy a person.\n" in text
    assert text.count("## one") == 1


def test_the_configuration_is_one_of_the_agents(tmp_path: Path) -> None:
    path = workspace.agent_config(
        str(tmp_path), "127.0.0.1:9092", "/var/log/*.log", {"linger.ms": "0"}
    )
    loaded = load(path)
    assert loaded.config.streams[0].publish[0].topic == workspace.TOPIC
    assert loaded.warnings == ()


def test_what_sending_costs_is_told_beside_what_it_is_compared_with() -> None:
    costs = {"none": 1.0, "zstd": 1.5}
    results = [Sent(way=way, lines=1_000_000, cpu_seconds=costs.get(way.name, 2.0)) for way in WAYS]
    table = report.sending_table(results)
    assert "| none | 1.00 | 6.7 |  |  |  |" in table
    assert "| zstd | 1.50 | 10.0 | none | +3.3 | 1.5 |" in table
