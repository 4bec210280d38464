"""What an agent says of acknowledged records, put together: `base.wire.audit` has the format.

Owns the ranges and accounts of what was settled since they were last taken. No I/O, no clock. Loop
thread only, and on the way of every record: records that lie in the window as they are digested,
one behind the other with a newline between, are digested where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final

import xxhash

from singer.base.batch import Int64s, RecordBatch, Run
from singer.base.position import Position
from singer.base.wire.audit import BLOCK, Account, Audit, File, Message, Range, encode

_NEWLINE: Final = b"\n"
#: Of fewer rows each is looked at by itself: numpy's calls cost more.
_FEW: Final = 8
#: A message ends before it is larger than brokers take by default.
_MESSAGE_BYTES: Final = 256 << 10
#: What an account, or a range without its digests, takes at most, about.
_ENTRY_BYTES: Final = 80


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

    __slots__ = ("_lengths", "_payloads", "done")

    def __init__(self) -> None:
        self.done: list[int] = []
        self._payloads: xxhash.xxh3_64 | None = None
        self._lengths = b""

    def add(self, payloads: bytes | memoryview, lengths: bytes) -> None:
        """Some more of the block that is open: payloads with a newline behind each."""
        if self._payloads is None:
            self._payloads = xxhash.xxh3_64()
        self._payloads.update(payloads)
        self._lengths += lengths
        if len(self._lengths) == 4 * BLOCK:
            self.close()

    @property
    def room(self) -> int:
        """How many records the open block takes."""
        return BLOCK - len(self._lengths) // 4

    def close(self) -> None:
        """End the open block."""
        if self._payloads is not None:
            seed = self._payloads.intdigest()
            self.done.append(xxhash.xxh3_64_intdigest(self._lengths, seed))
            self._payloads, self._lengths = None, b""


@dataclass(slots=True, eq=False, kw_only=True)
class _Open:
    """A range that more may be added to."""

    position: Position
    start: int
    end: int
    offset: int
    read_ms: int
    next: int  # offset behind its last record
    displaced: bool
    acknowledged_ms: int = 0
    records: int = 0
    nbytes: int = 0
    runs: list[int] = field(default_factory=list)
    digests: _Digests = field(default_factory=_Digests)

    def takes(self, start: int, offset: int, *, displaced: bool) -> bool:
        """Whether records at this place of the file and the partition may be added."""
        if displaced is not self.displaced:
            return False
        if offset < 0 or self.offset < 0:
            return offset == self.offset and start >= self.end
        return offset >= self.next and start >= self.end

    def finished(self, file: int) -> Range:
        self.digests.close()
        known = self.offset >= 0
        return Range(
            file=file,
            start=self.start,
            end=self.end,
            records=self.records,
            nbytes=self.nbytes,
            offset=self.offset,
            runs=tuple(self.runs) if known else (),
            block=BLOCK if known else 0,
            digests=tuple(self.digests.done),
            read_ms=self.read_ms,
            acknowledged_ms=self.acknowledged_ms,
            displaced=self.displaced,
        )


class Recorder:
    """Of what goes to one topic for one destination of a stream."""

    def __init__(self, cluster: str, topic: str, changed: Callable[[Recorder], None]) -> None:
        """`changed` hears of the first thing that was recorded since the last taking."""
        self.cluster = cluster
        self.topic = topic
        self._changed = changed
        self._open: dict[tuple[int, int], _Open] = {}  # by row and partition
        self._finished: dict[int, list[_Open]] = {}  # by partition
        self._accounts: dict[int, list[tuple[Position, Account]]] = {}  # by row

    def settled(self, what: Settled) -> None:
        """Record what became of a stretch."""
        self._account(what.position, _account_of(what))
        batch = what.batch
        steady = None if len(batch) <= _FEW else _is_steady(batch)
        for run in what.runs:
            rows = run.rows
            first, last = _ends(rows, run.count)
            start, end = _begin(what, first), int(batch.ends[last])
            range_ = self._range(what, run, start)
            range_.end = end
            range_.acknowledged_ms = what.acknowledged_ms
            range_.records += run.count
            if run.offset < 0:
                range_.nbytes += int(batch.lengths[rows].sum())
                continue
            if range_.runs and run.offset == range_.next:
                range_.runs[-1] += run.count
            else:
                if range_.runs:
                    range_.runs.append(run.offset - range_.next)
                range_.runs.append(run.count)
            range_.next = run.offset + run.count
            range_.nbytes += _digest(range_.digests, batch, rows, run.count, steady=steady)

    def unknown(self, position: Position, end: int) -> None:
        """An earlier life settled the bytes up to `end`, and nobody knows how."""
        self._account(position, Account(start=position.offset, end=end, unknown=True))

    def skipped(self, position: Position, end: int) -> None:
        """The bytes up to `end` are passed over for good."""
        start = position.offset
        self._account(position, Account(start=start, end=end, skipped=end - start))

    def take(self) -> Iterator[tuple[int | None, list[tuple[Position, Account | _Open]]]]:
        """What was recorded: (partition, ranges), and (None, accounts). It is forgotten."""
        for (_, partition), each in self._open.items():
            self._finished.setdefault(partition, []).append(each)
        finished, accounts = self._finished, self._accounts
        self._open, self._finished, self._accounts = {}, {}, {}
        for partition, ranges in finished.items():
            yield partition, [(each.position, each) for each in ranges]
        yield None, [entry for entries in accounts.values() for entry in entries]

    def _account(self, position: Position, account: Account) -> None:
        if not self._accounts:
            self._changed(self)
        entries = self._accounts.setdefault(position.id, [])
        if entries and not (account.unknown or entries[-1][1].unknown):
            before = entries[-1][1]
            if before.end == account.start:  # as a rule: one for all of the file
                entries[-1] = (position, _joined(before, account))
                return
        entries.append((position, account))

    def _range(self, what: Settled, run: Run, start: int) -> _Open:
        key = (what.position.id, run.partition)
        found = self._open.get(key)
        if found is not None and found.takes(start, run.offset, displaced=what.displaced):
            return found
        if found is not None:
            self._finished.setdefault(run.partition, []).append(found)
        self._open[key] = new = _Open(
            position=what.position,
            start=start,
            end=start,
            offset=run.offset,
            next=run.offset,
            read_ms=what.read_ms,
            displaced=what.displaced,
        )
        return new


class Book:
    """All recorders of an agent; `take` gives what they recorded as messages."""

    def __init__(self, *, host: str, zone: Callable[[], str], now_ms: Callable[[], int]) -> None:
        self._host = host
        self._zone = zone
        self._now_ms = now_ms
        self._run = os.urandom(8).hex()
        self._changed: list[Recorder] = []

    def recorder(self, cluster: str, topic: str) -> Recorder:
        """For what one destination of a stream sends to a topic."""
        return Recorder(cluster, topic, self._changed.append)

    def take(self) -> list[Message]:
        """What was recorded since the last time."""
        changed = tuple(self._changed)
        self._changed.clear()
        messages = []
        for recorder in changed:
            for partition, entries in recorder.take():
                messages += [
                    self._message(recorder, partition, some) for some in _in_pieces(entries)
                ]
        return messages

    def _message(
        self,
        recorder: Recorder,
        partition: int | None,
        entries: Sequence[tuple[Position, Account | _Open]],
    ) -> Message:
        files: dict[int, tuple[int, File]] = {}
        ranges, accounts = [], []
        for position, entry in entries:
            number, _ = files.setdefault(position.id, (len(files), _file(position)))
            if isinstance(entry, _Open):
                ranges.append(entry.finished(number))
            else:
                accounts.append(_numbered(entry, number))
        audit = Audit(
            host=self._host,
            zone=self._zone(),
            run=self._run,
            written_ms=self._now_ms(),
            cluster=recorder.cluster,
            files=tuple(file for _, file in files.values()),
            topic="" if partition is None else recorder.topic,
            partition=partition or 0,
            ranges=tuple(ranges),
            accounts=tuple(accounts),
        )
        if partition is None:
            key = f"{self._host}\0{entries[0][0].stream}"
        else:
            key = f"{recorder.topic}\0{partition}"
        return Message(cluster=recorder.cluster, key=key.encode(), value=encode(audit))


def _in_pieces(
    entries: list[tuple[Position, Account | _Open]],
) -> Iterator[list[tuple[Position, Account | _Open]]]:
    """As many together as a message takes."""
    some: list[tuple[Position, Account | _Open]] = []
    size = 0
    for position, entry in entries:
        more = _ENTRY_BYTES + len(position.path)
        if isinstance(entry, _Open):
            more += 8 * (len(entry.digests.done) + 1) + 5 * len(entry.runs)
        if some and size + more > _MESSAGE_BYTES:
            yield some
            some, size = [], 0
        some.append((position, entry))
        size += more
    if some:
        yield some


def _file(position: Position) -> File:
    identity = position.identity
    return _file_of(
        (position.stream, position.destination, position.path),
        (
            identity.device,
            identity.inode,
            identity.birth_ns or 0,
            position.id,
            position.first_seen_ns,
        ),
    )


@lru_cache(maxsize=4096)
def _file_of(names: tuple[str, str, str], numbers: tuple[int, int, int, int, int]) -> File:
    """The same files are spoken of again and again."""
    stream, destination, path = names
    device, inode, birth_ns, row, first_seen_ns = numbers
    return File(
        stream=stream,
        destination=destination,
        path=os.fsencode(path),
        device=device,
        inode=inode,
        birth_ns=birth_ns,
        row=row,
        first_seen_ns=first_seen_ns,
    )


def _account_of(what: Settled) -> Account:
    disposed = what.dead_lettered + what.skipped
    filtered = sampled = 0
    skipped = what.skipped
    if what.removed:
        filtered, sampled = what.removed.get("filtered", 0), what.removed.get("sampled", 0)
        taken = sum(what.removed.values())
        skipped += taken - filtered - sampled
        disposed += taken
    return Account(
        start=what.start,
        end=what.end,
        delivered=what.end - what.start - disposed,
        filtered=filtered,
        sampled=sampled,
        dead_lettered=what.dead_lettered,
        skipped=skipped,
        records=what.records,
    )


def _joined(one: Account, other: Account) -> Account:
    return Account(
        start=one.start,
        end=other.end,
        delivered=one.delivered + other.delivered,
        filtered=one.filtered + other.filtered,
        sampled=one.sampled + other.sampled,
        dead_lettered=one.dead_lettered + other.dead_lettered,
        skipped=one.skipped + other.skipped,
        records=one.records + other.records,
    )


def _numbered(account: Account, file: int) -> Account:
    return Account(
        file=file,
        start=account.start,
        end=account.end,
        delivered=account.delivered,
        filtered=account.filtered,
        sampled=account.sampled,
        dead_lettered=account.dead_lettered,
        skipped=account.skipped,
        records=account.records,
        unknown=account.unknown,
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
    if int(ends[-1]) >= len(batch.buffer) or not batch.buffer.flags.c_contiguous:
        return False
    return bool((batch.starts[1:] == ends[:-1] + 1).all() and (batch.buffer[ends] == 10).all())


def _digest(
    digests: _Digests, batch: RecordBatch, rows: slice | Int64s, count: int, *, steady: bool | None
) -> int:
    """Add rows; their payload bytes. `steady`: as `_is_steady` says of the batch, None: of few."""
    if steady is None and isinstance(rows, slice):
        return sum(_digest_one(digests, batch, rows.start + n) for n in range(count))
    lengths = batch.lengths[rows].astype("<i4", copy=False)
    consecutive = isinstance(rows, slice) or int(rows[-1]) - int(rows[0]) == count - 1
    if steady and consecutive:
        first, last = _ends(rows, count)
        view = batch.buffer.data
        starts, end = batch.starts, int(batch.starts[last] + batch.lengths[last]) + 1
        packed = lengths.tobytes()
        done = 0
        while done < count:
            taken = min(digests.room, count - done)
            low = int(starts[first + done])
            high = int(starts[first + done + taken]) if done + taken < count else end
            digests.add(view[low:high], packed[4 * done : 4 * (done + taken)])
            done += taken
        return end - int(starts[first]) - count
    return _digest_each(digests, batch, rows, lengths.tobytes(), count)


def _digest_one(digests: _Digests, batch: RecordBatch, row: int) -> int:
    start, length = int(batch.starts[row]), int(batch.lengths[row])
    payload = batch.buffer[start : start + length].tobytes() + _NEWLINE
    digests.add(payload, length.to_bytes(4, "little"))
    return length


def _digest_each(
    digests: _Digests, batch: RecordBatch, rows: slice | Int64s, packed: bytes, count: int
) -> int:
    """The same for records that lie anywhere."""
    starts = batch.starts[rows]
    stretches = map(slice, starts.tolist(), (starts + batch.lengths[rows]).tolist())
    payloads = map(batch.buffer.data.__getitem__, stretches)
    done = nbytes = 0
    while done < count:
        taken = min(digests.room, count - done)
        block = _NEWLINE.join([*islice(payloads, taken), b""])
        digests.add(block, packed[4 * done : 4 * (done + taken)])
        nbytes += len(block) - taken
        done += taken
    return nbytes
