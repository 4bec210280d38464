"""The tools of the tests, tried: an oracle that finds nothing would pass everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from singer.config.loader import load
from tests.support import child
from tests.support.agent_process import AgentProcess, configuration, parse_logfmt, stream
from tests.support.consume import Arrived, Collector, Record, read_topic
from tests.support.lines import LineId, LogWriter, garbled, identify, line
from tests.support.mock_cluster import MockCluster
from tests.support.oracle import assert_delivered, judge
from tests.support.waiting import wait_until

WRITTEN = {1: [line(1, n) for n in range(4)], 2: [garbled(2, n) for n in range(3)]}


def laid(*values: bytes, partition: int = 0) -> Arrived:
    return {partition: [Record(offset, value, None) for offset, value in enumerate(values)]}


def test_all_that_was_written_is_delivered() -> None:
    assert_delivered(WRITTEN, laid(*WRITTEN[2], *WRITTEN[1]))


def test_lost_lines_are_named() -> None:
    verdict = judge(WRITTEN, laid(*WRITTEN[1][:-1], *WRITTEN[2]))
    assert verdict.lost == (LineId(1, 3),)


def test_duplicates_are_counted_across_partitions_and_bounded() -> None:
    arrived = {**laid(*WRITTEN[1], *WRITTEN[2], WRITTEN[1][0]), **laid(WRITTEN[1][2], partition=1)}
    assert assert_delivered(WRITTEN, arrived, duplicates_at_most=2).duplicated == 2
    with pytest.raises(AssertionError, match="at most 1 duplicates"):
        assert_delivered(WRITTEN, arrived, duplicates_at_most=1)


def test_order_is_of_first_deliveries_within_a_partition() -> None:
    one, two, three, four = WRITTEN[1]
    again = laid(one, two, three, two, three, four)
    assert judge({1: WRITTEN[1]}, again).out_of_order == ()
    swapped = judge({1: WRITTEN[1]}, laid(one, three, two, four)).out_of_order
    assert [found for _, found in swapped] == [LineId(1, 1)]
    apart = {**laid(three, four), **laid(one, two, partition=1)}
    assert judge({1: WRITTEN[1]}, apart).out_of_order == ()


def test_one_changed_byte_is_corruption() -> None:
    changed = WRITTEN[1][2][:-1] + b"\0"
    verdict = judge({1: WRITTEN[1]}, laid(*WRITTEN[1][:2], changed, WRITTEN[1][3]))
    assert [found for _, found in verdict.corrupted] == [LineId(1, 2)]


@pytest.mark.parametrize("stranger", [b"", b"who am I", line(9, 0), line(1, 99)])
def test_what_nobody_wrote_is_unexpected(stranger: bytes) -> None:
    verdict = judge(WRITTEN, laid(*WRITTEN[1], *WRITTEN[2], stranger))
    assert len(verdict.unexpected) == 1


@pytest.mark.parametrize("size_bytes", [64, 150, 1000])
def test_lines_have_their_size_and_identity(size_bytes: int) -> None:
    for number in (0, 1, 12345, 86_400_000):
        text = line(7, number, size_bytes)
        assert len(text) == size_bytes
        assert b"\n" not in text
        assert identify(text) == LineId(7, number)


def test_garbled_lines_stay_lines_and_keep_their_identity() -> None:
    texts = [garbled(3, number) for number in range(1000)]
    assert all(b"\n" not in text for text in texts)
    assert [identify(text) for text in texts] == [LineId(3, number) for number in range(1000)]
    everything = b"".join(texts)
    assert b"\0" in everything
    assert b"\xff" in everything
    assert any(text.endswith(b"\r") for text in texts)


def test_a_writer_knows_what_is_in_its_files(tmp_path: Path) -> None:
    path = str(tmp_path / "app.log")
    writer = LogWriter(path, 5, garble=True)
    writer.write(10)
    writer.rotate()
    writer.begin_line()
    writer.finish_line()
    writer.rotate()
    writer.write_line(b"the end")
    writer.close()
    files = [f"{path}.2", f"{path}.1", path]
    content = b"".join(Path(file).read_bytes() for file in files)
    assert content == b"".join(text + b"\n" for text in writer.written)
    assert len(writer.written) == 12


def test_a_collector_reads_along_and_a_reader_reads_what_is_there() -> None:
    with MockCluster(1) as cluster, Collector(cluster.bootstrap, "lines") as collector:
        producer = Producer({"bootstrap.servers": cluster.bootstrap})
        for value in (*WRITTEN[1], WRITTEN[1][0]):
            producer.produce("lines", value, key=b"k", partition=2)
        assert producer.flush(10) == 0
        collector.wait_for_values(4, 10)
        collector.wait_for(5, 10)
        arrived = collector.close()
        assert [record.value for record in arrived[2]] == [*WRITTEN[1], WRITTEN[1][0]]
        assert arrived[2][4] == Record(4, WRITTEN[1][0], b"k")
        assert read_topic(cluster.bootstrap, "lines") == arrived


def test_log_lines_are_parsed() -> None:
    assert parse_logfmt('event=ledger stream="a \\"b\\"" read=12 path=""') == {
        "event": "ledger",
        "stream": 'a "b"',
        "read": "12",
        "path": "",
    }


def test_a_child_dies_with_a_killed_test_run(tmp_path: Path) -> None:
    pid_path = tmp_path / "pid"
    program = (
        "import sys, subprocess; sys.path.insert(0, sys.argv[1])\n"
        "from tests.support import child\n"
        "process = child.spawn(['sleep', '600'], output=subprocess.DEVNULL)\n"
        "open(sys.argv[2] + '.new', 'w').write(str(process.pid))\n"
        "import os; os.rename(sys.argv[2] + '.new', sys.argv[2])\n"
        "process.wait(600)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with subprocess.Popen([sys.executable, "-c", program, root, str(pid_path)]) as run:
        try:
            wait_until(pid_path.exists, 20, "the grandchild is started")
            grandchild = psutil.Process(int(pid_path.read_text()))
            wait_until(lambda: grandchild.name() == "sleep", 20, "the wrapper became sleep")
            run.send_signal(signal.SIGKILL)
            run.wait(20)
            assert psutil.wait_procs([grandchild], timeout=20)[1] == []
        finally:
            run.kill()


def test_end_ends_what_ignores_a_request(tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True)\n"
    program += "while True: time.sleep(1)"
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = child.spawn([sys.executable, "-c", program], output=file)
    wait_until(lambda: output.stat().st_size, 20, "the child ignores SIGTERM")
    assert child.end(process, deadline_seconds=0.2) == -signal.SIGKILL


def test_the_configuration_of_tests_is_one_of_the_agents(tmp_path: Path) -> None:
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap="127.0.0.1:1,127.0.0.1:2",
        streams=[
            stream("a", "/var/log/a.log", "topic"),
            stream("b", ["/b"], "topic", partitioner={"type": "random", "local": True}),
        ],
        agent={"locality": "static:us-east-1a"},
        properties={"linger.ms": "0"},
    )
    agent = AgentProcess(str(tmp_path / "agent"), config)
    loaded = load(agent.config_path)
    assert loaded.config.clusters["main"].bootstrap == ("127.0.0.1:1", "127.0.0.1:2")
    assert loaded.config.streams[1].publish[0].partitioner.local
    assert loaded.warnings == ()
