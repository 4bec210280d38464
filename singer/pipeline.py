"""The cycle of one (file, destination): read, frame, send, commit in file order, rewind.

Owns the cursor, the tickets under way and their order. Knows nothing of paths, discovery or
rotation beyond the facts of `OpenFile`; the stream creates pipelines, chains them and looks
after their files. Loop thread only; cold reads, and all that asks a remote file, go through the
agent's own threads.

Longer than a module should be: reading, sending, committing and rewinding share the cursor and the
queue of tickets, and every one of them must leave both consistent. What does not is in `ticket`,
`budget` and `files.source`.

A pipeline has a task only while there is something to do. Between two awaits its state is
consistent, and every await may be cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final, TypeVar

import numpy as np

from singer.audit import Settled
from singer.base.backoff import Backoff
from singer.base.batch import RECORD_OVERHEAD_BYTES, Bytes, RecordBatch
from singer.base.errors import (
    DeliveryError,
    InvariantError,
    Kind,
    ReadError,
    RefusedError,
    StateError,
    WorldError,
)
from singer.base.events import (
    BatchDelivered,
    CommitHeldUp,
    DestinationWaits,
    ErrorsRemedied,
    Event,
    FileDamaged,
    InternalError,
    ReadFailed,
    RecordDeadLettered,
    Rewound,
)
from singer.base.ports import Course, Framed, Progress, Rejection, Route, Settlement, State
from singer.base.position import FINGERPRINT_BYTES, READ_TO_END, Mark, Position
from singer.budget import SEVERAL, Ceiling, Room, acquire, blocked, charge
from singer.catch_up import BACKLOG_BYTES
from singer.files.marks import first_bytes, last_bytes
from singer.files.openfile import OpenFile
from singer.files.source import WINDOW_BYTES, Outcome, Source
from singer.lag import Lag, Landing, landing
from singer.promotion import NO_LIMIT
from singer.services import Destination, Services
from singer.ticket import Refuse, Ticket
from singer.writers.dead_letters import DeadLetter

#: First and longest wait before an attempt to deliver again.
_BACKOFF_SECONDS: Final = (0.1, 30.0)
#: A record's length before the first is seen: low, since short records cost most per byte. Only
#: the first window hangs on it.
_FIRST_RECORD_BYTES: Final = 32.0
#: What one ticket takes besides its records, however small: objects, a buffer, a page or two.
_TICKET_BYTES: Final = 8 << 10
#: Room asked for when a held line fills the window: it must grow until the reader gives it up.
_LEAST_READ_BYTES: Final = 64 << 10
#: A read that takes longer gives its room back to the others until it has come to its end.
_SLOW_READ_SECONDS: Final = 1.0

_Answer = TypeVar("_Answer")


class Pipeline:
    """One file's way to one destination.

    `after` are pipelines of older files of the same path: this one starts when they have read
    theirs to the end. `on_changed` is told that the file was truncated or rewritten; the pipeline
    has then stopped reading for good. `tail` are the (at most 256) bytes before the position's
    offset, `head` the first (at most 1024) before it, needed while the fingerprint is shorter.
    """

    # There are thousands, and more attributes than instances can share the keys of.
    __slots__ = (
        "_after",
        "_again",
        "_backoff",
        "_ceiling",
        "_cleared",
        "_condemned",
        "_course",
        "_epoch",
        "_errors",
        "_errors_until",
        "_exhausted",
        "_failure",
        "_gone",
        "_grown_at",
        "_head",
        "_hint",
        "_in_vain",
        "_largest",
        "_linger_until",
        "_moved",
        "_narrow",
        "_on_changed",
        "_outlet",
        "_outstanding",
        "_partitioner",
        "_reading",
        "_record_bytes",
        "_resume",
        "_retry_at",
        "_sent_to",
        "_services",
        "_share",
        "_source",
        "_stopped",
        "_successors",
        "_tail",
        "_task",
        "_tickets",
        "_timer",
        "_transactional",
        "_unburied",
        "_written_ns",
        "at_end",
        "changed",
        "destination",
        "file",
        "position",
        "reading_done",
    )

    def __init__(
        self,
        destination: Destination,
        services: Services,
        file: OpenFile,
        position: Position,
        tail: bytes,
        *,
        head: bytes = b"",
        after: tuple[Pipeline, ...],
        on_changed: Callable[[Pipeline], None],
    ) -> None:
        self.destination = destination
        self.file = file
        self.position = position
        self.reading_done = False  #: a younger file of the path may start
        self.changed = False
        self.at_end = False  #: nothing was left to read at the last look
        self._tail = tail  # the bytes before position.offset
        self._head = head  # until the fingerprint covers it all
        self._services = services
        self._source = file.source(position.offset, tail)
        self._resume = position.resume
        self._outlet = destination.outlet(file.path)
        # Where positions are committed with the records: see the section below.
        self._transactional = self._outlet.writer.transactional
        self._course: Course | None = None  # None: what was committed is still to be asked for
        self._condemned: dict[tuple[int, bytes], str] = {}  # records that the broker refuses
        self._unburied: list[Refuse] = []
        self._cleared: set[tuple[int, int]] = set()
        self._narrow = 0  # bytes to be read at once to find out which record is refused; 0: all
        self._partitioner = self._outlet.writer.partitioner(file.seed)
        self._after = after
        self._successors: list[Pipeline] = []
        for older in after:
            older._successors.append(self)  # noqa: SLF001  # a sibling's own list
        self._on_changed = on_changed
        self._ceiling = destination.file_ceiling()
        self._share = services.turns.share(destination.priority)
        self._hint: tuple[Ceiling, ...] = ()  # the partition's, where there was no room
        self._sent_to: Ceiling | None = None
        self._record_bytes = _FIRST_RECORD_BYTES
        self._tickets: deque[Ticket] = deque()
        self._outstanding = 0
        self._failure: BaseException | None = None
        # Errors of Kafka that are not remedied, and the offset whose commit remedies them.
        self._errors: Counter[Kind] | None = None
        self._errors_until = 0
        self._largest = 0  # of the sizes seen: a file only grows, or it was truncated
        self._gone = 0  # bytes that were seen behind what is read, and nobody can read any more
        self._written_ns = 0  # when it was last written to, at the last look
        self._exhausted = False  # an archive, passed over
        self._epoch = 0  # counts rewinds, for whoever awaited meanwhile
        self._in_vain = -1  # where what is held was not sent although nothing came: it has to grow
        self._backoff = Backoff(*_BACKOFF_SECONDS)
        self._retry_at = 0.0
        self._linger_until = 0.0  # the end of the round that it joined, until that is read
        self._grown_at = services.loop.time()
        self._reading = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._timer: asyncio.TimerHandle | None = None
        # Set when tickets commit, fail or are rewound; there only while somebody waits for that.
        self._moved: asyncio.Event | None = None

    # --- what the stream asks ---------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether nothing is under way: all that was sent is committed."""
        return not self._tickets

    @property
    def idle_since(self) -> float:
        """Loop time at which the file last grew."""
        return self._grown_at

    @property
    def read_offset(self) -> int:
        """File offset up to which bytes were read."""
        return self._source.read_offset

    @property
    def read_position(self) -> Position:
        """The position as it will be when all whole records that were read are settled."""
        source = self._source
        return replace(self.position, offset=source.offset, tail=Mark.of(source.tail))

    @property
    def held(self) -> int:
        """Bytes of an unfinished record at the end of what was read."""
        return self._source.held

    @property
    def resting(self) -> bool:
        """Whether it may be retired: read to the end, settled, and nothing is due by itself."""
        return (
            self.at_end
            and self._task is None
            and not self._tickets
            and not self.changed
            and not (self.held and self._held_due_at()[0] < inf)
        )

    @property
    def before_cut(self) -> bool:
        """Whether something before the cut of a promotion is still to be delivered."""
        barrier = self.destination.barrier
        if barrier is None:
            return False
        if self._tickets or self._reading or self._failure is not None:
            return True
        limit = barrier.limit(self.position)
        if self.position.offset < limit:
            # A file that ends before its cut has lost the rest.
            return not self.at_end or self._source.read_offset >= limit
        return self._unadopted and not self.at_end and not self._after

    def retire(self) -> None:
        """End, being at rest: a pipeline to come reads on from the position."""
        self._stopped = True
        self._services.wakeup.disarm(self)
        self.abandon(None)  # an unfinished record is read again
        self.finish_reading()

    def give_up(self, size: int) -> int:
        """End at once; the bytes up to `size` that are not delivered are lost. Returns them."""
        self._stopped = True
        self._services.wakeup.disarm(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._gone = self._behind(size)
        lost = self._gone + self._source.held + sum(t.end - t.start for t in self._tickets)
        self.abandon("deleted")
        self.finish_reading()
        return lost

    def wake(self) -> None:
        """There may be something to do."""
        if self._stopped:
            return
        self.at_end = False
        if self._task is None:
            self._task = self._services.spawn(self._run())
        else:
            self._again = True

    def interrupt(self) -> None:
        """There is something else to do than what it waits for."""
        task = self._task
        if task is None or self._stopped:
            self.wake()
        else:
            task.cancel()
            task.add_done_callback(self._interrupted)

    def _interrupted(self, task: asyncio.Task[None]) -> None:
        if self._task is task:  # it had not begun, so it did not come to its end either
            self._task = None
        self.wake()

    def undelivered(self, size: int) -> int:
        """Bytes of a file of `size` that were neither acknowledged nor skipped.

        Without an unfinished record at its end. Of an archive nobody knows: until all of it was
        read, as much as the file has.
        """
        if self.at_end or self._exhausted:
            return sum(t.end - t.start for t in self._tickets if not t.is_passed_over)
        if self.file.packed is not None:
            return size
        skipped = sum(t.end - t.start for t in self._tickets if t.is_passed_over)
        return max(0, size - self.position.offset - skipped)

    async def stop(self) -> None:
        """Read no more; what is under way goes on settling."""
        self._stopped = True
        self._services.wakeup.disarm(self)
        if self._timer is not None:
            self._timer.cancel()
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    def renewed(self, position: Position, others: Iterable[Pipeline]) -> Pipeline:
        """A pipeline that reads the file from its beginning, in place of this one.

        This one is stopped and settled. Who waits for it waits for the new one, which itself waits
        for those of `others` that do not.
        """
        new = Pipeline(
            self.destination,
            self._services,
            self.file,
            position,
            b"",
            after=tuple(p for p in others if not p.reading_done and not p.waits_for(self)),
            on_changed=self._on_changed,
        )
        for successor in self._successors:
            successor._after = tuple(new if p is self else p for p in successor._after)  # noqa: SLF001
        new._successors = self._successors
        self._successors = []
        return new

    def waits_for(self, older: Pipeline) -> bool:
        """Whether it begins only after that one has come to its end."""
        return any(p is older or p.waits_for(older) for p in self._after)

    def belong_to(self, path: str) -> None:
        """The file has another path now. On disk the row says so once it is sighted again."""
        self.position = replace(self.position, path=path)

    async def settle(self) -> bool:
        """Wait until everything sent is committed; False if some of it failed.

        Only for a pipeline that was stopped: a running one would rewind and go on.
        """
        while self._tickets and (self._failure is None or self._outstanding):
            await self._wait_moved()
        return not self._tickets

    def abandon(self, reason: str | None) -> None:
        """Give up what is read and not committed: to be read again elsewhere, or (`reason`) gone.

        The ledger's columns for it are `rewound` and `skipped{reason}`.
        """
        account = self.destination.account
        under_way = sum(ticket.end - ticket.start for ticket in self._tickets)
        held = self._source.held
        account.in_flight -= under_way
        account.held -= held
        if reason is None:
            account.rewound += under_way + held
        else:
            account.read += self._gone
            lost = under_way + held + self._gone
            account.skipped[reason] += lost
            if lost and self._outlet.audit is not None:
                self._outlet.audit.skipped(self.position, self.position.offset + lost)
        for ticket in self._tickets:
            charge((self._ceiling,), -ticket.cost)
        self._tickets.clear()
        self._in_vain = -1  # what is held is to be had again by reading, not by more
        self._resume = self.position.resume
        self._source.reset(self.position.offset, self._tail)

    def _behind(self, size: int) -> int:
        """The bytes of a file of `size` that are not read; of an archive nobody knows."""
        return 0 if self.file.packed else max(0, self._source.unread(size))

    def finish_reading(self) -> None:
        """Let the younger files of the path start."""
        if not self.reading_done:
            self.reading_done = True
            for successor in self._successors:
                successor.wake()
            self._successors.clear()

    # --- the cycle ----------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._stopped:
                self._again = False
                if self.changed:
                    return
                if self.destination.lag is not None and self.destination.lag.over:
                    await self._pass_over(self.destination.lag)
                    return
                if self._exhausted:
                    self.finish_reading()
                    self.at_end = True
                    return
                if self._after and self._must_wait():
                    self._let_younger_come_to_cut()
                    return
                if retry_at := self._retry_at:
                    await asyncio.sleep(retry_at - self._services.loop.time())
                    if self._retry_at == retry_at:  # it may have failed again meanwhile
                        self._retry_at = 0.0
                if self._unburied:
                    await self._bury_ahead()
                if self._failure is not None:
                    await self._wait_moved()  # the rewind comes when nothing is under way
                elif await self._turn():
                    if self._is_held_back() and (
                        not self._successors or await self._all_committed()
                    ):
                        self._let_younger_come_to_cut()
                        return
                    await asyncio.sleep(0)  # a turn is one window; now the others'
                elif self._held_is_due() is not State.MORE:
                    await self._ship(0, self._held_is_due())
                elif self._may_hand_on():
                    waited = bool(self._tickets)  # long enough for the file to be written to
                    if await self._all_committed() and not waited:
                        self._end_reading()
                elif not self._rest():
                    self.at_end = True
                    return
        except Exception as error:  # noqa: BLE001  # a bug on one file must not stop the others
            self._services.emit(InternalError.of(f"ship {self.file.seen_at}", error))
            self._failure = self._failure or error
            self._rewind_when_quiet()
        finally:
            self._services.turns.end(self._share)
            self._task = None
            if self._again:
                self.wake()

    async def _pass_over(self, lag: Lag) -> None:
        """Skip what is there and was not sent, behind what was, which goes on settling."""
        if self._failure is not None:
            self._rewind_when_quiet()  # the read that it may have waited for was interrupted
        elif self.file.packed is not None:
            self._pass_over_archive()
        elif await self._is_the_same():
            file, start, epoch = self.file, self._source.offset, self._epoch
            final, other = file.final_since is not None, lag.others.get(file.key)
            where = partial(landing, file.fd, start, lag=lag, final=final, other=other)
            try:
                to = await self._in_thread(where)
            except (OSError, ReadError) as error:
                self._read_failed(error)
                return
            if to is not None and self._failure is None and epoch == self._epoch:
                self._skip_to(to)

    def _skip_to(self, to: Landing) -> None:
        self._unread()
        source, account = self._source, self.destination.account
        span = to.end - source.offset
        account.read += span
        account.in_flight += span
        last = self._tickets[-1] if self._tickets else None
        if last is not None and last.is_passed_over and last.burial is None:
            last.extend(to)
        else:
            sent_at = self._services.clock.monotonic()
            ticket = Ticket.passing_over(source.offset, to, cost=_TICKET_BYTES, sent_at=sent_at)
            charge((self._ceiling,), ticket.cost)
            self._tickets.append(ticket)
        source.reset(to.end, to.tail)
        self._resume = to.resume
        self._largest = max(self._largest, to.end)
        self._collect()

    async def _is_the_same(self) -> bool:
        """Whether the file is what was read of it; False also if that cannot be told now."""
        await self._read(0)
        self._services.turns.end(self._share)
        return not self.changed and self._failure is None

    def _pass_over_archive(self) -> None:
        """Skip the rest of a compressed file; how much that is nobody knows."""
        if not self._tickets and not self._exhausted:
            self._unread()
            self._exhausted = True
            self._close_archive()

    def _must_wait(self) -> bool:
        """Whether an older file of the path is still to be read to its end."""
        self._after = tuple(
            older
            for older in self._after
            if not older.reading_done and older.file.final_since is not None
        )
        # What it has before the cut is older than what they have behind it.
        return bool(self._after) and not (
            self.before_cut and all(older._has_come_to_cut() for older in self._after)  # noqa: SLF001
        )

    def _has_come_to_cut(self) -> bool:
        """Whether neither it nor an older file of the path has anything before a cut left."""
        return (
            self._is_held_back()
            and not self._tickets
            and all(older._has_come_to_cut() for older in self._after)  # noqa: SLF001
        )

    def _let_younger_come_to_cut(self) -> None:
        if self.destination.barrier is not None:
            for younger in self._successors:
                younger.wake()

    async def _turn(self) -> bool:
        """Read and send one window; False when the file ends at the cursor."""
        try:
            if self.file.remote:
                size, written_ns = await self._in_thread(self.file.state)
            else:
                size, written_ns = self.file.state()
        except (OSError, ReadError) as error:
            self._read_failed(error)
            return True
        unread = self._source.unread(size)
        if unread < 0 and self._is_taken_back(size):
            unread = self._take_back(size)
        rewritten = unread == 0 and written_ns != self._written_ns and self._written_ns
        self._written_ns = written_ns
        if unread < 0 or size < self._largest:
            self._gone = self._behind(self._largest)
            self._change()
            return True
        self._largest = size
        if rewritten:  # as long as before, but not what it was?
            await self._read(0)
            self._services.turns.end(self._share)
            return self.changed
        left = self._left_before_cut()
        cut_here = left <= 0 and bool(self.held)  # it is a whole record, whatever it looks like
        if unread == 0 and not cut_here:
            self._hint = ()
            return False
        if self._is_held_back():
            return True
        if unread < _LEAST_READ_BYTES and not cut_here and self._lingers():
            return True
        limit, now = self.destination.limit, self._services.clock.monotonic()
        if limit is not None and not limit.drops and (wait := limit.wait(now)):
            self._retry_at = self._services.loop.time() + wait
            return True
        try:
            await self._outlet.writer.ready()
        except DeliveryError as error:
            self._wait_for_destination(error)
            return True
        if self._unadopted:
            await self._adopt()
            return True  # it may begin elsewhere
        if cut_here:
            await self._ship(0, State.FINAL)
            return True
        affordable = int((self._ceiling.limit - _TICKET_BYTES) / self._cost_per_byte())
        room = min(WINDOW_BYTES, affordable) - self._source.held
        if limit is not None:
            room = min(room, limit.burst)
        want = min(unread, max(room, _LEAST_READ_BYTES))
        want = min(want, self._narrow or want, left)
        if self.destination.catch_up is not None and unread >= BACKLOG_BYTES:
            epoch = self._epoch
            await self.destination.catch_up.turn(written_ns, want)
            if self._failure is not None or epoch != self._epoch:
                return True  # it is read again from further back, and after a while
        await self._ship(want, State.MORE)
        return True

    def _left_before_cut(self) -> int:
        """How many bytes may be read before the barrier of a promotion opens."""
        barrier = self.destination.barrier
        limit = NO_LIMIT if barrier is None else barrier.limit(self.position)
        return limit - self._source.read_offset

    def _is_held_back(self) -> bool:
        """Whether what comes next lies behind the cut of a promotion."""
        return (
            self.destination.barrier is not None
            and self._left_before_cut() <= 0
            and not self.held
            and not self._unadopted
            and not self._retry_at
            and not self.changed
            and self._failure is None
        )

    def _is_taken_back(self, size: int) -> bool:
        """Whether a file ends within an unfinished record now, and is the same as far as we know.

        Writers cut off what they could not write whole, on a full disk. The next read compares what
        lies before it.
        """
        source = self._source
        seen = self._largest <= source.read_offset and self.file.packed is None
        return seen and 0 < source.offset <= size

    def _take_back(self, size: int) -> int:
        """Forget the unfinished record, whose end is gone. Returns what is left of it to read."""
        gone, account = -self._source.unread(size), self.destination.account
        self._unread()
        account.rewound -= gone
        account.skipped["truncated"] += gone
        self._largest = size
        return self._source.unread(size)

    def _lingers(self) -> bool:
        """Whether what is new is to wait for more."""
        now = self._services.loop.time()
        if not self._linger_until:
            self._linger_until = self.destination.linger.due(now)
        if now < self._linger_until:
            self._retry_at = self._linger_until
            return True
        return False

    async def _ship(self, want: int, state: State) -> None:
        """Read `want` more bytes, frame the window and send what it holds."""
        # Before anything is charged: who waits here must not sit on memory of the others.
        if self._partitioner.due() and not await self._all_committed():
            return
        ceilings = (self._ceiling, *self.destination.ceilings, *self._hint)
        size = want + self._source.held
        reserved = int(size * self._cost_per_byte()) + _TICKET_BYTES
        turns, share, epoch = self._services.turns, self._share, self._epoch
        room: Room | None = None
        try:
            await turns.begin(share)
            if blocked(ceilings, reserved, share.mark):
                turns.end(share)  # who waits for memory holds up nobody
            await acquire(ceilings, reserved, share.mark)
            room = Room(ceilings, reserved)
            await turns.begin(share)
            if self._failure is not None or epoch != self._epoch:
                return  # what was held may be gone: it is read again from further back
            if want and not await self._read(want, room):
                return
            # A store into mapped memory: should the process die in here, the next one knows where.
            self._services.breaker.mark(
                self.position.stream,
                self.position.destination,
                self.position.identity,
                self.position.offset,
            )
            self._send(self._frame(state))
            if state is State.QUIET and self._source.held:
                self._in_vain = self._source.read_offset
        finally:
            self._services.breaker.unmark()
            # What was sent is charged by now, so nobody slips in between.
            if room is not None:
                room.lend()
            turns.end(share)

    def _cost_per_byte(self) -> float:
        """Memory that a byte of the file is expected to take while it is under way."""
        return 1.0 + RECORD_OVERHEAD_BYTES / self._record_bytes

    async def _in_thread(self, function: Callable[..., _Answer], *arguments: int) -> _Answer:
        """Ask the file in the threads of its device; waits for as long as its mount hangs."""
        return await self._services.threads.run(self.file.identity.device, function, *arguments)

    async def _read(self, want: int, room: Room | None = None) -> bool:
        """Whether `want` bytes, or some of them, were added to the window.

        `room` is charged for them. While a mount hangs the others have it.
        """
        source = self._source
        before = source.held
        from_the_beginning = source.read_offset == 0 and self.file.packed is None
        try:
            outcome = Outcome.COLD if self.file.remote else source.read(want, nowait=True)
            if outcome is Outcome.COLD:
                self._reading = True
                lend = room and self._lend_when_slow(room)
                self._services.turns.end(self._share)  # the disk is slow, others are not
                try:
                    outcome = await self._in_thread(source.read_cold, want)
                    await self._services.turns.begin(self._share)
                except asyncio.CancelledError:
                    self._source = source.fork(before)  # the thread still writes into this one
                    raise
                finally:
                    self._reading = False
                    if lend:
                        lend.cancel()
        except (OSError, ReadError) as error:
            self._read_failed(error)
            return False
        fresh = source.held - before
        if fresh:
            self._grown_at = self._services.loop.time()
            self._share.nbytes += fresh
            self.destination.account.read += fresh
            self.destination.account.held += fresh
            if from_the_beginning and fresh < want:
                self._largest = fresh  # truncated since it was asked: nothing of before was read
        if outcome is Outcome.CHANGED:
            self._change()
        if self._failure is not None:
            self._rewind_when_quiet()  # it waited for this read
            return False
        if room and not room.take_again():
            self._unread()  # waiting here would keep memory that nobody accounts for
            return False
        return outcome is Outcome.GREW

    def _lend_when_slow(self, room: Room) -> asyncio.TimerHandle:
        stuck = self._services.threads.are_stuck(self.file.identity.device, _SLOW_READ_SECONDS)
        delay_seconds = 0.0 if stuck else _SLOW_READ_SECONDS
        return self._services.loop.call_later(delay_seconds, room.lend)

    def _frame(self, state: State) -> Framed:
        source = self._source
        framed = self.destination.reader.frame(
            source.window, source.offset, state, scanned=source.scanned, resume=self._resume
        )
        if state is State.FINAL and not framed.consumed:
            raise InvariantError(f"frame {self.file.seen_at}: nothing consumed at the end")
        return framed

    def _send(self, framed: Framed) -> None:
        """Hand what was framed to the writer, unless its partition has no room now."""
        source, account = self._source, self.destination.account
        if not framed.consumed:
            source.scanned = framed.scanned
            return
        batch, removed = self._transformed(framed)
        # All bytes of the window stay until the ticket is settled, records or not.
        cost = batch.cost + framed.consumed + _TICKET_BYTES
        if np.may_share_memory(batch.buffer, source.window):
            cost -= batch.nbytes
        shared = self.destination.ceilings
        route: Route = 0
        self._linger_until = 0.0
        if len(batch):
            if self.destination.headed:
                batch = replace(batch, path=self.file.path, inode=self.file.identity.inode)
            self._record_bytes = batch.nbytes / len(batch) + 1
            route = self._partitioner.assign(batch)
            partition = self._outlet.partition_ceiling(route if isinstance(route, int) else SEVERAL)
            if partition not in self._hint and blocked((partition,), cost, self._share.mark):
                # Read it again when there is room, asked for before the read: what waits here
                # must not sit on memory of the others.
                self._hint = (partition,)
                self._unread()
                return
            # Where there was no room there may be none again: asked for before the next read, too,
            # as long as it goes the same way, or a busy file would read everything twice.
            if partition is not self._sent_to:
                self._hint = ()
            self._sent_to = partition
            shared = (*shared, partition)
            self.destination.linger.sent(len(batch))
        ticket = Ticket(
            start=source.offset,
            end=source.offset + framed.consumed,
            window=source.window[: framed.consumed],
            tail_before=source.tail,
            resume=framed.resume,
            batch=batch,
            removed=removed,
            bad=framed.bad,
            cost=cost,
            shared=shared,
            sent_at=self._services.clock.monotonic(),
        )
        if not self._transactional:
            ticket.receipt = self._outlet.writer.send(batch, route) if len(batch) else None
        elif not self._send_with_position(ticket, route):
            self._unread()
            return
        charge((self._ceiling, *shared), cost)
        source.consume(framed.consumed, framed.scanned)
        if self.destination.limit is not None and not removed["limited"]:
            self.destination.limit.spend(framed.consumed, self._services.clock.monotonic())
        ticket.tail = source.tail
        self._resume = framed.resume
        account.held -= framed.consumed
        account.in_flight += framed.consumed
        self._tickets.append(ticket)
        receipt = ticket.receipt
        if receipt is None:
            # It waits for the dead letters only, which must not take memory from the others.
            charge(shared, -cost)
            self._collect()
        else:
            self._outstanding += 1
            receipt.add_done_callback(lambda _: self._receipt_done(ticket))

    def _transformed(self, framed: Framed) -> tuple[RecordBatch, Counter[str]]:
        """The records as they are sent, and the bytes of those that are not."""
        destination, batch = self.destination, framed.batch
        limit = destination.limit if destination.limit and destination.limit.drops else None
        removed: Counter[str] = Counter()
        if not len(batch) or not (destination.transforms or limit):
            return batch, removed
        sources = framed.sources
        batch = replace(batch, sources=sources, path=self.file.path)
        if limit and limit.wait(self._services.clock.monotonic()):
            return batch.take(np.zeros(len(batch), np.bool_)), Counter(limited=int(sources.sum()))
        for transform in destination.transforms:
            if not len(batch):
                break
            batch, taken = transform.apply(batch)
            removed.update(taken)
        return batch, removed

    def _end_reading(self) -> None:
        """All of a final file is delivered."""
        if self.file.packed is not None and self._source.complete and not self.held:
            if self._source.fault is not None:
                self._services.emit(
                    FileDamaged(
                        stream=self.destination.stream,
                        path=self.file.seen_at,
                        offset=self.position.offset,
                        cause=self._source.fault,
                    )
                )
            self._close_archive()
        self.finish_reading()

    def _close_archive(self) -> None:
        """Let the row say that nothing of a compressed file is left to read."""
        now_ns = self._services.clock.now_ns()
        self.position = replace(self.position, resume=READ_TO_END, updated_ns=now_ns)
        self.destination.committer.advance(self.position)

    def _may_hand_on(self) -> bool:
        """Whether a final file was read to its end, and younger ones still wait for it."""
        if self.file.final_since is None or self.reading_done:
            return False
        # An archive that is cut off may stay so for ever: nobody waits for the rest of it.
        return not self.held or self.destination.once or not self._source.complete

    async def _all_committed(self) -> bool:
        """Wait until all that was sent is committed; False if some of it failed and is rewound.

        Partitions change, and younger files begin, only then: what is sent again after a kill
        would otherwise arrive behind what followed it.
        """
        epoch = self._epoch
        if self._transactional and self._tickets:
            self._outlet.writer.hasten()
        while self._tickets and self._failure is None:
            await self._wait_moved()
        if self._failure is not None or epoch != self._epoch:
            return False
        with suppress(StateError):  # a full state disk must not stop delivery
            await self.destination.committer.flush()
        return True

    def _held_is_due(self) -> State:
        """FINAL or QUIET when the unfinished record at the end is to be sent now, else MORE."""
        due, state = self._held_due_at()
        return state if self.held and self._services.loop.time() >= due else State.MORE

    def _held_due_at(self) -> tuple[float, State]:
        return min(self._final_due_at(), self._quiet_due_at(), key=lambda each: each[0])

    def _final_due_at(self) -> tuple[float, State]:
        if self.file.final_since is None or not self._source.complete or self.destination.once:
            return inf, State.MORE
        grace = self.destination.rotate_grace_seconds
        quiet_since = max(self.file.final_since, self._grown_at)
        # What lay there before it was found to be final has had its time, or part of it.
        return min(quiet_since + grace, self._quiet_until(grace)), State.FINAL

    def _quiet_due_at(self) -> tuple[float, State]:
        destination = self.destination
        own = destination.quiet_after_seconds
        by_stream = None if destination.once else destination.flush_partial_after_seconds
        quiet_after = by_stream if own is None else own
        if quiet_after is None or self._in_vain == self._source.read_offset:
            return inf, State.MORE
        return self._grown_at + (0.0 if destination.once else quiet_after), State.QUIET

    def _quiet_until(self, grace: float) -> float:
        """Loop time at which nobody has touched the file for so long, by its own times."""
        if self.file.remote:  # it is not asked here
            return inf
        try:
            age_seconds = self.file.age(self._services.clock.now_ns())
        except OSError:
            return inf
        return self._services.loop.time() + grace - age_seconds

    def _rest(self) -> bool:
        """The file ends at the cursor: see to being woken. True: look again at once."""
        if self.held:
            self._wake_at(self._held_due_at()[0])
        if self.file.remote:
            # Not asked, nor read, on the loop; what comes from now on the next poll finds.
            self._services.wakeup.poll(self._largest, self, Pipeline.wake)
            self._source.relax()
            return self._again
        self._services.wakeup.arm(self.file.fd, self, Pipeline.wake)
        try:
            grew = self._source.unread(self.file.size()) != 0  # between the look and the watch
        except OSError as error:
            self._read_failed(error)
            return True
        if not grew:
            self._source.relax()
        return grew or self._again

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when == inf else self._services.loop.call_at(when, self.wake)

    def _unread(self) -> None:
        """Forget the window; it is read again."""
        account, held = self.destination.account, self._source.held
        account.held -= held
        account.rewound += held
        self._source.reset(self._source.offset, self._source.tail)

    # --- what comes back ----------------------------------------------------------------------

    def _receipt_done(self, ticket: Ticket) -> None:
        if ticket.receipt is not None and not ticket.receipt.cancelled():
            ticket.receipt.exception()  # seen: the head's failure speaks for those behind it
        self._outstanding -= 1
        self.destination.linger.delivered(self._services.clock.monotonic() - ticket.sent_at)
        charge(ticket.shared, -ticket.cost)
        self._collect()

    def _collect(self) -> None:
        """Commit the tickets at the head of the queue that are settled."""
        while self._tickets and self._failure is None:
            ticket = self._tickets[0]
            if ticket.receipt is not None:
                if not ticket.receipt.done():
                    return
                self._failure = ticket.receipt.exception()
                if self._failure is not None:
                    break
                ticket.rejected = ticket.rejected or ticket.receipt.result().rejected
            if (ticket.bad or ticket.rejected) and not ticket.buried:
                if ticket.burial is None:
                    ticket.burial = self._services.spawn(self._bury(ticket))
                return
            self._tickets.popleft()
            self._commit(ticket)
        if self._failure is not None:
            self._rewind_when_quiet()
        self._pulse()

    def _commit(self, ticket: Ticket) -> None:
        account = self.destination.account
        span = ticket.end - ticket.start
        delivered = span - ticket.disposed - sum(ticket.removed.values())
        records = len(ticket.batch) - len(ticket.rejected)
        account.in_flight -= span
        account.delivered += delivered
        account.remove(ticket.removed)
        account.records += records
        charge((self._ceiling,), -ticket.cost)
        if self._outlet.audit is not None:
            settlement = Settlement() if ticket.receipt is None else ticket.receipt.result()
            self._audit(ticket, ticket.end, records, settlement)
        self._advance(ticket.end, ticket.window, ticket.tail, ticket.resume)
        self._backoff.reset()
        if self._condemned:
            self._condemned = {k: v for k, v in self._condemned.items() if k[0] > ticket.end}
        self._narrow = 0 if self._narrow > WINDOW_BYTES else 2 * self._narrow
        self._services.emit(
            BatchDelivered(
                stream=self.destination.stream,
                destination=self.destination.name,
                path=self.file.path,
                end=ticket.end,
                records=records,
                nbytes=delivered,
                seconds=self._services.clock.monotonic() - ticket.sent_at,
            )
        )

    def _audit(self, ticket: Ticket, end: int, records: int, settlement: Settlement) -> None:
        """Record what became of a ticket's bytes up to `end`."""
        assert self._outlet.audit is not None
        clock = self._services.clock
        now_ms = clock.now_ns() // 1_000_000
        self._outlet.audit.settled(
            Settled(
                position=self.position,
                start=ticket.start,
                end=end,
                batch=ticket.batch if ticket.sent is None else ticket.sent,
                runs=settlement.runs,
                displaced=settlement.displaced,
                removed=ticket.removed,
                dead_lettered=ticket.disposed - ticket.skipped,
                skipped=ticket.skipped,
                records=records,
                read_ms=now_ms - int(1000 * (clock.monotonic() - ticket.sent_at)),
                acknowledged_ms=now_ms,
            )
        )

    def _advance(self, offset: int, window: Bytes, tail: bytes, resume: bytes) -> None:
        """Move the position to `offset`; `window` are the bytes it moves past."""
        services = self._services
        fingerprint = self.position.identity.fingerprint
        known = min(self.position.offset, FINGERPRINT_BYTES)
        if fingerprint.length < FINGERPRINT_BYTES and len(self._head) == known:
            # They pass through here anyway: no reason to ask the file. (Without its beginning it
            # stays as it is: a shorter fingerprint serves as well.)
            self._head += window[: FINGERPRINT_BYTES - len(self._head)].tobytes()
            fingerprint = Mark.of(self._head)
            if fingerprint.length == FINGERPRINT_BYTES:
                self._head = b""
        self.position = self.position.moved(
            offset, Mark.of(tail), resume, fingerprint, services.clock.now_ns()
        )
        self._tail = tail
        self.destination.committer.advance(self.position)
        if self._errors is not None and offset >= self._errors_until:
            self._remedied()
        services.breaker.progressed(
            self.position.stream, self.position.destination, self.position.identity
        )

    async def _bury(self, ticket: Ticket) -> None:
        """Dead-letter the bad ranges and rejected rows of a ticket, before it may commit."""
        refuse, skipped = ticket.refuse()
        await self._write_letters([one for one in refuse if not self._is_buried(one)])
        buried = sum(one.length for one in refuse)
        if ticket not in self._tickets:
            return  # given up meanwhile: accounted for
        account = self.destination.account
        account.dead_lettered += buried
        account.skipped.update(skipped)
        ticket.skipped = skipped.total()
        ticket.disposed = buried + ticket.skipped
        for one in refuse:
            self._cleared.discard((one.offset, one.length))
            self._services.emit(
                RecordDeadLettered(
                    stream=self.destination.stream,
                    destination=self.destination.name,
                    path=self.file.seen_at,
                    offset=one.offset,
                    length=one.length,
                    reason=one.reason,
                )
            )
        ticket.buried = True
        self._collect()

    async def _write_letters(self, refuse: list[Refuse]) -> None:
        """Try until they are written and synced."""
        letters = [self._letter(one) for one in refuse]
        backoff = Backoff(*_BACKOFF_SECONDS)
        while letters:
            try:
                await self.destination.dead_letters.write(letters)
                break
            except WorldError as error:
                delay = backoff.next()
                self._services.emit(
                    CommitHeldUp(
                        stream=self.destination.stream,
                        destination=self.destination.name,
                        path=self.file.seen_at,
                        cause=str(error),
                        retry_seconds=delay,
                    )
                )
                await asyncio.sleep(delay)

    def _letter(self, refuse: Refuse) -> DeadLetter:
        identity = self.file.identity
        return DeadLetter(
            stream=self.destination.stream,
            destination=self.destination.name,
            path=self.file.path,
            device=identity.device,
            inode=identity.inode,
            offset=refuse.offset,
            length=refuse.length,
            reason=refuse.reason,
            part=refuse.part,
            payload=refuse.payload,
            refused=refuse.refused,
        )

    # --- where positions are committed with the records ---------------------------------------
    #
    # Whatever the transaction's commit makes final has to be done before: dead letters are
    # written before what stands behind them is sent. And a record that the broker refuses takes
    # its transaction down: it is found by reading less and less at once, then condemned, which is
    # to be a dead letter the next time it is read.

    @property
    def _unadopted(self) -> bool:
        """Whether the cluster is still to be asked how far this row is."""
        return self._transactional and self._course is None

    async def _adopt(self) -> None:
        """Begin where the cluster says that this row is; later if the file cannot be read now."""
        known = self._outlet.writer.committed(self.position)
        if known.offset > self.position.offset:
            try:
                tail, head = b"", b""
                if not self.file.packed:
                    tail = await self._in_thread(last_bytes, self.file.fd, known.offset)
                    head = await self._in_thread(first_bytes, self.file.fd, known.offset)
            except (OSError, ReadError) as error:
                self._read_failed(error)
                return
            if self.file.packed or Mark.of(tail) == known.tail:  # else the file is another one now
                self._unread()
                if self.destination.barrier is not None:
                    self.destination.barrier.moved(self.position, known)
                if self._outlet.audit is not None:
                    self._outlet.audit.unknown(self.position, known.offset)
                self.position, self._tail, self._head = known, tail, head
                self._resume = known.resume
                self._source = self.file.source(known.offset, tail)
                self.destination.committer.advance(known)
        self._course = Course()

    def _send_with_position(self, ticket: Ticket, route: Route) -> bool:
        """Send what of a ticket may be sent; False: something is to be buried before."""
        batch, course = ticket.batch, self._course
        assert course is not None
        ticket.sent = batch
        if self._condemned and len(batch):
            rows = np.flatnonzero(np.isin(batch.ends, [end for end, _ in self._condemned])).tolist()
            ticket.rejected = tuple(
                Rejection(row=row, reason=self._condemned[trait])
                for row in rows
                if (trait := _trait(batch, row)) in self._condemned
            )
            spared = np.ones(len(batch), np.bool_)
            spared[[rejection.row for rejection in ticket.rejected]] = False
            route = route[spared] if isinstance(route, np.ndarray) else route
            ticket.sent = batch.take(spared)
        if ticket.bad or ticket.rejected:
            refuse, _ = ticket.refuse()
            self._unburied = [one for one in refuse if not self._is_buried(one)]
            if self._unburied:
                return False
        if len(ticket.sent):
            progress = Progress(position=self._position_behind(ticket), course=course)
            ticket.receipt = self._outlet.writer.send(ticket.sent, route, progress)
        return True

    def _position_behind(self, ticket: Ticket) -> Position:
        """The position once this ticket, which is the last, and all before it are committed."""
        fingerprint, head = self.position.identity.fingerprint, self._head
        known = min(self.position.offset, FINGERPRINT_BYTES)
        if fingerprint.length < FINGERPRINT_BYTES and len(head) == known:
            for each in (*self._tickets, ticket):
                head += each.window[: FINGERPRINT_BYTES - len(head)].tobytes()
            fingerprint = Mark.of(head)
        tail = ticket.tail or Source.tail_after(
            ticket.window, ticket.tail_before, len(ticket.window)
        )
        now_ns = self._services.clock.now_ns()
        return self.position.moved(ticket.end, Mark.of(tail), ticket.resume, fingerprint, now_ns)

    def _is_buried(self, refuse: Refuse) -> bool:
        return (refuse.offset, refuse.length) in self._cleared

    async def _bury_ahead(self) -> None:
        await self._write_letters(self._unburied)
        self._cleared.update((one.offset, one.length) for one in self._unburied)
        self._unburied = []

    def _learn_from_refusals(self) -> bool:
        """Condemn what is refused for certain, else read less to find it; whether there was any."""
        learnt = False
        for ticket in self._tickets:
            error = ticket.receipt.exception() if ticket.receipt is not None else None
            if not isinstance(error, RefusedError) or ticket.sent is None:
                continue
            learnt = True
            if error.proven:
                self._condemned |= {_trait(ticket.sent, row): str(error) for row in error.rows}
                self._narrow = 0
            else:
                # Less than the time before: a long record is read in several steps of that.
                span = ticket.end - ticket.start
                self._narrow = max(1, min(span, self._narrow or span) // 2)
        return learnt

    # --- what goes wrong ----------------------------------------------------------------------

    def _rewind_when_quiet(self) -> None:
        """Go back to the last committed position once nothing of ours is under way."""
        if self._outstanding or self._reading or self._stopped or self.changed:
            self._pulse()
            return
        self._commit_settled_rows()
        learnt = self._transactional and self._learn_from_refusals()
        failure, self._failure = self._failure, None
        kind = None
        if isinstance(failure, DeliveryError):
            kind = failure.kind
            self._remember(kind, self._tickets[0].end if self._tickets else 0)
        before = self.destination.account.rewound
        self.abandon(None)
        self._epoch += 1
        if self._course is not None:
            self._course = Course()
        delay = 0.0 if learnt else self._backoff.next()
        self._retry_at = self._services.loop.time() + delay
        self._services.emit(
            Rewound(
                stream=self.destination.stream,
                destination=self.destination.name,
                path=self.file.seen_at,
                offset=self.position.offset,
                nbytes=self.destination.account.rewound - before,
                cause=str(failure),
                retry_seconds=delay,
                kind=kind,
            )
        )
        self._pulse()
        self.wake()

    def _commit_settled_rows(self) -> None:
        """Commit the rows of the failed batch that were acknowledged before the first failure."""
        if not self._tickets:
            return
        ticket, failure = self._tickets[0], self._failure
        settled = failure.settled if isinstance(failure, DeliveryError) else 0
        if not settled or ticket.bad or ticket.resume or ticket.removed:
            return
        end = int(ticket.batch.ends[settled - 1])
        if end == ticket.start:
            return  # what follows may have begun before them
        account = self.destination.account
        account.in_flight -= end - ticket.start
        account.delivered += end - ticket.start
        account.records += settled
        window = ticket.window[: end - ticket.start]
        tail = Source.tail_after(window, ticket.tail_before, len(window))
        if self._outlet.audit is not None and isinstance(failure, DeliveryError):
            runs = tuple(part for run in failure.runs if (part := run.below(settled)))
            self._audit(ticket, end, settled, Settlement(runs=runs))
        ticket.start = end
        self._advance(end, window, tail, b"")

    def _remember(self, kind: Kind, until: int) -> None:
        """An error of Kafka, which is remedied once all before `until` is committed."""
        if self._errors is None:
            self._errors = Counter()
        self._errors[kind] += 1
        self._errors_until = max(self._errors_until, until)

    def _remedied(self) -> None:
        assert self._errors is not None
        kinds = tuple(self._errors.items())
        self._errors = None
        self._services.emit(ErrorsRemedied(subject=self.file.seen_at, kinds=kinds))

    def _wait_for_destination(self, error: DeliveryError) -> None:
        self._remember(error.kind, self._source.offset + 1)
        self._retry_later(
            lambda delay: DestinationWaits(
                stream=self.destination.stream,
                destination=self.destination.name,
                cause=str(error),
                retry_seconds=delay,
                kind=error.kind,
            )
        )

    def _read_failed(self, error: OSError | ReadError) -> None:
        self._retry_later(
            lambda delay: ReadFailed(
                stream=self.destination.stream,
                path=self.file.seen_at,
                offset=self._source.read_offset,
                cause=str(error),
                retry_seconds=delay,
            )
        )

    def _retry_later(self, event: Callable[[float], Event]) -> None:
        delay = self._backoff.next()
        self._retry_at = self._services.loop.time() + delay
        self._services.emit(event(delay))

    def _change(self) -> None:
        """The file is not what was read: stop for good and let the stream look for the rest."""
        if not self.changed:
            self.changed = True
            self._on_changed(self)

    async def _wait_moved(self) -> None:
        if self._moved is None:
            self._moved = asyncio.Event()
        await self._moved.wait()

    def _pulse(self) -> None:
        """Tell whoever waits that tickets were committed, failed or rewound."""
        if self._moved is not None:
            self._moved.set()
            self._moved = None


def _trait(batch: RecordBatch, row: int) -> tuple[int, bytes]:
    """What tells a record of a file from the others."""
    return int(batch.ends[row]), Mark.of(batch.payload(row)).digest
