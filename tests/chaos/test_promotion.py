"""Promotions with SIGKILL at every step: who switches at the printed offsets misses nothing."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from singer.base.config import EmbeddedConfig
from singer.kafka.embedded import EmbeddedCluster
from tests.support.agent_process import AgentProcess
from tests.support.consume import Collector
from tests.support.lines import LogWriter
from tests.support.switching import assert_switched, read_by_turns

DELIVERY_SECONDS = 60.0
PARTITIONS = 3


class Pair:
    """An agent that publishes one stream to two clusters, and what came to either."""

    def __init__(self, directory: Path, partitioner: str = "sticky") -> None:
        (directory / "logs").mkdir()
        self.clusters = {
            name: EmbeddedCluster(EmbeddedConfig(brokers=1)) for name in ("main", "canary")
        }
        for cluster in self.clusters.values():
            cluster.create_topic("web", PARTITIONS)
        self.config: dict[str, Any] = {
            "agent": {
                "state_dir": str(directory / "state"),
                "rescan": "300ms",
                "drain_deadline": "500ms",
            },
            "clusters": {
                name: {
                    "bootstrap": [cluster.bootstrap],
                    "properties": {"compression.type": "lz4"},
                }
                for name, cluster in self.clusters.items()
            },
            "streams": [
                {
                    "name": "s",
                    "paths": [str(directory / "logs" / "*.log")],
                    "publish": [
                        {"cluster": "main", "topic": "web", "partitioner": partitioner},
                        {
                            "cluster": "canary",
                            "topic": "web",
                            "shadow": True,
                            "partitioner": partitioner,
                        },
                    ],
                }
            ],
        }
        self.agent = AgentProcess(str(directory / "agent"), self.config)
        self.writers = [
            LogWriter(str(directory / "logs" / f"{n}.log"), n, garble=True) for n in range(3)
        ]
        self.collectors = {
            name: Collector(cluster.bootstrap, "web") for name, cluster in self.clusters.items()
        }

    def close(self) -> None:
        if self.agent.running:
            self.agent.kill()
        for collector in self.collectors.values():
            with contextlib.suppress(AssertionError):
                collector.close()
        for writer in self.writers:
            writer.__exit__(None, None, None)
        for cluster in self.clusters.values():
            cluster.close()

    def singer(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "singer", *arguments, "-c", self.agent.config_path]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def promote(self, cluster: str) -> None:
        done = self.singer("promote", "s", f"{cluster}/web")
        assert done.returncode == 0, done.stderr

    def promotions(self) -> list[dict[str, Any]]:
        done = self.singer("promote", "--list", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def write(self, lines: int) -> None:
        for writer in self.writers:
            writer.write(lines)

    @property
    def written(self) -> set[bytes]:
        return {line for writer in self.writers for line in writer.written}

    def wait_for_all(self, *clusters: str) -> None:
        for name in clusters or self.clusters:
            self.collectors[name].wait_for_these(self.written, DELIVERY_SECONDS)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    for writer in made.writers:
        writer.__enter__()
    yield made
    made.close()


def test_a_run_of_once_carries_a_promotion_out_before_it_ends(pair: Pair) -> None:
    pair.write(300)
    assert pair.agent.run_once() == 0
    pair.promote("canary")
    pair.write(50)
    assert pair.agent.run_once() == 0
    pair.wait_for_all()
    (promotion,) = pair.promotions()
    assert promotion["complete"] is True


def test_switching_there_and_back_loses_and_repeats_nothing(pair: Pair) -> None:
    agent = pair.agent
    pair.write(500)
    agent.start()
    pair.wait_for_all()
    for number, cluster in enumerate(("canary", "main", "canary")):
        # The one that is to lead is behind, then the one that led.
        behind = cluster if number % 2 == 0 else ("main" if cluster == "canary" else "canary")
        ahead = "main" if behind == "canary" else "canary"
        pair.clusters[behind].set_down()
        pair.write(300)
        pair.writers[number].rotate()
        pair.write(200)
        pair.wait_for_all(ahead)
        agent.stop()
        pair.promote(cluster)
        pair.write(400)
        agent.start()
        agent.wait_for_log(rf"event=cut-reached.*destination={ahead}/web")
        pair.wait_for_all(ahead)  # it goes on while the other one is down
        pair.clusters[behind].set_up()
        agent.wait_for_log("event=promotion-complete")
        pair.write(100)
        pair.wait_for_all()
    assert agent.stop() == 0, agent.tail()
    agent.assert_balanced()
    arrived = {f"{name}/web": collector.close() for name, collector in pair.collectors.items()}
    promotions = pair.promotions()
    assert [p["new"] for p in promotions] == ["canary/web", "main/web", "canary/web"]
    read = read_by_turns(arrived, promotions, dict.fromkeys(arrived, "web"))
    assert all(any(part for part in turn.values()) for turn in read)
    assert_switched({w.lineage: w.written for w in pair.writers}, read, exact=True)


def test_killed_at_every_step_nothing_is_lost_nor_out_of_order(pair: Pair) -> None:
    agent = pair.agent
    pair.write(300)
    agent.start()
    pair.wait_for_all()
    led = "main"
    for number in range(3):
        leads = "canary" if led == "main" else "main"
        behind, ahead = (leads, led) if number % 2 == 0 else (led, leads)
        pair.clusters[behind].set_down()
        pair.write(200)
        pair.writers[number].rotate()
        pair.write(100)
        pair.wait_for_all(ahead)
        agent.kill()
        pair.promote(leads)  # step 1: it is asked for
        pair.clusters[ahead].set_down()
        agent.start()
        pair.write(50)
        agent.wait_for_log("event=promotion-begins")  # step 2: on the way, to neither of them
        agent.kill()
        pair.clusters[ahead].set_up()
        agent.start()
        agent.wait_for_log(f"event=cut-reached.*destination={ahead}/web")  # step 3: one is cut
        agent.kill()
        pair.write(50)
        agent.start()
        pair.wait_for_all(ahead)  # step 4: and goes on
        agent.kill()
        pair.clusters[behind].set_up()
        agent.start()
        agent.wait_for_log("event=promotion-complete")  # step 5: both are
        agent.kill()
        pair.write(50)
        agent.start()
        pair.wait_for_all()
        led = leads
    assert agent.stop() == 0, agent.tail()
    agent.assert_balanced()
    arrived = {f"{name}/web": collector.close() for name, collector in pair.collectors.items()}
    promotions = pair.promotions()
    assert [p["new"] for p in promotions] == ["canary/web", "main/web", "canary/web"]
    read = read_by_turns(arrived, promotions, dict.fromkeys(arrived, "web"))
    assert all(any(part for part in turn.values()) for turn in read)
    assert_switched({w.lineage: w.written for w in pair.writers}, read, exact=False)
