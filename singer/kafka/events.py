"""What the Kafka side has to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from singer.base.events import Count, Event, Gauge, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClusterEvent(Event):
    cluster: str

    def _count(self, name: str, amount: int = 1) -> tuple[Count, ...]:
        return (Count(name, amount, (("cluster", self.cluster),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDown(_ClusterEvent):
    """No broker of a cluster answers; emitted once, until one does again."""

    severity: ClassVar[Severity] = Severity.ERROR

    bootstrap: str
    cause: str

    def message(self) -> str:
        """See Event."""
        return (
            f"connect to cluster {self.cluster} at {self.bootstrap}: {self.cause}: "
            "nothing is lost, delivery goes on when a broker answers"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_cluster_down_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUp(_ClusterEvent):
    """A broker answered, for the first time or again."""

    bootstrap: str

    def message(self) -> str:
        """See Event."""
        return f"connected to cluster {self.cluster} at {self.bootstrap}"

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_cluster_up_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapRead(_ClusterEvent):
    """The file that names a cluster's brokers was read."""

    path: str
    brokers: str

    def message(self) -> str:
        """See Event."""
        return f"brokers of cluster {self.cluster}: {self.path} names {self.brokers}"

    def gauges(self) -> tuple[Gauge, ...]:
        """See Event."""
        return (Gauge("singer_bootstrap_file_usable", 1.0, (("cluster", self.cluster),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapUnusable(_ClusterEvent):
    """The file that names a cluster's brokers is gone, empty or broken."""

    severity: ClassVar[Severity] = Severity.ERROR

    path: str
    cause: str
    #: Those that remain in force.
    brokers: str

    def message(self) -> str:
        """See Event."""
        meanwhile = (
            f"those of before are used ({self.brokers})"
            if self.brokers
            else ("no broker is known, and the cluster's streams wait")
        )
        return (
            f"brokers of cluster {self.cluster}: bootstrap_file {self.path}: {self.cause}:"
            f" mend it, it is read again at once; until then {meanwhile}"
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """See Event."""
        return (Gauge("singer_bootstrap_file_usable", 0.0, (("cluster", self.cluster),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerBroken(_ClusterEvent):
    """The producer can no longer be used; what it held is read again and sent by a new one."""

    severity: ClassVar[Severity] = Severity.ERROR

    cause: str

    def message(self) -> str:
        """See Event."""
        return f"produce to cluster {self.cluster}: {self.cause}: the producer is replaced"

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_producers_replaced_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerRetired(_ClusterEvent):
    """The producer is replaced although it is sound; what it cannot deliver is sent again."""

    cause: str

    def message(self) -> str:
        """See Event."""
        return f"produce to cluster {self.cluster}: {self.cause}: the producer is replaced"

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_producers_replaced_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerNotReplaced(_ClusterEvent):
    """No new producer can be made in place of the broken one; it is tried until it works."""

    severity: ClassVar[Severity] = Severity.ERROR

    cause: str
    retry_seconds: float

    def message(self) -> str:
        """See Event."""
        return (
            f"replace producer of cluster {self.cluster}: {self.cause}: nothing is lost,"
            f" trying again in {self.retry_seconds:.1f} s"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_producers_not_replaced_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRefuses(_ClusterEvent):
    """A broker and we do not accept each other; said once for each cause.

    Others may go on, or the cluster is down already for another cause.
    """

    severity: ClassVar[Severity] = Severity.ERROR

    cause: str

    def message(self) -> str:
        """See Event."""
        return (
            f"connect to cluster {self.cluster}: {self.cause}: nothing is lost, it is tried again"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_brokers_refusing_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsRenewed(_ClusterEvent):
    """Files with certificates or passwords were changed; a new producer uses them."""

    def message(self) -> str:
        """See Event."""
        return f"cluster {self.cluster}: certificates and passwords were read again, and are used"

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_credentials_renewed_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsUnusable(_ClusterEvent):
    """Files with certificates or passwords were changed, and cannot be used."""

    severity: ClassVar[Severity] = Severity.ERROR

    cause: str

    def message(self) -> str:
        """See Event."""
        return (
            f"read certificates and passwords of cluster {self.cluster} again: {self.cause}: those"
            " from before stay in use; mend the files, they are looked at again"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_credentials_unusable_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(_ClusterEvent):
    """The broker refused a whole request; its records are now sent one by one."""

    severity: ClassVar[Severity] = Severity.WARNING

    topic: str
    records: int
    cause: str
    #: What a person can do about it, as the end of a message.
    advice: str = ""

    def message(self) -> str:
        """See Event."""
        return (
            f"produce to {self.topic}: {self.cause}: {self.records} records are sent one by one"
            f" to find the culprit{self.advice}"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_requests_refused_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityLost(_ClusterEvent):
    """No partition of a topic has its leader in this host's zone: all partitions are used."""

    severity: ClassVar[Severity] = Severity.WARNING

    topic: str
    zones: tuple[str, ...]
    racks: tuple[str, ...]

    def message(self) -> str:
        """See Event."""
        zones = ", ".join(self.zones) or "unknown"
        racks = ", ".join(self.racks) or "none"
        return (
            f"choose partitions of {self.topic}: no leader in this host's zone ({zones}; racks"
            f" of the leaders: {racks}): all partitions are used until one is"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return self._count("singer_locality_lost_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityFound(_ClusterEvent):
    """Partitions in this host's zone are used (again)."""

    topic: str
    zones: tuple[str, ...]
    partitions: int

    def message(self) -> str:
        """See Event."""
        zones = ", ".join(self.zones)
        return f"choose partitions of {self.topic}: {self.partitions} in zone {zones} are used"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyChanged(_ClusterEvent):
    """The leaders or partitions of a topic are not what they were."""

    severity: ClassVar[Severity] = Severity.DEBUG

    topic: str
    partitions: int
    leaderless: int

    def message(self) -> str:
        """See Event."""
        return f"topic {self.topic}: {self.partitions} partitions, {self.leaderless} leaderless"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreated(_ClusterEvent):
    """An absent topic was created, because `create` says so."""

    topic: str

    def message(self) -> str:
        """See Event."""
        return f"topic {self.topic}: it was absent, and is created"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFailed(_ClusterEvent):
    """Something is not as it should be on the cluster; found once, at the start."""

    severity: ClassVar[Severity] = Severity.WARNING

    thing: str
    cause: str
    advice: str

    def message(self) -> str:
        """See Event."""
        return f"look at {self.thing}: {self.cause}: {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed(_ClusterEvent):
    """What was sent of a topic since the last time, what was sent again included.

    `nbytes` are those of values and keys, `sent_bytes` those of their batches as they went out.
    All who publish to a topic share its batches, and so their ratio.
    """

    severity: ClassVar[Severity] = Severity.DEBUG

    topic: str
    publishers: tuple[tuple[str, str], ...]  #: (stream, destination)
    records: int
    batches: int
    nbytes: int
    sent_bytes: int

    @property
    def ratio(self) -> float:
        """How many bytes of records each byte that was sent stands for."""
        return self.nbytes / self.sent_bytes

    def message(self) -> str:
        """See Event."""
        return (
            f"sent to {self.topic}: {self.records} records in {self.batches} batches, "
            f"{self.nbytes} bytes compressed to {self.sent_bytes}"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        labels = (("cluster", self.cluster), ("topic", self.topic))
        return (
            Count("singer_sent_records_total", self.records, labels),
            Count("singer_sent_batches_total", self.batches, labels),
            Count("singer_sent_uncompressed_bytes_total", self.nbytes, labels),
            Count("singer_sent_bytes_total", self.sent_bytes, labels),
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """See Event."""
        return tuple(
            gauge
            for stream, destination in self.publishers
            for labels in [
                (("stream", stream), ("destination", destination), ("topic", self.topic))
            ]
            for gauge in (
                Gauge("singer_compression_ratio", self.ratio, labels),
                Gauge("singer_batch_records", self.records / self.batches, labels),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsCounted(_ClusterEvent):
    """How many connections to brokers stand, and how many were tried and ended since before."""

    severity: ClassVar[Severity] = Severity.DEBUG

    standing: int
    tried: int
    ended: int
    tls: bool  #: each attempt that reaches a broker is a handshake

    def message(self) -> str:
        """See Event."""
        return (
            f"cluster {self.cluster}: {self.standing} connections,"
            f" {self.tried} tried, {self.ended} ended"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return (
            *self._count("singer_connects_total", self.tried),
            *self._count("singer_disconnects_total", self.ended),
            *self._count("singer_tls_handshakes_total", self.tried if self.tls else 0),
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """See Event."""
        return (Gauge("singer_connections", self.standing, (("cluster", self.cluster),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLog(_ClusterEvent):
    """A line of librdkafka's own log. `level` is syslog's: 3 is an error, 7 debugging."""

    severity: ClassVar[Severity] = Severity.DEBUG

    level: int
    facility: str
    text: str

    def message(self) -> str:
        """See Event."""
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientWarning(ClientLog):
    """A line of librdkafka's log about how it is configured: only a person can act on it."""

    severity: ClassVar[Severity] = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLeftBehind(_ClusterEvent):
    """librdkafka did not end in time; the process goes on without waiting for it."""

    severity: ClassVar[Severity] = Severity.WARNING

    seconds: float

    def message(self) -> str:
        """See Event."""
        return f"close cluster {self.cluster}: librdkafka did not end in {self.seconds:g} s"
