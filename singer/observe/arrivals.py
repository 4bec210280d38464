"""Arrivals: shows on the terminal what arrives in an embedded cluster.

Owns one consumer in one daemon thread. For trying out: it prints samples and a count, at most a
few lines a second, so that a person can follow; it never slows the agent.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Final, TextIO

from confluent_kafka import Consumer, Message

#: Lines shown per second; what comes beyond is counted.
_LINES_PER_SECOND: Final = 20
#: Characters of a record shown.
_WIDTH: Final = 160
_POLL_SECONDS: Final = 0.2


class Arrivals:
    """Prints what arrives at `bootstrap`, until closed."""

    def __init__(self, bootstrap: str, out: TextIO = sys.stdout) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "arrivals",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 0,
            }
        )
        self._consumer.subscribe(["^.*"])
        self._out = out
        self._records = self._bytes = self._unshown = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._show, name="arrivals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; says how much arrived."""
        self._stopping.set()
        self._thread.join(timeout=2.0)
        self._print(f"-- {self._records} records, {self._bytes} bytes arrived --")

    def _show(self) -> None:
        left, second = _LINES_PER_SECOND, 0
        while not self._stopping.is_set():
            for message in self._consumer.consume(500, timeout=_POLL_SECONDS):
                if message.error() is not None:
                    continue
                now = int(time.monotonic())
                if now != second:
                    left, second = _LINES_PER_SECOND, now
                    self._say_unshown()
                self._records += 1
                self._bytes += len(message.value() or b"")
                if left:
                    left -= 1
                    self._print(_line(message))
                else:
                    self._unshown += 1
            self._say_unshown()
        self._consumer.close()

    def _say_unshown(self) -> None:
        if self._unshown:
            self._print(f"... and {self._unshown} more")
            self._unshown = 0

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def _line(message: Message) -> str:
    text = (message.value() or b"").decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:_WIDTH])
    more = "…" if len(text) > _WIDTH else ""
    return f"{message.topic()}[{message.partition()}]@{message.offset()}  {shown}{more}"
