"""Wakeup: who is to be called when a file may have grown or a directory may have changed.

Owns the agent's one inotify instance and, for files that cannot be watched, the timers that take
its place. Everything here is a hint: a callback says "look", never what is to be seen, and may
come for nothing. Loop thread only; callbacks run on the loop and must not block.

A growth watch is one-shot: the kernel removes it with its first event, so a file that is written
all the time costs one event for each time its reader came to the end, not one per write. It is
armed through the descriptor's name in /proc, so it follows the file through renames. inotify has
one watch per inode, so all who wait for one file share it. A watch needs no descriptor once it is
armed: an idle file may be closed and still call.

Nothing here touches a mount that may hang (`files.stat.is_shared`): the kernel would ask its
server before it adds a watch, and would never hear of what others write there. Such files are
polled without being touched (`poll`), such directories left to the rescan.

The order that loses nothing: `arm`, then look once more, then wait.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, TypeAlias, TypeVar

from inotify_simple import INotify, flags

from singer.base.events import Emit
from singer.files.events import WatchesExhausted, WatchesOverflowed
from singer.files.polling import Poller

#: Growth and truncation; ATTRIB comes when a name is removed, MOVE_SELF when one changes.
_GROWTH: Final = int(flags.MODIFY | flags.ATTRIB | flags.MOVE_SELF | flags.ONESHOT)
_DIRECTORY: Final = int(
    flags.CREATE
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
_IGNORED: Final = int(flags.IGNORED)
#: What is said of a directory that its path does not lead to any more.
_LEFT: Final = int(flags.IGNORED | flags.MOVE_SELF)
_OVERFLOW: Final = int(flags.Q_OVERFLOW)

#: struct inotify_event: wd, mask, cookie, length of the name that follows.
_EVENT: Final = Struct("iIII")
#: Some thousand events at once; the least that is allowed is one with the longest name.
_READ_BYTES: Final = 64 << 10

#: How soon to ask for an inotify instance again after it was refused.
_RETRY_SECONDS: Final = 10.0

_REMEDIES: Final = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches (sysctl)",
    errno.EMFILE: "raise fs.inotify.max_user_instances (sysctl) or the limit of open files",
    errno.ENFILE: "raise fs.file-max (sysctl)",
}

_Key = TypeVar("_Key", bound=Hashable)
_OnChange: TypeAlias = Callable[[str], object]


@dataclass(slots=True, eq=False)
class _Waiting:
    """One party that waits for one file; over when it is called, disarmed or armed again.

    There may be 100,000 of them: a chain through `next` instead of a container for each watch.
    """

    key: Any
    callback: Callable[[Any], object]
    watch: int | None
    next: _Waiting | None = None  # who waits for the same file, and came later


@dataclass(slots=True, eq=False)
class _Directory:
    watch: int | None = None
    callbacks: dict[Hashable, _OnChange] = field(default_factory=dict)


class Wakeup:
    """Calls back when files grow and directories change. `close` gives everything back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, emit: Emit) -> None:
        self._loop = loop
        self._emit = emit
        self._inotify: INotify | None = None
        self._retry_at = 0.0
        self._closed = False
        self._told: set[int] = set()  # errno values that were said
        self._poller = Poller(loop)
        self._waiting: dict[Hashable, _Waiting] = {}
        self._armed: dict[int, _Waiting] = {}  # by watch, the first of the chain
        self._directories: dict[str, _Directory] = {}
        self._paths: dict[int, set[str]] = {}  # by watch: bind mounts show one inode twice
        self._open()

    # --- files --------------------------------------------------------------------------------

    def arm(self, fd: int, key: _Key, callback: Callable[[_Key], object]) -> bool:
        """Call `callback(key)` once when the open file may have changed, not before this returned.

        `key` names the waiting party; arming again replaces what it waited for. The descriptor is
        used in this call only and may be closed afterwards. False: changes may go unnoticed, so
        that `callback` also comes after a while (0.01 s to 1 s, the longer the less the file
        grows); who closes the file then has to `disarm`. Raises OSError when `fd` is not open.

        Not for a file on a mount that may hang: this asks the mount (see `poll`).
        """
        if self._closed:
            return False
        watch = self._add(f"/proc/self/fd/{fd}", _GROWTH)
        if watch is None:
            self.poll(os.fstat(fd).st_size, key, callback)
            return False
        before = self._waiting.get(key)
        waiting = self._waiting[key] = _Waiting(key, callback, watch)
        # It takes its place before the one it replaces leaves, or the watch would be removed.
        self._enter(watch, waiting)
        if before is not None:
            self._leave(before)
        self._poller.stop(key)
        return True

    def poll(self, size: int, key: _Key, callback: Callable[[_Key], object]) -> None:
        """Call `callback(key)` once after a while (0.01 s to 1 s), without touching the file.

        `size` is that of the file at the last look: the pace follows its growth. Replaces what
        `key` waited for, as `arm` does.
        """
        if self._closed:
            return
        before = self._waiting.get(key)
        waiting = self._waiting[key] = _Waiting(key, callback, None)
        if before is not None:
            self._leave(before)
        self._poller.start(key, size, self._fire, waiting)

    def disarm(self, key: Hashable) -> None:
        """Forget `key`, watch and timer: no callback comes after this. Its file may be closed."""
        self._poller.stop(key)
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._leave(waiting)

    @property
    def polled(self) -> int:
        """How many files are polled, because their growth may go unnoticed."""
        return len(self._poller)

    # --- directories --------------------------------------------------------------------------

    def watch_directory(
        self, path: str, key: Hashable, callback: _OnChange, *, remote: bool = False
    ) -> bool:
        """Call `callback(path)` whenever the entries of the directory may have changed.

        To be called again whenever the directory was seen: it may be another one by now. A
        directory that was not watched before is reported once, because what happened between the
        look that found it and the watch is in neither. False: it cannot be watched now.

        `remote`: it is on a mount that may hang, which is not touched: False.
        """
        watch = None if remote else self._add(path, _DIRECTORY)
        known = self._directories.setdefault(path, _Directory())
        fresh = known.watch != watch
        if fresh:
            # It is new, another one has taken its place, or the name leads nowhere.
            self._release(path, known)
        if watch is None:
            self.unwatch_directory(path, key)
            return False
        if fresh:
            known.watch = watch
            self._paths.setdefault(watch, set()).add(path)
        if fresh or key not in known.callbacks:
            self._loop.call_soon(self._report, path)
        known.callbacks[key] = callback
        return True

    def unwatch_directory(self, path: str, key: Hashable) -> None:
        """Forget that `key` watches `path`."""
        known = self._directories.get(path)
        if known is None:
            return
        known.callbacks.pop(key, None)
        if not known.callbacks:
            self._release(path, known)
            del self._directories[path]

    # --- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop calling back."""
        self._closed = True
        self._poller.close()
        self._waiting.clear()
        self._armed.clear()
        self._directories.clear()
        self._paths.clear()
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    # --- the kernel's side --------------------------------------------------------------------

    def _open(self) -> INotify | None:
        if self._inotify is None and not self._closed and self._loop.time() >= self._retry_at:
            try:
                self._inotify = INotify(nonblocking=True)
            except OSError as error:
                self._retry_at = self._loop.time() + _RETRY_SECONDS
                self._refused(error)
            else:
                self._loop.add_reader(self._inotify.fileno(), self._read)
        return self._inotify

    def _add(self, path: str, mask: int) -> int | None:
        inotify = self._open()
        if inotify is None:
            return None
        try:
            return int(inotify.add_watch(path, mask))
        except OSError as error:
            self._refused(error)
            return None

    def _refused(self, error: OSError) -> None:
        """Say once that polling takes over; a name that leads nowhere is no matter."""
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is not None and error.errno is not None and error.errno not in self._told:
            self._told.add(error.errno)
            self._emit(WatchesExhausted(cause=os.strerror(error.errno).lower(), remedy=remedy))

    def _remove(self, watch: int) -> None:
        if self._inotify is None:
            return
        try:
            self._inotify.rm_watch(watch)
        except OSError as error:
            # EINVAL: it fired or its file is gone, and the event is still to be read. Numbers
            # are given out cyclically (inotify(7), Bugs), so it is not somebody else's by now.
            if error.errno != errno.EINVAL:
                raise

    def _read(self) -> None:
        if self._inotify is None:
            return
        try:
            data = os.read(self._inotify.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        position, end = 0, len(data)
        changed: dict[str, None] = {}  # once for each directory, however many events it has
        while position < end:
            watch, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if mask & _OVERFLOW:
                self._overflowed()
                continue
            self._fire_all(self._armed.pop(watch, None))
            paths = self._paths.get(watch)
            if paths is not None:
                changed.update(dict.fromkeys(paths))
                if mask & _LEFT:
                    self._directory_left(watch, mask)
        for path in changed:
            self._report(path)

    def _overflowed(self) -> None:
        """Events were dropped, nobody knows which: all have to look.

        The kernel's watches stay: who looked and found nothing arms the same one again.
        """
        armed, self._armed = self._armed, {}
        self._emit(WatchesOverflowed(files=len(self._waiting), directories=len(self._directories)))
        for first in armed.values():
            self._fire_all(first)
        for path in list(self._directories):
            self._report(path)

    # --- parties ------------------------------------------------------------------------------

    def _fire_all(self, first: _Waiting | None) -> None:
        # All of them, before the first call: a callback may arm and disarm others.
        chain = []
        while first is not None:
            chain.append(first)
            first = first.next
        for waiting in chain:
            self._fire(waiting)

    def _fire(self, waiting: _Waiting) -> None:
        # A callback before this one may have disarmed it or armed it again.
        if self._waiting.get(waiting.key) is waiting:
            del self._waiting[waiting.key]
            waiting.callback(waiting.key)

    def _enter(self, watch: int, waiting: _Waiting) -> None:
        last = self._armed.setdefault(watch, waiting)
        while last is not waiting and last.next is not None:
            last = last.next
        if last is not waiting:
            last.next = waiting

    def _leave(self, waiting: _Waiting) -> None:
        """Take a party off its watch, and remove the watch when nobody else waits for it."""
        watch = waiting.watch
        each = None if watch is None else self._armed.get(watch)
        if watch is None or each is None:
            return
        if each is not waiting:
            while each is not None and each.next is not waiting:
                each = each.next
            if each is not None:
                each.next = waiting.next
        elif waiting.next is not None:
            self._armed[watch] = waiting.next
        else:
            del self._armed[watch]
            self._remove(watch)

    def _report(self, path: str) -> None:
        known = self._directories.get(path)
        if known is not None:
            for callback in list(known.callbacks.values()):
                callback(path)

    def _release(self, path: str, known: _Directory) -> None:
        """Take `path` off its watch, and remove the watch when it has no other name."""
        watch, known.watch = known.watch, None
        paths = None if watch is None else self._paths.get(watch)
        if watch is None or paths is None:
            return
        paths.discard(path)
        if not paths:
            del self._paths[watch]
            self._remove(watch)

    def _directory_left(self, watch: int, mask: int) -> None:
        """The directory was renamed or is gone: its paths are to be watched anew when seen."""
        for path in self._paths.pop(watch, ()):
            known = self._directories.get(path)
            if known is not None:
                known.watch = None
        if not mask & _IGNORED:
            self._remove(watch)
