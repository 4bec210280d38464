"""DeviceThreads: blocking calls on files, in daemon threads of our own.

A mount that hangs must block neither the loop, nor other devices, nor the exit of the process:
each device has at most two threads of its own, and nobody waits for them at the end. (asyncio's
default executor is shared, small, and joined at exit, for ever if a mount hangs.) Threads exist
only while there is work, and a little longer. That a device does not answer is said once, and
once more when it answers again.

Loop thread only; what is given to `run` runs in a thread and must not touch shared state.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from singer.base.errors import ReadError
from singer.base.events import Emit, discard
from singer.files.events import MountAnswers, MountHangs
from singer.files.stat import mount_point

#: One more than one, so that a single slow read does not hold up the rest of its device.
THREADS_PER_DEVICE: Final = 2
#: A thread without work ends after this long; starting one costs 0.1 ms.
IDLE_SECONDS: Final = 10.0
#: A call that takes longer has met a hung mount: longer than a disk needs to start, and than a
#: server needs to fail over when all goes well.
PATIENCE_SECONDS: Final = 10.0

_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None  # None: nobody waits for the outcome
    begun: float = 0.0  # monotonic


@dataclass(slots=True, eq=False)
class _Device:
    """The calls of one device, and how many threads serve them. Guarded by `changed`."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    calls: deque[_Call] = field(default_factory=deque)
    running: set[_Call] = field(default_factory=set)
    threads: int = 0
    idle: int = 0
    # The loop's own:
    watchdog: asyncio.TimerHandle | None = None
    hung: str = ""  # what was said not to answer


class DeviceThreads:
    """Runs blocking calls; at most `per_device` at the same time for each device.

    A device is any key: st_dev, or a name for work whose device is not known yet. Calls with the
    same key can hold each other up, others cannot. A device of which a call takes longer than
    `patience_seconds` is said to hang.
    """

    def __init__(
        self,
        emit: Emit = discard,
        *,
        per_device: int = THREADS_PER_DEVICE,
        idle_seconds: float = IDLE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._emit = emit
        self._per_device = per_device
        self._idle_seconds = idle_seconds
        self._patience_seconds = patience_seconds
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
        call = _Call(lambda: function(*arguments), loop, future)
        served_by = self._submit(device, call)
        if served_by.watchdog is None:
            self._watch_over(device, served_by, self._patience_seconds)
        try:
            return await future
        except asyncio.CancelledError:
            # Behind a hung call it would lie there for as long as that hangs.
            with served_by.changed, contextlib.suppress(ValueError):
                served_by.calls.remove(call)
            raise

    def post(self, device: Hashable, function: Callable[..., object], *arguments: Any) -> None:
        """Have `function(*arguments)` called in a thread; what becomes of it is not told.

        Raises ReadError when the system has no thread for it.
        """
        self._submit(device, _Call(lambda: function(*arguments)))

    @property
    def alive(self) -> int:
        """How many threads there are."""
        return sum(device.threads for device in self._devices.values())

    @property
    def hung(self) -> int:
        """How many devices do not answer."""
        return sum(bool(device.hung) for device in self._devices.values())

    def hangs(self, device: Hashable) -> bool:
        """Whether the device was said not to answer, and did not since."""
        served_by = self._devices.get(device)
        return served_by is not None and bool(served_by.hung)

    def are_stuck(self, device: Hashable, seconds: float) -> bool:
        """Whether all threads of the device have been in a call for so long: more will wait."""
        served_by = self._devices.get(device)
        if served_by is None:
            return False
        with served_by.changed:
            begun = [call.begun for call in served_by.running]
        return len(begun) == self._per_device and max(begun) <= time.monotonic() - seconds

    def _watch_over(self, key: Hashable, device: _Device, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        device.watchdog = loop.call_later(seconds, self._look_after, key, device)

    def _look_after(self, key: Hashable, device: _Device) -> None:
        """Say that the device hangs, or that it does not any more; look again while it works."""
        device.watchdog = None
        with device.changed:
            begun = [call.begun for call in device.running]
        waited = time.monotonic() - min(begun) if begun else 0.0
        left = self._patience_seconds - waited
        if left <= 0 and not device.hung:
            device.hung = _name(key)
            self._emit(MountHangs(what=device.hung, seconds=waited))
        elif left > 0 and device.hung:
            self._emit(MountAnswers(what=device.hung))
            device.hung = ""
        if begun:
            self._watch_over(key, device, left if left > 0 else self._patience_seconds)

    def _submit(self, key: Hashable, call: _Call) -> _Device:
        device = self._devices.get(key)
        if device is None:
            # Device numbers come and go with mounts: those without threads are forgotten.
            self._devices = {k: d for k, d in self._devices.items() if d.threads}
            device = self._devices[key] = _Device()
        with device.changed:
            device.calls.append(call)
            if device.idle >= len(device.calls):
                device.changed.notify()
                return device
            if device.threads == self._per_device:
                return device
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
        return device

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
                call.begun = time.monotonic()
                device.running.add(call)
            try:
                _perform(call)
            finally:
                with device.changed:
                    device.running.discard(call)
            del call  # idle threads keep nothing alive


def _perform(call: _Call) -> None:
    if call.future is not None and call.future.cancelled():
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
    if call.loop is None or call.future is None:
        return
    # RuntimeError: the loop is closed, nobody is left to be told.
    with contextlib.suppress(RuntimeError):
        call.loop.call_soon_threadsafe(settle, call.future, outcome)


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _name(key: Hashable) -> str:
    """What a person knows the device by."""
    if isinstance(key, int):
        return mount_point(key) or f"the device {os.major(key)}:{os.minor(key)}"
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
