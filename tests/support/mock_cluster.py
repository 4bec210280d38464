"""librdkafka's mock cluster in the test's process, for what needs a broker but no Java.

Its addresses serve any client on this machine. It keeps 5 MiB of a partition: read along with
`consume.Collector`. It makes topics of four partitions when they are asked for.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from confluent_kafka import Producer


class MockCluster:
    """Brokers that live as long as this object."""

    def __init__(self, brokers: int = 3) -> None:
        self._host = Producer({"test.mock.num.brokers": brokers, "log_level": 0})
        found = self._host.list_topics(timeout=10.0).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._host
