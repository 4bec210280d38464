"""What happens to the waking-up of file readers, as events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from singer.base.events import Count, Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchesExhausted(Event):
    """The kernel refuses more inotify watches; said once for each cause. Polling takes over."""

    severity: ClassVar[Severity] = Severity.WARNING
    cause: str
    remedy: str

    def message(self) -> str:
        """What follows, and what to do."""
        return (
            f"watch files: {self.cause}; the files concerned are polled, "
            f"so their records come up to a second later; {self.remedy}"
        )

    def counts(self) -> tuple[Count, ...]:
        """One cause."""
        return (Count("singer_watches_exhausted_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchesOverflowed(Event):
    """The kernel dropped inotify events: every file and directory is looked at instead."""

    severity: ClassVar[Severity] = Severity.WARNING
    files: int
    directories: int

    def message(self) -> str:
        """What was done, and what to do."""
        return (
            f"watch files: the inotify queue overflowed; looking at all {self.files} files and "
            f"{self.directories} directories instead; if this happens often, raise "
            f"fs.inotify.max_queued_events (sysctl)"
        )

    def counts(self) -> tuple[Count, ...]:
        """One overflow."""
        return (Count("singer_watches_overflowed_total", 1),)
