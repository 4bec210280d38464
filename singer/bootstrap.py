"""The file that names the brokers of a cluster, kept up to date by others: `bootstrap_file`.

Owns which brokers are in force: those of the last good contents, which are remembered in the
state directory for a start with a file that is broken or gone. What becomes of the producer when
they change is the cluster's business.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Final

from singer.base.smallfile import read_small_file
from singer.base.watchedfile import WatchedFile
from singer.kafka.addresses import address, addresses
from singer.kafka.events import BootstrapRead, BootstrapUnusable
from singer.positions.durable import replace_file

_MAX_BYTES: Final = 1 << 20


class BootstrapFile:
    """The brokers of `cluster` in the file at `path`; `memory` is a file for the next start."""

    def __init__(self, cluster: str, path: str, *, memory: str) -> None:
        self.cluster = cluster
        self.path = path
        #: The brokers in force; none before the first good contents.
        self.brokers: tuple[str, ...] = ()
        self._file = WatchedFile(path, _MAX_BYTES)
        self._memory = memory

    def recall(self) -> None:
        """Begin with what the file said last, if it was this one."""
        with suppress(ValueError, RecursionError, TypeError, KeyError):
            remembered = json.loads(read_small_file(self._memory, _MAX_BYTES))
            if remembered["path"] == self.path:
                self.brokers = tuple(address(each) for each in remembered["brokers"])

    def look(self) -> BootstrapRead | BootstrapUnusable | None:
        """Read the file if it was changed; what is to be said of that.

        Blocks for as long as the file's mount does: for a thread, one at a time.
        """
        try:
            data = self._file.news()
            if data is None:
                return None
            brokers = addresses(data)
        except ValueError as error:
            return BootstrapUnusable(
                cluster=self.cluster,
                path=self.path,
                cause=str(error),
                brokers=",".join(self.brokers),
            )
        if brokers != self.brokers:
            self.brokers = brokers
            remembered = {"path": self.path, "brokers": brokers}
            with suppress(OSError):  # what is not remembered is read at the next start
                replace_file(self._memory, json.dumps(remembered).encode())
        return BootstrapRead(cluster=self.cluster, path=self.path, brokers=",".join(brokers))
