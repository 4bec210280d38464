"""What guarantees cost, on a real Kafka: idempotence, TLS, transactions, beside plain.

One broker on the machine of the agent, so what the broker takes is in the time of all ways alike.
Interleaved runs, medians, what a start takes taken off.

`python -m bench.guarantees BOOTSTRAP TOPIC true|false BATCHES` is one run of the bare producer with
idempotence or without, which the configuration of an agent refuses.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench import measure, workspace
from bench.measure import Usage
from tests.support.secure_kafka import SecureKafka

LINE_BYTES: Final = 150
PARTITIONS: Final = 6
_DEADLINE_SECONDS: Final = 300.0
_BATCH_LINES: Final = 8000
#: Batches under way at once: some 16 MiB, as of one file.
_UNDER_WAY: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to send; `plain` is what it is compared with."""

    name: str
    plain: str
    listener: str = "PLAINTEXT"
    tls: bool = False
    cluster: Mapping[str, object] = field(default_factory=dict)
    idempotence: str = ""  #: of the bare producer: true | false


_EXACTLY_ONCE: Final = {"delivery": "exactly_once"}
WAYS: Final = (
    Way(name="plain", plain="plain"),
    Way(name="TLS", plain="plain", listener="TLS", tls=True),
    Way(name="exactly once", plain="plain", cluster=_EXACTLY_ONCE),
    Way(name="producer alone, idempotent", plain="producer alone", idempotence="true"),
    Way(name="producer alone", plain="producer alone", idempotence="false"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One way, medians; the start taken off."""

    way: Way
    lines: int
    wall_seconds: float
    cpu_seconds: float


def costs(*, lines: int, runs: int) -> Sequence[Cost]:
    """Measure. Raises RuntimeError."""
    data, one = workspace.log_data(LINE_BYTES, lines), workspace.log_data(LINE_BYTES, 1)
    usages: dict[str, list[tuple[Usage, Usage]]] = {way.name: [] for way in WAYS}
    with workspace.directory() as directory:
        kafka = SecureKafka(directory)
        try:
            kafka.start()
            topic = kafka.create_topic("guarantees", PARTITIONS)
            for way in WAYS:  # a broker that has just started is slow
                _run(kafka, topic, way, data)
            for _ in range(runs):
                for way in WAYS:
                    whole, start = _run(kafka, topic, way, data), _run(kafka, topic, way, one)
                    usages[way.name].append((whole, start))
        finally:
            kafka.close()
    medians = {
        name: (measure.median(w for w, _ in each), measure.median(s for _, s in each))
        for name, each in usages.items()
    }
    return [
        Cost(
            way=way,
            lines=lines,
            wall_seconds=medians[way.name][0].wall_seconds - medians[way.name][1].wall_seconds,
            cpu_seconds=medians[way.name][0].cpu_seconds - medians[way.name][1].cpu_seconds,
        )
        for way in WAYS
    ]


def _run(kafka: SecureKafka, topic: str, way: Way, data: str) -> Usage:
    with workspace.directory() as work:
        log = os.path.join(work, "agent.log")
        if way.idempotence:
            batches = str(max(1, os.path.getsize(data) // LINE_BYTES // _BATCH_LINES))
            arguments = ["-m", "bench.guarantees", kafka.bootstrap, topic, way.idempotence, batches]
            return measure.run([sys.executable, *arguments], log, _DEADLINE_SECONDS)
        properties = {"compression.type": "lz4"}
        if way.tls:
            properties |= {
                "security.protocol": "SSL",
                "ssl.ca.location": kafka.authority.path,
            }
        config = workspace.agent_config(
            work,
            kafka.at(way.listener),
            data,
            properties,
            cluster=way.cluster,
            stream={"publish": [{"cluster": "main", "topic": topic}]},
        )
        return measure.run(workspace.agent_command(config, "--once"), log, _DEADLINE_SECONDS)


class _Deaf:
    """A producer's owner that hears nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


async def _produce(bootstrap: str, topic: str, idempotence: str, batches: int) -> None:
    # Here, to keep the parent small.
    import numpy as np  # noqa: PLC0415

    from singer.base.config import TextReaderConfig  # noqa: PLC0415
    from singer.base.ports import State  # noqa: PLC0415
    from singer.kafka.producer import ColumnarProducer  # noqa: PLC0415
    from singer.kafka.properties import DEFAULTS  # noqa: PLC0415
    from singer.readers.text import TextReader  # noqa: PLC0415

    settings = {
        **DEFAULTS,
        "bootstrap.servers": bootstrap,
        "compression.type": "lz4",
        "enable.idempotence": idempotence,
        "log.queue": "true",
    }
    owner: Any = _Deaf()
    producer = ColumnarProducer(settings, owner)
    window = np.fromfile(workspace.log_data(LINE_BYTES, _BATCH_LINES), np.uint8)
    batch = TextReader(TextReaderConfig()).frame(window, 0, State.MORE).batch
    room = asyncio.Semaphore(_UNDER_WAY)

    for number in range(batches):
        await room.acquire()
        receipt = producer.produce(topic, number % PARTITIONS, batch)
        receipt.add_done_callback(lambda _: room.release())
    if not await producer.drain(_DEADLINE_SECONDS):
        raise SystemExit("not all of it arrived")
    await producer.close(_DEADLINE_SECONDS)


if __name__ == "__main__":
    asyncio.run(_produce(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
