"""Shadows: those of a stream that may skip when they lag, looked at now and then.

Owns when they begin to skip, and when they go on: a shadow that is too far behind passes over what
is there, again and again, until nothing of it is under way any more. So what it skips is one
stretch of each file, and what it was sent before arrives. `lag` knows what too far is, `pipeline`
skips. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from singer.base.events import ShadowGoesOn, ShadowLags, ShadowSkipped
from singer.base.position import Position
from singer.files.census import Key
from singer.lag import REASON, Behind, Lag
from singer.pipeline import Pipeline
from singer.roster import Roster, Tracked
from singer.services import Destination, Services

#: How often it is looked.
LOOK_SECONDS: Final = 1.0


class Shadows:
    """`start` and `stop` frame its life."""

    def __init__(
        self, destinations: Mapping[str, Destination], services: Services, open_files: Roster
    ) -> None:
        self._shadows = [each for each in destinations.values() if each.lag is not None]
        self._services = services
        self._open = open_files
        self._timer: asyncio.TimerHandle | None = None
        self._begun: dict[str, int] = {}  # what had been skipped before it began
        self._told: dict[str, int] = {}  # what is counted of what was skipped
        self._looked: set[str] = set()  # those that were seen to have skipped nothing

    def start(self) -> None:
        """Look from now on."""
        if self._shadows:
            self._timer = self._services.loop.call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more: what is passed over and not settled is read at the next start."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        for shadow in self._shadows:
            assert shadow.lag is not None
            if shadow.barrier is not None and not shadow.barrier.is_open:
                continue  # it was primary, and consumers read it up to the cut
            pipelines = [
                (tracked, pipeline)
                for tracked in self._open.values()
                if (pipeline := tracked.pipelines.get(shadow.name)) is not None
            ]
            if shadow.lag.over:
                self._go_on(shadow, shadow.lag, [pipeline for _, pipeline in pipelines])
            else:
                self._judge(shadow, shadow.lag, pipelines)

    def _judge(
        self, shadow: Destination, lag: Lag, pipelines: list[tuple[Tracked, Pipeline]]
    ) -> None:
        """Begin to skip if it is too far behind."""
        now_ns = self._services.clock.now_ns()
        files = []
        for tracked, pipeline in pipelines:
            if pipeline.resting or pipeline.changed:
                continue
            size, written_ns = tracked.state()
            files.append(
                Behind(
                    key=tracked.file.key,
                    offset=pipeline.position.offset,
                    size=size,
                    nbytes=pipeline.undelivered(size),
                    idle_seconds=max(0.0, (now_ns - written_ns) / 1e9),
                )
            )
        if not lag.is_exceeded(files, self._services.clock.monotonic()):
            return
        lag.over = True
        self._looked.discard(shadow.name)
        lag.others = self._others(shadow.name)
        self._begun[shadow.name] = self._told[shadow.name] = shadow.account.skipped[REASON]
        nbytes = sum(file.nbytes for file in files)
        self._services.emit(
            ShadowLags(stream=shadow.stream, destination=shadow.name, nbytes=nbytes)
        )
        for _, pipeline in pipelines:
            if not pipeline.resting:
                pipeline.interrupt()

    def _go_on(self, shadow: Destination, lag: Lag, pipelines: list[Pipeline]) -> None:
        """Skip what came meanwhile, or send again if all that was sent is settled."""
        skipped = shadow.account.skipped[REASON]
        if more := skipped - self._told[shadow.name]:
            self._told[shadow.name] = skipped
            self._services.emit(
                ShadowSkipped(stream=shadow.stream, destination=shadow.name, nbytes=more)
            )
        if not all(pipeline.settled for pipeline in pipelines):
            lag.others = self._others(shadow.name)
        elif skipped == self._begun[shadow.name] and shadow.name not in self._looked:
            # What was rewound is settled as well, and has still to be passed over.
            self._looked.add(shadow.name)
            for pipeline in pipelines:
                if not pipeline.resting:
                    pipeline.interrupt()
        else:
            lag.over = False
            self._services.emit(
                ShadowGoesOn(
                    stream=shadow.stream,
                    destination=shadow.name,
                    nbytes=skipped - self._begun[shadow.name],
                )
            )
        for pipeline in pipelines:
            if not pipeline.resting:
                pipeline.wake()

    def _others(self, name: str) -> dict[Key, Position]:
        """By file, the furthest position that another destination than `name` has."""
        furthest = {}
        for tracked in self._open.values():
            positions = [
                pipeline.position
                for destination, pipeline in tracked.pipelines.items()
                if destination != name and not pipeline.changed
            ]
            if positions:
                furthest[tracked.file.key] = max(positions, key=lambda each: each.offset)
        return furthest
