"""What is said of delivered records, sent to the audit topic of their cluster.

Owns when. The messages lie in the journal beside the positions from the moment these are committed;
they are sent now and then, and forgotten once they are acknowledged: at least once. Delivery never
waits for it. Loop thread only.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from singer.base.batch import batch_of_pairs
from singer.base.config import AuditConfig
from singer.base.errors import DeliveryError, StateError
from singer.base.events import AuditLost, AuditPublished, AuditWaits, Emit
from singer.base.ports import AuditJournal, Writer

#: Sent together.
_MESSAGES: Final = 200


class AuditPublisher:
    """Of one cluster; `writer` leads to its audit topic."""

    def __init__(
        self,
        cluster: str,
        config: AuditConfig,
        *,
        writer: Writer,
        journal: AuditJournal,
        emit: Emit,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._writer = writer
        self._partitioner = writer.partitioner(0)
        self._journal = journal
        self._emit = emit
        self._obstacle = ""
        self._publishing = asyncio.Lock()

    async def run(self) -> None:
        """Publish at times, until cancelled."""
        while True:
            await asyncio.sleep(self._config.every * random.uniform(0.8, 1.2))  # noqa: S311  # jitter
            await self.publish()

    async def publish(self) -> None:
        """Send all that is kept, as far as it goes now."""
        async with self._publishing:
            try:
                await self._publish()
            except (DeliveryError, StateError) as error:
                if self._obstacle != str(error):
                    topic = self._config.topic
                    self._emit(AuditWaits(cluster=self._cluster, topic=topic, cause=str(error)))
                self._obstacle = str(error)
                await self._trim()

    async def _publish(self) -> None:
        while found := await self._journal.messages(self._cluster, _MESSAGES):
            await self._writer.ready()
            batch = batch_of_pairs([(message.key, message.value) for _, message in found])
            receipt = self._writer.send(batch, self._partitioner.assign(batch))
            self._writer.hasten()
            rejected = (await receipt).rejected
            self._obstacle = ""
            if rejected:
                cause = rejected[0].reason
                self._emit(AuditLost(cluster=self._cluster, messages=len(rejected), cause=cause))
            await self._journal.forget_messages([number for number, _ in found])
            self._emit(AuditPublished(cluster=self._cluster, messages=len(found) - len(rejected)))
            if len(found) < _MESSAGES:
                return

    async def _trim(self) -> None:
        most = self._config.max_bytes
        try:
            lost = await self._journal.trim_messages(self._cluster, most)
        except StateError:
            return  # the store has its own alarm
        if lost:
            cause = f"they are more than audit.max_bytes ({most} bytes), and {self._obstacle}"
            self._emit(AuditLost(cluster=self._cluster, messages=lost, cause=cause))
