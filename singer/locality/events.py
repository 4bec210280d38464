"""What locality has to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from singer.base.events import Count, Event, Gauge, Severity


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
            "partitions in all zones are used until it is known"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return (Count("singer_zone_unknown_total", 1),)

    def gauges(self) -> tuple[Gauge, ...]:
        """See Event."""
        return (Gauge(_KNOWN, 0.0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFound(Event):
    """The zone of this host is known, or another one than before."""

    zone: tuple[str, ...]
    source: str

    def message(self) -> str:
        """See Event."""
        return f"this host is in zone {', '.join(self.zone)} ({self.source})"

    def gauges(self) -> tuple[Gauge, ...]:
        """See Event."""
        return (Gauge(_KNOWN, 1.0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneMoved(Event):
    """This host is in another zone than it was: its disk was moved, or its image."""

    severity: ClassVar[Severity] = Severity.WARNING

    before: str
    zone: str
    instance_before: str
    instance: str

    def message(self) -> str:
        """See Event."""
        return (
            f"this state directory was in zone {self.before} (instance {self.instance_before}) and "
            f"is in {self.zone} (instance {self.instance}) now: positions go on; should the other "
            "instance still run, give one of them an empty state directory"
        )

    def counts(self) -> tuple[Count, ...]:
        """See Event."""
        return (Count("singer_zone_moved_total", 1),)


#: 1 while the zone is known, by whatever way it is found out.
_KNOWN: Final = "singer_zone_known"
