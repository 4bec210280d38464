"""The real agent, a real Apache Kafka: what is in the files is in the topics.

Each test has topics, files and a state directory of its own; the cluster is shared.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import os
import random
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Arrived, Collector, read_topic
from tests.support.kafka_cluster import FAILOVER_SECONDS, KafkaCluster
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

#: A file read, sent to three brokers on the same two cores, and acknowledged.
DELIVERY_SECONDS = 60.0


def agent_for(
    kafka: KafkaCluster, tmp_path: Path, *streams: dict[str, Any], **agent: Any
) -> AgentProcess:
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap=kafka.bootstrap,
        streams=streams,
        agent=agent,
    )
    return AgentProcess(str(tmp_path / "agent"), config)


def values(arrived: Arrived) -> list[bytes]:
    return [record.value for records in arrived.values() for record in records]


def in_one_partition(kafka: KafkaCluster, name: str, **configs: str) -> str:
    return kafka.create_topic(name, partitions=1, configs=configs)


def in_pieces(writer: LogWriter, collector: Collector, pieces: int, lines: int) -> Iterable[int]:
    """Write piece after piece, each after the one before arrived: the agent keeps pace."""
    for piece in range(pieces):
        writer.write(lines)
        yield piece
        collector.wait_for(len(writer.written), FAILOVER_SECONDS)


# --- bytes --------------------------------------------------------------------------------


def test_every_byte_passes_unchanged_and_only_once(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = in_one_partition(kafka, "bytes")
    source = random.Random(5)
    lines = [
        b"plain",
        b"",
        b"\0",
        b"a\0b\0",
        b"crlf\r",
        b"\r",
        b"\xff\xfe not UTF-8 \x80",
        b"",
        "naïve ünïcødé 🎵".encode(),
        b" leading and trailing \t ",
        *(source.randbytes(source.randrange(400)).replace(b"\n", b"") for _ in range(500)),
    ]
    path = tmp_path / "odd.log"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with agent_for(kafka, tmp_path, stream("odd", str(path), topic)) as agent:
        assert agent.run_once() == 0, agent.tail()
        assert values(read_topic(kafka.bootstrap, topic)) == lines
        assert agent.assert_balanced()["delivered"] == path.stat().st_size

        with path.open("ab") as file:
            file.write(b"one more\nheld")
        assert agent.run_once() == 0, agent.tail()
    assert values(read_topic(kafka.bootstrap, topic)) == [*lines, b"one more"]


def test_the_logs_of_this_machine(kafka: KafkaCluster, tmp_path: Path) -> None:
    found = [
        path
        for path in sorted(glob.glob("/var/log/**/*.log", recursive=True))
        if os.access(path, os.R_OK)
        and stat.S_ISREG(os.lstat(path).st_mode)
        and 0 < os.path.getsize(path) < 32 << 20
    ][:8]
    if not found:
        pytest.skip("no readable log file under /var/log on this machine")
    topics = {path: in_one_partition(kafka, "var-log") for path in found}
    streams = [stream(topic, path, topic) for path, topic in topics.items()]
    before = {path: Path(path).read_bytes().count(b"\n") for path in found}
    with agent_for(kafka, tmp_path, *streams) as agent:
        assert agent.run_once(DELIVERY_SECONDS) == 0, agent.tail()
        agent.assert_balanced()
    for path, topic in topics.items():
        arrived = values(read_topic(kafka.bootstrap, topic))
        # The machine may have logged while the agent ran: compare what had arrived by then.
        lines = Path(path).read_bytes().split(b"\n")[:-1]
        assert len(arrived) >= before[path], path
        assert arrived == lines[: len(arrived)], path


# --- zones --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "sticky"])
def test_only_partitions_of_this_zone(kafka: KafkaCluster, tmp_path: Path, kind: str) -> None:
    topic = kafka.create_topic("zone", partitions=6)
    local = {p for p, leader in kafka.leaders(topic).items() if leader == 1}
    writers = [LogWriter(str(tmp_path / f"app-{n}.log"), n) for n in range(24)]
    for writer in writers:
        writer.write(200)
        writer.close()
    logs = stream(
        "app",
        str(tmp_path / "app-*.log"),
        topic,
        partitioner={"type": kind, "local": True},
    )
    with agent_for(kafka, tmp_path, logs, locality="static:us-east-1a") as agent:
        assert agent.run_once() == 0, agent.tail()
    arrived = read_topic(kafka.bootstrap, topic)
    assert_delivered({writer.lineage: writer.written for writer in writers}, arrived)
    used = {partition for partition, records in arrived.items() if records}
    assert used <= local
    if kind == "random":
        assert used == local  # 24 files all on one of two: once in eight million


# --- brokers come and go ------------------------------------------------------------------


def test_leaders_move(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("move")
    path = str(tmp_path / "app.log")
    with (
        LogWriter(path, 1, garble=True) as writer,
        agent_for(kafka, tmp_path, stream("app", path, topic)) as agent,
        Collector(kafka.bootstrap, topic) as collector,
    ):
        agent.start()
        for piece in in_pieces(writer, collector, pieces=5, lines=2000):
            kafka.move_leaders(topic, piece % 3 + 1)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        assert_delivered({1: writer.written}, collector.close())


def test_a_broker_is_stopped_and_started(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("stop")
    actions = [kafka.stop, kafka.start]
    path = str(tmp_path / "app.log")
    with (
        LogWriter(path, 1, garble=True) as writer,
        agent_for(kafka, tmp_path, stream("app", path, topic)) as agent,
        Collector(kafka.bootstrap, topic) as collector,
    ):
        agent.start()
        for piece in in_pieces(writer, collector, pieces=4, lines=2000):
            actions[piece % 2](2 - piece // 2)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        assert_delivered({1: writer.written}, collector.close())


def test_a_broker_is_killed_while_it_is_written_to(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("killed")
    logs = stream("app", str(tmp_path / "app-*.log"), topic, partitioner="random")
    with (
        contextlib.ExitStack() as files,
        agent_for(kafka, tmp_path, logs) as agent,
        Collector(kafka.bootstrap, topic) as collector,
    ):
        # Files enough that every partition is written to when its leader dies.
        writers = [
            files.enter_context(LogWriter(str(tmp_path / f"app-{n}.log"), n)) for n in range(6)
        ]
        agent.start()
        for writer in writers:
            writer.write(500)
        collector.wait_for(3000, DELIVERY_SECONDS)
        for writer in writers:
            writer.write(20_000)
        kafka.kill(3)
        for writer in writers:
            writer.write(500)
        collector.wait_for_values(6 * 21_000, FAILOVER_SECONDS)
        kafka.start(3)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        written = {writer.lineage: writer.written for writer in writers}
        assert_delivered(written, collector.close())


def test_the_whole_cluster_stalls(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("stall")
    path = str(tmp_path / "app.log")
    with (
        LogWriter(path, 1) as writer,
        agent_for(kafka, tmp_path, stream("app", path, topic)) as agent,
    ):
        agent.start()
        writer.write(100)
        wait_until(
            lambda: sum(kafka.end_offsets(topic).values()) == 100, DELIVERY_SECONDS, "100 records"
        )
        for broker in kafka.broker_ids:
            kafka.pause(broker)
        writer.write(5000)
        # Meanwhile the agent is stopped and started: the file is the buffer.
        agent.kill()
        agent.start()
        writer.write(5000)
        for broker in kafka.broker_ids:
            kafka.resume(broker)
        wait_until(
            lambda: sum(kafka.end_offsets(topic).values()) >= 10_100,
            FAILOVER_SECONDS,
            lambda: f"all records: {kafka.end_offsets(topic)}\n{agent.tail()}",
        )
        assert agent.stop() == 0, agent.tail()
    # What was on its way when the agent was killed may have been taken by the brokers.
    assert_delivered(
        {1: writer.written}, read_topic(kafka.bootstrap, topic), duplicates_at_most=5100
    )


def test_a_clean_restart_repeats_nothing(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.create_topic("restart")
    path = str(tmp_path / "app.log")
    with (
        LogWriter(path, 1) as writer,
        agent_for(kafka, tmp_path, stream("app", path, topic)) as agent,
        Collector(kafka.bootstrap, topic) as collector,
    ):
        for _ in range(3):
            agent.start()
            writer.write(3000)
            # A file that is renamed before the agent saw it first would be history.
            collector.wait_for(len(writer.written), DELIVERY_SECONDS)
            writer.rotate()
            writer.write(3000)
            assert agent.stop() == 0, agent.tail()
            agent.assert_balanced()
            writer.write(100)
            writer.rotate()  # while nobody looks
            writer.write(100)
        assert agent.run_once() == 0, agent.tail()
        collector.wait_for(len(writer.written), DELIVERY_SECONDS)
        assert_delivered({1: writer.written}, collector.close())


# --- refusals -----------------------------------------------------------------------------


def test_lines_too_long_for_the_topic_are_dead_letters(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = in_one_partition(kafka, "small", **{"max.message.bytes": "100000"})
    writer = LogWriter(str(tmp_path / "app.log"), 1)
    source = random.Random(7)
    culprits = []
    for _ in range(5):
        writer.write(300)
        # Noise: the limit is on what is left after compression.
        writer.write_line(source.randbytes(200_000).replace(b"\n", b""))
        culprits.append(writer.written[-1])
    writer.write(300)
    writer.close()
    good = [line for line in writer.written if line not in culprits]
    with agent_for(kafka, tmp_path, stream("app", writer.path, topic)) as agent:
        assert agent.run_once(DELIVERY_SECONDS) == 0, agent.tail()
        total = agent.assert_balanced()
    assert total["dead_lettered"] == sum(len(line) + 1 for line in culprits)
    arrived = values(read_topic(kafka.bootstrap, topic))
    # Neighbours of a rejected record may change places with each other, and are not lost.
    assert sorted(arrived) == sorted(good)
    letters = dead_letters(tmp_path / "state")
    assert [base64.b64decode(letter["payload"]) for letter in letters] == culprits
    content = Path(writer.path).read_bytes()
    for letter, culprit in zip(letters, culprits, strict=True):
        assert letter["stream"] == "app"
        assert letter["file"] == writer.path
        assert letter["length"] >= len(culprit)
        assert content[letter["offset"] :].startswith(culprit)
        assert letter["reason"]


def test_an_absent_topic_is_waited_for_and_holds_up_nobody(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    absent, there = kafka.unique("absent"), kafka.create_topic("there")
    streams = [
        stream("waiting", str(tmp_path / "waiting.log"), absent),
        stream("flowing", str(tmp_path / "flowing.log"), there),
    ]
    with (
        LogWriter(str(tmp_path / "waiting.log"), 1) as waiting,
        LogWriter(str(tmp_path / "flowing.log"), 2) as flowing,
        agent_for(kafka, tmp_path, *streams) as agent,
    ):
        waiting.write(1000)
        agent.start()
        agent.wait_for_log(absent)
        flowing.write(1000)
        wait_until(
            lambda: sum(kafka.end_offsets(there).values()) == 1000,
            DELIVERY_SECONDS,
            lambda: f"the other stream is delivered:\n{agent.tail()}",
        )
        assert kafka.leaders(absent) == {}, "the agent must not create topics"
        kafka.create_topic(absent, exact_name=True)
        wait_until(
            lambda: sum(kafka.end_offsets(absent).values()) == 1000,
            DELIVERY_SECONDS,
            lambda: f"the new topic is delivered to:\n{agent.tail()}",
        )
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
    assert_delivered({1: waiting.written}, read_topic(kafka.bootstrap, absent))
    assert_delivered({2: flowing.written}, read_topic(kafka.bootstrap, there))


def dead_letters(state_dir: Path) -> list[dict[str, Any]]:
    """All dead letters below a state directory, oldest file first."""
    files = [path for path in state_dir.rglob("*dead*") if path.is_file()]
    files += [path for path in state_dir.rglob("*dead*/*") if path.is_file()]
    ordered = sorted(set(files), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line) for path in ordered for line in path.read_bytes().splitlines()]
