"""SingerHandler: the records of Python's `logging`, through either logger."""

from __future__ import annotations

import logging

from singer.client.text import TextLogger, encoded
from singer.client.thrift import ThriftLogger


class SingerHandler(logging.Handler):
    """Hands formatted records to a logger. What goes wrong goes the way of `logging`'s errors."""

    def __init__(self, logger: TextLogger | ThriftLogger, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            text = self.format(record)
            if isinstance(self._logger, ThriftLogger):
                self._logger.log(
                    encoded(text),
                    timestamp_ns=int(record.created * 1e9),
                )
            else:
                self._logger.log(text)
        except Exception:  # noqa: BLE001  # an application must not fail for its log
            self.handleError(record)

    def close(self) -> None:
        """Write no more."""
        self._logger.close()
        super().close()
