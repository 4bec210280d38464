"""What an agent says of acknowledged records, put together: `base.wire.audit` has the format.

Owns the ranges and accounts that grow. They go on over many group commits, each of which takes
along what they say then; who publishes has them closed, and others begun. No I/O, no clock. Loop
thread only, and on the way of every record: records that lie in the window as they are digested,
one behind the other with a newline between, are digested where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
import xxhash

from singer.base.batch import Int64s, RecordBatch, Run
from singer.base.position import Position
from singer.base.wire.audit import (
    ACCOUNTS,
    BLOCK,
    RANGES,
    Audit,
    Entry,
    File,
    encode,
    encode_account,
    encode_file,
    encode_range,
    put,
)

_NEWLINE: Final = b"\n"
#: Of fewer rows each is looked at by itself: numpy's calls cost more.
_FEW: Final = 8
#: A range whose digests or runs take more does not grow on: each group commit writes them again.
_LONG_BYTES: Final = 2 << 10
#: Nor does one whose first record was read so long before: readers take its times for its records'.
_LONG_MS: Final = 1000
#: So many ranges and accounts may grow; they take a kilobyte each.
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A stretch of a file, bytes [start, end), whose records are acknowledged or disposed of.

    `runs` say where those of `batch` are that were acknowledged. `removed` are the bytes of records
    that were taken out, by what took them; the others are the ledger's columns.
    """

    position: Position
    start: int
    end: int
    batch: RecordBatch
    runs: Sequence[Run]
    removed: Mapping[str, int]
    dead_lettered: int
    skipped: int
    records: int
    read_ms: int
    acknowledged_ms: int
    displaced: bool = False  #: see base.ports.Settlement


class _Digests:
    """Of records one behind the other, a block each."""

    __slots__ = ("_done", "_lengths", "_payloads")

    def __init__(self) -> None:
        self._done = bytearray()
        self._payloads: xxhash.xxh3_64 | None = None
        self._lengths = b""

    def add(self, payloads: bytes | memoryview, lengths: bytes) -> None:
        """Some more of the block that is open: payloads with a newline behind each."""
        if self._payloads is None:
            self._payloads = xxhash.xxh3_64()
        self._payloads.update(payloads)
        self._count(lengths)

    def add_one(self, payload: memoryview) -> None:
        """One more, without the newline."""
        if self._payloads is None:
            self._payloads = xxhash.xxh3_64()
        self._payloads.update(payload)
        self._payloads.update(_NEWLINE)
        self._count(len(payload).to_bytes(4, "little"))

    @property
    def room(self) -> int:
        """How many records the open block takes."""
        return BLOCK - len(self._lengths) // 4

    @property
    def packed(self) -> bytes:
        """All of them as they are written; the open block's as if it ended here."""
        return bytes(self._done) + self._open_block()

    @property
    def long(self) -> bool:
        """Whether they are many."""
        return len(self._done) >= _LONG_BYTES

    def _count(self, lengths: bytes) -> None:
        self._lengths += lengths
        if len(self._lengths) == 4 * BLOCK:
            self._done += self._open_block()
            self._payloads, self._lengths = None, b""

    def _open_block(self) -> bytes:
        if self._payloads is None:
            return b""
        seed = self._payloads.intdigest()
        return xxhash.xxh3_64_intdigest(self._lengths, seed).to_bytes(8, "little")


@dataclass(slots=True, eq=False, kw_only=True)
class _Growing:
    """What is said of bytes [start, end) of a file so far. `new`: since it was last taken."""

    number: int
    cluster: str
    key: bytes
    head: bytes
    about: bytes
    start: int
    end: int
    new: bool = False
    file: int = 0  # in a message of its own

    def entry(self) -> Entry:
        """As it is now."""
        field_, content = self._content()
        return Entry(self.number, self.cluster, self.key, self.head, self.about, field_, content)

    def _content(self) -> tuple[int, bytes]:
        raise NotImplementedError


@dataclass(slots=True, eq=False, kw_only=True)
class _Account(_Growing):
    delivered: int = 0
    filtered: int = 0
    sampled: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    records: int = 0
    unknown: bool = False

    def _content(self) -> tuple[int, bytes]:
        return ACCOUNTS, encode_account(self)


@dataclass(slots=True, eq=False, kw_only=True)
class _Range(_Growing):
    offset: int
    read_ms: int
    displaced: bool
    acknowledged_ms: int = 0
    records: int = 0
    nbytes: int = 0
    next: int = 0  # offset behind its last record
    run: int = 0  # records of the last run
    runs: bytearray = field(default_factory=bytearray)  # what is before it, as it is written
    digests: _Digests = field(default_factory=_Digests)

    @property
    def block(self) -> int:
        return 0 if self.offset < 0 else BLOCK

    @property
    def packed_runs(self) -> bytes:
        if self.offset < 0:
            return b""
        packed = bytearray(self.runs)
        put(packed, self.run)
        return bytes(packed)

    @property
    def packed_digests(self) -> bytes:
        return self.digests.packed

    def takes(self, what: Settled, start: int, offset: int) -> bool:
        """Whether records at this place of the file and the partition may be added."""
        if what.displaced is not self.displaced or start < self.end:
            return False
        if what.read_ms - self.read_ms >= _LONG_MS:
            return False
        if self.digests.long or len(self.runs) >= _LONG_BYTES:
            return False
        if offset < 0 or self.offset < 0:
            return offset == self.offset
        return offset >= self.next

    def extend(self, run: Run) -> None:
        """Take the offsets of a run."""
        if run.offset < 0:
            return
        if self.run and run.offset != self.next:
            put(self.runs, self.run)
            put(self.runs, run.offset - self.next)
            self.run = 0
        self.run += run.count
        self.next = run.offset + run.count

    def _content(self) -> tuple[int, bytes]:
        return RANGES, encode_range(self)


class Recorder:
    """Of what goes to one topic for one destination of a stream."""

    def __init__(self, book: Book, cluster: str, topic: str) -> None:
        self.cluster = cluster
        self.topic = topic
        self._book = book
        self._ranges: dict[tuple[int, int], _Range] = {}  # by row and partition
        self._accounts: dict[int, _Account] = {}  # by row

    def settled(self, what: Settled) -> None:
        """Record what became of a stretch."""
        self._settle(what)
        batch = what.batch
        steady = None if len(batch) <= _FEW else _is_steady(batch)
        for run in what.runs:
            first, last = _ends(run.rows, run.count)
            range_ = self._range(what, run, _begin(what, first))
            range_.end = int(batch.ends[last])
            range_.acknowledged_ms = what.acknowledged_ms
            range_.records += run.count
            range_.extend(run)
            if run.offset < 0:
                range_.nbytes += int(batch.lengths[run.rows].sum())
            else:
                range_.nbytes += _digest(range_.digests, batch, run.rows, run.count, steady=steady)
            if not range_.new:
                self._book.grown(range_)

    def unknown(self, position: Position, end: int) -> None:
        """An earlier life settled the bytes up to `end`, and nobody knows how."""
        account = self._begin_account(position, position.offset)
        account.end, account.unknown = end, True
        del self._accounts[position.id]

    def skipped(self, position: Position, end: int) -> None:
        """The bytes up to `end` are passed over for good."""
        account = self._account(position, position.offset)
        account.skipped += end - account.end
        account.end = end

    def close(self) -> None:
        """What is said from now on is said in others."""
        self._ranges.clear()
        self._accounts.clear()

    def _settle(self, what: Settled) -> None:
        account = self._account(what.position, what.start)
        disposed = what.dead_lettered + what.skipped
        account.skipped += what.skipped
        account.dead_lettered += what.dead_lettered
        for cause, nbytes in what.removed.items():
            disposed += nbytes
            if cause == "filtered":
                account.filtered += nbytes
            elif cause == "sampled":
                account.sampled += nbytes
            else:
                account.skipped += nbytes
        account.delivered += what.end - what.start - disposed
        account.records += what.records
        account.end = what.end

    def _account(self, position: Position, start: int) -> _Account:
        found = self._accounts.get(position.id)
        if found is None or found.end != start:
            return self._begin_account(position, start)
        if not found.new:
            self._book.grown(found)
        return found

    def _begin_account(self, position: Position, start: int) -> _Account:
        number, key, head = self._book.begin(self, position.stream, None)
        self._accounts[position.id] = new = _Account(
            number=number,
            cluster=self.cluster,
            key=key,
            head=head,
            about=_about(position),
            start=start,
            end=start,
        )
        self._book.grown(new)
        return new

    def _range(self, what: Settled, run: Run, start: int) -> _Range:
        place = (what.position.id, run.partition)
        found = self._ranges.get(place)
        if found is not None and found.takes(what, start, run.offset):
            return found
        number, key, head = self._book.begin(self, what.position.stream, run.partition)
        self._ranges[place] = new = _Range(
            number=number,
            cluster=self.cluster,
            key=key,
            head=head,
            about=_about(what.position),
            start=start,
            end=start,
            offset=run.offset,
            read_ms=what.read_ms,
            displaced=what.displaced,
        )
        return new


class Book:
    """All recorders of an agent. `first` is the number of this run's first range or account."""

    def __init__(self, *, host: str, zone: Callable[[], str], first: int = 1) -> None:
        self._host = host
        self._zone = zone
        self._run = os.urandom(8).hex()
        self._next = first
        self._growing = 0
        self._grown: list[_Growing] = []
        self._open: dict[Recorder, None] = {}

    def recorder(self, cluster: str, topic: str) -> Recorder:
        """For what one destination of a stream sends to a topic."""
        return Recorder(self, cluster, topic)

    def take(self) -> list[Entry]:
        """What is new since the last time, or was said then and has grown."""
        grown, self._grown = self._grown, []
        entries = []
        for each in grown:
            each.new = False
            entries.append(each.entry())
        if self._growing > _MOST:
            for recorder in tuple(self._open):
                self._close(recorder)
            self._growing = 0
        return entries

    def close(self, cluster: str) -> int:
        """End all that grows of a cluster: what has a lower number than this one is final, once
        that was taken.
        """
        for recorder in [each for each in self._open if each.cluster == cluster]:
            self._close(recorder)
        self._growing *= bool(self._open)
        return self._next

    def begin(
        self, recorder: Recorder, stream: str, partition: int | None
    ) -> tuple[int, bytes, bytes]:
        """The number, the key and the head of a range, or of an account (`partition` None)."""
        self._open[recorder] = None
        self._growing += 1
        number, self._next = self._next, self._next + 1
        topic = "" if partition is None else recorder.topic
        key = f"{self._host}\0{stream}" if partition is None else f"{topic}\0{partition}"
        where = (recorder.cluster, topic, partition or 0)
        return number, key.encode(), _head(self._host, self._zone(), self._run, where)

    def grown(self, what: _Growing) -> None:
        """It is to be taken."""
        what.new = True
        self._grown.append(what)

    def _close(self, recorder: Recorder) -> None:
        recorder.close()
        del self._open[recorder]


@lru_cache(maxsize=4096)
def _head(host: str, zone: str, run: str, where: tuple[str, str, int]) -> bytes:
    cluster, topic, partition = where
    audit = Audit(host=host, zone=zone, run=run, cluster=cluster, topic=topic, partition=partition)
    return encode(audit)


def _about(position: Position) -> bytes:
    identity = position.identity
    return encode_file(
        File(
            stream=position.stream,
            destination=position.destination,
            path=os.fsencode(position.path),
            device=identity.device,
            inode=identity.inode,
            birth_ns=identity.birth_ns or 0,
            row=position.id,
            first_seen_ns=position.first_seen_ns,
        )
    )


# --- digests ------------------------------------------------------------------------------------


def _ends(rows: slice | Int64s, count: int) -> tuple[int, int]:
    """The first and the last of ascending rows."""
    if isinstance(rows, slice):
        return rows.start, rows.start + count - 1
    return int(rows[0]), int(rows[-1])


def _begin(what: Settled, row: int) -> int:
    """The first byte of the file that a row accounts for."""
    batch = what.batch
    if batch.sources is not None:
        return int(batch.ends[row]) - int(batch.sources[row])
    return int(batch.ends[row - 1]) if row else what.start


def _is_steady(batch: RecordBatch) -> bool:
    """Whether its records lie one behind the other, with a newline behind each."""
    ends = batch.starts + batch.lengths
    if int(ends[-1]) >= len(batch.buffer):
        return False
    return bool((batch.starts[1:] == ends[:-1] + 1).all() and (batch.buffer[ends] == 10).all())


def _digest(
    digests: _Digests, batch: RecordBatch, rows: slice | Int64s, count: int, *, steady: bool | None
) -> int:
    """Add rows; their payload bytes. `steady`: as `_is_steady` says of the batch, None: of few."""
    view = batch.buffer.data
    starts, lengths = batch.starts[rows], batch.lengths[rows]
    if steady is None:
        nbytes = 0
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            digests.add_one(view[start : start + length])
            nbytes += length
        return nbytes
    packed = lengths.astype("<i4", copy=False).tobytes()
    first, last = _ends(rows, count)
    steady = steady and last - first == count - 1
    ends = starts + lengths
    done = 0
    while done < count:
        stop = min(done + digests.room, count)
        if steady:
            digests.add(
                view[int(starts[done]) : int(ends[stop - 1]) + 1], packed[4 * done : 4 * stop]
            )
        else:
            stretches = map(slice, starts[done:stop].tolist(), ends[done:stop].tolist())
            pieces = map(view.__getitem__, stretches)
            digests.add(_NEWLINE.join([*pieces, b""]), packed[4 * done : 4 * stop])
        done = stop
    return int(lengths.sum(dtype=np.int64))
