"""The files a cluster's certificates and passwords come from, and the properties made of them.

librdkafka reads a certificate when a producer is made and never again, so a renewed one needs a
new producer: `fingerprint` tells when, `read` gives its properties. Both block: in a thread.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from singer.base.config import Secret
from singer.base.errors import InputError
from singer.kafka.security import LOCATIONS

#: Of each file what changes with it; None for one that is not there.
Fingerprint: TypeAlias = tuple[tuple[int, ...] | None, ...]

#: Entries of a directory of authorities that are looked at; systems have some hundreds.
_MAX_ENTRIES: Final = 2000


class Credentials:
    """Properties with the files behind them."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._properties = properties
        files = [properties[name] for name in LOCATIONS if name in properties]
        for value in properties.values():
            if isinstance(value, Secret):
                files += value.files
        #: The files; empty: there is nothing that could change.
        self.files = tuple(dict.fromkeys(files))

    def fingerprint(self) -> Fingerprint:
        """What the files look like now; another value means that one was changed."""
        return tuple(_look(path) for file in self.files for path in _paths(file))

    def read(self) -> dict[str, str]:
        """The properties with every secret from a file read again. Raises InputError."""
        properties = {}
        for name, value in self._properties.items():
            try:
                again = value.again if isinstance(value, Secret) else None
                properties[name] = again() if again is not None else value
            except ValueError as error:
                raise InputError(f"create producer: {name}: {error}") from error
        return properties


def _paths(file: str) -> Iterator[str]:
    yield file
    try:
        with os.scandir(file) as entries:
            yield from sorted(entry.path for entry in itertools.islice(entries, _MAX_ENTRIES))
    except OSError:  # most are files
        return


def _look(path: str) -> tuple[int, ...] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    # The time of the change too: a right that was given changes nothing else.
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
