"""One daemon thread that does blocking work in order, for coroutines that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job(Generic[T]):
    function: Callable[[], T]
    future: asyncio.Future[T]
    loop: asyncio.AbstractEventLoop

    def run(self) -> None:
        # A caller that gave up no longer expects the work to be done; it may ask again.
        if self.future.cancelled():
            return
        try:
            result = self.function()
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller
            self._answer(self._fail, error)
        else:
            self._answer(self._succeed, result)

    def _answer(self, settle: Callable[[Any], None], value: object) -> None:
        # The loop may be closed when a stop did not wait for a hung disk.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(settle, value)

    def _succeed(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Worker:
    """Runs functions one after the other in its own thread.

    The thread is a daemon: one that hangs in a dead disk does not keep the process from exiting.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run `function` after all that was given before. Loop thread only.

        Cancelling the future keeps the function from being run, unless it has begun.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(function=function, future=future, loop=loop))
        return future

    def stop(self) -> None:
        """Let the thread end after what it was given so far."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
