"""Audit ranges and `singer audit verify` on real brokers: faults are found exactly."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from singer.base.wire.audit import decode, encode
from singer.validate.topic import Topic
from tests.support import child
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.audit_reader import read_evidence
from tests.support.kafka_cluster import KafkaCluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

VERIFY = [sys.executable, "-m", "singer", "audit", "verify", "--json"]


class Audited:
    """An agent and its topics on a real cluster."""

    def __init__(self, kafka: KafkaCluster, tmp_path: Path, logs: Path, **cluster: Any) -> None:
        self.kafka = kafka
        self.topic = kafka.create_topic("audited", partitions=6)
        self.audit = kafka.create_topic("audit", partitions=4)
        self.agent = AgentProcess(
            str(tmp_path / "agent"),
            configuration(
                state_dir=str(tmp_path / "state"),
                bootstrap=kafka.bootstrap,
                streams=[
                    stream("s", str(logs / "*.log"), self.topic, partitioner="random"),
                ],
                agent={"id": "host-1", "commit_every": "50ms"},
                cluster={"audit": {"topic": self.audit, "every": "300ms"}, **cluster},
            ),
        )

    def records(self, topic: str) -> Iterator[tuple[int, int, bytes]]:
        """(partition, offset, value) of all records that are committed."""
        with Topic(topic, {"bootstrap.servers": self.kafka.bootstrap}) as there:
            for partition in there.partitions():
                for stretch in there.read(partition, *there.bounds(partition)):
                    for offset, value in zip(stretch.offsets.tolist(), stretch.values, strict=True):
                        yield partition, offset, value

    def verify(self, *arguments: str) -> dict[str, Any]:
        """The answer of the command; its exit status agrees."""
        done = subprocess.run(
            [*VERIFY, "-c", self.agent.config_path, *arguments],
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert done.returncode in (0, 65), done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) is answer["ok"]
        return answer


def _lines(first: int, count: int) -> bytes:
    return b"".join(b"%d %s\n" % (n, b"x" * (50 + n % 90)) for n in range(first, first + count))


@pytest.fixture
def audited(kafka: KafkaCluster, tmp_path: Path, logs: Path) -> Iterator[Any]:
    made: list[Audited] = []

    def make(**cluster: Any) -> Audited:
        made.append(Audited(kafka, tmp_path, logs, **cluster))
        return made[-1]

    yield make
    for one in made:
        if one.agent.running:
            one.agent.kill()


def test_faults_on_a_real_cluster_are_found_exactly(audited: Any, logs: Path) -> None:
    made = audited()
    for number in range(4):
        (logs / f"{number}.log").write_bytes(_lines(10_000 * number, 10_000))
    assert made.agent.run_once() == 0
    answer = made.verify()
    assert answer["ok"]
    (found,) = answer["destinations"]
    assert found["verified"] == answer["records_read"] == 40_000

    # A copy of the cluster's topics in which one byte is another, and a batch comes twice.
    copy, copied_audit = (made.kafka.create_topic(name, partitions=6) for name in ("copy", "aud"))
    everything = list(made.records(made.topic))
    at, (partition, offset, value) = next(
        (at, each) for at, each in enumerate(everything) if each[1] == 700
    )
    flipped = value[:9] + bytes([value[9] ^ 1]) + value[10:]
    everything[at] = (partition, offset, flipped)
    again = [each for each in everything if each[0] == partition][100:140]
    end = max(offset for number, offset, _ in everything if number == partition) + 1
    producer = Producer({"bootstrap.servers": made.kafka.bootstrap, "linger.ms": 50})
    for number, _, content in [*everything, *again]:
        producer.produce(copy, content, partition=number)
        producer.poll(0)
    for number, _, content in made.records(made.audit):
        said = replace(decode(content), topic=copy)
        producer.produce(copied_audit, encode(said), partition=number)
    producer.flush(30)
    answer = made.verify("--audit-topic", copied_audit)
    assert not answer["ok"]
    (found,) = answer["destinations"]
    (place,) = found["corrupted"]["places"]
    assert (place["topic"], place["partition"]) == (copy, partition)
    assert place["first"] <= 700 < place["end"] <= place["first"] + 128
    assert found["verified"] == 40_000 - found["corrupted"]["records"]
    assert found["duplicated"]["places"] == [
        {"topic": copy, "partition": partition, "first": end, "end": end + 40}
    ]
    assert found["lost"]["records"] == found["bytes"]["missing"] == found["reordered"]["records"]
    assert found["lost"]["records"] == 0

    # What retention takes away is lost, to the record.
    admin = AdminClient({"bootstrap.servers": made.kafka.bootstrap})
    for future in admin.delete_records([TopicPartition(made.topic, partition, 250)]).values():
        future.result(30)
    answer = made.verify()
    assert not answer["ok"]
    (found,) = answer["destinations"]
    assert found["lost"]["places"] == [
        {"topic": made.topic, "partition": partition, "first": 0, "end": 250}
    ]
    assert found["expired"] == 250
    assert found["corrupted"]["records"] == 0
    assert found["verified"] + found["unverified"] == 40_000 - 250
    assert found["unverified"] < 128 * 4


@pytest.mark.timeout(200)
def test_each_byte_is_said_once_over_kills(audited: Any, logs: Path) -> None:
    made = audited()
    log, lines = logs / "a.log", []
    for life in range(5):
        data = _lines(20_000 * life, 20_000)
        lines += data.splitlines()
        with log.open("ab") as more:
            more.write(data)
        before = sum(1 for _ in made.records(made.topic))
        made.agent.start()
        wait_until(
            lambda before=before: sum(1 for _ in made.records(made.topic)) > before,
            60.0,
            lambda: "some lines arrive",
        )
        made.agent.kill()
    assert made.agent.run_once() == 0
    found = read_evidence(made.kafka.bootstrap, made.audit, made.topic)
    assert found.covered(str(log)) == (0, log.stat().st_size)
    assert found.columns["delivered"] == log.stat().st_size
    assert found.columns["records"] == len(lines)
    assert sorted(found.claimed[str(log)]) == sorted(lines)
    # Acknowledged, and killed before that was committed: they came once more.
    assert set(found.unclaimed.values()) <= set(lines)


@pytest.mark.timeout(200)
def test_exactly_once_is_audited_over_kills(audited: Any, logs: Path) -> None:
    made = audited(delivery="exactly_once", commit_every="100ms")
    total = 0
    for _ in range(4):
        with (logs / "a.log").open("ab") as log:
            log.write(_lines(total, 20_000))
        total += 20_000
        before = sum(1 for _ in made.records(made.topic))
        made.agent.start()
        wait_until(
            lambda before=before: sum(1 for _ in made.records(made.topic)) > before,
            60.0,
            lambda: "some lines are committed",
        )
        made.agent.kill()
    assert made.agent.run_once() == 0
    answer = made.verify()
    assert answer["ok"], answer
    (found,) = answer["destinations"]
    assert answer["records_read"] == total
    unclaimed = answer["unclaimed"][made.topic]["records"]
    unknown = found["bytes"]["unknown"]
    assert found["verified"] + unclaimed == total
    assert bool(unclaimed) == bool(unknown)  # committed, and killed before that was noted
    assert found["bytes"]["accounted"] + unknown == (logs / "a.log").stat().st_size
    assert found["duplicated"]["records"] == 0


class Follower:
    """`singer audit verify --continuous` as a child process."""

    def __init__(self, made: Audited, tmp_path: Path, name: str) -> None:
        self.output = tmp_path / f"{name}.out"
        self.errors = tmp_path / f"{name}.err"
        arguments = ["--continuous", "--from-beginning", "--settle", "2", "--instance", name]
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = child.spawn(
                [*VERIFY, "-c", made.agent.config_path, *arguments, "--http", "127.0.0.1:0"],
                output=output,
                errors=errors,
            )
        wait_until(lambda: self._port() is not None, 60.0, self.errors.read_text)

    def _port(self) -> str | None:
        found = re.search(r"metrics are at port (\d+)", self.errors.read_text())
        return found and found[1]

    def metric(self, name: str) -> float:
        """A metric's value over all labels; 0 where it is not said yet."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def result(self, result: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(each.rsplit(" ", 1)[1]) for each in lines if f'result="{result}"' in each)

    def stop(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        answer: dict[str, Any] = json.loads(self.output.read_text())
        assert self.process.returncode == (0 if answer["ok"] else 65)
        return answer


@pytest.mark.timeout(250)
def test_two_followers_share_the_work_and_find_what_is_wrong(
    audited: Any, logs: Path, tmp_path: Path
) -> None:
    made = audited()
    followers = [Follower(made, tmp_path, f"verify-{n}") for n in range(2)]
    try:
        wait_until(
            lambda: [each.metric("singer_verify_partitions") for each in followers] == [2, 2],
            90.0,
            lambda: f"the partitions are shared: {[f.errors.read_text() for f in followers]}",
        )
        made.agent.start()
        total = 0
        for number in range(3):
            (logs / f"{number}.log").write_bytes(_lines(total, 10_000))
            total += 10_000

        def judged(result: str) -> float:
            return sum(each.result(result) for each in followers)

        wait_until(
            lambda: judged("verified") == total, 60.0, lambda: f"{judged('verified')} of {total}"
        )
        assert made.agent.stop() == 0
        # Copies behind what was judged, and records behind them whose claims have them looked at.
        judged_ones = [each for each in made.records(made.topic) if each[1] == 500]
        _, _, value = judged_ones[0]
        producer = Producer({"bootstrap.servers": made.kafka.bootstrap})
        for number, _, _ in judged_ones:
            producer.produce(made.topic, value, partition=number)
        producer.flush(30)
        made.agent.start()
        for number in range(3, 30):  # by files, so that all partitions get some
            (logs / f"{number}.log").write_bytes(_lines(total, 200))
            total += 200
        wait_until(
            lambda: judged("verified") == total, 60.0, lambda: f"{judged('verified')} of {total}"
        )
        wait_until(
            lambda: judged("duplicated") + _unclaimed(followers) == len(judged_ones),
            30.0,
            lambda: f"{judged('duplicated')} copies, {_unclaimed(followers)} unclaimed",
        )
        assert judged("duplicated") >= 1  # where its original was judged by the same follower
        assert judged("lost") == judged("corrupted") == judged("reordered") == 0
        assert made.agent.stop() == 0
        answers = [each.stop() for each in followers]
    finally:
        for each in followers:
            child.end(each.process)
    assert all(answer["ok"] for answer in answers)


def _unclaimed(followers: list[Follower]) -> float:
    return sum(each.metric("singer_verify_unclaimed_total") for each in followers)
