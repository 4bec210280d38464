"""An agent that says what it delivered, and `singer audit verify`, which holds it to that."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from singer.kafka.embedded import EmbeddedCluster
from singer.validate.topic import Topic
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.waiting import wait_until

Made = Callable[..., AgentProcess]


class Audited:
    """Agents with one audit topic, one after the other in one state directory."""

    def __init__(self, tmp_path: Path, bootstrap: str, topic: str, streams: list[Any]) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        config = configuration(
            state_dir=str(tmp_path / "state"),
            bootstrap=bootstrap,
            streams=streams,
            agent={"id": "host-1", "commit_every": "50ms"},
            cluster={"audit": {"topic": f"{topic}.audit", "every": "300ms"}},
        )
        self.agent = AgentProcess(str(tmp_path / "agent"), config)

    def ends(self) -> list[int]:
        """The offsets behind the last records of the topic's partitions."""
        with Topic(self.topic, {"bootstrap.servers": self._bootstrap}) as topic:
            return [topic.bounds(partition)[1] for partition in topic.partitions()]

    def verify(self, *arguments: str) -> dict[str, Any]:
        """The answer of the command, as JSON; its exit status agrees with it."""
        command = [sys.executable, "-m", "singer", "audit", "verify", "--json"]
        done = subprocess.run(
            [*command, "-c", self.agent.config_path, *arguments],
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert done.returncode in (0, 65), done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) is answer["ok"]
        return answer


@pytest.fixture
def audited(
    tmp_path: Path, logs: Path, brokers: EmbeddedCluster, request: pytest.FixtureRequest
) -> Any:
    made: list[Audited] = []

    def make(**more: Any) -> Audited:
        topic = request.node.name[:150].replace("[", "-").replace("]", "")
        for each, partitions in ((topic, 3), (f"{topic}.audit", 2)):
            brokers.create_topic(each, partitions)
        one = stream("s", str(logs / "*.log"), topic, **more)
        made.append(Audited(tmp_path, brokers.bootstrap, topic, [one]))
        return made[-1]

    yield make
    for one in made:
        if one.agent.running:
            one.agent.kill()


def _lines(first: int, count: int, *, pad: int = 0) -> bytes:
    return b"".join(b"%d %s\n" % (n, b"x" * (pad + n % 50)) for n in range(first, first + count))


@pytest.mark.parametrize("partitioner", ["sticky", "random"])
def test_all_that_was_delivered_is_verified(audited: Any, logs: Path, partitioner: str) -> None:
    made = audited(partitioner=partitioner)
    total = 0
    for run in range(3):
        for file in range(3):
            with (logs / f"{file}.log").open("ab") as log:
                log.write(_lines(total, 5000 * (file + 1), pad=100))
                total += 5000 * (file + 1)
                log.write(b"\n\r\n" + b"\0\xff\n" * run)
                total += 2 + run
        assert made.agent.run_once() == 0
    answer = made.verify()
    assert answer["ok"]
    (found,) = answer["destinations"]
    assert found["verified"] == total
    assert answer["records_read"] == total
    size = sum(path.stat().st_size for path in logs.iterdir())
    assert found["bytes"] == {"accounted": size, "skipped": 0, "unknown": 0, "missing": 0}
    assert found["unverified"] == found["without_range"] == found["sent_again"] == 0
    assert (found["host"], found["stream"]) == ("host-1", "s")
    assert answer["unclaimed"][made.topic]["records"] == 0


def test_faults_are_found_exactly_where_they_are(
    audited: Any, logs: Path, brokers: EmbeddedCluster
) -> None:
    made = audited(partitioner={"type": "fixed", "partitions": 1})
    (logs / "a.log").write_bytes(_lines(0, 1000))
    assert made.agent.run_once() == 0
    before = made.verify()
    (found,) = before["destinations"]
    assert before["ok"]
    assert found["verified"] == 1000
    producer = Producer({"bootstrap.servers": brokers.bootstrap})
    (partition,) = (number for number, end in enumerate(made.ends()) if end)
    for n in (7, 8, 9):  # copies, and one that nobody sent
        producer.produce(made.topic, _lines(n, 1)[:-1], partition=partition)
    producer.produce(made.topic, b"of somebody else", partition=partition)
    producer.flush(10)
    answer = made.verify()
    assert answer["ok"]  # at least once
    (found,) = answer["destinations"]
    place = {"topic": made.topic, "partition": partition, "first": 1000, "end": 1003}
    assert found["duplicated"] == {"records": 3, "places": [place], "unnamed_places": 0}
    place |= {"first": 1003, "end": 1004}
    assert answer["unclaimed"][made.topic]["places"] == [place]


def test_a_stretch_that_a_person_skipped_is_missing(audited: Any, logs: Path) -> None:
    made = audited()
    log = logs / "a.log"
    log.write_bytes(_lines(0, 500))
    assert made.agent.run_once() == 0
    first = log.stat().st_size
    with log.open("ab") as more:
        more.write(_lines(500, 500))
    end = log.stat().st_size
    command = [sys.executable, "-m", "singer", "positions", "set"]
    subprocess.run(
        [*command, "-c", made.agent.config_path, str(log), "--offset", str(end)],
        check=True,
        timeout=60,
    )
    with log.open("ab") as more:
        more.write(_lines(1000, 500))
    assert made.agent.run_once() == 0
    answer = made.verify()
    assert not answer["ok"]
    (found,) = answer["destinations"]
    assert found["verified"] == 1000
    assert found["missing"] == [{"path": str(log), "start": first, "end": end}]


def test_killed_again_and_again_nothing_is_missing(audited: Any, logs: Path) -> None:
    made = audited(partitioner="random")
    log = logs / "a.log"
    total = 0
    for _ in range(6):
        with log.open("ab") as more:
            more.write(_lines(total, 30_000, pad=60))
        total += 30_000
        before = made.ends()
        made.agent.start()
        # Some of it has arrived; what has, and is not committed, comes once more.
        wait_until(lambda before=before: made.ends() != before, 30.0, lambda: "some lines arrived")
        made.agent.kill()
    assert made.agent.run_once() == 0
    answer = made.verify()
    assert answer["ok"], answer
    (found,) = answer["destinations"]
    assert found["verified"] == total
    assert found["duplicated"]["records"] == answer["records_read"] - total
    assert answer["unclaimed"][made.topic]["records"] == 0
    assert found["bytes"]["accounted"] == log.stat().st_size
