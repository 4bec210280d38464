"""The crash-loop breaker: a file that makes the process crash again and again is left alone.

Before work on a file the agent notes it in a page of memory that the kernel keeps when the
process dies. faulthandler leaves a trace of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT; the next
start that finds one counts a crash of the noted file. SIGKILL, SIGTERM, the OOM killer and power
loss leave no trace and never count. Loop thread only; `mark` makes no system call.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import mmap
import os
import re
import struct
from dataclasses import asdict, dataclass
from typing import IO, Final, NamedTuple

from singer.base.events import Emit
from singer.base.position import FileIdentity
from singer.positions.durable import replace_file
from singer.positions.events import BreakerImpaired, CrashFound
from singer.positions.state_dir import StateDir

#: Crashes in a row on one file, without progress, after which it is left alone. One may be bad
#: memory, two bad luck.
QUARANTINE_CRASHES: Final = 3

#: What faulthandler writes first for a signal that it catches, e.g. "Segmentation fault".
_FATAL: Final = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
#: Enough of a trace to find the signal in; threads' stacks follow.
_TRACE_HEAD_BYTES: Final = 64 << 10

#: device, inode, has birth, birth_ns, offset, length of stream, length of destination, magic;
#: the names follow. `pack_into` goes from left to right: what is half packed has no magic.
_MARK: Final = struct.Struct("<QQ?qQHH8s")
_MARK_BYTES: Final = 512
_MAGIC: Final = b"singer\x00\x01"
_MAGIC_AT: Final = _MARK.size - len(_MAGIC)
_NO_MAGIC: Final = bytes(len(_MAGIC))
#: Names are cut to this many bytes of UTF-8, so that both fit into the mark.
_NAME_BYTES: Final = (_MARK_BYTES - _MARK.size) // 2


class _File(NamedTuple):
    """A file of a destination, as the mark tells it."""

    stream: str
    destination: str
    device: int
    inode: int
    birth_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crashes:
    """`count` crashes in a row with the position at `offset`."""

    offset: int
    count: int


class CrashBreaker:
    """Notes the file under work, counts crashes per file and says which to leave alone.

    Without a usable state directory it warns and notes in ordinary memory: the agent then runs
    unprotected rather than not at all.
    """

    def __init__(self, state_dir: StateDir, emit: Emit) -> None:
        self._state_dir = state_dir
        self._emit = emit
        self._counts: dict[_File, _Crashes] = {}
        self._names: dict[tuple[str, str], tuple[int, int, bytes]] = {}
        self._page = mmap.mmap(-1, _MARK_BYTES)
        self._trace: IO[bytes] | None = None

    def open(self) -> None:
        """Look whether the last process crashed, and watch over this one."""
        self._counts = self._load()
        cause = self._take_trace()
        marked = self._take_mark()
        if cause:
            self._count(cause, marked)
        self._arm()

    def close(self) -> None:
        """End of the watch, at a clean stop."""
        if self._trace is not None:
            faulthandler.disable()
            self._trace.close()
            self._trace = None
        self.unmark()

    def mark(self, stream: str, destination: str, identity: FileIdentity, offset: int) -> None:
        """Note what is worked on from now: a file, and its committed offset."""
        names = self._names.get((stream, destination))
        if names is None:
            names = self._names[stream, destination] = _pack_names(stream, destination)
        stream_bytes, destination_bytes, text = names
        birth_ns = identity.birth_ns
        self.unmark()  # should another thread crash meanwhile, no half mark is found
        self._page[_MARK.size : _MARK.size + len(text)] = text
        _MARK.pack_into(
            self._page,
            0,
            identity.device,
            identity.inode,
            birth_ns is not None,
            birth_ns or 0,
            offset,
            stream_bytes,
            destination_bytes,
            _MAGIC,
        )

    def unmark(self) -> None:
        """Note that no file is worked on."""
        self._page[_MAGIC_AT : _MARK.size] = _NO_MAGIC

    def quarantined(self, stream: str, destination: str, identity: FileIdentity) -> bool:
        """Whether this file is to be left alone; its position stays where it is."""
        if not self._counts:
            return False
        crashes = self._counts.get(_file(stream, destination, identity))
        return crashes is not None and crashes.count >= QUARANTINE_CRASHES

    def progressed(self, stream: str, destination: str, identity: FileIdentity) -> None:
        """The file's committed position moved: what happened before counts no more."""
        if not self._counts:
            return
        if self._counts.pop(_file(stream, destination, identity), None) is not None:
            self._save()

    def _count(self, cause: str, marked: tuple[_File, int] | None) -> None:
        trace = f"{self._state_dir.crash_trace}.last"
        if marked is None:
            self._emit(CrashFound(cause=cause, trace=trace))
            return
        file, offset = marked
        before = self._counts.get(file)
        count = before.count + 1 if before is not None and before.offset == offset else 1
        self._counts[file] = _Crashes(offset=offset, count=count)
        self._save()
        self._emit(
            CrashFound(
                cause=cause,
                trace=trace,
                stream=file.stream,
                destination=file.destination,
                device=file.device,
                inode=file.inode,
                offset=offset,
                crashes=count,
                counts_path=(self._state_dir.crash_counts if count >= QUARANTINE_CRASHES else ""),
            )
        )

    def _take_trace(self) -> str:
        """What killed the last process, if a crash did; its trace is archived."""
        path = self._state_dir.crash_trace
        try:
            with open(path, "rb") as file:
                head = file.read(_TRACE_HEAD_BYTES).decode("utf-8", "replace")
            if not head:
                return ""
            # Archived before it is counted: dying in between must not count it twice.
            os.replace(path, f"{path}.last")
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._impaired(path, error)
            return ""
        found = _FATAL.search(head)
        return found[1] if found else ""

    def _take_mark(self) -> tuple[_File, int] | None:
        """What the last process worked on; the mark is clear and ours from here on."""
        path = self._state_dir.active_mark
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                old = os.pread(descriptor, _MARK_BYTES, 0)
                # Real zeros, not a hole: a store into a hole of a full disk is a SIGBUS.
                if os.pwrite(descriptor, bytes(_MARK_BYTES), 0) < _MARK_BYTES:
                    raise OSError(None, "the mark could not be written whole")
                page = mmap.mmap(descriptor, _MARK_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._impaired(path, error)
            return None
        self._page.close()
        self._page = page
        return _unpack(old)

    def _arm(self) -> None:
        path = self._state_dir.crash_trace
        try:
            # Open for life: in a crash nothing can be opened any more.
            self._trace = open(path, "wb", buffering=0)  # noqa: SIM115 - see above
        except OSError as error:
            self._impaired(path, error)
            return
        faulthandler.enable(self._trace, all_threads=True)

    def _load(self) -> dict[_File, _Crashes]:
        path = self._state_dir.crash_counts
        try:
            with open(path, encoding="utf-8") as file:
                entries = json.load(file)
            return {_File(**entry["file"]): _Crashes(**entry["crashes"]) for entry in entries}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._impaired(path, error)
            return {}

    def _save(self) -> None:
        """Some milliseconds of the loop, once after a crash and once when it is overcome."""
        entries = [
            {"file": file._asdict(), "crashes": asdict(crashes)}
            for file, crashes in self._counts.items()
        ]
        path = self._state_dir.crash_counts
        try:
            if entries:
                replace_file(path, json.dumps(entries, indent=1).encode())
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        except OSError as error:
            self._impaired(path, error)

    def _impaired(self, path: str, error: Exception) -> None:
        self._emit(BreakerImpaired(path=path, cause=getattr(error, "strerror", None) or str(error)))


def _cut(name: str) -> bytes:
    return name.encode("utf-8", "replace")[:_NAME_BYTES]


def _pack_names(stream: str, destination: str) -> tuple[int, int, bytes]:
    first, second = _cut(stream), _cut(destination)
    return len(first), len(second), first + second


def _file(stream: str, destination: str, identity: FileIdentity) -> _File:
    return _File(
        _cut(stream).decode("utf-8", "replace"),
        _cut(destination).decode("utf-8", "replace"),
        identity.device,
        identity.inode,
        identity.birth_ns,
    )


def _unpack(page: bytes) -> tuple[_File, int] | None:
    """The file and the offset of a mark; None when there is none."""
    if len(page) < _MARK_BYTES:
        return None
    device, inode, has_birth, birth_ns, offset, first, second, magic = _MARK.unpack_from(page)
    if magic != _MAGIC:
        return None
    names = page[_MARK.size : _MARK.size + first + second]
    file = _File(
        names[:first].decode("utf-8", "replace"),
        names[first:].decode("utf-8", "replace"),
        device,
        inode,
        birth_ns if has_birth else None,
    )
    return file, offset
