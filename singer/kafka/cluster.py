"""One Kafka cluster as the agent sees it: a producer for all streams, and its topics.

Owns the producer's life (it is replaced after a fatal error, and when its certificates or
passwords changed), whether the cluster answers, and the cluster's topologies. Loop thread only;
nothing here blocks.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Coroutine
from dataclasses import replace
from functools import partial
from typing import Final

from singer.base.backoff import Backoff
from singer.base.batch import RecordBatch
from singer.base.config import ClusterConfig, CreateConfig, Delivery
from singer.base.errors import (
    ClusterError,
    DeliveryError,
    FatalProducerError,
    InputError,
    Kind,
    SingerError,
)
from singer.base.events import Emit, ErrorsMet, ErrorsRemedied, InternalError
from singer.base.ports import Clock, PositionKeeper, Progress, Receipt, Route
from singer.base.position import Position
from singer.base.zone import Zone
from singer.kafka import ends, errors, preflight, security, tokens, topology
from singer.kafka.committed import PositionsTopic
from singer.kafka.connections import Connections
from singer.kafka.credentials import Credentials, Fingerprint
from singer.kafka.embedded import EmbeddedCluster
from singer.kafka.events import (
    BrokerRefuses,
    ClientLeftBehind,
    ClientLog,
    ClientWarning,
    ClusterDown,
    ClusterUp,
    Compressed,
    ConnectionsCounted,
    CredentialsRenewed,
    CredentialsUnusable,
    ProducerBroken,
    ProducerNotReplaced,
    ProducerRetired,
    RequestRefused,
)
from singer.kafka.handle import Handle
from singer.kafka.preflight import Finding, Need
from singer.kafka.producer import ColumnarProducer
from singer.kafka.properties import is_tls, settings
from singer.kafka.reaching import reaching
from singer.kafka.security import Refusal
from singer.kafka.threads import in_thread
from singer.kafka.topologies import ASK_SECONDS, Topologies
from singer.kafka.topology import Topology
from singer.kafka.traffic import Traffic
from singer.kafka.transactions import Transactions

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

#: How often files with certificates and passwords are looked at, and how soon when a broker
#: refuses us or they changed.
_FILES_SECONDS: Final = 3.0
_FILES_SOON_SECONDS: Final = 1.0

#: Between two tokens of which a broker did not like the first: the first wait and the longest.
_TOKEN_BACKOFF_SECONDS: Final = (1.0, 60.0)

#: What librdkafka is told of a token's life.
_TOKEN_SHARES: Final = (0.75, 1.0)

#: How long what is under way may take before a producer with new certificates takes over.
_HANDOVER_SECONDS: Final = 10.0

#: How long a refusal waits for the news that all brokers are down, which then tells it too, and
#: after how long the same one is told again.
_REFUSAL_SECONDS: Final = 0.5
_REFUSAL_AGAIN_SECONDS: Final = 600.0

#: What librdkafka sends again by itself, a record each time: it does not say why.
_RETRIED: Final = Kind("connection", "retried")

_NO_ANSWER: Final = "no broker answers"


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
        keeper: PositionKeeper | None = None,
    ) -> None:
        """`host` is the agent's stable identity, `zone` where it is.

        With `embedded`, topics are created when they are first used. With a `keeper`, positions
        are committed with the records, exactly once. Raises InputError for properties that are
        refused.
        """
        self.name = config.name
        self.host = host
        self.zone = zone
        self.clock = clock
        self._bootstrap = bootstrap
        # Who only asks, or sends without positions, must not end the agent's transactions.
        once = Delivery.AT_LEAST_ONCE if keeper is None else config.delivery
        self._settings = settings(
            replace(config, delivery=once), bootstrap=bootstrap, client_id=client_id, agent_id=host
        )
        self._credentials = Credentials(self._settings)
        self._tokens = None if config.oauth is None else tokens.source(config.oauth)
        self._config = config
        self._keeper = keeper
        self._transactions: Transactions | None = None
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
        self._codecs: dict[str, str] = {}
        self._publishers: dict[str, tuple[tuple[str, str], ...]] = {}
        self._up: bool | None = None
        self._cause = _NO_ANSWER
        self._watching: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._replace_backoff = Backoff(*_REPLACE_BACKOFF_SECONDS)
        self._replaced = clock.monotonic()
        self._obstacle = ""
        #: What the files looked like that are in use, and at the last look.
        self._in_use: Fingerprint = ()
        self._seen: Fingerprint = ()
        self._look_at = 0.0
        self._token_at = 0.0
        self._token_backoff = Backoff(*_TOKEN_BACKOFF_SECONDS)
        self._renewing: asyncio.Task[None] | None = None
        #: The producer that takes over, and what waits for it; None: nothing is handed over.
        self._next: ColumnarProducer | None = None
        self._held: list[tuple[str, Route, RecordBatch, Receipt]] | None = None
        #: By kind when each refusal was heard that was told, or is about to be.
        self._refusals: dict[str, float] = {}
        self._troubles: Counter[Kind] = Counter()  #: since something arrived
        self._telling = 0
        self._brief: set[asyncio.Task[None]] = set()
        self._closed = False

    # --- life -------------------------------------------------------------------------------

    async def start(self, *, spread_seconds: float = 0.0) -> None:
        """Make the producer. Does not wait for the cluster, which may be down.

        Nor for certificates that are missing or broken now, which may be mended, nor for the
        moment within `spread_seconds`, drawn by chance, before which nothing is connected. Without
        those, raises InputError where librdkafka does not take the properties, ClusterError without
        descriptors.
        """
        loop = asyncio.get_running_loop()
        if spread_seconds:
            self._obstacle = f"connections are made within {spread_seconds:g} s of the start"
            delay_seconds = random.uniform(0.0, spread_seconds)  # noqa: S311  # jitter
            self._replacing = loop.create_task(self._replace(delay_seconds))
        else:
            try:
                self._producer = await self._make()
            except InputError as error:
                if not self._credentials.files:
                    raise
                self._not_replaced(error, self._replace_backoff.next())
                self._replacing = loop.create_task(self._replace())
        if self._keeper is not None:
            self._transactions = Transactions(
                cluster=self.name,
                topic=PositionsTopic(
                    topic=self._config.positions_topic,
                    agent_id=self.host,
                    settings=lambda: self._settings,
                    token=None if self._tokens is None else self._tokens.fetch,
                ),
                keeper=self._keeper,
                producer=lambda: self.producer,
                retire=self._retire,
                commit_every_seconds=self._config.commit_every,
                emit=self._emit,
            )
            if self._producer is not None:
                self._transactions.start()
        self._look_at = loop.time() + _FILES_SECONDS
        self._watching = loop.create_task(self._watch())

    async def drain(self, deadline_seconds: float) -> bool:
        """Send what lingers and wait for the answers; True when nothing is under way any more."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + deadline_seconds
        if self._held is not None and self._renewing is not None:
            await asyncio.wait((self._renewing,), timeout=deadline_seconds)
        if self._producer is None:
            return True
        if self._transactions is not None:
            return await self._transactions.drain(deadline_seconds)
        return await self._producer.drain(max(0.0, ends - loop.time()))

    async def close(self) -> None:
        """End the producer; what is under way may be lost and its receipts never complete."""
        self._closed = True
        life = (self._watching, self._probing, self._replacing, self._renewing)
        tasks = [*self._brief, *(task for task in life if task is not None)]
        for task in tasks:
            task.cancel()
        self._topologies.close()
        if self._transactions is not None:
            await self._transactions.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        producers = (self._producer, self._next)
        self._producer = self._next = None
        for producer in producers:
            if producer is not None:
                await self._end(producer)

    # --- what writers use -------------------------------------------------------------------

    def topology(self, topic: str, *, local: bool = False) -> Topology:
        """The topic's topology, shared by all its writers; known once `ready` returned."""
        return self._topologies.use(topic, local=local)

    def published(self, topic: str, stream: str, destination: str) -> None:
        """A destination of a stream goes to the topic: what is measured of it is theirs."""
        known = self._publishers.get(topic, ())
        self._publishers[topic] = tuple(dict.fromkeys((*known, (stream, destination))))

    async def ready(self, topic: str) -> None:
        """Return once batches for the topic can be routed and sent.

        Raises TopicError (absent, not authorised), ClusterError (no broker answers).
        """
        if self._replacing is not None:
            await asyncio.wait((self._replacing,), timeout=ASK_SECONDS)
            if self._replacing is not None:
                raise ClusterError(f"produce to {topic}: {self._broken_reason()}")
        if self._transactions is not None:
            await self._transactions.ready()
        await self._topologies.ready(topic)

    def send(
        self, topic: str, route: Route, batch: RecordBatch, progress: Progress | None = None
    ) -> Receipt:
        """Hand a batch over; see `base.ports.Writer.send`."""
        if self._producer is None:
            receipt: Receipt = asyncio.get_running_loop().create_future()
            receipt.set_exception(
                FatalProducerError(f"produce to {topic}: cluster {self.name} is closed")
            )
            return receipt
        self._topologies.sent(topic)
        if self._transactions is not None:
            return self._transactions.send(topic, route, batch, progress)
        if self._held is not None:
            held: Receipt = asyncio.get_running_loop().create_future()
            self._held.append((topic, route, batch, held))
            return held
        return self._producer.produce(topic, route, batch)

    def may_create(self, topic: str, how: CreateConfig) -> None:
        """The topic is created where it is absent; others never are."""
        self._topologies.may_create(topic, how)

    def compress(self, topic: str, codec: str) -> None:
        """What is sent to the topic is compressed so; to be said before anything is."""
        self._codecs.setdefault(topic, codec)

    async def preflight(self, needs: tuple[Need, ...]) -> tuple[Finding, ...]:
        """What is not as these topics need it. Raises DeliveryError without an answer."""
        facts = await preflight.examine(self._handle(), needs, ASK_SECONDS)
        return preflight.judge(self.name, needs, facts, self.zone.names)

    async def end_offsets(self, topics: Collection[str]) -> dict[str, tuple[int, ...]]:
        """By topic, the offset of the next record of each partition. Raises DeliveryError."""
        for topic in topics:
            await self.ready(topic)
        token = None if self._tokens is None else self._tokens.fetch
        ask = partial(ends.end_offsets, reaching(self._settings, token), topics)
        return await in_thread("singer-kafka-ends", ask)

    @property
    def transactional(self) -> bool:
        """Whether positions are committed with the records."""
        return self._keeper is not None

    def committed(self, position: Position) -> Position:
        """See `base.ports.Writer.committed`."""
        return position if self._keeper is None else self._keeper.further(position)

    def hasten(self) -> None:
        """See `base.ports.Writer.hasten`."""
        if self._transactions is not None:
            self._transactions.hasten()

    @property
    def is_up(self) -> bool | None:
        """Whether a broker answers; None until that is known."""
        return self._up

    @property
    def producer(self) -> ColumnarProducer:
        """The producer of now. Raises ClusterError when there is none."""
        if self._producer is None:
            cause = self._obstacle or "it is closed"
            raise ClusterError(f"produce to cluster {self.name}: {cause}")
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
        if self._up and not self._troubles:
            return
        if self._troubles:
            self.remedied("", self._troubles)
            self._troubles = Counter()
        if self._up:
            return
        self._up = True
        self._cause = _NO_ANSWER
        self._refusals.clear()
        self._token_backoff.reset()
        self._emit(ClusterUp(cluster=self.name, bootstrap=self._bootstrap))

    def trouble(self, code: int, reason: str) -> None:
        """A connection failed; librdkafka goes on trying."""
        self._met(errors.kind(code), 1)
        self._topologies.suspect()
        refusal = security.refusal(code, reason)
        if refusal is not None:
            self._look_soon()
            if refusal.of_token:
                self._another_token()
            self._refusal(refusal)
        elif code != errors.ALL_BROKERS_DOWN:
            self._cause = f"{reason}{errors.advise(code)}"
        elif self._up is None and self._telling:
            return  # it is told with the refusal
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

    def met(self, kind: Kind) -> None:
        """An error that the producer deals with."""
        self._emit(ErrorsMet(subject=f"cluster {self.name}", kind=kind))

    def remedied(self, topic: str, troubles: Counter[Kind]) -> None:
        """What such errors had held up has arrived."""
        subject = f"cluster {self.name}" + (f", topic {topic}" if topic else "")
        self._emit(ErrorsRemedied(subject=subject, kinds=tuple(troubles.items())))

    def _met(self, kind: Kind, number: int) -> None:
        """Errors that librdkafka deals with, until something arrives."""
        self._emit(ErrorsMet(subject=f"cluster {self.name}", kind=kind, errors=number))
        self._troubles[kind] += number

    def broken(self, code: int, reason: str) -> None:
        """The producer is done for."""
        if self._closed or self._held is not None:  # one that is handed over goes anyway
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

    def token_wanted(self, handle: Handle) -> None:
        """A handle needs a token."""
        self._briefly(self._token(handle))

    def measured(self, traffic: Traffic) -> None:
        """What was sent of a topic."""
        self._emit(
            Compressed(
                cluster=self.name,
                topic=traffic.topic,
                publishers=self._publishers.get(traffic.topic, ()),
                records=traffic.records,
                batches=traffic.batches,
                nbytes=traffic.nbytes,
                sent_bytes=traffic.sent_bytes,
            )
        )

    def retried(self, records: int) -> None:
        """Librdkafka sent records again by itself."""
        self._met(_RETRIED, records)

    def connected(self, connections: Connections) -> None:
        """What became of connections."""
        self._emit(
            ConnectionsCounted(
                cluster=self.name,
                standing=connections.standing,
                tried=connections.tried,
                ended=connections.ended,
                tls=is_tls(self._settings),
            )
        )

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
            if self._credentials.files and self._renewing is None and loop.time() >= self._look_at:
                self._renewing = loop.create_task(self._look_at_files())
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
                asked = self._producer
                try:
                    await topology.probe(self._handle(), _PROBE_SECONDS)
                except DeliveryError:
                    # All addresses may be others now: begin anew with those that were given.
                    self._handle().add_brokers(self._bootstrap)
                    if self._up and asked is self._producer:  # else its successor may be well
                        backoff.reset()
                        self._down()
                except Exception as error:  # noqa: BLE001  # or it would stay down for ever
                    self._emit(InternalError.of(f"connect to cluster {self.name}", error))
                else:
                    self.alive()
                    return
        finally:
            self._probing = None

    async def _replace(self, delay_seconds: float | None = None) -> None:
        """A new producer in place of a broken one, or of none, once nothing of it is under way.

        Tried until it works: were it given up once, a certificate that was just being renewed
        would stop all delivery until somebody restarts the agent.
        """
        try:
            old = self._producer
            if self.clock.monotonic() - self._replaced > _SOUND_SECONDS:
                self._replace_backoff.reset()
            if delay_seconds is None:
                delay_seconds = self._replace_backoff.next()
            while self._producer is old and not self._closed:
                try:
                    if old is not None:
                        # Who does not answer will not do so in a while either.
                        await old.settle() if self._up else await old.settle(0.0)
                        await self._end(old)
                    await asyncio.sleep(delay_seconds)
                    self._producer = await self._make()
                except Exception as error:  # noqa: BLE001  # whatever it is, it has to be tried again
                    delay_seconds = self._replace_backoff.next()
                    self._not_replaced(error, delay_seconds)
            self._replaced = self.clock.monotonic()
            self._topologies.doubt()
            if self._transactions is not None:
                self._transactions.start()
        finally:
            self._replacing = None
            self._obstacle = ""
            if self._transactions is not None:
                self._transactions.renewed()

    def _not_replaced(self, error: Exception, retry_seconds: float) -> None:
        self._obstacle = str(error) or repr(error)
        self._emit(
            ProducerNotReplaced(
                cluster=self.name, cause=self._obstacle, retry_seconds=retry_seconds
            )
        )

    async def _make(self) -> ColumnarProducer:
        """A producer with what the files hold now. Raises InputError, ClusterError."""
        if self._credentials.files:
            self._in_use = await in_thread("singer-kafka-files", self._credentials.fingerprint)
            read = await in_thread("singer-kafka-files", self._credentials.read)
            self._settings = {**read, "bootstrap.servers": self._bootstrap}
        isolates = self._keeper is None
        return ColumnarProducer(self._settings, self, isolates=isolates, codecs=self._codecs)

    async def _end(self, producer: ColumnarProducer) -> None:
        if not await producer.close(_CLOSE_SECONDS):
            self._emit(ClientLeftBehind(cluster=self.name, seconds=_CLOSE_SECONDS))

    def _briefly(self, work: Coroutine[None, None, None]) -> None:
        """Let something be done that ends by itself, or with the cluster."""
        task = asyncio.get_running_loop().create_task(work)
        self._brief.add(task)
        task.add_done_callback(self._brief.discard)

    # --- certificates and passwords ---------------------------------------------------------

    def _look_soon(self) -> None:
        soon = asyncio.get_running_loop().time() + _FILES_SOON_SECONDS
        self._look_at = min(self._look_at, soon)

    async def _look_at_files(self) -> None:
        """Renew the producer once changed files stay as they are for two looks.

        A certificate and its key are two files, and one comes after the other.
        """
        try:
            seen = await in_thread("singer-kafka-files", self._credentials.fingerprint)
            changed, stays = seen != self._in_use, seen == self._seen
            self._seen = seen
            wait_seconds = _FILES_SOON_SECONDS if changed else _FILES_SECONDS
            self._look_at = asyncio.get_running_loop().time() + wait_seconds
            if changed and stays:
                await self._renew()
        except Exception as error:  # noqa: BLE001  # or certificates would never be read again
            self._emit(InternalError.of(f"look at the files of cluster {self.name}", error))
        finally:
            self._renewing = None

    async def _renew(self) -> None:
        """Let a producer with the changed files take over; a file that is no good changes nothing.

        Nothing overtakes: what is sent meanwhile waits until all that is under way has settled.
        """
        try:
            new = await self._make()
        except SingerError as error:
            self._emit(CredentialsUnusable(cluster=self.name, cause=str(error)))
            return
        old = self._producer
        if old is None or self._replacing is not None:  # a fatal error came first
            await self._end(new)
            return
        if self._keeper is not None:  # of one transactional id there can be but one
            await self._end(new)
            self._emit(CredentialsRenewed(cluster=self.name))
            self._retire("its certificates or passwords were changed")
            return
        self._next, self._held = new, []
        # Where nobody lets us in nothing can arrive, and what is under way is read again.
        arrived = await old.settle(_HANDOVER_SECONDS if self._up else 0.0)
        held, self._held = self._held, None
        self._producer, self._next = new, None
        for topic, route, batch, receipt in held:
            if arrived:
                new.produce(topic, route, batch, receipt)
            elif not receipt.done():  # it would overtake what has to be sent again
                reason = "its certificates or passwords were changed"
                receipt.set_exception(ClusterError(f"produce to {topic}: {reason}"))
        self._refusals.clear()
        self._emit(CredentialsRenewed(cluster=self.name))
        if new.fatal is not None:
            self.broken(*new.fatal)
        await self._end(old)

    def _another_token(self) -> None:
        """Fetch one anew: librdkafka asks when a token ends, not when a broker does not like it."""
        now = self.clock.monotonic()
        if self._producer is not None and self._tokens is not None and now >= self._token_at:
            self._token_at = now + self._token_backoff.next()
            self._briefly(self._token(self._producer.handle))

    async def _token(self, handle: Handle) -> None:
        fault = "nothing is said under oauth"
        if self._tokens is not None:
            try:
                token = await in_thread("singer-kafka-token", self._tokens.fetch)
                share = random.uniform(*_TOKEN_SHARES)  # noqa: S311  # jitter
                now_ms = self.clock.now_ns() // 1_000_000
                fault = handle.set_token(tokens.shortened(token, now_ms, share))
            except SingerError as error:
                fault = str(error)
        if fault:
            handle.token_failed(fault)

    # --- refusals ---------------------------------------------------------------------------

    def _refusal(self, refusal: Refusal) -> None:
        """Tell it once, although each attempt to connect ends with it."""
        now = self.clock.monotonic()
        told = self._refusals.get(refusal.kind)
        if told is None or now - told > _REFUSAL_AGAIN_SECONDS:
            self._refusals[refusal.kind] = now
            self._telling += 1
            self._briefly(self._tell(refusal))

    async def _tell(self, refusal: Refusal) -> None:
        try:
            if refusal.unproven:
                refusal = await in_thread(
                    "singer-kafka-doubt", partial(security.prove, refusal, self._settings)
                )
            await asyncio.sleep(_REFUSAL_SECONDS)
        except ClusterError:  # no thread: then without the details
            pass
        finally:
            self._telling -= 1
        self._cause = refusal.text
        if self._up is None:
            self._down()
            return
        while self._up and self._probing is not None:  # it may be about to be down
            await asyncio.sleep(_REFUSAL_SECONDS)
            if not self._up:
                return
        self._emit(BrokerRefuses(cluster=self.name, cause=refusal.text))
