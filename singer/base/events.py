"""The events seam: what happened, as values. Nothing else in Singer logs or counts.

A part emits an event; one adapter (`observe`) turns events into log lines and counters. An
event is emitted per batch, per file or per fault, never per record.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple, TypeAlias

from singer.base.errors import Kind


class Severity(IntEnum):
    """How loud an event is; the numbers are those of `logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Count(NamedTuple):
    """Add `amount` to the counter `name` with these labels."""

    name: str
    amount: int
    labels: tuple[tuple[str, str], ...] = ()


class Gauge(NamedTuple):
    """The gauge `name` with these labels stands at `value` now."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. A subclass declares its data as fields (the log line's pairs)."""

    severity: ClassVar[Severity] = Severity.INFO
    #: Whether a log may leave some out when there are many.
    rate_limited: ClassVar[bool] = True

    def message(self) -> str:
        """One sentence for a person: the thing, the cause, what to do. Empty: never logged."""
        return ""

    def counts(self) -> tuple[Count, ...]:
        """The counters it moves."""
        return ()

    def gauges(self) -> tuple[Gauge, ...]:
        """The gauges it sets."""
        return ()


Emit: TypeAlias = Callable[[Event], None]


def discard(event: Event) -> None:
    """An Emit that forgets; for tools that have nobody to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalError(Event):
    """A bug of ours showed; what it hit is tried again or ends the process."""

    severity: ClassVar[Severity] = Severity.ERROR
    step: str
    error: str
    trace: str

    @classmethod
    def of(cls, step: str, error: BaseException) -> InternalError:
        """What happened while `step` was done."""
        return cls(step=step, error=repr(error), trace="".join(traceback.format_exception(error)))

    def message(self) -> str:
        """What to do."""
        return f"{self.step}: {self.error}: this is a bug, please report it with this line"

    def counts(self) -> tuple[Count, ...]:
        """Bugs."""
        return (Count("internal_errors_total", 1),)


# --- the way of a record ------------------------------------------------------------------


def _labels(stream: str, destination: str) -> tuple[tuple[str, str], ...]:
    return (("stream", stream), ("destination", destination))


def error_counts(kind: Kind | None) -> tuple[Count, ...]:
    """One error of Kafka of this kind; none where something else is the cause."""
    return () if kind is None else (Count("delivery_errors_total", 1, _of(kind)),)


def _of(kind: Kind) -> tuple[tuple[str, str], ...]:
    return (("class", kind.error_class), ("code", kind.code))


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorsMet(Event):
    """Errors of Kafka that the client deals with itself."""

    severity: ClassVar[Severity] = Severity.DEBUG
    subject: str
    kind: Kind
    errors: int = 1

    def message(self) -> str:
        """What they are."""
        return f"{self.subject}: {self.errors} {self.kind.code} ({self.kind.error_class})"

    def counts(self) -> tuple[Count, ...]:
        """Each of them."""
        return (Count("delivery_errors_total", self.errors, _of(self.kind)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorsRemedied(Event):
    """What errors of Kafka had held up is delivered now: how many of which kind."""

    severity: ClassVar[Severity] = Severity.DEBUG
    subject: str
    kinds: tuple[tuple[Kind, int], ...]

    def message(self) -> str:
        """What they were."""
        kinds = ", ".join(
            f"{errors} {kind.code} ({kind.error_class})" for kind, errors in self.kinds
        )
        return f"{self.subject}: delivered after {kinds}"

    def counts(self) -> tuple[Count, ...]:
        """Each of them, beside `delivery_errors_total`."""
        return tuple(
            Count("remedied_errors_total", errors, _of(kind)) for kind, errors in self.kinds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDelivered(Event):
    """The position of a file moved to `end`, `seconds` after its bytes were sent."""

    severity: ClassVar[Severity] = Severity.DEBUG
    stream: str
    destination: str
    path: str
    end: int
    records: int
    nbytes: int
    seconds: float

    def counts(self) -> tuple[Count, ...]:
        """Records and bytes delivered."""
        labels = _labels(self.stream, self.destination)
        return (
            Count("delivered_records_total", self.records, labels),
            Count("delivered_bytes_total", self.nbytes, labels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewound(Event):
    """Nothing of a file's way is under way any more; it goes on from the committed position."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    destination: str
    path: str
    offset: int
    nbytes: int
    cause: str
    retry_seconds: float
    kind: Kind | None = None

    def message(self) -> str:
        """What is done about it."""
        return (
            f"{self.path}: not delivered: {self.cause}; "
            f"reading again from offset {self.offset} in {self.retry_seconds:.1f} s"
        )

    def counts(self) -> tuple[Count, ...]:
        """Rewinds."""
        labels = _labels(self.stream, self.destination)
        return (Count("rewinds_total", 1, labels), *error_counts(self.kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationWaits(Event):
    """A destination cannot be written now; its files wait, others go on."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    destination: str
    cause: str
    retry_seconds: float
    kind: Kind

    def message(self) -> str:
        """The cause."""
        return (
            f"stream {self.stream} waits for {self.destination}: {self.cause}; "
            f"next attempt in {self.retry_seconds:.1f} s"
        )

    def counts(self) -> tuple[Count, ...]:
        """Waits."""
        labels = _labels(self.stream, self.destination)
        return (Count("destination_waits_total", 1, labels), *error_counts(self.kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFailed(Event):
    """A file that is open cannot be read."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    path: str
    offset: int
    cause: str
    retry_seconds: float

    def message(self) -> str:
        """The cause."""
        return (
            f"read {self.path} at offset {self.offset}: {self.cause}; "
            f"trying again in {self.retry_seconds:.1f} s"
        )

    def counts(self) -> tuple[Count, ...]:
        """Failures."""
        return (Count("read_failures_total", 1, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeadLettered(Event):
    """Bytes that are no record, or that the broker will never take, are in the dead letters."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    destination: str
    path: str
    offset: int
    length: int
    reason: str

    def message(self) -> str:
        """Where and why."""
        return (
            f"{self.path}: {self.length} bytes at offset {self.offset} went to the dead letters: "
            f"{self.reason}"
        )

    def counts(self) -> tuple[Count, ...]:
        """Dead letters."""
        return (Count("dead_letters_total", 1, _labels(self.stream, self.destination)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowLags(Event):
    """A shadow is further behind than `max_lag`: it skips what is there."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    destination: str
    nbytes: int

    def message(self) -> str:
        """What becomes of it."""
        return (
            f"stream {self.stream}: shadow {self.destination} is {self.nbytes} bytes behind, which "
            "is more than its max_lag: it skips to the end of what is there, as skipped{lag}, once "
            "what it was sent is settled"
        )

    def counts(self) -> tuple[Count, ...]:
        """How often that began."""
        return (Count("lag_episodes_total", 1, _labels(self.stream, self.destination)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSkipped(Event):
    """A shadow that lags skipped some more bytes, for good."""

    severity: ClassVar[Severity] = Severity.DEBUG
    stream: str
    destination: str
    nbytes: int

    def counts(self) -> tuple[Count, ...]:
        """Bytes."""
        return (
            Count("lag_skipped_bytes_total", self.nbytes, _labels(self.stream, self.destination)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowGoesOn(Event):
    """A shadow that lagged is at the end of what is there, and is sent what comes."""

    stream: str
    destination: str
    nbytes: int

    def message(self) -> str:
        """What it cost."""
        return (
            f"stream {self.stream}: shadow {self.destination} goes on at the end of what is there; "
            f"it skipped {self.nbytes} bytes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitHeldUp(Event):
    """Dead letters cannot be written, so the position behind them cannot move: nothing is lost."""

    severity: ClassVar[Severity] = Severity.ERROR
    stream: str
    destination: str
    path: str
    cause: str
    retry_seconds: float

    def message(self) -> str:
        """What waits, and for what."""
        return f"{self.path}: the position waits for the dead letters: {self.cause}"


# --- files --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFound(Event):
    """A file is read from `offset` on, once there is a descriptor for it; its row is on disk."""

    stream: str
    destination: str
    path: str
    offset: int
    size: int
    verdict: str

    def message(self) -> str:
        """Where it begins."""
        return f"{self.path}: reading from offset {self.offset} of {self.size}"

    def counts(self) -> tuple[Count, ...]:
        """Files."""
        return (Count("files_found_total", 1, _labels(self.stream, self.destination)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationBegins(Event):
    """A destination that is new begins where another one is."""

    stream: str
    destination: str
    like: str
    rows: int

    def message(self) -> str:
        """Where that is."""
        return (
            f"stream {self.stream}: {self.destination} is new and begins where {self.like} is, "
            f"in {self.rows} files"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRotated(Event):
    """A file left its path: renamed to `to`, or deleted (None). It is read to its end."""

    stream: str
    path: str
    to: str | None

    def message(self) -> str:
        """Where it went."""
        return f"{self.path}: " + (f"moved to {self.to}" if self.to else "deleted, still open")

    def counts(self) -> tuple[Count, ...]:
        """Rotations."""
        return (Count("files_rotated_total", 1, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRewritten(Event):
    """A file was truncated or rewritten under the reader; it is read from its beginning."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    destination: str
    path: str
    offset: int
    copied: bool

    def message(self) -> str:
        """What became of the rest."""
        rest = (
            "its former content is finished in a copy"
            if self.copied
            else f"what followed offset {self.offset} and was not read yet is gone"
        )
        return f"{self.path}: truncated or rewritten; {rest}; reading from the beginning"

    def counts(self) -> tuple[Count, ...]:
        """Truncations."""
        return (Count("files_rewritten_total", 1, _labels(self.stream, self.destination)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGone(Event):
    """A file known from an earlier run is nowhere: whatever of it was unread is gone."""

    severity: ClassVar[Severity] = Severity.DEBUG
    stream: str
    destination: str
    path: str
    offset: int

    def message(self) -> str:
        """How far it was read."""
        return f"{self.path}: an earlier file, read up to offset {self.offset}, is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLetGo(Event):
    """A rotated or deleted file is finished and closed."""

    severity: ClassVar[Severity] = Severity.DEBUG
    stream: str
    path: str
    size: int

    def message(self) -> str:
        """Its length."""
        return f"{self.path}: finished at {self.size} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorsHeld(Event):
    """How many log files are open, and what deleted ones among them keep of the disk."""

    severity: ClassVar[Severity] = Severity.DEBUG
    open: int
    deleted: int
    deleted_bytes: int

    def gauges(self) -> tuple[Gauge, ...]:
        """All three."""
        return (
            Gauge("open_files", self.open),
            Gauge("deleted_files", self.deleted),
            Gauge("deleted_bytes", self.deleted_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPublished(Event):
    """What is said of delivered records arrived in the audit topic."""

    severity: ClassVar[Severity] = Severity.DEBUG
    cluster: str
    messages: int

    def message(self) -> str:
        """Nothing to be told."""
        return ""

    def counts(self) -> tuple[Count, ...]:
        """Messages."""
        labels = (("cluster", self.cluster),)
        return (Count("audit_messages_total", self.messages, labels),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditWaits(Event):
    """An audit topic cannot be written now; records are delivered all the same."""

    severity: ClassVar[Severity] = Severity.WARNING
    cluster: str
    topic: str
    cause: str

    def message(self) -> str:
        """The cause."""
        return (
            f"audit of cluster {self.cluster} waits for topic {self.topic}: {self.cause}; what it"
            " is to say is kept in the state directory, and records are delivered all the same"
        )

    def counts(self) -> tuple[Count, ...]:
        """Waits."""
        return (Count("audit_waits_total", 1, (("cluster", self.cluster),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLost(Event):
    """Ranges and accounts for an audit topic are given up: their records count as unclaimed."""

    severity: ClassVar[Severity] = Severity.ERROR
    cluster: str
    entries: int
    cause: str

    def message(self) -> str:
        """How many, and why."""
        return (
            f"audit of cluster {self.cluster}: {self.entries} ranges and accounts are given up:"
            f" {self.cause}; singer audit verify will call their bytes missing and their records"
            " unclaimed"
        )

    def counts(self) -> tuple[Count, ...]:
        """Ranges and accounts."""
        labels = (("cluster", self.cluster),)
        return (Count("audit_entries_lost_total", self.entries, labels),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesWait(Event):
    """More files have something to be read than may be open; or none does any more.

    `news`: else only their number is another one, and nobody needs to be told.
    """

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    files: int
    news: bool

    def message(self) -> str:
        """The ceiling."""
        if not self.news:
            return ""
        if not self.files:
            return f"stream {self.stream}: no file waits any more until others are read"
        return (
            f"stream {self.stream}: {self.files} files wait until others are read: as many as "
            f"agent.max_open_files or the limit of open files allows are open and busy; raise both"
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """How many wait."""
        return (Gauge("waiting_files", self.files, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGivenUp(Event):
    """A deleted file was closed before it was read to its end: a ceiling was reached."""

    severity: ClassVar[Severity] = Severity.ERROR
    stream: str
    path: str
    unread: int

    def message(self) -> str:
        """What is lost, and how not to lose it."""
        return (
            f"stream {self.stream}: {self.path}: {self.unread} bytes of a deleted file are given "
            f"up: deleted files keep more than agent.max_deleted_files or max_deleted_bytes allow; "
            f"rotate less often, raise them, or see why delivery is slow"
        )

    def counts(self) -> tuple[Count, ...]:
        """Bytes given up."""
        return (Count("given_up_bytes_total", self.unread, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDamaged(Event):
    """A compressed file cannot be read to its end; what stands before the damage is delivered."""

    severity: ClassVar[Severity] = Severity.ERROR
    stream: str
    path: str
    offset: int
    cause: str

    def message(self) -> str:
        """What is lost, and why."""
        return f"stream {self.stream}: {self.path}: nothing from {self.offset} on: {self.cause}"

    def counts(self) -> tuple[Count, ...]:
        """Damaged files."""
        return (Count("damaged_files_total", 1, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUnreadable(Event):
    """A path of a stream cannot be read; said once for as long as it lasts."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    path: str
    cause: str

    def message(self) -> str:
        """The cause."""
        return f"stream {self.stream}: {self.cause}"

    def counts(self) -> tuple[Count, ...]:
        """Unreadable paths."""
        return (Count("unreadable_paths_total", 1, (("stream", self.stream),)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuarantined(Event):
    """The process crashed on this file again and again: it is left alone, its position kept."""

    severity: ClassVar[Severity] = Severity.ERROR
    stream: str
    destination: str
    path: str
    offset: int

    def message(self) -> str:
        """What to do."""
        return (
            f"{self.path}: quarantined at offset {self.offset}, because the agent crashed there "
            "three times (see crash_trace.last in the state directory); to try again, stop the "
            "agent and remove crash_counts there"
        )

    def counts(self) -> tuple[Count, ...]:
        """Quarantined files."""
        return (Count("files_quarantined_total", 1, _labels(self.stream, self.destination)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFailed(Event):
    """New files cannot be taken on, because their rows cannot be written."""

    severity: ClassVar[Severity] = Severity.ERROR
    stream: str
    cause: str
    retry_seconds: float

    def message(self) -> str:
        """The cause."""
        return (
            f"stream {self.stream}: new files wait: {self.cause}; "
            f"trying again in {self.retry_seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerBalance(Event):
    """The books of one (stream, destination) when the agent stops; all figures in bytes."""

    rate_limited: ClassVar[bool] = False
    stream: str
    destination: str
    read: int
    delivered: int
    filtered: int
    sampled: int
    dead_lettered: int
    skipped: int
    rewound: int
    held: int
    in_flight: int
    difference: int
    records: int

    def message(self) -> str:
        """Whether it is balanced."""
        return "balanced" if not self.difference else "out of balance: a bug, please report it"


# --- the agent ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStarted(Event):
    """The agent runs."""

    version: str
    agent_id: str
    state_dir: str
    zone: str
    streams: int
    clusters: int

    def message(self) -> str:
        """Who and where."""
        return f"singer {self.version} started with {self.streams} streams; zone {self.zone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStopping(Event):
    """A stop was asked for; what was sent is waited for."""

    cause: str
    deadline_seconds: float

    def message(self) -> str:
        """Until when."""
        return (
            f"{self.cause}: stopping; waiting up to {self.deadline_seconds:g} s for "
            "acknowledgements; once more to stop at once"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStopped(Event):
    """The agent is about to leave."""

    status: int

    def message(self) -> str:
        """How."""
        if self.status == os.EX_TEMPFAIL:
            return "stopped with data still to deliver; the next start sends it"
        return "stopped" if not self.status else f"stopped with status {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepFailed(Event):
    """Something done now and then did not work; it is done again."""

    severity: ClassVar[Severity] = Severity.WARNING
    step: str
    cause: str

    def message(self) -> str:
        """What, and why."""
        return f"{self.step}: {self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsUnwritten(Event):
    """Positions could not be committed at the stop: their records will be sent again."""

    severity: ClassVar[Severity] = Severity.ERROR
    cause: str

    def message(self) -> str:
        """The cause."""
        return f"positions not committed: {self.cause}; the next start sends some records again"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidersRead(Event):
    """The decider file was read."""

    path: str
    names: int

    def message(self) -> str:
        """How much is in it."""
        return f"{self.path}: {self.names} deciders are in force"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidersUnreadable(Event):
    """The decider file cannot be used."""

    severity: ClassVar[Severity] = Severity.ERROR
    path: str
    cause: str

    def message(self) -> str:
        """The cause, and what holds meanwhile."""
        return f"decider file {self.path}: {self.cause}: mend it; what was in force before is"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNotDrawn(Event):
    """A destination is for a share of the hosts, and not for this one."""

    rate_limited: ClassVar[bool] = False
    stream: str
    destination: str
    percent: float

    def message(self) -> str:
        """Which share."""
        return (
            f"stream {self.stream}: {self.destination} is for {self.percent:g} % of the hosts, and "
            "not for this one"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRead(Event):
    """The platform's registry is in force, as it was when the configuration was loaded."""

    path: str
    digest: str
    groups: str

    def message(self) -> str:
        """Which one, and what of it is for this host."""
        groups = self.groups or "none"
        return f"registry {self.path} ({self.digest[:12]}): properties for this host: {groups}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesKnown(Event):
    """A stream goes to several destinations; `promoted`: not as the configuration says."""

    stream: str
    primaries: str
    shadows: str
    promoted: bool

    def message(self) -> str:
        """Who is what."""
        why = (
            ", by a promotion and whatever the configuration says: change `shadow` there, too"
            if self.promoted
            else ""
        )
        return (
            f"stream {self.stream}: primary {self.primaries or 'nobody'}, "
            f"shadow {self.shadows or 'nobody'}{why}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionBegins(Event):
    """Two destinations of a stream are on their way to the cut of a promotion."""

    stream: str
    old: str
    new: str

    def message(self) -> str:
        """What is done."""
        return (
            f"stream {self.stream}: {self.new} takes over from {self.old}: each is sent what lies "
            f"before the cut, then its ends are recorded, then the rest follows"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CutReached(Event):
    """All before the cut is in a destination, and nothing behind it; `ends` are recorded."""

    rate_limited: ClassVar[bool] = False
    stream: str
    destination: str
    ends: str
    missed: int

    def message(self) -> str:
        """Where it ends."""
        missed = (
            f"; of {self.missed} file(s) not all before the cut could be had any more"
            if self.missed
            else ""
        )
        return f"stream {self.stream}: {self.destination} is cut at {self.ends}{missed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CutWaits(Event):
    """A destination has all before the cut, but its ends cannot be asked for or recorded."""

    severity: ClassVar[Severity] = Severity.WARNING
    stream: str
    destination: str
    cause: str
    retry_seconds: float

    def message(self) -> str:
        """The cause, and that nothing behind the cut is sent meanwhile."""
        return (
            f"stream {self.stream}: the cut of {self.destination} is not recorded, and nothing "
            f"behind it is sent: {self.cause}; again in {self.retry_seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionComplete(Event):
    """Consumers can switch."""

    rate_limited: ClassVar[bool] = False
    stream: str
    old: str
    new: str
    old_ends: str
    new_ends: str

    def message(self) -> str:
        """What they read, and from where on."""
        return (
            f"stream {self.stream}: {self.new} is primary: read {self.old} up to {self.old_ends}, "
            f"and {self.new} from {self.new_ends} on (`singer promote --list` shows it again)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionCancelled(Event):
    """A promotion cannot be completed: something was sent on the wrong side of the cut."""

    severity: ClassVar[Severity] = Severity.ERROR
    rate_limited: ClassVar[bool] = False
    stream: str
    old: str
    new: str
    destination: str

    def message(self) -> str:
        """Why, and what to do."""
        return (
            f"stream {self.stream}: the promotion of {self.new} is cancelled: {self.destination} "
            f"was sent more than the position store knew when it was asked for; consumers stay "
            f"with {self.old}; stop the agent cleanly and ask for it again"
        )
