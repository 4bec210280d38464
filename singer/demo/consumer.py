"""Reads back what the agent delivered, as it comes, in a daemon thread.

Owns the consumer and the oracle; publishes a `Delivery` that any thread may read. The embedded
brokers keep 5 MiB or 100,000 records of a partition: what was dropped there before it was read
shows as a gap in the offsets, and is counted instead of blamed on the agent.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from singer.base.batch import Int64s
from singer.base.errors import WorldError
from singer.demo import lines
from singer.demo.oracle import Oracle, Partition, Verdict

#: The embedded broker holds an empty answer for this long *even when records come meanwhile*:
#: a longer wait would show as latency of the agent.
_FETCH_WAIT_MS: Final = 5
_POLL_SECONDS: Final = 0.1
_RECORDS_AT_ONCE: Final = 10_000
_METADATA_SECONDS: Final = 10.0
#: How often the latency is computed anew; all else is up to date in each `Delivery`.
_LATENCY_SECONDS: Final = 0.25
#: Latency is told for the lines that arrived in the last so many seconds.
LATENCY_WINDOW_SECONDS: Final = 5.0
_OFFSETS_SECONDS: Final = 2.0
#: Reading what is left when the agent has stopped.
_FINISH_SECONDS: Final = 10.0
#: Errors that pass by themselves.
_PASSING: Final = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})  # noqa: SLF001 # the library's own spelling


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From the write of a line to its arrival in the consumer."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What arrived so far."""

    delivered: int = 0  #: different lines
    duplicated: int = 0
    out_of_order: int = 0
    overrun: int = 0  #: records the embedded brokers dropped before they were read
    complete: tuple[int, ...]  #: of each file, the line number up to which all arrived
    zones: Mapping[str, int]  #: payload bytes by the zone of the partition's leader
    latency: Latency | None = None  #: of the last seconds; None when nothing came
    compression: float | None = None  #: payload bytes for each byte on the wire


class Reading:
    """Reads all partitions of `topics` from their beginning."""

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        files: Sequence[str],
        zone: Callable[[int], str],
    ) -> None:
        """`zone` tells the zone of a broker. Raises WorldError when no broker answers."""
        self._files = files
        self._oracle = Oracle(len(files))
        self._next: dict[Partition, int] = {}
        self._zone_of: dict[Partition, str] = {}
        self._zones: dict[str, int] = {}
        self._recent: deque[tuple[float, Int64s]] = deque()
        self._overrun = 0
        self._compression: float | None = None
        self._consumer = _consumer(bootstrap, self._take_statistics)
        self._assign(topics, zone)
        self._latency: Latency | None = None
        self._latency_due = 0.0
        #: Replaced as a whole after each step.
        self.delivery = self._sum()
        self._finishing = threading.Event()
        self._failure: WorldError | None = None
        self._thread = threading.Thread(target=self._run, name="demo-consumer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> Delivery:
        """Read on to the end of all partitions, then stop; call when nobody writes any more."""
        self._finishing.set()
        self._thread.join(2 * _FINISH_SECONDS)
        self.check()
        return self.delivery

    def judge(self, written: Sequence[int]) -> Verdict:
        """The oracle's word; after `finish`."""
        return self._oracle.judge(written)

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._finishing.is_set():
                self._step()
            self._read_to_end()
        except KafkaException as error:
            self._failure = WorldError(f"read back what was delivered: {error.args[0]}")
        finally:
            self.delivery = self._sum()
            self._consumer.close()

    def _step(self) -> None:
        first = self._consumer.poll(_POLL_SECONDS)
        if first is not None:
            # `consume` with a time-out waits until it has all it may take; what is there is
            # taken at once like this.
            self._take([first, *self._consumer.consume(_RECORDS_AT_ONCE, 0)])
        self.delivery = self._sum()

    def _read_to_end(self) -> None:
        ends = time.monotonic() + _FINISH_SECONDS
        goal = {partition: self._end_offset(partition) for partition in self._next}
        while any(self._next[p] < goal[p] for p in goal) and time.monotonic() < ends:
            self._step()

    def _end_offset(self, partition: Partition) -> int:
        offsets = self._consumer.get_watermark_offsets(
            TopicPartition(*partition), timeout=_OFFSETS_SECONDS
        )
        return int(offsets[1])

    def _take(self, messages: Sequence[Message]) -> None:
        now_us = time.time_ns() // 1000
        found: dict[Partition, list[bytes]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                if error.fatal() or not (error.retriable() or error.code() in _PASSING):
                    raise KafkaException(error)
                continue
            partition = (str(message.topic()), int(message.partition() or 0))
            offset = int(message.offset() or 0)
            self._overrun += offset - self._next[partition]
            self._next[partition] = offset + 1
            found.setdefault(partition, []).append(message.value() or b"")
        for partition, records in found.items():
            self._zones[self._zone_of[partition]] += sum(map(len, records))
            identified = lines.identify(records, self._files)
            self._oracle.take(partition, identified.files, identified.numbers)
            self._oracle.take_foreign(identified.foreign)
            self._recent.append((time.monotonic(), now_us - identified.written_us))

    def _take_statistics(self, text: str) -> None:
        self._compression = compression(json.loads(text)) or self._compression

    def _sum(self) -> Delivery:
        now = time.monotonic()
        if now >= self._latency_due:
            self._latency_due = now + _LATENCY_SECONDS
            self._latency = self._measure(now)
        oracle = self._oracle
        return Delivery(
            delivered=oracle.delivered,
            duplicated=oracle.duplicated,
            out_of_order=oracle.out_of_order,
            overrun=self._overrun,
            complete=oracle.complete,
            zones=dict(self._zones),
            latency=self._latency,
            compression=self._compression,
        )

    def _measure(self, now: float) -> Latency | None:
        while self._recent and self._recent[0][0] < now - LATENCY_WINDOW_SECONDS:
            self._recent.popleft()
        waits_us = np.concatenate([waits for _, waits in self._recent] or [np.empty(0, np.int64)])
        if not len(waits_us):
            return None
        p50, p99 = (np.percentile(waits_us, (50, 99)) / 1000).tolist()
        return Latency(p50_ms=p50, p99_ms=p99)

    def _assign(self, topics: Sequence[str], zone: Callable[[int], str]) -> None:
        try:
            for topic in topics:
                metadata = self._consumer.list_topics(topic, timeout=_METADATA_SECONDS)
                self._zones |= {zone(broker): 0 for broker in metadata.brokers if broker > 0}
                for number, partition in metadata.topics[topic].partitions.items():
                    self._next[topic, number] = 0
                    self._zone_of[topic, number] = zone(partition.leader)
            self._consumer.assign([TopicPartition(*p, 0) for p in self._next])
        except KafkaException as error:
            raise WorldError(f"read from the embedded brokers: {error.args[0]}") from error
        self._zones = dict(sorted(self._zones.items()))


def compression(statistics: Mapping[str, Any]) -> float | None:
    """Payload bytes for each byte on the wire, from librdkafka's statistics; None: not yet known.

    Answers without records are most of the answers at a low rate, and no compression: brokers
    that lead nothing of interest give only such, so theirs is the size that is taken off.
    """
    brokers = [b for b in statistics["brokers"].values() if b["nodeid"] > 0 and b["rx"]]
    if not brokers or not statistics["rxmsg_bytes"]:
        return None
    empty_bytes = min(b["rxbytes"] / b["rx"] for b in brokers)
    wire_bytes: float = sum(b["rxbytes"] - b["rx"] * empty_bytes for b in brokers)
    return statistics["rxmsg_bytes"] / wire_bytes if wire_bytes > 0 else None


def _consumer(bootstrap: str, statistics: Callable[[str], None]) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "demo",  # asked for, and not used: partitions are assigned
            "enable.auto.commit": False,
            # What was dropped is counted (`overrun`), and reading goes on behind it.
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
            "statistics.interval.ms": 1000,
            "stats_cb": statistics,
            "log_level": 0,
            "error_cb": lambda _: None,  # what matters comes as a message too
        }
    )
