"""One Kafka cluster as the agent sees it: a producer for all streams, and its topics.

Owns the producer's life (it is replaced after a fatal error), whether the cluster answers, and
the cluster's topologies. Loop thread only; nothing here blocks.
"""

from __future__ import annotations

import asyncio
from typing import Final

from singer.base.backoff import Backoff
from singer.base.batch import RecordBatch
from singer.base.config import ClusterConfig, CreateConfig
from singer.base.errors import ClusterError, DeliveryError, FatalProducerError
from singer.base.events import Emit, InternalError
from singer.base.ports import Clock, Receipt, Route
from singer.base.zone import Zone
from singer.kafka import errors, preflight, topology
from singer.kafka.embedded import EmbeddedCluster
from singer.kafka.events import (
    ClientLeftBehind,
    ClientLog,
    ClientWarning,
    ClusterDown,
    ClusterUp,
    ProducerBroken,
    ProducerNotReplaced,
    ProducerRetired,
    RequestRefused,
)
from singer.kafka.handle import Handle
from singer.kafka.preflight import Finding, Need
from singer.kafka.producer import ColumnarProducer
from singer.kafka.properties import settings
from singer.kafka.topologies import ASK_SECONDS, Topologies
from singer.kafka.topology import Topology

#: How often it is looked whether something has to be asked.
_LOOK_SECONDS: Final = 1.0

#: Nothing acknowledged for so long, with records under way: leaders may have moved.
_STALLED_SECONDS: Final = 5.0

#: How long a probe of a cluster that seems to be down may take.
_PROBE_SECONDS: Final = 3.0

#: Between two probes of a cluster that is down: the first wait and the longest.
_PROBE_BACKOFF_SECONDS: Final = (1.0, 15.0)

#: How long librdkafka gets to end.
_CLOSE_SECONDS: Final = 5.0

#: Between two replacements of a producer that breaks again and again or cannot be made, and how
#: long one has to live to count as sound.
_REPLACE_BACKOFF_SECONDS: Final = (0.1, 60.0)
_SOUND_SECONDS: Final = 120.0


class KafkaCluster:
    """Sends batches to a cluster; `start` and `close` frame its life."""

    def __init__(
        self,
        config: ClusterConfig,
        *,
        bootstrap: str,
        host: str,
        client_id: str,
        zone: Zone,
        emit: Emit,
        clock: Clock,
        embedded: EmbeddedCluster | None = None,
    ) -> None:
        """`host` is the agent's stable identity, `zone` where it is.

        With `embedded`, topics are created when they are first used. Raises InputError for
        properties that are refused.
        """
        self.name = config.name
        self.host = host
        self.zone = zone
        self.clock = clock
        self._bootstrap = bootstrap
        self._settings = settings(config, bootstrap=bootstrap, client_id=client_id)
        self._emit = emit
        self._producer: ColumnarProducer | None = None
        self._topologies = Topologies(
            cluster=config.name,
            bootstrap=bootstrap,
            handle=self._handle,
            zone=zone,
            emit=emit,
            clock=clock,
            answered=self.alive,
            create=embedded.create_topic if embedded is not None else None,
        )
        self._up: bool | None = None
        self._cause = "no broker answers"
        self._watching: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._replace_backoff = Backoff(*_REPLACE_BACKOFF_SECONDS)
        self._replaced = clock.monotonic()
        self._obstacle = ""
        self._closed = False

    # --- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the producer. Does not wait for the cluster, which may be down.

        Raises InputError where librdkafka does not take the properties, ClusterError without
        descriptors.
        """
        self._producer = ColumnarProducer(self._settings, self)
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def drain(self, deadline_seconds: float) -> bool:
        """Send what lingers and wait for the answers; True when nothing is under way any more."""
        if self._producer is None:
            return True
        return await self._producer.drain(deadline_seconds)

    async def close(self) -> None:
        """End the producer; what is under way may be lost and its receipts never complete."""
        self._closed = True
        tasks = [t for t in (self._watching, self._probing, self._replacing) if t is not None]
        for task in tasks:
            task.cancel()
        self._topologies.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None and not await producer.close(_CLOSE_SECONDS):
            self._emit(ClientLeftBehind(cluster=self.name, seconds=_CLOSE_SECONDS))

    # --- what writers use -------------------------------------------------------------------

    def topology(self, topic: str, *, local: bool = False) -> Topology:
        """The topic's topology, shared by all its writers; known once `ready` returned."""
        return self._topologies.use(topic, local=local)

    async def ready(self, topic: str) -> None:
        """Return once batches for the topic can be routed and sent.

        Raises TopicError (absent, not authorised), ClusterError (no broker answers).
        """
        if self._replacing is not None:
            await asyncio.wait((self._replacing,), timeout=ASK_SECONDS)
            if self._replacing is not None:
                raise ClusterError(f"produce to {topic}: {self._broken_reason()}")
        await self._topologies.ready(topic)

    def send(self, topic: str, route: Route, batch: RecordBatch) -> Receipt:
        """Hand a batch over; see `base.ports.Writer.send`."""
        if self._producer is None:
            receipt: Receipt = asyncio.get_running_loop().create_future()
            receipt.set_exception(
                FatalProducerError(f"produce to {topic}: cluster {self.name} is closed")
            )
            return receipt
        self._topologies.sent(topic)
        return self._producer.produce(topic, route, batch)

    def may_create(self, topic: str, how: CreateConfig) -> None:
        """The topic is created where it is absent; others never are."""
        self._topologies.may_create(topic, how)

    async def preflight(self, needs: tuple[Need, ...]) -> tuple[Finding, ...]:
        """What is not as these topics need it. Raises DeliveryError without an answer."""
        facts = await preflight.examine(self._handle(), needs, ASK_SECONDS)
        return preflight.judge(self.name, needs, facts, self.zone.names)

    @property
    def is_up(self) -> bool | None:
        """Whether a broker answers; None until that is known."""
        return self._up

    @property
    def producer(self) -> ColumnarProducer:
        """The producer of now. Raises ClusterError when there is none."""
        if self._producer is None:
            raise ClusterError(f"produce to cluster {self.name}: it is closed")
        return self._producer

    def zone_changed(self) -> None:
        """This host's zone has other names now."""
        self._topologies.zone_changed()

    def relocate(self, bootstrap: str) -> None:
        """The brokers are found at these addresses now, `host:port` with commas between.

        While some address stays and the cluster answers, the living producer is told the new ones.
        Else this may be another cluster, where the numbers of an idempotent producer could be
        those of somebody else, whose records ours would be taken for: a new producer.
        """
        before, now = set(self._bootstrap.split(",")), set(bootstrap.split(","))
        self._bootstrap = self._settings["bootstrap.servers"] = bootstrap
        if now == before or not bootstrap:
            return
        if now & before and self._up:
            if new := now - before:
                self.producer.add_brokers(",".join(sorted(new)))
            return
        self._topologies.relocate(bootstrap)
        self._retire(f"the brokers are at {bootstrap} now")

    # --- what the producer says (Owner) -----------------------------------------------------

    def alive(self) -> None:
        """A broker answered."""
        if self._up:
            return
        self._up = True
        self._emit(ClusterUp(cluster=self.name, bootstrap=self._bootstrap))

    def trouble(self, code: int, reason: str) -> None:
        """A connection failed; librdkafka goes on trying."""
        self._topologies.suspect()
        if code != errors.ALL_BROKERS_DOWN:
            self._cause = f"{reason}{errors.advise(code)}"
        elif self._up is None:
            self._down()
        elif self._up and self._probing is None:
            # A lone broker that closed an idle connection looks the same: ask before crying.
            self._probe_soon()

    def topic_failed(self, topic: str, code: int) -> None:
        """A topic does not take records."""
        del code
        self._topologies.doubt(topic)

    def refused(self, topic: str, records: int, code: int) -> None:
        """A whole request was refused."""
        self._emit(
            RequestRefused(
                cluster=self.name,
                topic=topic,
                records=records,
                cause=errors.describe(code),
                advice=errors.advise(code),
            )
        )

    def broken(self, code: int, reason: str) -> None:
        """The producer is done for."""
        if self._closed:
            return
        cause = f"{reason}{errors.advise(code)}"
        self._emit(ProducerBroken(cluster=self.name, cause=cause))
        if self._replacing is None:
            self._replacing = asyncio.get_running_loop().create_task(self._replace())

    def _retire(self, reason: str) -> None:
        """Replace a producer that is sound, because its settings are those of before."""
        if self._closed or self._producer is None:
            return
        self._producer.retire(reason)
        self._emit(ProducerRetired(cluster=self.name, cause=reason))
        if self._replacing is None:
            self._replacing = asyncio.get_running_loop().create_task(self._replace())

    def logged(self, level: int, facility: str, text: str) -> None:
        """A line of librdkafka's log."""
        if facility == "FAIL":  # a connection that simply ended is told in the log only
            self._topologies.suspect()
        kind = ClientWarning if facility == "CONFWARN" else ClientLog
        self._emit(kind(cluster=self.name, level=level, facility=facility, text=text))

    # --- inside -----------------------------------------------------------------------------

    def _handle(self) -> Handle:
        return self.producer.handle

    def _broken_reason(self) -> str:
        if self._obstacle:
            return self._obstacle
        fatal = self._producer.fatal if self._producer is not None else None
        return fatal[1] if fatal else "the producer is being replaced"

    def _down(self) -> None:
        self._up = False
        self._emit(ClusterDown(cluster=self.name, bootstrap=self._bootstrap, cause=self._cause))
        self._probe_soon()

    async def _watch(self) -> None:
        """Once a second: see whether something has to be asked."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            producer = self._producer
            if producer is None or self._replacing is not None:
                continue
            try:
                if producer.outstanding and loop.time() - producer.progress > _STALLED_SECONDS:
                    self._topologies.suspect(stalled=True)
                self._topologies.look()
            except Exception as error:  # noqa: BLE001  # leaders that move must still be noticed
                self._emit(InternalError.of(f"watch cluster {self.name}", error))

    def _probe_soon(self) -> None:
        if self._probing is None and not self._closed:
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        """Ask until a broker answers; the first time it does not, the cluster is down."""
        backoff = Backoff(*_PROBE_BACKOFF_SECONDS)
        try:
            while True:
                await asyncio.sleep(backoff.next())
                if self._replacing is not None:
                    continue  # there is nothing to ask through
                try:
                    await topology.probe(self._handle(), _PROBE_SECONDS)
                except DeliveryError:
                    if self._up:
                        backoff.reset()
                        self._down()
                except Exception as error:  # noqa: BLE001  # or it would stay down for ever
                    self._emit(InternalError.of(f"connect to cluster {self.name}", error))
                else:
                    self.alive()
                    return
        finally:
            self._probing = None

    async def _replace(self) -> None:
        """A new producer in place of a broken one, once nothing of the old is under way.

        Tried until it works: were it given up once, a certificate that was just being renewed
        would stop all delivery until somebody restarts the agent.
        """
        try:
            old = self.producer
            if self.clock.monotonic() - self._replaced > _SOUND_SECONDS:
                self._replace_backoff.reset()
            delay_seconds = self._replace_backoff.next()
            while self._producer is old and not self._closed:
                try:
                    # Who does not answer will not do so in a while either.
                    await old.settle() if self._up else await old.settle(0.0)
                    if not await old.close(_CLOSE_SECONDS):
                        self._emit(ClientLeftBehind(cluster=self.name, seconds=_CLOSE_SECONDS))
                    await asyncio.sleep(delay_seconds)
                    self._producer = ColumnarProducer(self._settings, self)
                except Exception as error:  # noqa: BLE001  # whatever it is, it has to be tried again
                    delay_seconds = self._replace_backoff.next()
                    self._not_replaced(error, delay_seconds)
            self._replaced = self.clock.monotonic()
            self._topologies.doubt()
        finally:
            self._replacing = None
            self._obstacle = ""

    def _not_replaced(self, error: Exception, retry_seconds: float) -> None:
        self._obstacle = str(error) or repr(error)
        self._emit(
            ProducerNotReplaced(
                cluster=self.name, cause=self._obstacle, retry_seconds=retry_seconds
            )
        )
