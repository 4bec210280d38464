"""DeviceThreads: blocking calls on files, in daemon threads of our own.

A mount that hangs must block neither the loop, nor other devices, nor the exit of the process:
each device has at most two threads of its own, and nobody waits for them at the end. (asyncio's
default executor is shared, small, and joined at exit, for ever if a mount hangs.) Threads exist
only while there is work, and a little longer.

Loop thread only; what is given to `run` runs in a thread and must not touch shared state.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from singer.base.errors import ReadError

#: One more than one, so that a single slow read does not hold up the rest of its device.
THREADS_PER_DEVICE: Final = 2
#: A thread without work ends after this long; starting one costs 0.1 ms.
IDLE_SECONDS: Final = 10.0

_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Call:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    function: Callable[[], Any]


@dataclass(slots=True, eq=False)
class _Device:
    """The calls of one device, and how many threads serve them. Guarded by `changed`."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    calls: deque[_Call] = field(default_factory=deque)
    threads: int = 0
    idle: int = 0


class DeviceThreads:
    """Runs blocking calls; at most `per_device` at the same time for each device.

    A device is any key: st_dev, or a name for work whose device is not known yet. Calls with the
    same key can hold each other up, others cannot.
    """

    def __init__(
        self, *, per_device: int = THREADS_PER_DEVICE, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._per_device = per_device
        self._idle_seconds = idle_seconds
        self._devices: dict[Hashable, _Device] = {}

    async def run(
        self, device: Hashable, function: Callable[..., _Result], *arguments: Any
    ) -> _Result:
        """The result of `function(*arguments)`, called in a thread; raises what it raises.

        There is no deadline but the caller's. Cancelled, it returns at once: a call that has not
        begun never will, one that has runs on, and what it returns or raises is dropped. Raises
        ReadError when the system has no thread for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        self._submit(device, _Call(loop, future, lambda: function(*arguments)))
        return await future

    @property
    def alive(self) -> int:
        """How many threads there are."""
        return sum(device.threads for device in self._devices.values())

    def _submit(self, key: Hashable, call: _Call) -> None:
        device = self._devices.get(key)
        if device is None:
            # Device numbers come and go with mounts: those without threads are forgotten.
            self._devices = {k: d for k, d in self._devices.items() if d.threads}
            device = self._devices[key] = _Device()
        with device.changed:
            device.calls.append(call)
            if device.idle >= len(device.calls):
                device.changed.notify()
                return
            if device.threads == self._per_device:
                return
            device.threads += 1
        try:
            threading.Thread(
                target=self._serve, args=(device,), name=f"singer-files-{key}", daemon=True
            ).start()
        except RuntimeError as error:
            # The others of this device will come to it; without others the caller has to know.
            with device.changed:
                device.threads -= 1
                if not device.threads:
                    device.calls.remove(call)
                    raise ReadError(
                        "start a thread for files: the system has no more; raise the limit of "
                        "processes (ulimit -u, TasksMax, pids.max)"
                    ) from error

    def _serve(self, device: _Device) -> None:
        while True:
            with device.changed:
                if not device.calls:
                    device.idle += 1
                    device.changed.wait(self._idle_seconds)
                    device.idle -= 1
                    if not device.calls:
                        device.threads -= 1
                        return
                call = device.calls.popleft()
            _perform(call)
            del call  # idle threads keep nothing alive


def _perform(call: _Call) -> None:
    if call.future.cancelled():
        return
    try:
        result = call.function()
    except BaseException as error:  # noqa: BLE001  # it is raised where the result is awaited
        _hand_over(call, _fail, error)
    else:
        _hand_over(call, _succeed, result)


def _hand_over(
    call: _Call, settle: Callable[[asyncio.Future[Any], Any], None], outcome: object
) -> None:
    # RuntimeError: the loop is closed, nobody is left to be told.
    with contextlib.suppress(RuntimeError):
        call.loop.call_soon_threadsafe(settle, call.future, outcome)


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
