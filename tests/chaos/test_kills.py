"""SIGKILL after SIGKILL of the agent while logs are written and rotated: nothing is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Collector
from tests.support.kafka_cluster import KafkaCluster
from tests.support.lines import LogWriter
from tests.support.oracle import Verdict, assert_delivered

pytestmark = pytest.mark.kafka

LINE_BYTES = 150
#: One start of the agent on busy cores, and its first acknowledgement.
PROGRESS_SECONDS = 60.0
CATCH_UP_SECONDS = 120.0
VERIFY_SECONDS = 120.0


class Storm:
    """Writes a share of the lines in each life of the agent, and ends that life at a moment
    drawn from a seeded source: before it is up, after it delivered, while it commits.
    """

    def __init__(
        self,
        kafka: KafkaCluster,
        directory: Path,
        *,
        kills: int,
        seed: int,
        exactly_once: bool = False,
        broker_kills: bool = False,
    ) -> None:
        """`broker_kills`: in some of the lives a broker is killed and started again."""
        self._source = random.Random(seed)
        self._kills = kills
        self._kafka = kafka if broker_kills else None
        self._topic = topic = kafka.create_topic("storm", partitions=3)
        self._writers = [
            LogWriter(str(directory / f"app-{n}.log"), n, size_bytes=LINE_BYTES - 1, garble=True)
            for n in range(3)
        ]
        config = configuration(
            state_dir=str(directory / "state"),
            bootstrap=kafka.bootstrap,
            streams=[stream("app", str(directory / "app-*.log"), topic)],
            cluster={
                "audit": {"topic": kafka.create_topic("storm-audit", partitions=2), "every": "1s"},
                **({"delivery": "exactly_once", "commit_every": "200ms"} if exactly_once else {}),
            },
        )
        self._exactly_once = exactly_once
        self._agent = AgentProcess(str(directory / "agent"), config)
        self._collector = Collector(kafka.bootstrap, topic)
        self.kills_after_progress = 0

    def run(self, total_bytes: int, *, at_least_seconds: float = 0.0) -> Verdict:
        """As many lives as there are kills, and more of them until so much time is over."""
        share = total_bytes // LINE_BYTES // self._kills
        ends = time.monotonic() + at_least_seconds
        with contextlib.ExitStack() as files, self._agent as agent, self._collector as collector:
            for writer in self._writers:
                files.enter_context(writer)
            self._meet()
            for life in itertools.count():
                if life >= self._kills and time.monotonic() >= ends:
                    break
                try:
                    self._live(share)
                except AssertionError as error:
                    error.add_note(f"in life {life}, the agent at the end:\n{agent.tail()}")
                    raise
            if self._kafka is not None:
                self._kafka.heal()
            agent.start()
            agent.wait_for_log("event=agent-started")
            for writer in self._writers:
                writer.write(100)
            lines = sum(len(writer.written) for writer in self._writers)
            collector.wait_for_values(lines, CATCH_UP_SECONDS)
            assert agent.stop() == 0, agent.tail()
            agent.assert_balanced()
            arrived = collector.close()
        written = {writer.lineage: writer.written for writer in self._writers}
        # A line may be sent again once for each kill, but far from all of them are: a life
        # repeats only what was acknowledged and not yet committed.
        duplicates = 0 if self._exactly_once else lines
        verdict = assert_delivered(written, arrived, duplicates_at_most=duplicates)
        self._assert_verified(lines, verdict)
        return verdict

    def _assert_verified(self, lines: int, verdict: Verdict) -> None:
        """Who reads nothing but Kafka finds the same: no false alarm, and each copy."""
        verify = [sys.executable, "-m", "singer", "audit", "verify", "--json"]
        done = subprocess.run(
            [*verify, "-c", self._agent.config_path],
            capture_output=True,
            timeout=VERIFY_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        answer = json.loads(done.stdout)
        (found,) = answer["destinations"]
        (unclaimed,) = answer["unclaimed"].values()
        assert answer["records_read"] == lines + verdict.duplicated
        assert found["duplicated"]["records"] == verdict.duplicated
        # Committed in a transaction, and killed before the store knew: nobody says where.
        assert bool(unclaimed["records"]) <= bool(found["bytes"]["unknown"])
        assert found["verified"] + unclaimed["records"] == lines

    def _meet(self) -> None:
        """Let the agent see every path once: what was rotated before that is history to it."""
        for writer in self._writers:
            writer.write(1)
        self._agent.start()
        self._collector.wait_for(len(self._writers), PROGRESS_SECONDS)
        self._agent.kill()

    def _live(self, share: int) -> None:
        """One life of the agent, from its start to its SIGKILL."""
        begun = self._collector.count
        self._agent.start()
        patient = self._source.random() < 0.7
        pieces = self._source.randint(2, 8)
        if self._kafka is not None and self._source.random() < 0.05:
            self._kafka.heal()
            replicas = self._kafka.replicas_in_sync(self._topic)
            if all(len(each) == 3 for each in replicas.values()):  # else nobody could lead
                self._kafka.kill(self._source.choice(self._kafka.broker_ids))
        for _ in range(pieces):
            self._write(share // pieces)
            # The schedule of the faults, not a wait for anything.
            time.sleep(self._source.uniform(0.0, 0.2))
        if patient:
            self._collector.wait_for(begun + 1, PROGRESS_SECONDS)
            time.sleep(self._source.uniform(0.0, 0.4))
        assert self._agent.running, f"the agent ended by itself:\n{self._agent.tail()}"
        self.kills_after_progress += self._collector.count > begun
        self._agent.kill()
        if self._source.random() < 0.3:
            self._write(self._source.randint(1, 50))  # while nobody looks

    def _write(self, lines: int) -> None:
        writer = self._source.choice(self._writers)
        if self._source.random() < 0.15:
            writer.rotate()
        writer.write(lines)
        if self._source.random() < 0.15:
            writer.begin_line()
            writer.finish_line()


@pytest.mark.timeout(280)
def test_thirty_kills_lose_nothing(kafka: KafkaCluster, tmp_path: Path) -> None:
    storm = Storm(kafka, tmp_path, kills=30, seed=2026)
    storm.run(total_bytes=20_000_000)
    # Kills before anything was delivered prove little: most must come later.
    assert storm.kills_after_progress >= 15


@pytest.mark.timeout(280)
def test_twenty_kills_repeat_nothing_either(kafka: KafkaCluster, tmp_path: Path) -> None:
    storm = Storm(kafka, tmp_path, kills=20, seed=2027, exactly_once=True)
    storm.run(total_bytes=10_000_000)
    assert storm.kills_after_progress >= 10


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("exactly_once", [False, True], ids=["at least once", "exactly once"])
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_kills_lose_nothing(
    kafka: KafkaCluster, tmp_path: Path, seed: int, *, exactly_once: bool
) -> None:
    storm = Storm(kafka, tmp_path, kills=200, seed=seed, exactly_once=exactly_once)
    storm.run(total_bytes=100_000_000)
    assert storm.kills_after_progress >= 100


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_an_hour_of_kills_and_rotations_is_verified_without_a_false_alarm(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    storm = Storm(kafka, tmp_path, kills=500, seed=7, broker_kills=True)
    storm.run(total_bytes=100_000_000, at_least_seconds=3600.0)
    assert storm.kills_after_progress >= 250
