"""`singer audit verify --continuous`: an audit topic followed as it grows. Blocks.

A member of a consumer group of the audit topic: what is said of one partition lies in one partition
of the audit topic, so members share the work and none needs to know of another's. Records are
judged `settle` seconds after the last word on them could have come; offsets are committed once all
that was claimed before them is judged. Memory holds what is not judged yet, a ring of digests to
know copies by, and where each file is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import xxhash
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from singer.base.batch import Int32s
from singer.base.errors import DeliveryError
from singer.kafka import errors
from singer.kafka.error_table import ErrorClass
from singer.validate.audits import Audits, Wanted
from singer.validate.claims import Claims
from singer.validate.findings import Findings, Owner, Places
from singer.validate.stretch import Stretch
from singer.validate.topic import Topic

_POLL_SECONDS: Final = 0.5
_MOST: Final = 1000
#: Digests of claimed records that are remembered, for each partition of the audit topic.
_RING: Final = 1 << 20


@dataclass(slots=True, eq=False)
class _Place:
    """How far a partition of a topic is judged."""

    claims: Claims
    at: int = -1  # up to here its records are judged; -1: none
    firm: int = 0  # from here on each record should be claimed
    ends: deque[tuple[float, int]] = field(default_factory=deque)  # (heard, end) of claims
    late: list[Claims] = field(default_factory=list)  # of what was judged before they came


class _Share:
    """One partition of the audit topic: all that is said in it, and what comes of it."""

    def __init__(self, wanted: Wanted, findings: dict[Owner, Findings]) -> None:
        self.audits = Audits(wanted, findings=findings)
        self.places: dict[tuple[str, int], _Place] = {}
        self.heard: deque[tuple[float, int]] = deque()  # (when, offset behind) of messages
        self.began = time.monotonic()
        self._ring = np.zeros(_RING, [("digest", "<u8"), ("owner", "<i4")])
        self._next = 0

    def hear(self, message: Message, now: float) -> None:
        """Take what a message says."""
        self.heard.append((now, (message.offset() or 0) + 1))
        claimed = self.audits.add(message.value() or b"")
        if claimed is not None and (claims := self.audits.claims.get(claimed)) is not None:
            place = self.places.setdefault(claimed, _Place(claims))
            place.ends.append((now, claims.end))

    def remember(self, digests: Any, owners: Int32s) -> None:
        """Claimed records, to know copies by."""
        digests, owners = digests[-_RING:], owners[-_RING:]
        at = (self._next + np.arange(len(digests))) % _RING
        self._ring["digest"][at], self._ring["owner"][at] = digests, owners
        self._next += len(digests)

    def owners_of(self, digests: Any) -> Int32s:
        """Of records like these, -1 where none is remembered."""
        ring = self._ring[: min(self._next, _RING)]
        owners = np.full(len(digests), -1, np.int32)
        if len(ring):
            order = np.argsort(ring["digest"], kind="stable")
            known = ring["digest"][order]
            at = np.minimum(np.searchsorted(known, digests), len(ring) - 1)
            alike = known[at] == digests
            owners[alike] = ring["owner"][order[at[alike]]]
        return owners


@dataclass(slots=True, kw_only=True, eq=False)
class Follower:
    """`reaching` are a client's settings, `group` what the consumer group is to be."""

    reaching: Mapping[str, Any]
    audit_topic: str
    group: Mapping[str, Any]
    wanted: Wanted
    settle_seconds: float
    told: Callable[[str], None]
    shares: dict[int, _Share] = field(default_factory=dict)
    findings: dict[Owner, Findings] = field(default_factory=dict)
    unclaimed: dict[str, Places] = field(default_factory=dict)
    failed_looks: int = 0  #: they are made again
    messages: int = 0
    records: int = 0
    _topics: dict[str, Topic] = field(default_factory=dict)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Follow until it is stopped. Raises DeliveryError if the audit topic cannot be read."""
        consumer = Consumer(
            {
                **self.reaching,
                "auto.offset.reset": "earliest",
                **self.group,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                "log_level": 3,
            }
        )
        try:
            consumer.subscribe(
                [self.audit_topic], on_assign=self._assigned, on_revoke=self._revoked
            )
            while not stopped():
                for message in consumer.consume(_MOST, _POLL_SECONDS):
                    self._take(message)
                self._judge(consumer)
        finally:
            consumer.close()
            for topic in self._topics.values():
                topic.close()

    @property
    def unreadable(self) -> int:
        """Messages that are none."""
        return sum(share.audits.unreadable for share in self.shares.values())

    # --- the group ------------------------------------------------------------------------------

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self.shares.setdefault(each.partition, _Share(self.wanted, self.findings))

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self.shares.pop(each.partition, None)

    def _take(self, message: Message) -> None:
        fault = message.error()
        if fault is None:
            share = self.shares.get(message.partition() or 0)
            if share is not None:
                self.messages += 1
                share.hear(message, time.monotonic())
        elif errors.classify(fault.code()) is not ErrorClass.CONNECTION:
            raise errors.failure(f"follow {self.audit_topic}", fault.code())

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, consumer: Consumer) -> None:
        ripe = time.monotonic() - self.settle_seconds
        for number, share in self.shares.items():
            if not share.heard or share.heard[0][0] > ripe:
                continue
            try:
                for place in share.places.values():
                    self._judge_place(share, place, ripe)
            except (DeliveryError, KafkaException) as error:
                self.failed_looks += 1
                self.told(f"verify: {error}; it is tried again")
                continue
            for coverage in share.audits.files.values():
                coverage.look()
            offset = -1
            while share.heard and share.heard[0][0] <= ripe:
                offset = share.heard.popleft()[1]
            if offset >= 0:
                self._commit(consumer, number, offset)

    def _commit(self, consumer: Consumer, partition: int, offset: int) -> None:
        try:
            consumer.commit(
                offsets=[TopicPartition(self.audit_topic, partition, offset)], asynchronous=True
            )
        except KafkaException as error:  # another member has it now, and judges it again
            self.told(f"verify: commit {self.audit_topic} [{partition}]: {error.args[0].str()}")

    def _judge_place(self, share: _Share, place: _Place, ripe: float) -> None:
        """May fail in the middle: what is judged stays so, the rest comes with the next look."""
        end = -1
        for heard, claimed in place.ends:
            if heard > ripe:
                break
            end = claimed
            if heard - share.began <= self.settle_seconds:
                place.firm = end  # who spoke before we listened may have claimed what is there
        claims = place.claims
        if end < 0:
            return
        topic = self._topic(claims.topic)
        claims.low = topic.bounds(claims.partition)[0]
        if (late := claims.late(place.at)) is not None:
            place.late.append(late)
        while place.late:
            late = place.late[0]
            for stretch in self._stretches(topic, late, late.start or 0, late.end):
                late.check(stretch)
            place.late.pop(0)
        if place.at < 0:
            place.at = end if claims.start is None else claims.start
        for stretch in self._stretches(topic, claims, place.at, end):
            self._check(share, claims, stretch, place.firm)
            place.at = stretch.end
        while place.ends and place.ends[0][0] <= ripe:
            place.ends.popleft()

    @staticmethod
    def _stretches(topic: Topic, claims: Claims, start: int, end: int) -> Iterator[Stretch]:
        """All of offsets [start, end), which were claimed and therefore must be there."""
        stop = min(end, topic.bounds(claims.partition)[1])
        yield from topic.read(claims.partition, start, stop)
        if max(start, stop) < end:
            none = np.empty(0, np.int64)
            yield Stretch(start=max(start, stop), end=end, offsets=none, values=())

    def _check(self, share: _Share, claims: Claims, stretch: Stretch, firm: int) -> None:
        owners = claims.check(stretch)
        self.records += len(owners)
        digests = np.fromiter(
            map(xxhash.xxh3_64_intdigest, stretch.values), np.uint64, len(stretch.values)
        )
        mine = owners >= 0
        share.remember(digests[mine], owners[mine])
        left = np.flatnonzero(~mine & (stretch.offsets >= firm))
        for row, owner in zip(left.tolist(), share.owners_of(digests[left]).tolist(), strict=True):
            places = self.unclaimed.setdefault(claims.topic, Places())
            if owner >= 0:
                places = share.audits.findings[share.audits.owners[owner]].duplicated
            offset = int(stretch.offsets[row])
            places.add(claims.topic, claims.partition, offset, offset + 1)

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            self._topics[name] = Topic(name, self.reaching)
        return self._topics[name]
