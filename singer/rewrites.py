"""Rewrites: open files that were truncated or rewritten, and are read anew.

Owns the way from the end of one pipeline to the beginning of the next, for each destination by
itself: another may be down, and what it was sent not settled. Loop thread only.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from singer.agenda import Agenda
from singer.base.errors import ReadError, StateError
from singer.base.events import FileRewritten
from singer.base.ports import PositionStore
from singer.base.position import NO_MARK, Position
from singer.files.openfile import OpenFile
from singer.inquiries import Inquiries
from singer.pipeline import Pipeline
from singer.roster import Roster, Tracked
from singer.services import Services


class Rewrites:
    """The files of one stream that begin anew. `taking_stock` is held while it asks."""

    def __init__(
        self,
        stream: str,
        services: Services,
        store: PositionStore,
        *,
        open_files: Roster,
        inquiries: Inquiries,
        agenda: Agenda,
        taking_stock: asyncio.Lock,
        scanned: asyncio.Event,
    ) -> None:
        self._stream = stream
        self._services = services
        self._store = store
        self._open = open_files
        self._inquiries = inquiries
        self._agenda = agenda
        self._taking_stock = taking_stock
        self._scanned = scanned
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether some file is about to begin anew."""
        return bool(self._tasks)

    def begin(self, tracked: Tracked, pipeline: Pipeline) -> None:
        """A pipeline found that its file was truncated or rewritten; it reads no more."""
        destination = pipeline.position.destination
        if self._stopped or destination in tracked.rewriting:
            return
        tracked.rewriting.add(destination)
        task = self._services.spawn(self._begin_anew(tracked, pipeline))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Begin no more."""
        self._stopped = True

    async def stop(self) -> None:
        """End what is under way; the next run finds out itself."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _begin_anew(self, tracked: Tracked, old: Pipeline) -> None:
        """Finish what was read, look for a copy of the rest, and read the file from its start."""
        await old.stop()
        await old.settle()
        while True:
            try:
                async with self._taking_stock:
                    wait_seconds = await self._replace(tracked, old)
                if not wait_seconds:
                    break
                await asyncio.sleep(wait_seconds)
            except (StateError, ReadError) as error:
                await asyncio.sleep(self._inquiries.failed(error))
        tracked.rewriting.discard(old.position.destination)
        tracked.pipelines[old.position.destination].wake()

    async def _replace(self, tracked: Tracked, old: Pipeline) -> float:
        """A new pipeline in place of `old`: 0.0; or in how many seconds to try again."""
        file, position, now_ns = tracked.file, old.position, self._inquiries.now_ns()
        await self._store.flush()  # else an older commit could follow the rows written below
        copied = await self._has_moved(position, file)  # by an attempt that did not come to its end
        if not copied:
            first = not self._scanned.is_set()
            wait_seconds = await self._inquiries.ask_for(position, file.path, first=first)
            if wait_seconds:
                return wait_seconds
            copied = await self._has_moved(position, file)
        fresh = replace(
            position,
            id=0 if copied else position.id,
            identity=replace(file.identity, fingerprint=NO_MARK),
            offset=0,
            tail=NO_MARK,
            resume=b"",
            first_seen_ns=now_ns,
            updated_ns=now_ns,
        )
        (saved,) = await self._store.sight([fresh])
        old.abandon(None if copied else "truncated")
        self._services.emit(
            FileRewritten(
                stream=self._stream,
                destination=position.destination,
                path=file.seen_at,
                offset=position.offset,
                copied=copied,
            )
        )
        rotated = [
            other.pipelines[position.destination]
            for other in self._open.of_path(file.path)
            if other is not tracked
            and other.file.final_since is not None
            and position.destination in other.pipelines
        ]
        tracked.pipelines[position.destination] = old.renewed(saved, rotated)
        # What was copied is not in it any more.
        self._inquiries.copies.pop((file.path, position.destination), None)
        # What was written, copied and truncated again while this went on is in a sibling by now.
        self._agenda.ask_later([file.path])
        return 0.0

    async def _has_moved(self, position: Position, file: OpenFile) -> bool:
        """Whether the row is that of another file by now: the copy of what this one held."""
        return any(
            row.id == position.id and row.identity.key != file.key
            for row in await self._store.lineage(self._stream, [position.path])
        )
