"""The protocols between the parts of Singer, and the small values they exchange.

Nothing here does anything. A part imports the ports it serves or uses and none of its
siblings; `agent` puts them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from singer.base.batch import Bytes, Int64s, RecordBatch, Run
from singer.base.position import Position
from singer.base.wire.audit import Entry


class Clock(Protocol):
    """Time as a parameter, so that tests own it."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


# --- readers ------------------------------------------------------------------------------


class State(Enum):
    """What a reader may assume about what follows the window."""

    MORE = "more"  #: more may come
    QUIET = "quiet"  #: nothing came for the reader's time-out
    FINAL = "final"  #: nothing will ever come


class Disposal(Enum):
    """What becomes of a stretch of bytes that is no record."""

    DEAD_LETTER = "dead_letter"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRange:
    """File bytes [start, end) that are no record, and why.

    One record may be given up in several ranges (a line longer than the window): `part` is 0
    for the first and grows; terminators belong to the last one.
    """

    start: int
    end: int
    reason: str
    disposal: Disposal = Disposal.DEAD_LETTER
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """What a reader made of a window.

    `consumed` bytes of the window are accounted for by `batch` and `bad`; the rest is to be
    shown again, with more behind it. `scanned >= consumed` bytes need no second look.
    `resume` is the reader's state at the end of the consumed bytes, at most 1 KiB.
    """

    batch: RecordBatch
    consumed: int
    scanned: int
    bad: tuple[BadRange, ...] = ()
    resume: bytes = b""

    @property
    def begins(self) -> Int64s:
        """int64[n]: file offsets of the first bytes that each row accounts for.

        Those behind the row before, and behind what was given up there.
        """
        begins = np.empty_like(self.batch.ends)
        begins[:1] = self.batch.span[0]
        begins[1:] = self.batch.ends[:-1]
        for bad in self.bad:
            row = int(np.searchsorted(self.batch.ends, bad.start, side="right"))
            if row < len(begins):
                begins[row] = max(begins[row], bad.end)
        return begins

    @property
    def sources(self) -> Int64s:
        """int64[n]: how many bytes of the file each row accounts for."""
        sources = np.diff(self.batch.ends, prepend=self.batch.span[0])
        for bad in self.bad:
            row = int(np.searchsorted(self.batch.ends, bad.start, side="right"))
            if row < len(sources):
                sources[row] -= bad.end - bad.start
        return sources


class Reader(Protocol):
    """Bytes in, records out. Pure: no I/O, no clock; all state is in what it returns."""

    @property
    def max_window(self) -> int:
        """Bytes a window may need to hold for `frame` to consume at least one of them."""
        ...

    def frame(
        self, window: Bytes, offset: int, state: State, *, scanned: int = 0, resume: bytes = b""
    ) -> Framed:
        """Frame `window`, whose first byte is at file offset `offset`.

        `scanned` and `resume` are what the last call returned for these bytes (`scanned` less
        what was consumed).
        """
        ...


class Transform(Protocol):
    """RecordBatch in, RecordBatch out; pure."""

    def apply(self, batch: RecordBatch) -> tuple[RecordBatch, Mapping[str, int]]:
        """The new batch, and the source bytes removed per ledger column."""
        ...


# --- writers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Row `row` of a batch will never be taken by the broker, for `reason`."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Every row of a batch was acknowledged, except the rejected ones, in ascending row order.

    `runs` say where the acknowledged rows lie, in the order of their acknowledgements; none where
    a transaction was found to be committed that nobody heard of. `displaced`: a request was refused
    for a record in it, and others were sent again behind what had followed them.
    """

    rejected: tuple[Rejection, ...] = ()
    runs: tuple[Run, ...] = field(default=(), compare=False)
    displaced: bool = field(default=False, compare=False)


#: Completes with a Settlement, or fails with a DeliveryError once *nothing* of the batch is
#: under way any more.
Receipt: TypeAlias = asyncio.Future[Settlement]

#: One partition for a whole batch, or one per row.
Route: TypeAlias = int | NDArray[np.int32]


@dataclass(slots=True, eq=False)
class Course:
    """What is sent of a file between two rewinds. Of one that is `broken`, a transaction takes no
    more: what is sent behind a batch that failed must not be committed before that is.
    """

    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Progress:
    """Where a file's position is once a batch, and all before it, is settled."""

    position: Position
    course: Course


class Partitioner(Protocol):
    """Chooses partitions for the batches of one file; owned by one pipeline, loop thread only."""

    def due(self) -> bool:
        """Whether it wants to change partition; asked before every `assign`.

        If so, the next `assign` changes it, and is called only when everything sent before is
        acknowledged and committed: order per (file, partition) hangs on it.
        """
        ...

    def assign(self, batch: RecordBatch) -> Route:
        """The partition for all rows, or one for each."""
        ...


@runtime_checkable
class Writer(Protocol):
    """Sends batches of one destination. Loop thread only."""

    async def ready(self) -> None:
        """Wait until batches can be routed and sent. Raises TopicError, ClusterError."""
        ...

    def partitioner(self, seed: int) -> Partitioner:
        """A partitioner for one file; `seed` is stable for the file across restarts."""
        ...

    @property
    def transactional(self) -> bool:
        """Whether positions travel with the batches, and receipts wait for the commit of both."""
        ...

    def send(self, batch: RecordBatch, route: Route, progress: Progress | None = None) -> Receipt:
        """Hand a batch over. Never blocks and never raises for what the cluster may answer.

        The batch's buffers are borrowed until the receipt is done. A transactional writer takes
        the `progress` along. Its receipt may fail with a RefusedError instead of naming what was
        rejected.
        """
        ...

    def committed(self, position: Position) -> Position:
        """The position with what a transactional writer's cluster knows, which may be further.

        Only once `ready` returned.
        """
        ...

    def hasten(self) -> None:
        """Somebody waits for what was sent to be committed."""
        ...

    async def drain(self, deadline_seconds: float) -> bool:
        """Push out what lingers and wait; True when nothing is under way any more."""
        ...

    async def close(self) -> None:
        """Let go. What is under way may be lost; its receipts never complete."""
        ...


# --- positions ----------------------------------------------------------------------------


class Committer(Protocol):
    """Takes positions that are settled and makes them durable in groups. Loop thread only."""

    def advance(self, position: Position) -> None:
        """Remember `position` for the next group commit; in memory, O(1)."""
        ...

    async def flush(self) -> None:
        """Return once everything advanced before is committed. Raises StateError."""
        ...


class PositionKeeper(Protocol):
    """This agent's side of the positions that travel with the records of one cluster."""

    def encode(self, position: Position) -> tuple[bytes, bytes]:
        """The key and the value of its record."""
        ...

    async def found(self, values: Mapping[bytes, bytes]) -> None:
        """Take over what was committed; durable when this returns. Raises StateError."""
        ...

    def further(self, position: Position) -> Position:
        """The position with what was found of it, if that is further."""
        ...

    async def flush(self) -> None:
        """Make durable what was committed before. Raises StateError."""
        ...

    def load(self) -> int | None:
        """Before which offset all is known here."""
        ...

    def save(self, offset: int) -> None:
        """Keep that for the next start; it does no harm if that fails."""
        ...


class AuditJournal(Protocol):
    """Entries for audit topics, kept with the positions they speak of until they are delivered.

    Coroutines raise StateError.
    """

    def keep(self, taking: Callable[[], list[Entry]]) -> None:
        """Each group commit takes these along: all of it becomes durable, or nothing."""
        ...

    async def flush(self) -> None:
        """Return once a group commit has taken what there is."""
        ...

    async def last_entry(self) -> int:
        """The highest number of an entry; 0 without any."""
        ...

    async def entries(self, cluster: str, below: int, limit: int) -> list[Entry]:
        """The oldest of a cluster, at most so many, with numbers below that one."""
        ...

    async def forget_entries(self, numbers: Sequence[int]) -> None:
        """They are delivered."""
        ...

    async def trim_entries(self, cluster: str, most_bytes: int) -> int:
        """Forget the oldest of a cluster beyond so many bytes; how many entries that were."""
        ...

    async def forget_entries_except(self, clusters: Sequence[str]) -> None:
        """Forget what is for clusters other than these."""
        ...


class PositionStore(Committer, Protocol):
    """The known files of all streams. Coroutines run on the loop, the work in one thread."""

    async def lookup(self, stream: str, inodes: Sequence[int]) -> list[Position]:
        """All rows of `stream` whose inode is one of `inodes`, any device."""
        ...

    async def lineage(self, stream: str, paths: Sequence[str]) -> list[Position]:
        """All rows of `stream` that belong to one of `paths`, oldest first sighting first."""
        ...

    async def earlier_boot(self, ids: Sequence[int]) -> set[int]:
        """Those of `ids` that were last written before the machine booted."""
        ...

    async def sight(self, positions: Sequence[Position]) -> list[Position]:
        """Insert (id 0) or replace (by id) rows; *synced to disk* when this returns.

        Returns them with their ids. Rows of first sightings must exist before the file's first
        byte is read: a crash would otherwise forget which files are ours.
        """
        ...

    async def forget(self, ids: Sequence[int]) -> None:
        """Delete rows."""
        ...

    async def copy(self, stream: str, destination: str, to: str) -> int:
        """Let `to`, of which there are no rows and no scan that count, know all that `destination`
        knows, its first scan as well; *synced to disk* when this returns. How many rows that is.
        """
        ...

    async def scanned(self, stream: str, destination: str) -> int | None:
        """When (wall clock ns) the first scan of this destination of a stream was recorded."""
        ...

    async def mark_scanned(self, stream: str, destination: str, begun_ns: int) -> None:
        """Record, synced, that the first scan is over, and when it began (wall clock ns).

        Files met later are read from 0.
        """
        ...
