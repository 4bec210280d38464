"""The client library: records a second from one process, into a file on this disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench import workspace
from singer.client import TextLogger, ThriftLogger

_Logger = TypeVar("_Logger", ThriftLogger, TextLogger)
_MESSAGE = b"GET /api/v1/orders/8231 status=200 bytes=5120 ms=17 user=u04711 trace=0af7" * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """One way to write."""

    name: str
    records_per_second: float


def writings(records: int) -> list[Writing]:
    """All ways, the best of three each."""
    some = [_MESSAGE] * 100

    def many(logger: ThriftLogger) -> None:
        for _ in range(records // len(some)):
            logger.log_many(some)

    def each(logger: ThriftLogger | TextLogger) -> None:
        for _ in range(records):
            logger.log(_MESSAGE)

    found = []
    plans: list[tuple[str, Callable[[str], float]]] = [
        ("ThriftLogger.log_many, 100 at once", lambda path: _time(ThriftLogger(path), many)),
        (
            "the same without audit and checksum",
            lambda path: _time(ThriftLogger(path, audit=False, checksum=False), many),
        ),
        ("ThriftLogger.log", lambda path: _time(ThriftLogger(path), each)),
        (
            "the same without audit and checksum",
            lambda path: _time(ThriftLogger(path, audit=False, checksum=False), each),
        ),
        ("TextLogger.log", lambda path: _time(TextLogger(path), each)),
    ]
    for name, run in plans:
        with workspace.directory() as work:
            seconds = min(run(os.path.join(work, f"{n}.log")) for n in range(3))
        found.append(Writing(name=name, records_per_second=records / seconds))
    return found


def _time(logger: _Logger, write: Callable[[_Logger], None]) -> float:
    begun = time.perf_counter()
    write(logger)
    seconds = time.perf_counter() - begun
    logger.close()
    return seconds
