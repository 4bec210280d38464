"""Traffic: what librdkafka's statistics say was sent of each topic.

Pure. The statistics tell bytes per topic, not per sender: whoever publishes to a topic shares its
batches, and with them what compression makes of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What was handed to brokers of one topic in an interval, each attempt counted.

    `nbytes`      of keys and values
    `sent_bytes`  of the batches as they went out: compressed, with their heads and those of records
    """

    topic: str
    records: int
    batches: int
    nbytes: int
    sent_bytes: int


class TrafficMeter:
    """Makes differences of the statistics of one handle, which partly count from its start."""

    def __init__(self) -> None:
        self._nbytes: dict[str, int] = {}

    def read(self, statistics: bytes) -> list[Traffic]:
        """The topics of which something was sent since the statistics before.

        `statistics` is the JSON of one interval, as STATISTICS.md of librdkafka describes it. What
        is sent between the moments at which it sums bytes and batches is in one of both only.
        """
        found = []
        for name, topic in json.loads(statistics)["topics"].items():
            nbytes = sum(partition["txbytes"] for partition in topic["partitions"].values())
            before, self._nbytes[name] = self._nbytes.get(name, 0), nbytes
            batches, sizes = topic["batchcnt"], topic["batchsize"]
            if batches["cnt"] and sizes["sum"]:
                found.append(
                    Traffic(
                        topic=name,
                        records=batches["sum"],
                        batches=batches["cnt"],
                        nbytes=nbytes - before,
                        sent_bytes=sizes["sum"],
                    )
                )
        return found


class RetryMeter:
    """How many records of one handle librdkafka sent more than once, by itself.

    Statistics do not tell (their `txretries` leaves out produce requests). But `txmsgs` counts a
    record each time it is sent, so what is beyond the records that were handed over was sent again.
    While some still wait to be sent, that is less than it was, and comes with the next ones.
    """

    def __init__(self) -> None:
        self._told = 0

    def read(self, statistics: bytes, handed_over: int) -> int:
        """More of them than before; `handed_over` counts from the handle's start."""
        retried: int = json.loads(statistics)["txmsgs"] - handed_over
        more = max(0, retried - self._told)
        self._told += more
        return more
