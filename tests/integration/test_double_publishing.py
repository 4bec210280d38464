"""A stream that is published twice, on a real Apache Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Collector, read_topic
from tests.support.kafka_cluster import KafkaCluster
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

DELIVERY_SECONDS = 60.0


def agent_for(
    kafka: KafkaCluster, tmp_path: Path, topic: str, second: dict[str, Any]
) -> AgentProcess:
    """An agent that publishes to `topic` of `main`, and as `second` says.

    `once` is the same cluster by another name, to which it delivers exactly once.
    """
    what = stream("app", str(tmp_path / "app.log"), topic, partitioner="random")
    what["publish"].append(second)
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap=kafka.bootstrap,
        streams=[what],
        agent={"id": tmp_path.name},
    )
    config["clusters"]["once"] = {
        **config["clusters"]["main"],
        "delivery": "exactly_once",
        "commit_every": "100ms",
    }
    return AgentProcess(str(tmp_path / "agent"), config)


def test_two_names_of_one_cluster_deliver_in_their_own_ways(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    plain, once = kafka.create_topic("plain", partitions=3), kafka.create_topic("once")
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        Collector(kafka.bootstrap, plain) as first,
        Collector(kafka.bootstrap, once) as second,
        agent_for(kafka, tmp_path, plain, {"cluster": "once", "topic": once}) as agent,
    ):
        for kill in (True, True, False):
            writer.write(1000)
            agent.start()
            writer.write(1000)
            second.wait_for(len(writer.written), DELIVERY_SECONDS)
            first.wait_for(len(writer.written), DELIVERY_SECONDS)
            if kill:
                agent.kill()
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        plainly, exactly = first.close(), second.close()
    written = {writer.lineage: writer.written}
    assert_delivered(written, exactly)
    assert_delivered(written, plainly, duplicates_at_most=len(writer.written))


def test_what_a_shadow_skips_is_skipped_for_good_also_with_exactly_once(
    kafka: KafkaCluster, tmp_path: Path
) -> None:
    plain = kafka.create_topic("plain", partitions=1)
    absent = f"{plain}-shadow"
    shadow = {"cluster": "once", "topic": absent, "shadow": True, "max_lag": "1MiB"}
    with (
        LogWriter(str(tmp_path / "app.log"), 0) as writer,
        agent_for(kafka, tmp_path, plain, shadow) as agent,
    ):
        agent.start()
        writer.write(20_000)  # of some 100 bytes
        wait_until(lambda: agent.events("shadow-goes-on"), DELIVERY_SECONDS, "it skipped")
        (lags,) = agent.events("shadow-lags")
        (goes_on,) = agent.events("shadow-goes-on")
        assert int(goes_on["nbytes"]) >= int(lags["nbytes"]) > 1 << 20
        skipped = sum(len(line) + 1 for line in writer.written[:20_000])
        agent.kill()
        kafka.create_topic(absent, partitions=1, exact_name=True)
        agent.start()
        first = len(writer.written)
        writer.write(100)
        wait_until(
            lambda: sum(map(len, read_topic(kafka.bootstrap, absent).values())) >= 100,
            DELIVERY_SECONDS,
            "what came then",
        )
        wait_until(
            lambda: sum(map(len, read_topic(kafka.bootstrap, plain).values())) >= 20_100,
            DELIVERY_SECONDS,
            "all of it at the primary",
        )
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
    (records,) = read_topic(kafka.bootstrap, absent).values()
    assert int(goes_on["nbytes"]) == skipped
    assert [record.value for record in records] == writer.written[first:]
