"""The dead-letter files: bytes that were read and will never be delivered, kept for people.

JSON lines, one letter each: `time` (ISO 8601, UTC), `stream`, `destination`, `file` (the path;
where it is not UTF-8 with escapes for reading, and whole in `file_base64`), `device`, `inode`,
`offset`, `length`, `reason`, `part`, `refused`, `payload` (base64). The newest file has the plain
name, older ones `.1`, `.2`, … behind. A letter is never deleted here: when all files together have
reached the ceiling, writing fails until a person has moved some away. At least once: a letter of
which it is not known whether it was written is written again.

The loop asks, one daemon thread writes; what a crash left half written is closed with a newline
at the next write, so that every other line can be read.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from singer.base.errors import DeadLettersFullError, StateError
from singer.base.events import Count, Emit, Event, Severity
from singer.base.ports import Clock

#: A write that takes longer has met a hung disk.
DEADLINE_SECONDS: Final = 60.0

_STEP: Final = "write dead letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A stretch of a file that will not be delivered, and why.

    `offset`, `length`  the file bytes it accounts for, terminator included
    `payload`           what would have been delivered
    `refused`           whether it is a record as it was sent, which the broker did not take; else
                        bytes of the file that are none, before any transform
    `part`              0 for the first piece of a record that was given up in pieces
    `time`              when it was written, ISO 8601 in UTC; empty before
    """

    stream: str
    destination: str
    path: str
    device: int
    inode: int
    offset: int
    length: int
    reason: str
    part: int = 0
    payload: bytes
    refused: bool = False
    time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersFailing(Event):
    """Dead letters cannot be written; what they cover waits."""

    severity: ClassVar[Severity] = Severity.ERROR
    path: str
    cause: str

    def message(self) -> str:
        """Why, and what to do."""
        return f"{self.cause}; the streams with dead letters wait, nothing is lost"

    def counts(self) -> tuple[Count, ...]:
        """One failure."""
        return (Count("dead_letter_write_failures_total", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersResumed(Event):
    """Dead letters can be written again."""

    path: str

    def message(self) -> str:
        """Where."""
        return f"dead letters are written to {self.path!r} again"


class DeadLetters:
    """The dead-letter files at `path`, at most `files` of them with `max_bytes` together.

    Loop thread only. Files are opened for each write, so they may be moved away at any time.
    """

    def __init__(self, path: str, *, max_bytes: int, files: int, emit: Emit, clock: Clock) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._emit = emit
        self._clock = clock
        self._turn = asyncio.Lock()
        self._done: asyncio.Future[None] | None = None
        self._named_inode = 0  #: of the newest file, once its name is known to be on disk
        self._failing = False

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append letters, all or none as to the ceiling; synced when this returns.

        Raises DeadLettersFullError when they do not fit under the ceiling, StateError when they
        cannot be written. Either way asking again is right: room may have been made.
        """
        if not letters:
            return
        async with self._turn:
            try:
                await self._in_thread(tuple(letters))
            except (DeadLettersFullError, StateError) as error:
                if not self._failing:
                    self._emit(DeadLettersFailing(path=self._path, cause=str(error)))
                self._failing = True
                raise
            if self._failing:
                self._emit(DeadLettersResumed(path=self._path))
            self._failing = False

    async def _in_thread(self, letters: tuple[DeadLetter, ...]) -> None:
        """Write in a thread of its own: a dead letter is rare, a disk may hang."""
        # One that was given up may still be at it, and two must never write at once.
        before = self._done
        if before is not None and not before.done():
            await asyncio.wait({before}, timeout=DEADLINE_SECONDS)
            if not before.done():
                raise self._hung()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                done.exception()  # seen: whoever waited for it may be gone

        def work() -> None:
            failure: BaseException | None = None
            try:
                self._append(letters)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, failure)

        self._done = done
        threading.Thread(target=work, name="dead letters", daemon=True).start()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.shield(done)
        except TimeoutError as error:
            raise self._hung() from error

    def _hung(self) -> StateError:
        return StateError(
            f"{_STEP}: {self._path!r} did not answer within {DEADLINE_SECONDS:.0f} s; "
            f"look for a hung disk (dmesg)"
        )

    # --- in the thread ----------------------------------------------------------------------

    def _append(self, letters: tuple[DeadLetter, ...]) -> None:
        time = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).isoformat()
        lines = [_line(letter, time) for letter in letters]
        try:
            room = self._max_bytes - sum(map(_size, self._names()))
            # One byte in reserve for the newline that a torn line may need.
            needed = sum(map(len, lines)) + 1
            if needed > room:
                raise self._full(needed, room)
            with locked(os.path.dirname(self._path) or ".", exclusive=True):
                # All in one file, so that a failure takes back all: letters that stayed would be
                # written again with every attempt, and fill the disk.
                self._make_way(needed)
                self._append_synced(b"".join(lines))
        except OSError as error:
            raise StateError(
                f"{_STEP}: {error.filename or self._path!r}: {error.strerror}; make the state "
                f"directory writable for the agent's user, with room on its disk"
            ) from error

    def _append_synced(self, data: bytes) -> None:
        """Append to the newest file and sync; on failure the file is as long as it was."""
        new = not os.path.lexists(self._path)
        # O_NONBLOCK: a FIFO in its place must not hold us.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file", self._path)
            size = status.st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            except OSError:
                # Half a letter must not stand in the way of the ones that follow.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if new or status.st_ino != self._named_inode:
            _sync_directory(self._path)
            self._named_inode = status.st_ino

    def _names(self) -> list[str]:
        """All dead-letter files' names, newest first."""
        return [self._path, *(f"{self._path}.{number}" for number in range(1, self._files))]

    def _make_way(self, needed: int) -> None:
        """Begin a new file when the newest has had its share, while there is a name for one.

        Else the newest takes what is left under the ceiling.
        """
        size = _size(self._path)
        if not size or size + needed <= self._max_bytes // self._files:
            return
        names = self._names()
        free = next((i for i, name in enumerate(names) if not os.path.lexists(name)), 0)
        for older in range(free, 0, -1):
            os.rename(names[older - 1], names[older])
        _sync_directory(self._path)

    def _full(self, needed: int, room: int) -> DeadLettersFullError:
        directory = os.path.dirname(self._path) or "."
        name = os.path.basename(self._path)
        return DeadLettersFullError(
            f"{_STEP}: the files {name!r}* in {directory!r} have reached their ceiling "
            f"({needed} bytes needed, {max(room, 0)} of {self._max_bytes} left); move them away "
            f"when you have looked at them, or raise agent.dead_letters.max_bytes"
        )


@contextlib.contextmanager
def locked(directory: str, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of a state directory's dead letters. Raises OSError.

    That of the directory itself: a file made for it by one user might shut out another. Where the
    file system has no such locks, who only appends goes on without.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def read_dead_letters(path: str) -> Iterator[DeadLetter]:
    """The letters of one file, in the order they were written.

    Lines that are no letter (torn by a crash, and written again behind) are passed over. Raises
    StateError when the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            for line in file:
                if (letter := parse_dead_letter(line)) is not None:
                    yield letter
    except OSError as error:
        raise StateError(
            f"read dead letters: {path!r}: {error.strerror}; name an existing dead-letter file"
        ) from error


def parse_dead_letter(line: bytes) -> DeadLetter | None:
    """The letter of one line; None if it is none."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return _letter(json.loads(line))
    return None


def _line(letter: DeadLetter, time: str) -> bytes:
    raw = os.fsencode(letter.path)
    shown = _shown(letter.path)
    entry: dict[str, object] = {
        "time": time,
        "stream": letter.stream,
        "destination": letter.destination,
        "file": shown,
        "device": letter.device,
        "inode": letter.inode,
        "offset": letter.offset,
        "length": letter.length,
        "reason": _shown(letter.reason),
        "part": letter.part,
        "refused": letter.refused,
        "payload": base64.b64encode(letter.payload).decode(),
    }
    if shown != letter.path:
        # Half a surrogate pair in an escape would be legal JSON that many parsers refuse.
        entry["file_base64"] = base64.b64encode(raw).decode()
    return json.dumps(entry).encode() + b"\n"


def _letter(entry: Any) -> DeadLetter:
    path = entry["file"]
    if "file_base64" in entry:
        path = os.fsdecode(base64.b64decode(entry["file_base64"], validate=True))
    return DeadLetter(
        stream=entry["stream"],
        destination=entry["destination"],
        path=path,
        device=entry["device"],
        inode=entry["inode"],
        offset=entry["offset"],
        length=entry["length"],
        reason=entry["reason"],
        part=entry["part"],
        refused=bool(entry.get("refused", False)),
        payload=base64.b64decode(entry["payload"], validate=True),
        time=entry["time"],
    )


def _shown(text: str) -> str:
    """Text with escapes in the place of bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _size(path: str) -> int:
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _sync_directory(path: str) -> None:
    """Make the names beside `path` durable."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
