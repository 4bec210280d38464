"""The topics of one cluster: asked for when first used, kept up to date with few requests.

Owns when to ask; `topology` owns how. Loop thread only. The questions, and who pays:

- first use of a topic: one description, one metadata request; shared by all its writers;
- a topic in use: its leaders every REFRESH_LOCAL_SECONDS when somebody wants local partitions
  (a leader that moved costs cross-zone traffic until it is noticed), else every REFRESH_SECONDS;
- trouble (a lost connection, no acknowledgement for a while, a partition without a leader): at
  once, then ever more rarely while it lasts;
- a topic nobody sends to: nothing at all;
- racks: with the description, when an unknown broker leads a partition, and hourly.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from singer.base.batch import Int32s
from singer.base.config import CreateConfig
from singer.base.errors import ClusterError, DeliveryError, TopicError
from singer.base.events import Emit
from singer.base.ports import Clock
from singer.base.suggestion import meant
from singer.base.zone import Zone
from singer.kafka import errors
from singer.kafka import topology as ask
from singer.kafka.events import LocalityFound, LocalityLost, TopicCreated, TopologyChanged
from singer.kafka.handle import Handle
from singer.kafka.threads import in_thread
from singer.kafka.topology import Topology

#: How long a question may take. While no broker answers, this is how long `ready` waits.
ASK_SECONDS: Final = 10.0
REFRESH_LOCAL_SECONDS: Final = 60.0
REFRESH_SECONDS: Final = 300.0
#: Between two looks in trouble: the first wait, and the longest.
TROUBLE_SECONDS: Final = (2.0, 60.0)
#: How often trouble is looked into: a leader moves some seconds after its broker died.
TROUBLE_LOOKS: Final = 4
#: The broker list changes rarely; moving a broker to another rack needs its restart.
RACKS_SECONDS: Final = 3600.0
#: Between two questions for the rack of a broker that has none.
RACKS_SPACING_SECONDS: Final = 60.0
#: How long "there is no such topic" is believed: hundreds of files may wait for the same one.
ABSENT_SECONDS: Final = 5.0
#: Between two looks whether a topic that was created is known by now.
_NEW_TOPIC_SECONDS: Final = 0.2
#: For CreateTopics: as many as the broker's own defaults say.
_BY_DEFAULT: Final = -1


class _Entry:
    """One topic."""

    def __init__(self, name: str) -> None:
        self.topology = Topology(name)
        #: Somebody chooses local partitions only.
        self.local = False
        #: Records were sent since the last look.
        self.used = False
        #: Looks still to take because of trouble.
        self.suspicion = 0
        #: Something is wrong with the topic itself: ask whether it still exists.
        self.doubtful = True
        self.fallback = False
        self.looked = 0.0
        self.interval = 0.0
        self.spacing = TROUBLE_SECONDS[0]
        self.learning: asyncio.Task[None] | None = None
        self.refreshing: asyncio.Task[None] | None = None
        self.absent: tuple[float, str] = (0.0, "")
        #: How to make it where it is absent; None: it is not made.
        self.create: CreateConfig | None = None


class Topologies:
    """Knows the topics of a cluster."""

    def __init__(
        self,
        *,
        cluster: str,
        bootstrap: str,
        handle: Callable[[], Handle],
        zone: Zone,
        emit: Emit,
        clock: Clock,
        answered: Callable[[], None],
        create: Callable[[str], None] | None,
        rng: random.Random | None = None,
    ) -> None:
        """`answered` is called when the cluster answered; `create` makes a missing topic."""
        self._cluster = cluster
        self._bootstrap = bootstrap
        self._handle = handle
        self._zone = zone
        self._emit = emit
        self._clock = clock
        self._answered = answered
        self._create = create
        self._rng = rng or random.Random()  # noqa: S311  # not for secrets
        self._entries: dict[str, _Entry] = {}
        self._racks: dict[int, str] = {}
        self._racks_due = clock.monotonic() + self._jittered(RACKS_SECONDS)
        self._racks_asked = float("-inf")

    def use(self, topic: str, *, local: bool) -> Topology:
        """The picture of a topic, known or not, from now on kept up to date while in use."""
        entry = self._entries.get(topic)
        if entry is None:
            entry = self._entries[topic] = _Entry(topic)
        entry.local = entry.local or local
        return entry.topology

    def may_create(self, topic: str, how: CreateConfig) -> None:
        """The topic is made where it is absent."""
        self.use(topic, local=False)
        self._entries[topic].create = how

    def zone_changed(self) -> None:
        """Say for which topics that makes a difference; partitioners see it by themselves."""
        for entry in self._entries.values():
            if entry.local and entry.topology.version:
                self._tell_locality(entry)

    def sent(self, topic: str) -> None:
        """Records of this topic are on their way."""
        entry = self._entries.get(topic)
        if entry is not None:
            entry.used = True

    async def ready(self, topic: str) -> None:
        """Return once the topic can be routed.

        Raises TopicError when it is absent or may not be seen, ClusterError when no broker
        answered within ASK_SECONDS.
        """
        self.use(topic, local=False)
        entry = self._entries[topic]
        if not entry.doubtful:
            return
        if entry.learning is None:
            entry.learning = asyncio.get_running_loop().create_task(self._learn(entry))
            entry.learning.add_done_callback(_seen)
        learning = entry.learning
        await asyncio.wait((learning,))
        if learning.cancelled():
            raise ClusterError(f"describe topic {topic}: cluster {self._cluster} is closed")
        learning.result()

    def suspect(self, *, stalled: bool = False) -> None:
        """Something is wrong with the connections: leaders may have moved.

        That matters to topics that are sent to. `stalled`: nothing comes back, so perhaps nothing
        can be sent any more either.
        """
        for entry in self._entries.values():
            if entry.used or stalled:
                entry.suspicion = TROUBLE_LOOKS

    def doubt(self, topic: str | None = None) -> None:
        """Something is wrong with a topic (None: all): `ready` asks for it anew."""
        for name, entry in self._entries.items():
            if topic is None or name == topic:
                entry.doubtful = True

    def relocate(self, bootstrap: str) -> None:
        """The brokers are elsewhere, and may be others: what was said of them no longer holds."""
        self._bootstrap = bootstrap
        self._racks = {}
        for entry in self._entries.values():
            entry.absent = (0.0, "")
        self.doubt()

    def look(self) -> None:
        """Start the questions that are due. Called about once a second."""
        now = self._clock.monotonic()
        for entry in self._entries.values():
            if entry.topology.version and entry.refreshing is None and self._is_due(entry, now):
                entry.refreshing = asyncio.get_running_loop().create_task(self._refresh(entry))
                entry.refreshing.add_done_callback(_seen)

    def close(self) -> None:
        """Stop asking."""
        for entry in self._entries.values():
            for task in (entry.learning, entry.refreshing):
                if task is not None:
                    task.cancel()

    # --- inside -----------------------------------------------------------------------------

    def _is_due(self, entry: _Entry, now: float) -> bool:
        if not entry.used and not entry.suspicion:
            return False
        age = now - entry.looked
        leaderless = bool((entry.topology.leaders == ask.LEADERLESS).any())
        trouble = entry.suspicion > 0 or leaderless
        return age >= (min(entry.spacing, entry.interval) if trouble else entry.interval)

    async def _learn(self, entry: _Entry) -> None:
        """Ask for a topic, from the question whether it exists."""
        topic = entry.topology.topic
        try:
            until, reason = entry.absent
            if self._clock.monotonic() < until:
                raise TopicError(reason, code=errors.name(errors.UNKNOWN_TOPIC_OR_PART))
            if self._create is not None:
                await in_thread("singer-kafka-create", partial(self._create, topic))
            try:
                found = await ask.describe_topic(self._handle(), topic, ASK_SECONDS)
            except ClusterError:
                # The controller, which is asked, may be gone: any broker says who it is now, and
                # nothing else would ask one.
                with contextlib.suppress(DeliveryError):
                    await ask.probe(self._handle(), ASK_SECONDS)
                raise
            self._answered()
            if found is None and entry.create is not None:
                found = await self._made(topic, entry.create)
            if found is None:
                reason = await self._absence(topic)
                entry.absent = (self._clock.monotonic() + ABSENT_SECONDS, reason)
                raise TopicError(reason, code=errors.name(errors.UNKNOWN_TOPIC_OR_PART))
            self._racks |= found.racks
            # The handle itself has to know the topic too: its own picture of a topic that was
            # refused once forbids to produce until metadata says otherwise.
            leaders = await ask.topic_leaders(self._handle(), topic, ASK_SECONDS)
            self._take(entry, leaders)
            entry.doubtful = False
        finally:
            entry.learning = None

    async def _made(self, topic: str, create: CreateConfig) -> ask.Leaders | None:
        """Create a topic that somebody said may be; what the brokers say of it then."""
        if await ask.create_topic(
            self._handle(),
            topic,
            partitions=create.partitions or _BY_DEFAULT,
            replication_factor=create.replication_factor or _BY_DEFAULT,
            timeout_seconds=ASK_SECONDS,
        ):
            self._emit(TopicCreated(cluster=self._cluster, topic=topic))
        deadline = self._clock.monotonic() + ASK_SECONDS
        while True:  # brokers hear of it one after the other
            found = await ask.describe_topic(self._handle(), topic, ASK_SECONDS)
            if found is not None or self._clock.monotonic() > deadline:
                return found
            await asyncio.sleep(_NEW_TOPIC_SECONDS)

    async def _absence(self, topic: str) -> str:
        """What to tell a person whose topic is not there."""
        text = f"describe topic {topic}: it does not exist on {self._cluster} ({self._bootstrap})"
        try:
            names = await ask.topic_names(self._handle(), ASK_SECONDS)
        except DeliveryError:
            names = []
        return f"{text}: create it, or correct topic in publish{meant(topic, names)}"

    async def _refresh(self, entry: _Entry) -> None:
        """Look at the leaders again; the last good picture stays where that fails."""
        recently = self._clock.monotonic() - entry.looked < TROUBLE_SECONDS[1]
        entry.spacing = self._jittered(
            min(2 * entry.spacing, TROUBLE_SECONDS[1]) if recently else TROUBLE_SECONDS[0]
        )
        entry.looked = self._clock.monotonic()
        try:
            leaders = await ask.topic_leaders(self._handle(), entry.topology.topic, ASK_SECONDS)
            self._answered()
            with contextlib.suppress(ClusterError):  # without its rack a broker is not local
                await self._ask_racks(set(leaders.tolist()))
            self._take(entry, leaders)
        except TopicError:
            entry.doubtful = True
        except ClusterError:
            return  # the cluster's own state says so already
        finally:
            entry.refreshing = None

    async def _ask_racks(self, leaders: set[int]) -> None:
        """Ask for racks where one is missing, or when they are old."""
        now = self._clock.monotonic()
        unknown = leaders - self._racks.keys() - {ask.LEADERLESS}
        if now < self._racks_due and not (
            unknown and now - self._racks_asked >= RACKS_SPACING_SECONDS
        ):
            return
        self._racks_asked = now
        self._racks_due = now + self._jittered(RACKS_SECONDS)
        self._racks = await ask.broker_racks(self._handle(), ASK_SECONDS)

    def _take(self, entry: _Entry, leaders: Int32s) -> None:
        entry.looked = self._clock.monotonic()
        every = REFRESH_LOCAL_SECONDS if entry.local else REFRESH_SECONDS
        entry.interval = self._jittered(every)
        entry.used = False
        entry.suspicion = max(0, entry.suspicion - 1)
        topology = entry.topology
        if not topology.update(leaders, self._racks):
            return
        self._emit(
            TopologyChanged(
                cluster=self._cluster,
                topic=topology.topic,
                partitions=len(leaders),
                leaderless=int((leaders == ask.LEADERLESS).sum()),
            )
        )
        if entry.local:
            self._tell_locality(entry)

    def _tell_locality(self, entry: _Entry) -> None:
        topology = entry.topology
        candidates = topology.candidates(self._zone.names, local=True)
        if candidates.fallback == entry.fallback and topology.version > 1:
            return
        entry.fallback = candidates.fallback
        if candidates.fallback:
            self._emit(
                LocalityLost(
                    cluster=self._cluster,
                    topic=topology.topic,
                    zones=self._zone.names,
                    racks=topology.leader_racks(),
                )
            )
        else:
            self._emit(
                LocalityFound(
                    cluster=self._cluster,
                    topic=topology.topic,
                    zones=self._zone.names,
                    partitions=len(candidates.partitions),
                )
            )

    def _jittered(self, seconds: float) -> float:
        """+-20 %, so that ten thousand agents do not ask at the same moment."""
        return seconds * self._rng.uniform(0.8, 1.2)


def _seen(task: asyncio.Task[None]) -> None:
    """Take the exception, so that a question whose asker was cancelled is no warning."""
    if not task.cancelled():
        task.exception()
