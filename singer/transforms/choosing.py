"""Choosing: records that are published, and others that are not. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np

from singer.base.batch import Bools, RecordBatch
from singer.base.config import PatternConfig, SampleBy, SampleConfig
from singer.transforms.texts import Pattern, Texts


class Filter:
    """Publishes the records in which a pattern is found, or all others."""

    def __init__(self, config: PatternConfig, *, keep: bool) -> None:
        self._pattern = Pattern(config.pattern)
        self._keep = keep

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """See `base.ports.Transform`."""
        chosen = np.full(len(batch), not self._keep)
        chosen[self._pattern.rows(Texts(batch))] = self._keep
        return taken(batch, chosen, "filtered")


class Sample:
    """Publishes a share of the records: a record has the same fate on every host, at any time.

    `percent` says how much, 0 to 100.
    """

    def __init__(self, config: SampleConfig, percent: Callable[[], float]) -> None:
        self._by = config.by
        self._percent = percent

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """See `base.ports.Transform`."""
        percent = self._percent()
        if percent >= 100:  # all of them
            return batch, {}
        hashes = np.array([zlib.crc32(value) for value in self._values(batch)], np.int64)
        return taken(batch, hashes < percent / 100 * 2**32, "sampled")

    def _values(self, batch: RecordBatch) -> list[bytes]:
        payloads = list(Texts(batch))
        if self._by is SampleBy.PAYLOAD or batch.keys is None:
            return payloads
        return [batch.key(row) or payload for row, payload in enumerate(payloads)]


def taken(batch: RecordBatch, chosen: Bools, column: str) -> tuple[RecordBatch, Mapping[str, int]]:
    """The rows chosen, and the bytes of the file that the others account for."""
    if chosen.all():
        return batch, {}
    assert batch.sources is not None
    return batch.take(chosen), {column: int(batch.sources[~chosen].sum())}
