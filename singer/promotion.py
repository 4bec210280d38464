"""Promotions: the barriers that their destinations come to, and who is primary by them.

Owns what of a stream may be sent before the cut is passed, and when it is: nothing behind the cut
is sent to a destination before all that lies before it, of all files, is acknowledged and
committed there; then where its topics end is recorded, and what follows may be sent. The two
destinations do not wait for each other. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from singer.base.backoff import Backoff
from singer.base.config import StreamConfig
from singer.base.errors import DeliveryError, StateError
from singer.base.events import (
    CutReached,
    CutWaits,
    Emit,
    PromotionBegins,
    PromotionCancelled,
    PromotionComplete,
    RolesKnown,
)
from singer.base.ports import Clock
from singer.base.position import Position
from singer.base.promotion import (
    Cut,
    Ends,
    FileKey,
    Promotion,
    RowKey,
    file_key,
    in_effect,
    row_key,
)

#: No file is as long.
NO_LIMIT: Final = 1 << 62
#: How often it is looked whether everything before the cut is delivered. Only while it is not.
_POLL_SECONDS: Final = 0.1
#: First and longest wait before the ends are asked for or recorded again.
_BACKOFF_SECONDS: Final = (0.5, 30.0)


class Barrier:
    """How far one destination may read files until it is opened."""

    def __init__(self, cuts: Iterable[Cut], *, new: bool) -> None:
        """`new`: it is the destination that becomes the primary."""
        self.is_open = False
        self.passed = False  #: something behind it was sent before it was opened
        self._by_row: dict[RowKey, int] = {}
        self._by_file: dict[FileKey, int] = {}
        for cut in cuts:
            row = cut.new if new else cut.old
            if row is None:
                self._by_file[cut.file] = cut.offset
            else:
                self._by_row[row] = cut.offset

    def limit(self, position: Position) -> int:
        """The file offset up to which it may be read: the cut, or where it is if that is further.

        Files that nobody had begun are behind the cut as a whole.
        """
        if self.is_open:
            return NO_LIMIT
        key = row_key(position)
        cut = self._by_row.get(key)
        if cut is None:  # whatever comes at that file's place later is another one
            cut = self._by_row[key] = self._by_file.pop(file_key(position), 0)
        return max(cut, position.offset)

    def moved(self, before: Position, after: Position) -> None:
        """It turns out that more is delivered than was known."""
        self.passed |= after.offset > self.limit(before)

    def open(self) -> None:
        """Let everything pass."""
        self.is_open = True
        self._by_row.clear()
        self._by_file.clear()


#: Asks brokers where topics end: by topic, the offset of the next record of each partition. Raises
#: DeliveryError.
EndOffsets: TypeAlias = Callable[[Collection[str]], Awaitable[Mapping[str, tuple[int, ...]]]]


class Files(Protocol):
    """The files of a stream."""

    def is_cut(self, destination: str) -> bool:
        """Whether all that may pass the barrier of a destination, and can be had, is committed."""
        ...

    def go_on(self, destination: str) -> None:
        """The barrier of a destination is open."""
        ...


class Store(Protocol):
    """Where promotions are kept; what it returned is on disk. All raise StateError."""

    async def promotions(self) -> list[Promotion]:
        """All of them, the oldest first."""
        ...

    async def cuts(self, promotion: Promotion) -> list[Cut]:
        """Where a promotion, the last one of its stream, cuts files."""
        ...

    async def passed(self, promotion: Promotion, destination: str) -> int:
        """How many files a destination is through beyond their cut."""
        ...

    async def reached(self, promotion: Promotion, destination: str, ends: Ends) -> Ends:
        """Record the ends of a destination, and all positions before; the same, completed."""
        ...

    async def cancel(self, promotion: Promotion) -> None:
        """Forget one."""
        ...


class Promotions:
    """Those of all streams, for one run of the agent."""

    def __init__(self, store: Store, *, emit: Emit, clock: Clock) -> None:
        self._store = store
        self._emit = emit
        self._clock = clock
        self._all: list[Promotion] = []
        self._pending: dict[str, tuple[Promotion, list[Cut]]] = {}
        self._barriers: dict[tuple[str, str], Barrier] = {}

    async def load(self, streams: Iterable[StreamConfig]) -> None:
        """Learn of them, before any file is read. Raises StateError."""
        self._all = await self._store.promotions()
        last = {each.stream: each for each in self._all}
        for stream in streams:
            promotion = last.get(stream.name)
            if promotion is None:
                continue
            sides = [each.name for each in stream.publish if promotion.awaits(each.name)]
            # A version that knows no promotions ran in between, for one.
            passed = [name for name in sides if await self._store.passed(promotion, name)]
            if passed:
                await self._store.cancel(promotion)
                self._all.remove(promotion)
                self._emit(_cancelled(promotion, passed[0]))
            elif sides:
                cuts = await self._store.cuts(promotion)
                self._pending[stream.name] = promotion, cuts
                for name in sides:
                    barrier = Barrier(cuts, new=name == promotion.new)
                    self._barriers[stream.name, name] = barrier

    def in_effect(self, stream: StreamConfig) -> StreamConfig:
        """A stream as its promotions have it: who is primary, and who a shadow."""
        effective = in_effect(stream, self._all)
        if len(stream.publish) > 1:
            names = {
                shadow: [d.name for d in effective.publish if d.shadow is shadow]
                for shadow in (False, True)
            }
            self._emit(
                RolesKnown(
                    stream=stream.name,
                    primaries=", ".join(names[False]),
                    shadows=", ".join(names[True]),
                    promoted=effective != stream,
                )
            )
        return effective

    def barrier(self, stream: str, destination: str) -> Barrier | None:
        """The barrier that a destination has to come to; None: there is none."""
        return self._barriers.get((stream, destination))

    def changeover(
        self,
        stream: str,
        files: Files,
        topic: Callable[[str, str], str],
        end_offsets: Callable[[str], EndOffsets],
    ) -> Changeover | None:
        """The promotion of a stream that is to be carried out; None: there is none.

        `topic` is that of (destination, path), `end_offsets` asks the brokers of a destination.
        """
        if stream not in self._pending:
            return None
        promotion, cuts = self._pending[stream]
        sides = [
            Side(
                name=destination,
                barrier=barrier,
                topics=frozenset(topic(destination, cut.path) for cut in cuts),
                end_offsets=end_offsets(destination),
            )
            for (name, destination), barrier in self._barriers.items()
            if name == stream
        ]
        return Changeover(
            promotion, sides, files, store=self._store, emit=self._emit, clock=self._clock
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A destination that has still to come to the cut."""

    name: str
    barrier: Barrier
    topics: Collection[str]
    end_offsets: EndOffsets


class Changeover:
    """One promotion that is not complete."""

    def __init__(
        self,
        promotion: Promotion,
        sides: Collection[Side],
        files: Files,
        *,
        store: Store,
        emit: Emit,
        clock: Clock,
    ) -> None:
        self._promotion = promotion
        self._sides = sides
        self._files = files
        self._store = store
        self._emit = emit
        self._clock = clock
        self._ends = dict(promotion.ends)
        self._cancelled = False

    async def run(self) -> None:
        """Until both destinations are cut, or it is found out that they cannot be."""
        promotion = self._promotion
        self._emit(PromotionBegins(stream=promotion.stream, old=promotion.old, new=promotion.new))
        await asyncio.gather(*(self._cut(side) for side in self._sides))
        if promotion.old in self._ends and promotion.new in self._ends:
            old, new = self._ends[promotion.old], self._ends[promotion.new]
            self._emit(
                PromotionComplete(
                    stream=promotion.stream,
                    old=promotion.old,
                    new=promotion.new,
                    old_ends=old.shown,
                    new_ends=new.shown,
                )
            )

    async def _cut(self, side: Side) -> None:
        backoff = Backoff(*_BACKOFF_SECONDS)
        while not self._cancelled:
            if side.barrier.passed:
                await self._cancel(side.name)
                return
            if not self._files.is_cut(side.name):
                await asyncio.sleep(_POLL_SECONDS)
                continue
            try:
                offsets = await side.end_offsets(side.topics)
                ends = Ends(reached_ns=self._clock.now_ns(), offsets=offsets)
                ends = await self._store.reached(self._promotion, side.name, ends)
            except (DeliveryError, StateError) as error:
                await self._wait(side.name, str(error), backoff.next())
                continue
            self._ends[side.name] = ends
            self._emit(
                CutReached(
                    stream=self._promotion.stream,
                    destination=side.name,
                    ends=ends.shown,
                    missed=ends.missed,
                )
            )
            self._open(side)
            return

    async def _wait(self, destination: str, cause: str, seconds: float) -> None:
        self._emit(
            CutWaits(
                stream=self._promotion.stream,
                destination=destination,
                cause=cause,
                retry_seconds=seconds,
            )
        )
        await asyncio.sleep(seconds)

    async def _cancel(self, destination: str) -> None:
        """What was sent behind the cut is on the wrong side of it: there is no pair of ends."""
        self._cancelled = True
        backoff = Backoff(*_BACKOFF_SECONDS)
        while True:
            try:
                await self._store.cancel(self._promotion)
                break
            except StateError as error:
                await self._wait(destination, str(error), backoff.next())
        self._emit(_cancelled(self._promotion, destination))
        for side in self._sides:
            self._open(side)

    def _open(self, side: Side) -> None:
        side.barrier.open()
        self._files.go_on(side.name)


def _cancelled(promotion: Promotion, destination: str) -> PromotionCancelled:
    return PromotionCancelled(
        stream=promotion.stream, new=promotion.new, old=promotion.old, destination=destination
    )
