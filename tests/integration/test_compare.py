"""`singer compare` on real brokers: what differs is found exactly, and nothing else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from tests.support.agent_process import AgentProcess, configuration
from tests.support.kafka_cluster import KafkaCluster

COMPARE = [sys.executable, "-m", "singer", "compare"]


def compare(*arguments: str) -> dict[str, Any]:
    """The answer, as JSON; its exit status agrees with it."""
    done = subprocess.run(
        [*COMPARE, "--json", *arguments], capture_output=True, timeout=100, check=False
    )
    assert done.returncode in (0, 65), done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is answer["same"]
    return answer


def _produce(
    kafka: KafkaCluster, topic: str, records: list[tuple[int, bytes]], **more: Any
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 50, **more})
    for partition, value in records:
        producer.produce(topic, value, partition=partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def _places(places: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [(p["partition"], p["first"], p["end"]) for p in places["places"]]


def test_the_same_records_in_other_partitions_and_batches_are_the_same(kafka: KafkaCluster) -> None:
    one, other = kafka.create_topic("one", partitions=3), kafka.create_topic("other", partitions=5)
    values = [b"%d %s" % (n % 9000, b"x" * (n % 90)) for n in range(10_000)]
    _produce(kafka, one, [(n % 3, value) for n, value in enumerate(values)])
    random.Random(1).shuffle(values)
    _produce(
        kafka,
        other,
        [(n % 5, value) for n, value in enumerate(values)],
        **{"compression.type": "zstd"},
    )
    answer = compare(f"{kafka.bootstrap}/{one}", f"{kafka.bootstrap}/{other}")
    assert answer["same"]
    assert answer["a"]["records"] == answer["b"]["records"] == 10_000
    assert answer["repeated_in_a"]["records"] == answer["repeated_in_b"]["records"] == 0
    assert answer["b"]["compression_ratio"] > 2 > answer["a"]["compression_ratio"] > 0.5


def test_each_difference_is_found_where_it_is(kafka: KafkaCluster) -> None:
    one, other = kafka.create_topic("one", partitions=1), kafka.create_topic("other", partitions=1)
    values = [b"line %d" % n for n in range(1000)]
    _produce(kafka, one, [(0, value) for value in values])
    flipped = values[500][:3] + b"?" + values[500][4:]
    there = [*values[:100], *values[103:500], flipped, *values[501:], b"new", *values[7:9]]
    _produce(kafka, other, [(0, value) for value in there])
    a, b = (f"{kafka.bootstrap}/{topic}" for topic in (one, other))
    answer = compare(a, b)
    assert not answer["same"]
    assert _places(answer["missing"]) == [(0, 100, 103)]
    assert _places(answer["extra"]) == [(0, 997, 998)]
    assert _places(answer["repeated_in_b"]) == [(0, 998, 1000)]
    assert answer["repeated_in_a"]["records"] == 0
    assert answer["corrupted"] == [
        {"a": {"partition": 0, "offset": 500}, "b": {"partition": 0, "offset": 497}}
    ]
    answer = compare(a, b, "--a-offsets", "0:200-400", "--b-offsets", "0:197-397")
    assert answer["same"]
    assert answer["a"]["records"] == 200
    done = subprocess.run([*COMPARE, a, b], capture_output=True, timeout=100, check=False)
    assert done.returncode == 65
    text = done.stdout.decode()
    assert f"missing in {b}: {one} [0] offsets 100 to 102\n" in text
    assert "missing: 3, extra: 1, repeated in A: 0, repeated in B: 2, corrupted: 1\n" in text
    assert text.endswith("DIFFERENT\n")


def test_transactions_and_order_by_ids(kafka: KafkaCluster, tmp_path: Path, logs: Path) -> None:
    """What was aborted is in nobody's topic; two destinations of an agent hold the same."""
    one, other = kafka.create_topic("one", partitions=3), kafka.create_topic("other", partitions=4)
    audits = [kafka.create_topic("audit", partitions=1) for _ in range(2)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": one})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(one, b"never was")
    producer.flush(30)
    producer.abort_transaction(30)
    config = configuration(
        state_dir=str(tmp_path / "state"),
        bootstrap=kafka.bootstrap,
        streams=[
            {
                "name": "s",
                "paths": [str(logs / "*.log")],
                "publish": [
                    {"cluster": "main", "topic": one, "headers": ["mid", "host"]},
                    {"cluster": "next", "topic": other, "headers": ["mid", "host"]},
                ],
            }
        ],
        agent={"id": "host-1"},
        cluster={"audit": audits[0]},
    )
    config["clusters"]["next"] = {**config["clusters"]["main"], "audit": audits[1]}
    config["clusters"]["next"]["delivery"] = "exactly_once"
    agent = AgentProcess(str(tmp_path / "agent"), config)
    for number in range(3):
        lines = (b"%d %d\n" % (number, n) for n in range(2000))
        (logs / f"{number}.log").write_bytes(b"".join(lines))
    assert agent.run_once() == 0
    both = (f"main/{one}", f"next/{other}", "-c", agent.config_path)
    answer = compare(*both)
    assert answer["same"]
    (found,) = answer["by_audit"]
    assert found["records"] == [6000, 6000]
    assert found["milliseconds_to_acknowledgement"][0].keys() == {"p50", "p90", "p99", "max"}
    assert answer["a"]["records"] == 0  # nothing was read
    answer = compare(*both, "--content")
    assert answer["same"]
    assert answer["a"]["records_of_known_order"] == answer["b"]["records_of_known_order"] == 6000
    assert answer["a"]["inversions"] == answer["b"]["inversions"] == 0
    # One of the destinations is left behind: the other has bytes that it has not.
    with (logs / "0.log").open("ab") as log:
        log.write(b"more\n")
    config["streams"][0]["publish"].pop()
    agent.configure(config)
    assert agent.run_once() == 0
    size = (logs / "0.log").stat().st_size
    answer = compare(*both)
    assert not answer["same"]
    (found,) = answer["by_audit"]
    ((gap),) = found["only_in_a"]
    assert (gap["start"], gap["end"]) == (size - 5, size)
    assert found["only_in_b"] == []
