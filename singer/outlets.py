"""Outlets: where the records of a file go, by its path.

Owns the writers of one destination, one for each topic that its template has led to. Loop thread
only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from singer.audit import Recorder
from singer.base.ports import Writer
from singer.budget import Ceiling
from singer.files.pathpattern import PathPattern
from singer.kafka.topic_template import TopicTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """A topic: its writer, and the ceilings on what waits for its partitions.

    `audit` records what was delivered; None: nobody asked for that.
    """

    writer: Writer
    partition_ceiling: Callable[[int], Ceiling]
    audit: Recorder | None = None


class Outlets:
    """The outlets of one destination, made by `make` when a path first leads to their topic."""

    def __init__(
        self, topic: str, pattern: PathPattern | None, make: Callable[[str], Outlet]
    ) -> None:
        self._template = TopicTemplate(topic)
        self._pattern = pattern
        self._make = make
        self._outlets: dict[str, Outlet] = {}

    def __call__(self, path: str) -> Outlet:
        """The outlet for the records of `path`."""
        topic = self.topic(path)
        if topic not in self._outlets:
            self._outlets[topic] = self._make(topic)
        return self._outlets[topic]

    def topic(self, path: str) -> str:
        """The topic for the records of `path`."""
        groups = self._pattern.groups(path) if self._pattern and self._template.groups else {}
        return self._template.fill(groups)
