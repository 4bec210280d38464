"""What happens to the position store and to the crash-loop breaker, as events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from singer.base.events import Count, Event, Gauge, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsCommitted(Event):
    """A group commit of `rows` positions."""

    severity: ClassVar[Severity] = Severity.DEBUG
    rows: int

    def counts(self) -> tuple[Count, ...]:
        """One commit, and its rows."""
        return (
            Count("position_commits_total", 1),
            Count("positions_committed_total", self.rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionWritesFailing(Event):
    """The store cannot be written; begins a period that PositionWritesResumed ends."""

    severity: ClassVar[Severity] = Severity.ERROR
    path: str
    cause: str

    def message(self) -> str:
        """What fails, and what that means."""
        return (
            f"{self.cause}; delivery goes on, positions are kept in memory until the store can be "
            f"written: a crash before that sends records again"
        )

    def counts(self) -> tuple[Count, ...]:
        """One failure."""
        return (Count("position_write_failures_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntriesLost(Event):
    """The store was not written for so long that the oldest entries for audits are given up."""

    severity: ClassVar[Severity] = Severity.ERROR
    path: str
    entries: int

    def message(self) -> str:
        """How many, and what that means."""
        return (
            f"position store {self.path!r} cannot be written, and memory holds no more entries for "
            f"audit topics: the {self.entries} oldest are given up; singer audit verify will call "
            f"their bytes missing and their records unclaimed"
        )

    def counts(self) -> tuple[Count, ...]:
        """Entries."""
        return (Count("audit_entries_unwritten_total", self.entries),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionWritesResumed(Event):
    """The store can be written again."""

    path: str
    seconds: float

    def message(self) -> str:
        """How long it was not."""
        return f"position store {self.path!r} is written again, after {self.seconds:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsRecovered(Event):
    """A damaged store was moved aside and replaced.

    `aside` is where the damaged one lies now (empty: there was nothing to keep); `backup` tells
    whether the last good copy took its place, or an empty store.
    """

    severity: ClassVar[Severity] = Severity.ERROR
    path: str
    cause: str
    aside: str
    backup: bool
    backup_cause: str = ""

    def message(self) -> str:
        """What was wrong, what was done and what follows."""
        kept = f"the damaged one is kept as {self.aside!r}; " if self.aside else ""
        if self.backup:
            did = "the last backup took its place: records delivered since then are sent again"
        else:
            did = (
                f"there was no usable backup ({self.backup_cause}), an empty store took its place: "
                f"files are read from their beginning"
            )
        return f"position store {self.path!r} is damaged ({self.cause}); {kept}{did}"

    def counts(self) -> tuple[Count, ...]:
        """One recovery."""
        return (Count("position_recoveries_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFailed(Event):
    """The store could not be copied; the last good copy is still there, if there was one."""

    severity: ClassVar[Severity] = Severity.WARNING
    path: str
    cause: str

    def message(self) -> str:
        """Which copy, and why."""
        return (
            f"back up position store: {self.path!r} was not renewed: {self.cause}; "
            f"it is tried again later"
        )

    def counts(self) -> tuple[Count, ...]:
        """One failure."""
        return (Count("position_backup_failures_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsPruned(Event):
    """Rows of files that are gone were deleted; `early` of them because there were too many."""

    rows: int
    early: int = 0

    def message(self) -> str:
        """How many."""
        early = f", {self.early} of them before agent.forget_after" if self.early else ""
        ceiling = " because there were more than agent.max_positions" if self.early else ""
        return f"dropped {self.rows} positions of files that are gone{early}{ceiling}"

    def counts(self) -> tuple[Count, ...]:
        """Rows."""
        return (Count("positions_pruned_total", self.rows),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsOverCeiling(Event):
    """There are more rows than there should be, and all are of files that exist: they are kept."""

    severity: ClassVar[Severity] = Severity.WARNING
    rows: int
    max_rows: int

    def message(self) -> str:
        """What to do."""
        return (
            f"{self.rows} positions of files that exist, more than agent.max_positions "
            f"({self.max_rows}): all are kept, none is read again; have old files removed sooner, "
            f"exclude what need not be read, or raise agent.max_positions (256 bytes of disk each)"
        )

    def counts(self) -> tuple[Count, ...]:
        """One look."""
        return (Count("positions_over_ceiling_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsCounted(Event):
    """How many rows the store has; at the start, and whenever old ones were dropped."""

    severity: ClassVar[Severity] = Severity.DEBUG
    rows: int

    def gauges(self) -> tuple[Gauge, ...]:
        """Rows."""
        return (Gauge("positions", self.rows),)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashFound(Event):
    """The last process crashed. `crashes` in a row on this file, 0 when none was under work."""

    severity: ClassVar[Severity] = Severity.ERROR
    cause: str
    trace: str
    stream: str = ""
    destination: str = ""
    device: int = 0
    inode: int = 0
    offset: int = 0
    crashes: int = 0
    counts_path: str = ""  #: set when the file is left alone from now on: what to remove then

    def message(self) -> str:
        """What killed it, at which file, and where the trace is."""
        end = f"; its trace is in {self.trace!r}: please report it"
        if not self.crashes:
            return f"the last agent crashed ({self.cause}) while it worked on no file{end}"
        leave = (
            f"; the file is not read any more: to try it again, stop the agent and remove "
            f"{self.counts_path!r}"
            if self.counts_path
            else ""
        )
        return (
            f"the last agent crashed ({self.cause}) while it worked on the file with inode "
            f"{self.inode} of stream {self.stream!r} for {self.destination!r} at offset "
            f"{self.offset}, {self.crashes} times in a row{leave}{end}"
        )

    def counts(self) -> tuple[Count, ...]:
        """One crash."""
        return (Count("crashes_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerImpaired(Event):
    """The crash-loop breaker cannot keep its files; the agent runs without its protection."""

    severity: ClassVar[Severity] = Severity.WARNING
    path: str
    cause: str

    def message(self) -> str:
        """Which file, and why."""
        return (
            f"crash-loop breaker: {self.path!r}: {self.cause}; "
            f"repeated crashes on one file may not be noticed until that is corrected"
        )
