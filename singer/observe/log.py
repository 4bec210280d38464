"""Events as log lines on a descriptor, usually standard error.

    time=2026-01-31T12:00:00.123Z level=warning event=file-truncated msg="…" path=/var/log/a.log

Callable from any thread. Never raises, and never blocks for long: when whoever reads the
descriptor does not keep up, lines are dropped and counted, because an agent that waits for its
log stops shipping everybody else's.
"""

from __future__ import annotations

import os
import select
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from singer.base.clock import SystemClock
from singer.base.events import Event, Severity
from singer.base.ports import Clock
from singer.observe import logfmt

#: Lines of one event class that are written at once, before the rate below holds. A burst is
#: what a rotation of ten files looks like; more of the same is noise.
BURST: Final = 10
#: After a burst, one line of the class in so many seconds.
INTERVAL_SECONDS: Final = 10.0
#: A pipe that poll() calls writable takes this many bytes without blocking (PIPE_BUF, pipe(7)).
MAX_LINE_BYTES: Final = 4096


@dataclass(slots=True, kw_only=True)
class _Bucket:
    """The allowance of one event class."""

    tokens: float
    filled: float
    suppressed: int = 0


class Log:
    """An `Emit` that writes lines of `threshold` and above to `descriptor`."""

    def __init__(
        self,
        *,
        descriptor: int = 2,
        threshold: Severity = Severity.INFO,
        clock: Clock | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._threshold = threshold
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._buckets: dict[type[Event], _Bucket] = {}
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has a message, is loud enough and within its rate."""
        if event.severity < self._threshold:
            return
        try:
            message = event.message()
            if not message:
                return
            with self._lock:
                self._release()
                if not event.rate_limited or self._admit(type(event)):
                    self._write(self._line(event, message))
        except Exception as error:  # noqa: BLE001 # a fault in a log line must not stop a stream
            self._report(event, error)

    def close(self) -> None:
        """Say what was suppressed and not told yet."""
        with self._lock:
            for kind, bucket in self._buckets.items():
                self._tell(kind, bucket)

    def _release(self) -> None:
        """Tell of classes that fell silent after their lines were suppressed."""
        now = self._clock.monotonic()
        for kind, bucket in self._buckets.items():
            if bucket.suppressed and now - bucket.filled >= 2 * INTERVAL_SECONDS:
                self._tell(kind, bucket)

    def _admit(self, kind: type[Event]) -> bool:
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault(kind, _Bucket(tokens=BURST, filled=now))
        tokens = min(BURST, bucket.tokens + (now - bucket.filled) / INTERVAL_SECONDS)
        bucket.filled = now
        if tokens < 1:
            bucket.tokens = tokens
            bucket.suppressed += 1
            return False
        bucket.tokens = tokens - 1
        self._tell(kind, bucket)
        return True

    def _tell(self, kind: type[Event], bucket: _Bucket) -> None:
        if not bucket.suppressed:
            return
        suppressed, bucket.suppressed = bucket.suppressed, 0
        self._write(
            self._head(kind.severity, logfmt.event_name(kind))
            + " "
            + logfmt.pairs(
                (("msg", "lines left out by the rate limit"), ("suppressed", suppressed))
            )
        )

    def _line(self, event: Event, message: str) -> str:
        head = self._head(event.severity, logfmt.event_name(type(event)))
        return f"{head} {logfmt.pairs([('msg', message), *logfmt.fields(event)])}"

    def _head(self, severity: Severity, event: str) -> str:
        moment = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        time = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
        return f"time={time} level={severity.name.lower()} event={event}"

    def _write(self, line: str) -> None:
        try:
            if not self._poll.poll(0):
                self._dropped += 1
                return
            if self._dropped:
                line += f" dropped={self._dropped}"
            os.write(self._descriptor, _cut(line))
            self._dropped = 0
        except OSError:
            # Nobody reads any more (EPIPE), the disk is full, ...: nowhere to say so.
            self._dropped += 1

    def _report(self, event: Event, error: Exception) -> None:
        line = self._head(Severity.ERROR, "log-line-failed")
        what = f"{type(event).__name__}: {type(error).__name__}: please report this"
        with self._lock:
            self._write(f"{line} {logfmt.pairs([('msg', what)])}")


def _cut(line: str) -> bytes:
    data = line.encode("utf-8", "backslashreplace")
    if len(data) < MAX_LINE_BYTES:
        return data + b"\n"
    return data[: MAX_LINE_BYTES - 5].decode("utf-8", "ignore").encode() + "…\n".encode()
