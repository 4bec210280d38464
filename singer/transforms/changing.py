"""Changing: records with other payloads. Pure."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from singer.base.batch import RecordBatch
from singer.base.config import (
    EnvelopeConfig,
    EnvelopeType,
    PrefixConfig,
    RedactConfig,
    RewriteConfig,
)
from singer.base.wire import log_message as wire
from singer.transforms.texts import Pattern, Texts, with_each, with_payloads

#: `\\1`, `\\g<name>`, and a backslash itself.
_REFERENCE: Final = re.compile(r"\\(?:(\d)|g<([A-Za-z_]\w*)>|(\\))")


class Replacement:
    """What is put in place of what was found. Raises ValueError for groups that are not there."""

    def __init__(self, text: str, pattern: Pattern) -> None:
        groups = pattern.groups
        self._parts: list[bytes | int] = []  # as it is, or the number of a group
        at = 0
        for found in _REFERENCE.finditer(text):
            self._parts.append(text[at : found.start()].encode())
            number, name, backslash = found.groups()
            group = number or name
            if group and group not in groups:
                raise ValueError(f"speaks of group {group}, which the pattern has not")
            self._parts.append(groups[group] if group else backslash.encode())
            at = found.end()
        self._parts.append(text[at:].encode())
        texts = [part for part in self._parts if isinstance(part, bytes)]
        self._constant = b"".join(texts) if len(texts) == len(self._parts) else None

    def of(self, match: Any) -> bytes:
        """For one place in which the pattern was found."""
        if self._constant is not None:
            return self._constant
        return b"".join(
            part if isinstance(part, bytes) else match[part] or b"" for part in self._parts
        )


class Redact:
    """Puts something else in every place where a pattern is found."""

    def __init__(self, config: RedactConfig) -> None:
        self._pattern = Pattern(config.pattern)
        self._replacement = Replacement(config.replacement, self._pattern)

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """See `base.ports.Transform`."""
        texts = Texts(batch)
        parts: list[bytes] = []
        rows: list[int] = []
        growth: list[int] = []
        at = 0
        for row, match, begin in self._pattern.matches(texts):
            start, end = begin + match.start(), begin + match.end()
            new = self._replacement.of(match)
            parts += (texts.text[at:start], new)
            rows.append(row)
            growth.append(len(new) - (end - start))
            at = end
        if not rows:
            return batch, {}
        parts.append(texts.text[at:])
        added = np.bincount(rows, growth, len(batch)).astype(np.int64)
        starts = texts.starts + np.cumsum(added) - added
        return with_payloads(batch, b"".join(parts), starts, texts.lengths + added), {}


class Rewrite:
    """Makes a new payload of what a pattern finds first; others pass as they are."""

    def __init__(self, config: RewriteConfig) -> None:
        self._pattern = Pattern(config.pattern)
        self._replacement = Replacement(config.format, self._pattern)

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """See `base.ports.Transform`."""
        texts = Texts(batch)
        payloads = list(texts)
        changed = -1
        for row, match, _ in self._pattern.matches(texts):
            if row != changed:
                payloads[row] = self._replacement.of(match)
                changed = row
        return (batch if changed < 0 else with_each(batch, payloads)), {}


class Prefix:
    """Puts something before every payload: text, the host's name, the record's time.

    The time is the one that the reader found; where there is none, nothing stands for it. What is
    sent again is therefore the same.
    """

    def __init__(self, config: PrefixConfig, host: str) -> None:
        self._text = config.text.replace("{host}", host)

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """See `base.ports.Transform`."""
        texts = Texts(batch)
        if "{time}" in self._text:
            prefixes = (self._text.replace("{time}", time).encode() for time in _times(batch))
            payloads = [a + b for a, b in zip(prefixes, texts, strict=True)]
            return with_each(batch, payloads), {}
        prefix = self._text.encode()
        if not texts.lines:
            return with_each(batch, [prefix + payload for payload in texts]), {}
        text = prefix + texts.text.replace(b"\n", b"\n" + prefix)
        starts = texts.starts + len(prefix) * np.arange(len(batch))
        return with_payloads(batch, text, starts, texts.lengths + len(prefix)), {}


class Envelope:
    """Puts every payload into a format of its own, with what is known of it."""

    def __init__(self, config: EnvelopeConfig, host: str) -> None:
        self._wrap = {
            EnvelopeType.JSON: self._json,
            EnvelopeType.LOG_MESSAGE: self._log_message,
            EnvelopeType.TEXT_MESSAGE: self._text_message,
        }[config.type]
        self._host = host

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """See `base.ports.Transform`."""
        times = [-1] * len(batch) if batch.timestamps_ms is None else batch.timestamps_ms.tolist()
        return with_each(
            batch,
            [
                self._wrap(payload, batch.key(row), times[row], batch.path)
                for row, payload in enumerate(Texts(batch))
            ],
        ), {}

    def _json(self, payload: bytes, key: bytes | None, time_ms: int, path: str) -> bytes:
        file = _text(path.encode("utf-8", "surrogateescape"))
        values: dict[str, object] = {"message": _text(payload), "host": self._host, "path": file}
        if key is not None:
            values["key"] = _text(key)
        if time_ms >= 0:
            values["timestamp_ms"] = time_ms
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()

    def _log_message(self, payload: bytes, key: bytes | None, time_ms: int, path: str) -> bytes:  # noqa: ARG002
        time_ns = time_ms * 1_000_000 if 0 <= time_ms <= _LATEST_NS // 1_000_000 else None
        frame = wire.log_message(payload, key=key, timestamp_ns=time_ns, checksum=False)
        return frame[wire.LENGTH_BYTES :]

    def _text_message(self, payload: bytes, key: bytes | None, time_ms: int, path: str) -> bytes:  # noqa: ARG002
        messages = struct.pack(">bhbii", _LIST, 1, _STRING, 1, len(payload)) + payload
        file = path.encode("utf-8", "surrogateescape")
        host = wire.string(2, self._host.encode())
        return b"".join((messages, host, wire.string(3, file), b"\0"))


#: The latest time that an i64 holds.
_LATEST_NS: Final = (1 << 63) - 1
#: The first time that has no four digits for its year.
_YEAR_10000_MS: Final = 253_402_300_800_000
#: Types of TBinaryProtocol.
_STRING: Final = 11
_LIST: Final = 15


def _text(payload: bytes) -> str:
    """JSON has text only: what is not UTF-8 becomes U+FFFD."""
    return payload.decode("utf-8", "replace")


def _times(batch: RecordBatch) -> Iterator[str]:
    """The records' times, in UTC, to the millisecond; nothing for those that have none.

    Nor for those behind the year 9999, which are no times: anybody may write any number.
    """
    times = [-1] * len(batch) if batch.timestamps_ms is None else batch.timestamps_ms.tolist()
    for time_ms in times:
        if not 0 <= time_ms < _YEAR_10000_MS:
            yield ""
        else:
            moment = datetime.fromtimestamp(time_ms // 1000, UTC)
            yield f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"
