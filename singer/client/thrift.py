"""ThriftLogger: framed `LogMessage` records, each written whole."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from typing import Any

from singer.base.wire.log_message import AuditHeaders, log_message
from singer.client.logfile import LogFile


class ThriftLogger:
    """Writes a frame for each record with one `write`, so that a crash tears at most one.

    `checksum` puts a CRC-32 beside each message; `audit` says who wrote it: host, log name, pid,
    the session (when this process began to log) and the record's number in it, from 0. A process
    that is forked off has a session of its own. The rest are the options of `LogFile`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        log_name: str | None = None,
        host: str | None = None,
        checksum: bool = True,
        audit: bool = True,
        **options: Any,
    ) -> None:
        self.file = LogFile(path, **options)
        self._name = os.path.basename(self.file.path) if log_name is None else log_name
        self._host = socket.gethostname() if host is None else host
        self._checksum = checksum
        self._audit = audit
        self._pid = 0

    def log(
        self, message: bytes, *, key: bytes | None = None, timestamp_ns: int | None = None
    ) -> None:
        """Write one record. Raises LogFullError, OSError."""
        with self.file.lock:
            self.file.append(self._frame(message, key, timestamp_ns))

    def log_many(self, messages: Iterable[bytes]) -> None:
        """Write records in one piece: faster, and a crash tears at most one of them."""
        with self.file.lock:
            frames = [self._frame(message, None, None) for message in messages]
            if frames:
                self.file.append(b"".join(frames))

    def close(self) -> None:
        """Write no more."""
        self.file.close()

    def _frame(self, message: bytes, key: bytes | None, timestamp_ns: int | None) -> bytes:
        now_ns = time.time_ns()
        headers = b""
        if self._audit:
            if self._pid != os.getpid():
                self._begin(now_ns)
            number = self._sequence
            self._sequence += 1  # before a signal's handler logs as well
            headers = self._headers.field(number, now_ns // 1_000_000)
        return log_message(
            message,
            key=key,
            timestamp_ns=now_ns if timestamp_ns is None else timestamp_ns,
            checksum=self._checksum,
            headers=headers,
        )

    def _begin(self, now_ns: int) -> None:
        """A session: of this process."""
        pid = os.getpid()
        self._headers = AuditHeaders(self._host, self._name, pid, now_ns // 1_000_000)
        self._sequence, self._pid = 0, pid
