"""Stretch: consecutive offsets of a partition and the records that lie there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from singer.base.batch import Int64s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """All records that there are of offsets [start, end).

    `offsets` int64[n] ascending; `values` n payloads, tombstones as b""; `messages` what the client
    had, with keys, times and headers.
    """

    start: int
    end: int
    offsets: Int64s
    values: Sequence[bytes]
    messages: Sequence[Message] = ()
