"""Daemon threads for what blocks in librdkafka."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from singer.base.errors import ClusterError

Result = TypeVar("Result")


def in_thread(name: str, work: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run `work` in a daemon thread of its own; the future belongs to the running loop.

    The loop's default executor is of no use here: its few threads are shared with everything
    else, and the interpreter waits for them at exit, for ever if a call hangs.

    Raises ClusterError when the system gives no thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def tell(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only if Result is

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001  # whoever awaits is to see it
            error = caught
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:
        raise ClusterError(
            f"start thread {name}: {error}: raise the limit of tasks (TasksMax, ulimit -u)"
        ) from error
    return future
