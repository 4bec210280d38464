"""What is said of delivered records, sent to the audit topic of their cluster.

Owns when. It lies in the journal beside the positions from the moment these are committed; what is
final of it is sent now and then, and forgotten once it is acknowledged: at least once. Delivery
never waits for it. Loop thread only.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from singer.base.batch import batch_of_pairs
from singer.base.config import AuditConfig
from singer.base.errors import DeliveryError, StateError
from singer.base.events import AuditLost, AuditPublished, AuditWaits, Emit
from singer.base.ports import AuditJournal, Clock, Receipt, Rejection, Writer
from singer.base.wire.audit import messages

#: Ranges and accounts that are sent together: half a megabyte at most, as a rule a tenth.
_ENTRIES: Final = 1000


class AuditPublisher:
    """Of one cluster; `writer` leads to its audit topic.

    `close` ends the ranges and accounts that grow, and gives the number that all of them are below.
    """

    def __init__(
        self,
        cluster: str,
        config: AuditConfig,
        *,
        writer: Writer,
        journal: AuditJournal,
        close: Callable[[], int],
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._writer = writer
        self._partitioner = writer.partitioner(0)
        self._journal = journal
        self._close = close
        self._clock = clock
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
                # What cannot be written now grows on: ended, it would only take more memory.
                await self._journal.flush()
                final = self._close()
                await self._journal.flush()
                await self._publish(final)
            except (DeliveryError, StateError) as error:
                await self._wait(str(error))

    async def _publish(self, final: int) -> None:
        while found := await self._journal.entries(self._cluster, final, _ENTRIES):
            await self._writer.ready()
            batch = batch_of_pairs(messages(found, self._clock.now_ns() // 1_000_000))
            receipt = self._writer.send(batch, self._partitioner.assign(batch))
            self._writer.hasten()
            rejected = await self._settled(receipt)
            self._obstacle = ""
            if rejected:
                self._lost(len(found), f"the brokers refuse {rejected[0].reason}")
            else:
                self._emit(AuditPublished(cluster=self._cluster, messages=len(batch)))
            await self._journal.forget_entries([entry.number for entry in found])
            if len(found) < _ENTRIES:
                return

    async def _settled(self, receipt: Receipt) -> tuple[Rejection, ...]:
        """What was refused. There is no end to the waiting, but to what is kept meanwhile."""
        while not (await asyncio.wait([receipt], timeout=max(1.0, self._config.every)))[0]:
            await self._wait("no broker acknowledged it yet")
        return receipt.result().rejected

    async def _wait(self, obstacle: str) -> None:
        if self._obstacle != obstacle:
            topic = self._config.topic
            self._emit(AuditWaits(cluster=self._cluster, topic=topic, cause=obstacle))
        self._obstacle = obstacle
        most = self._config.max_bytes
        try:
            lost = await self._journal.trim_entries(self._cluster, most)
        except StateError:
            return  # the store has its own alarm
        if lost:
            self._lost(lost, f"they are more than audit.max_bytes ({most} bytes), and {obstacle}")

    def _lost(self, entries: int, cause: str) -> None:
        self._emit(AuditLost(cluster=self._cluster, entries=entries, cause=cause))
