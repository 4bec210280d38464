"""What locality has to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from singer.base.events import Count, Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneUnknown(Event):
    """The zone of this host could not be found out."""

    severity: ClassVar[Severity] = Severity.WARNING

    locality: str
    reason: str

    def message(self) -> str:
        """See Event."""
        return (
            f"find out zone: {self.locality}: {self.reason}: "
            "partitions in all zones are used until agent.locality is right"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return (Count("singer_zone_unknown_total", 1),)
