"""The Kafka writer: a topic on a cluster that is shared with others."""

from __future__ import annotations

from singer.base.batch import RecordBatch
from singer.base.config import PartitionerConfig
from singer.base.ports import Partitioner, Receipt, Route
from singer.kafka import partitioners
from singer.kafka.cluster import KafkaCluster
from singer.kafka.headers import Headers


class KafkaWriter:
    """Implements `base.ports.Writer`. Writers of one topic share what is known of it."""

    def __init__(
        self,
        cluster: KafkaCluster,
        topic: str,
        config: PartitionerConfig,
        headers: Headers | None = None,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._config = config
        self._headers = headers
        self._topology = cluster.topology(topic, local=config.local is not None)

    async def ready(self) -> None:
        """See Writer."""
        await self._cluster.ready(self._topic)

    def partitioner(self, seed: int) -> Partitioner:
        """See Writer."""
        return partitioners.make(
            self._config,
            self._topology,
            seed=seed,
            host=self._cluster.host,
            zone=self._cluster.zone,
            clock=self._cluster.clock,
        )

    def send(self, batch: RecordBatch, route: Route) -> Receipt:
        """See Writer."""
        if self._headers is not None:
            batch = self._headers.onto(batch)
        return self._cluster.send(self._topic, route, batch)

    async def drain(self, deadline_seconds: float) -> bool:
        """See Writer. Of the whole cluster: a book for each destination would cost every send."""
        return await self._cluster.drain(deadline_seconds)

    async def close(self) -> None:
        """See Writer. The cluster belongs to others too and is closed by whoever made it."""
