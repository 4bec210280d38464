"""What it takes to compare two topics record by record, and to verify one by its audit.

A file of lines that are all different goes to two topics of a real Kafka, by an agent with audits;
then `singer compare --content` and `singer audit verify` read all of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import measure, workspace
from bench.measure import Usage
from tests.support.secure_kafka import SecureKafka

LINE_BYTES: Final = 60
_PARTITIONS: Final = 6
_DEADLINE_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One command, and how many records it read."""

    name: str
    records: int
    usage: Usage


def comparing(*, lines: int) -> Sequence[Read]:
    """Measure. Raises RuntimeError, also if something differs."""
    data = workspace.log_data(LINE_BYTES, lines)
    with workspace.directory() as directory:
        kafka = SecureKafka(directory)
        try:
            kafka.start()
            one, other = (kafka.create_topic(name, _PARTITIONS) for name in ("one", "other"))
            audit = kafka.create_topic("audit", 1)
            partitioner = "random"
            config = workspace.agent_config(
                directory,
                kafka.bootstrap,
                data,
                {"compression.type": "lz4"},
                cluster={"audit": audit},
                stream={
                    "publish": [
                        {"cluster": "main", "topic": topic, "partitioner": partitioner}
                        for topic in (one, other)
                    ]
                },
            )
            log = os.path.join(directory, "bench.log")
            measure.run(workspace.agent_command(config, "--once"), log, _DEADLINE_SECONDS)
            singer = [sys.executable, "-m", "singer"]
            topics = [f"main/{one}", f"main/{other}"]
            compare = [*singer, "compare", *topics, "--content", "-c", config]
            verify = [*singer, "audit", "verify", "--topic", one, "-c", config]
            return [
                Read(
                    name=name,
                    records=records,
                    usage=measure.run(command, log, _DEADLINE_SECONDS),
                )
                for name, records, command in (
                    ("compare --content", 2 * lines, compare),
                    ("audit verify", lines, verify),
                )
            ]
        finally:
            kafka.close()
