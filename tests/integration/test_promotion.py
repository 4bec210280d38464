"""Promotions on a real Apache Kafka, with SIGKILL at random moments, at least and exactly once."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import AgentProcess
from tests.support.consume import Collector
from tests.support.kafka_cluster import KafkaCluster
from tests.support.lines import LogWriter
from tests.support.switching import assert_switched, read_by_turns
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

DELIVERY_SECONDS = 60.0


class Switching:
    """One stream to two topics of one cluster, of which one leads and the other follows."""

    def __init__(self, kafka: KafkaCluster, directory: Path, seed: int, *, once: bool) -> None:
        self.source = random.Random(seed)
        self.topics = {name: kafka.create_topic(name, partitions=3) for name in ("one", "two")}
        self.once = once
        cluster: dict[str, Any] = {"bootstrap": kafka.bootstrap.split(",")}
        if once:
            cluster |= {"delivery": "exactly_once", "commit_every": "100ms"}
        config = {
            "agent": {
                "id": directory.name,
                "state_dir": str(directory / "state"),
                "rescan": "300ms",
            },
            "clusters": {"main": cluster},
            "streams": [
                {
                    "name": "s",
                    "paths": [str(directory / "*.log")],
                    "publish": [
                        {"cluster": "main", "name": name, "topic": topic, "shadow": name != "one"}
                        for name, topic in self.topics.items()
                    ],
                }
            ],
        }
        self.agent = AgentProcess(str(directory / "agent"), config)
        self.writers = [LogWriter(str(directory / f"{n}.log"), n, garble=True) for n in range(3)]
        self.collectors = {n: Collector(kafka.bootstrap, t) for n, t in self.topics.items()}
        self.cancelled = 0

    def singer(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "singer", *arguments, "-c", self.agent.config_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def promotions(self) -> list[dict[str, Any]]:
        return [
            json.loads(each) for each in self.singer("promote", "--list", "--json").splitlines()
        ]

    def live(self) -> None:
        """One life of the agent, ended at any moment."""
        self.agent.start()
        for _ in range(self.source.randint(1, 4)):
            writer = self.source.choice(self.writers)
            if self.source.random() < 0.3:
                writer.rotate()
            writer.write(self.source.randint(1, 2000))
            time.sleep(self.source.uniform(0.0, 0.5))  # the schedule of the faults
        if self.source.random() < 0.7:
            self.agent.wait_for_log("event=agent-started")
            time.sleep(self.source.uniform(0.0, 1.0))
        self.agent.kill()

    def switch(self, leads: str) -> None:
        """Promote one, with a kill before and kills until it is complete, but for the last life."""
        self.live()
        known = len(self.promotions)
        while True:
            self.singer("promote", "s", leads)
            self.live()
            self.live()
            self.agent.start()
            found = wait_until(
                lambda: self._outcome(known), DELIVERY_SECONDS, "it is complete, or cancelled"
            )
            if found == "complete":
                self.agent.kill()
                return
            self.cancelled += 1
            self.agent.wait_for_log("event=agent-started")
            assert self.agent.stop() == 0, self.agent.tail()

    def _outcome(self, known: int) -> str | None:
        promotions = self.promotions
        if len(promotions) == known:
            return "cancelled"
        return "complete" if promotions[-1]["complete"] else None

    def run(self, turns: int) -> None:
        with contextlib.ExitStack() as entered:
            for each in (self.agent, *self.writers, *self.collectors.values()):
                entered.enter_context(each)  # type: ignore[arg-type]
            for writer in self.writers:
                writer.write(100)
            self.agent.start()
            for collector in self.collectors.values():
                collector.wait_for(300, DELIVERY_SECONDS)
            self.agent.kill()
            for number in range(turns):
                self.switch("two" if number % 2 == 0 else "one")
            self.agent.start()
            self.agent.wait_for_log("event=agent-started")
            written = {line for writer in self.writers for line in writer.written}
            for collector in self.collectors.values():
                collector.wait_for_these(written, DELIVERY_SECONDS)
            assert self.agent.stop() == 0, self.agent.tail()
            self.agent.assert_balanced()
            arrived = {n: collector.close() for n, collector in self.collectors.items()}
        read = read_by_turns(arrived, self.promotions, self.topics)
        assert len(read) == turns + 1
        assert_switched({w.lineage: w.written for w in self.writers}, read, exact=self.once)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("once", [False, True], ids=["at least once", "exactly once"])
def test_switching_with_kills_at_any_time(
    kafka: KafkaCluster, tmp_path: Path, *, once: bool
) -> None:
    Switching(kafka, tmp_path, 2026, once=once).run(2)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("once", [False, True], ids=["at least once", "exactly once"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_switching_thirty_times_with_kills_at_any_time(
    kafka: KafkaCluster, tmp_path: Path, seed: int, *, once: bool
) -> None:
    Switching(kafka, tmp_path, seed, once=once).run(30)
