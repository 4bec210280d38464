"""A stream with all its real parts, on a loop that runs only while the test lets it.

Only the far end is a test writer (`LoopbackWriter`), so that thousands of examples are cheap; the
same examples run against the embedded broker elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from unittest import mock

import pytest

from singer.base.batch import RecordBatch
from singer.base.clock import SystemClock
from singer.base.config import (
    ByteSize,
    CatchUpConfig,
    DestinationConfig,
    DestinationStartConfig,
    Glob,
    MaxLagConfig,
    Seconds,
    StreamConfig,
    TextReaderConfig,
)
from singer.base.errors import TopicError
from singer.base.events import Event, InternalError
from singer.base.ledger import Ledger
from singer.base.ports import Receipt, Rejection, Route, Settlement
from singer.base.promotion import Promotion, cuts_of
from singer.budget import Budget
from singer.catch_up import CatchUp
from singer.descriptors import Descriptors
from singer.files import wakeup
from singer.files.source import Outcome, Source
from singer.files.threads import DeviceThreads
from singer.files.wakeup import Wakeup
from singer.files.walk import Walker
from singer.lag import Lag
from singer.limit import Limit
from singer.linger import Linger
from singer.outlets import Outlet
from singer.positions.breaker import CrashBreaker
from singer.positions.edit import Edit
from singer.positions.idle import IdleStore
from singer.positions.query import Query
from singer.positions.sqlite import SqlitePositions
from singer.positions.state_dir import StateDir
from singer.promotion import EndOffsets, Promotions
from singer.readers.making import make
from singer.services import Destination, Services
from singer.stream import Stream
from singer.transforms.making import make as make_transform
from singer.turns import Turns
from singer.writers.dead_letters import DeadLetters

#: How soon a mount is said to hang, so that tests need not wait for it.
PATIENCE_SECONDS = 0.5


class OnePartition:
    def due(self) -> bool:
        return False

    def assign(self, batch: RecordBatch) -> Route:
        return 0


class LoopbackWriter:
    """Keeps what it is sent; acknowledges at once, or when the test says so.

    `up`         False: batches are taken and not acknowledged until it is True again
    `failing`    True: batches fail with a TopicError, the first of them after `settled` rows
    `refuses`    payloads it rejects for good
    """

    transactional = False

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.up = True
        self.failing = False
        self.settled = 0
        self.refuses: Callable[[bytes], bool] = lambda payload: False
        self._waiting: list[tuple[Receipt, RecordBatch]] = []

    async def ready(self) -> None:
        return None

    def partitioner(self, seed: int) -> OnePartition:
        return OnePartition()

    def send(self, batch: RecordBatch, route: Route) -> Receipt:
        receipt: Receipt = asyncio.get_running_loop().create_future()
        self._waiting.append((receipt, batch))
        if self.up:
            asyncio.get_running_loop().call_soon(self.settle)
        return receipt

    def settle(self) -> None:
        """Answer everything that waits."""
        waiting, self._waiting = self._waiting, []
        for receipt, batch in waiting:
            self._answer(receipt, batch, failing=self.failing, settled=self.settled)
            if self.failing:
                self.settled = 0  # what comes later cannot arrive before the rest of this one

    def settle_one(self, index: int = 0, *, failing: bool = False, settled: int = 0) -> None:
        """Answer only the batch that waits at `index`; the others go on waiting."""
        self._answer(*self._waiting.pop(index), failing=failing, settled=settled)

    def _answer(self, receipt: Receipt, batch: RecordBatch, *, failing: bool, settled: int) -> None:
        if receipt.done():
            return
        payloads = [batch.payload(row) for row in range(len(batch))]
        if failing:
            settled = min(settled, len(payloads))
            self.arrived += payloads[:settled]
            receipt.set_exception(TopicError("topic refuses", settled=settled))
            return
        rejected = [row for row, payload in enumerate(payloads) if self.refuses(payload)]
        self.arrived += [p for row, p in enumerate(payloads) if row not in rejected]
        receipt.set_result(
            Settlement(rejected=tuple(Rejection(row=row, reason="refused") for row in rejected))
        )

    def lose_acknowledgements(self) -> None:
        """What waits has arrived, and nobody is told: as when the agent is killed just then."""
        for _, batch in self._waiting:
            self.arrived += [batch.payload(row) for row in range(len(batch))]
        self._waiting.clear()

    @property
    def waiting(self) -> list[bytes]:
        """What was sent and is not answered."""
        return [batch.payload(row) for _, batch in self._waiting for row in range(len(batch))]

    @property
    def waiting_cost(self) -> int:
        """Memory that the batches that wait take in a producer."""
        return sum(batch.cost for _, batch in self._waiting)

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    async def drain(self, deadline_seconds: float) -> bool:
        """Answer what waits; while it is down, that it did not arrive in time."""
        waiting, self._waiting = self._waiting, []
        for receipt, batch in waiting:
            self._answer(receipt, batch, failing=self.failing or not self.up, settled=0)
        return self.up

    async def close(self) -> None:
        return None


class SlowDisk:
    """Once `arm`ed, nothing is in the page cache, and one cold read is held up until `release`.

    It is the `number`th one, counted from 1. Its thread has read the bytes by then; only the loop
    has not heard of it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._preadv = os.preadv
        self._read_cold = Source.read_cold
        self._number = self._reads = 0
        self._gate = threading.Event()
        self._held_up = threading.Event()
        monkeypatch.setattr(os, "preadv", self._uncached)
        slow = self._slow

        def read_cold(source: Source, want: int) -> Outcome:
            return slow(source, want)

        monkeypatch.setattr(Source, "read_cold", read_cold)  # a function, so that it is bound

    def arm(self, *, number: int = 1) -> None:
        self._number = number

    def holds_one_up(self) -> bool:
        return self._held_up.is_set()

    def release(self) -> None:
        self._gate.set()

    def _uncached(self, fd, buffers, offset, flags=0):
        if self._number and flags & os.RWF_NOWAIT:
            raise BlockingIOError
        return self._preadv(fd, buffers, offset, flags)

    def _slow(self, source: Source, want: int) -> Outcome:
        self._reads += bool(self._number)
        number = self._reads
        outcome = self._read_cold(source, want)
        if number and number == self._number:
            self._held_up.set()
            assert self._gate.wait(20), "the test lets it go on"
        return outcome


@contextlib.contextmanager
def _no_inotify() -> Iterator[None]:
    """The kernel gives no instance; it is not asked again for ten seconds."""

    def refuse(**_: object) -> None:
        raise OSError(errno.EMFILE, "refused by the test")

    with mock.patch.object(wakeup, "INotify", refuse):
        yield


def _only(outlet: Outlet, path: str) -> Outlet:
    return outlet


class Rig:
    """One stream over `paths`, from start to stop or kill, and again."""

    def __init__(
        self,
        state_dir: str,
        paths: list[str],
        *,
        writers: dict[str, LoopbackWriter] | None = None,
        max_record: int = 1000,
        memory: int = 8 << 20,
        max_open_files: int = 100,
        max_deleted_files: int = 100,
        max_deleted_bytes: int = 1 << 30,
        close_idle: float = 5.0,
        rescan: float = 0.5,
        inotify: bool = True,
        catch_up: CatchUpConfig | None = None,
        max_lag: dict[str, MaxLagConfig] | None = None,
        begins: dict[str, DestinationStartConfig] | None = None,
        **options: object,
    ) -> None:
        self.writers = writers or {"out": LoopbackWriter()}
        self.config = StreamConfig(
            name="s",
            paths=tuple(Glob(path) for path in paths),
            publish=tuple(
                DestinationConfig(
                    name=name, cluster=name, topic="t", start=(begins or {}).get(name)
                )
                for name in self.writers
            ),
            **{
                "rotate_grace": Seconds(0.05),
                "reader": TextReaderConfig(max_record=ByteSize(max_record)),
                **options,
            },
        )
        self.reader = make(self.config.reader)
        self.state_dir = state_dir
        self.memory = memory
        self.max_open_files = max_open_files
        self.max_deleted_files = max_deleted_files
        self.max_deleted_bytes = max_deleted_bytes
        self.close_idle = close_idle
        self.rescan = rescan
        self.inotify = inotify
        self.catch_up = catch_up
        self.max_lag = max_lag or {}
        self.events: list[Event] = []
        self.deciders: dict[str, float] = {}
        self.ledger = Ledger()
        self.running = False
        self.promotes = True  #: False: a version that knows nothing of promotions

    @property
    def writer(self) -> LoopbackWriter:
        return next(iter(self.writers.values()))

    # --- life ---------------------------------------------------------------------------------

    def start(self, *, once: bool = False) -> Rig:
        assert not self.running
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._failed)
        self.loop.run_until_complete(self._start(once))
        self.running = True
        return self

    async def _start(self, once: bool) -> None:
        self.state = StateDir(self.state_dir)
        clock, emit = SystemClock(), self.events.append
        self.breaker = CrashBreaker(self.state, emit)
        self.breaker.open()
        self.positions = SqlitePositions(
            self.state.positions, emit=emit, clock=clock, commit_every_seconds=0.01
        )
        await self.positions.open()
        with contextlib.nullcontext() if self.inotify else _no_inotify():
            self.wakeup = Wakeup(self.loop, emit)
        self.turns = Turns()
        services = Services(
            loop=self.loop,
            spawn=self._spawn,
            clock=clock,
            emit=emit,
            threads=DeviceThreads(emit, patience_seconds=PATIENCE_SECONDS),
            wakeup=self.wakeup,
            breaker=self.breaker,
            turns=self.turns,
        )
        self.dead_letters = DeadLetters(
            self.state.dead_letters, max_bytes=1 << 20, files=2, emit=emit, clock=clock
        )
        budget = Budget(self.memory, clusters=len(self.writers))
        self.ledger = Ledger()
        promotions = Promotions(self.positions, emit=emit, clock=clock)
        if self.promotes:
            await promotions.load([self.config])
        catch_up = self.catch_up and CatchUp(self.catch_up, clock)
        destinations = {
            name: Destination(
                stream="s",
                name=name,
                reader=self.reader,
                transforms=tuple(
                    make_transform(each, host="host", decider=self.deciders.__getitem__)
                    for each in self.config.transforms
                ),
                limit=Limit.of(self.config.limit, clock.monotonic()),
                catch_up=catch_up,
                linger=Linger(self.config.linger),
                headed=False,
                committer=self.positions,
                account=self.ledger.account("s", name),
                priority=self.config.priority,
                ceilings=budget.destination(
                    name, shadow=name in self.max_lag, priority=self.config.priority
                ),
                outlet=partial(
                    _only,
                    Outlet(
                        writer=writer,
                        partition_ceiling=partial(
                            budget.partition, name, "t", priority=self.config.priority
                        ),
                    ),
                ),
                file_ceiling=partial(budget.file, name),
                dead_letters=self.dead_letters,
                rotate_grace_seconds=self.config.rotate_grace,
                flush_partial_after_seconds=self.config.flush_partial_after,
                quiet_after_seconds=self.config.reader.quiet_after,
                once=once,
                lag=Lag(self.max_lag[name], self.config.reader) if name in self.max_lag else None,
                barrier=promotions.barrier("s", name),
            )
            for name, writer in self.writers.items()
        }
        descriptors = Descriptors(
            emit,
            max_open=self.max_open_files,
            max_deleted_files=self.max_deleted_files,
            max_deleted_bytes=self.max_deleted_bytes,
        )
        self.stream = Stream(
            self.config,
            destinations,
            services,
            self.positions,
            Walker(
                self.config.paths,
                self.config.exclude,
                self.config.rotated,
                rotated_dirs=self.config.rotated_dirs,
                follow_symlinks=self.config.follow_symlinks,
            ),
            descriptors=descriptors,
            rescan_seconds=self.rescan,
            close_idle_seconds=self.close_idle,
            positions_lost=self.positions.recovered,
        )
        self.stream.start()
        changeover = promotions.changeover("s", self.stream, lambda *_: "t", self._end_of)
        if changeover is not None:
            self._spawn(changeover.run())

    def _end_of(self, destination: str) -> EndOffsets:
        async def ends(_: Collection[str]) -> dict[str, tuple[int, ...]]:
            return {"t": (len(self.writers[destination].arrived),)}

        return ends

    def promote(self, new: str, old: str) -> Promotion:
        """As `singer promote` does, while it is stopped."""
        with IdleStore(
            self.state_dir, dry_run=False, clock=SystemClock(), emit=self.events.append
        ) as store:
            promotion = Promotion(stream="s", old=old, new=new, asked_ns=1)
            cuts = cuts_of(store.rows("s"), old, new)
            store.apply(Edit(promote=((promotion, tuple(cuts)),)))
        return promotion

    def promotions(self) -> list[Promotion]:
        with Query(os.path.join(self.state_dir, "positions")) as query:
            return query.promotions()

    def _spawn(self, work):
        task = self.loop.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.events.append(InternalError.of("task", error))

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception") or RuntimeError(str(context))
        self.events.append(InternalError.of("loop", error))

    def run_for(self, seconds: float) -> None:
        """Let the agent do what it has to for a while; for interleavings, not for waiting."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def run_until(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds

        async def poll() -> None:
            while not condition():
                assert time.monotonic() < deadline, (
                    f"{what}: not within {seconds} s; arrived {self.writer.arrived[-3:]}, "
                    f"events {[e for e in self.events if e.message()][-8:]}"
                )
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(poll())

    def run_until_caught_up(self) -> None:
        self.run_until(lambda: self.stream.caught_up, "caught up")

    def stop(self) -> bool:
        """A clean stop; whether everything sent was settled."""
        settled = self.loop.run_until_complete(self._stop())
        self._release()
        self.check()
        return settled

    async def _stop(self) -> bool:
        await self.stream.stop()
        for writer in self.writers.values():
            await writer.drain(1.0)
        settled = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                settled = await self.stream.settle()
        await self.positions.close()
        return settled

    def kill(self) -> None:
        """As SIGKILL: what is not committed by now never will be."""
        said = len(self.events)
        self.positions._pending.clear()
        self.positions._end()
        self._release()
        del self.events[said:]  # a process that is dead says nothing
        self.check()

    def _release(self) -> None:
        self.running = False
        self.stream._rewrites.close()
        while tasks := asyncio.all_tasks(self.loop):  # what ends may begin another
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=5.0))
        for writer in self.writers.values():
            writer._waiting.clear()  # what was sent while it ended
        self.stream.close()
        self.wakeup.close()
        self.breaker.close()
        self.state.close()
        self.loop.close()

    def check(self) -> None:
        """No bug showed, and the books are balanced."""
        bugs = [event for event in self.events if isinstance(event, InternalError)]
        assert not bugs, "\n".join(bug.trace for bug in bugs)
        self.ledger.check()

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]
