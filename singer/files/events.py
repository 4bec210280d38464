"""What happens to files that are looked at and waited for, and to mounts, as events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from singer.base.events import Count, Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkTaken(Event):
    """A file is read from the offset (bytes) that the Java agent's watermark says."""

    stream: str
    path: str
    offset: int
    watermark: str

    def message(self) -> str:
        """From where."""
        return f"{self.path}: going on at offset {self.offset}, as {self.watermark!r} says"

    def counts(self) -> tuple[Count, ...]:
        """One watermark."""
        return (Count("watermarks_taken_total", 1, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkRefused(Event):
    """A watermark of the Java agent says nothing about the files that are there."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    path: str
    watermark: str
    cause: str

    def message(self) -> str:
        """Why, and what follows."""
        return (
            f"{self.path}: the watermark {self.watermark!r} is not used: {self.cause}; unless "
            f"there is another, its files begin as the stream's `start` says; to begin elsewhere, "
            f"use `singer positions set`"
        )

    def counts(self) -> tuple[Count, ...]:
        """One watermark."""
        return (Count("watermarks_refused_total", 1, (("stream", self.stream),)),)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MountHangs(Event):
    """A mount, or the disk under it, does not answer; said once until it answers again."""

    severity: ClassVar[Severity] = Severity.WARNING
    what: str
    seconds: float

    def message(self) -> str:
        """What follows, and what to do."""
        return (
            f"read files: {self.what} has not answered for {self.seconds:.0f} s; its files wait, "
            f"all others go on, and nothing of it is lost; see whether its server is up and can "
            f"be reached (dmesg), or unmount it (umount -f -l)"
        )

    def counts(self) -> tuple[Count, ...]:
        """One mount."""
        return (Count("singer_mounts_hung_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountAnswers(Event):
    """A mount that hung does not any more."""

    what: str

    def message(self) -> str:
        """What follows."""
        return f"read files: {self.what} answers again; its files go on"
