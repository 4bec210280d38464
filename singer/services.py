"""What pipelines are given: the parts shared by the agent, and those of one destination.

Values only; `agent` makes them, `stream` hands them on, `pipeline` uses them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from singer.base.config import Priority
from singer.base.events import Emit
from singer.base.ledger import Account
from singer.base.ports import Clock, Committer, Reader, Transform
from singer.budget import Ceiling
from singer.catch_up import CatchUp
from singer.files.threads import DeviceThreads
from singer.files.wakeup import Wakeup
from singer.lag import Lag
from singer.limit import Limit
from singer.linger import Linger
from singer.outlets import Outlet
from singer.positions.breaker import CrashBreaker
from singer.promotion import Barrier
from singer.turns import Turns
from singer.writers.dead_letters import DeadLetter


class DeadLetterSink(Protocol):
    """Where bytes go that are no record, or that the broker will never take."""

    async def write(self, letters: list[DeadLetter]) -> None:
        """Write and sync. Raises WorldError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What the pipelines of one entry of `publish` share."""

    stream: str
    name: str
    reader: Reader
    transforms: tuple[Transform, ...]
    limit: Limit | None
    catch_up: CatchUp | None  #: of its cluster
    linger: Linger
    headed: bool  #: records carry headers, which may say what file they are from
    committer: Committer
    account: Account
    priority: Priority
    ceilings: tuple[Ceiling, ...]
    outlet: Callable[[str], Outlet]  #: by path
    file_ceiling: Callable[[], Ceiling]
    dead_letters: DeadLetterSink
    rotate_grace_seconds: float
    flush_partial_after_seconds: float | None
    quiet_after_seconds: float | None  #: the reader's own
    once: bool  #: deliver what is there; wait for no grace period
    lag: Lag | None = None  #: of a shadow that may skip
    barrier: Barrier | None = None  #: of a promotion that it has still to come to the cut of


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What all pipelines of the agent share."""

    loop: asyncio.AbstractEventLoop
    spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]]  #: failures end the agent
    clock: Clock
    emit: Emit
    threads: DeviceThreads
    wakeup: Wakeup
    breaker: CrashBreaker
    turns: Turns
