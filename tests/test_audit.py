"""What is recorded of settled batches, against records that the test keeps one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.audit import Book, Settled
from singer.base.batch import RecordBatch, Run
from singer.base.position import FileIdentity, Position
from singer.base.wire.audit import Audit, Entry, Range, decode, messages
from singer.validate.claims import digest

_PAYLOADS = st.one_of(st.binary(max_size=6), st.just(b"a\nb"), st.just(b""))


def _position(row: int, offset: int) -> Position:
    return Position(
        id=row,
        stream="s",
        destination="d",
        path=f"/logs/{row}\udcff",
        identity=FileIdentity(device=1, inode=row, birth_ns=None),
        offset=offset,
        first_seen_ns=5,
    )


def _batch(payloads: Sequence[bytes], start: int, *, gap: bytes) -> RecordBatch:
    """Records of a file, each with `gap` behind it, the last one perhaps without."""
    data = b"".join(payload + gap for payload in payloads)
    lengths = np.array([len(payload) for payload in payloads], np.int32)
    ends = np.cumsum(lengths + len(gap), dtype=np.int64)
    return RecordBatch(
        buffer=np.frombuffer(data, np.uint8),
        starts=ends - lengths - len(gap),
        lengths=lengths,
        ends=ends + start,
        span=(start, start + len(data)),
    )


class Journal:
    """A book, and what group commits keep of it."""

    def __init__(self) -> None:
        self.book = Book(host="h", zone=lambda: "z", first=7)
        self._entries: dict[int, Entry] = {}

    def commit(self) -> None:
        self._entries |= {entry.number: entry for entry in self.book.take()}

    def publish(self) -> list[Audit]:
        """What is final, as messages say it."""
        final = self.book.close("main")
        self.commit()
        ready = [self._entries.pop(n) for n in sorted(self._entries) if n < final]
        assert not self._entries
        return [decode(value) for _, value in messages(ready, 7)]


class Topic:
    """Partitions, and what a file's records went to."""

    def __init__(self) -> None:
        self.records: defaultdict[int, list[bytes]] = defaultdict(list)

    def take(self, payloads: Sequence[bytes], route: Sequence[int], *, index: bool) -> list[Run]:
        """Append; the runs a producer would report."""
        runs = []
        for partition in sorted(set(route)):
            rows = [row for row, to in enumerate(route) if to == partition]
            log = self.records[partition]
            whole = not index and rows == list(range(rows[0], rows[-1] + 1))
            runs.append(
                Run(
                    partition=partition,
                    offset=len(log),
                    count=len(rows),
                    rows=slice(rows[0], rows[-1] + 1) if whole else np.array(rows),
                )
            )
            log += [payloads[row] for row in rows]
        return runs

    def held(self, each: Range, partition: int) -> list[bytes]:
        """The records that a range claims."""
        values, at = [], each.offset
        for place, number in enumerate(each.runs):
            if place % 2 == 0:
                values += self.records[partition][at : at + number]
            at += number
        return values


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ranges_and_accounts_are_those_of_the_records_that_were_sent(data: st.DataObject) -> None:
    topic = Topic()
    journal = Journal()
    recorder = journal.book.recorder("main", "t")
    ends = {1: 0, 2: 0}
    sent: defaultdict[int, int] = defaultdict(int)
    audits: list[Audit] = []
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(["batch", "big", "others", "commit", "publish"]))
        if kind == "commit":
            journal.commit()
        elif kind == "publish":
            audits += journal.publish()
        elif kind == "others":
            topic.records[data.draw(st.integers(0, 2))].append(b"of others")
        else:
            row = data.draw(st.sampled_from([1, 2]))
            many = st.lists(_PAYLOADS, min_size=1, max_size=20)
            payloads = data.draw(many) * (40 if kind == "big" else 1)
            route = [data.draw(st.integers(0, 2))] * len(payloads)
            if data.draw(st.booleans()):  # by key
                route = data.draw(st.permutations([row % 3 for row in range(len(payloads))]))
            gap = data.draw(st.sampled_from([b"\n", b"\r\n", b"", b"12345678"]))
            batch = _batch(payloads, ends[row], gap=gap)
            recorder.settled(
                Settled(
                    position=_position(row, ends[row]),
                    start=ends[row],
                    end=batch.span[1],
                    batch=batch,
                    runs=topic.take(payloads, route, index=data.draw(st.booleans())),
                    removed={},
                    dead_lettered=0,
                    skipped=0,
                    records=len(payloads),
                    read_ms=1,
                    acknowledged_ms=2,
                )
            )
            ends[row] = batch.span[1]
            sent[row] += len(payloads)
    audits += journal.publish()
    assert journal.publish() == []
    claimed: defaultdict[int, int] = defaultdict(int)
    for audit in audits:
        for each in audit.ranges:
            values = topic.held(each, audit.partition)
            assert len(values) == each.records
            assert sum(map(len, values)) == each.nbytes
            blocks = [values[at : at + each.block] for at in range(0, len(values), each.block)]
            assert tuple(map(digest, blocks)) == each.digests
            claimed[audit.files[each.file].row] += each.records
    assert claimed == sent
    seen: defaultdict[int, int] = defaultdict(int)
    for audit in audits:
        for account in audit.accounts:
            row = audit.files[account.file].row
            assert account.start == seen[row]
            assert account.delivered == account.end - account.start
            seen[row] = account.end
    assert {row: end for row, end in ends.items() if end} == {r: e for r, e in seen.items() if e}


def test_what_was_disposed_of_is_in_its_column() -> None:
    journal = Journal()
    recorder = journal.book.recorder("main", "t")
    recorder.settled(
        Settled(
            position=_position(1, 0),
            start=0,
            end=100,
            batch=_batch([b"abc"], 0, gap=b"\n"),
            runs=(Run(partition=1, offset=-1, count=1, rows=slice(0, 1)),),
            removed={"filtered": 20, "sampled": 10, "limited": 6},
            dead_lettered=40,
            skipped=5,
            records=1,
            read_ms=1,
            acknowledged_ms=2,
        )
    )
    recorder.unknown(_position(1, 100), 120)
    recorder.skipped(_position(1, 120), 125)
    ranges, accounts = sorted(journal.publish(), key=lambda audit: len(audit.accounts))
    (unknown_offsets,) = ranges.ranges
    assert (unknown_offsets.offset, unknown_offsets.records) == (-1, 1)
    assert unknown_offsets.runs == unknown_offsets.digests == ()
    columns, unknown, skipped = accounts.accounts
    assert (columns.delivered, columns.filtered, columns.sampled) == (19, 20, 10)
    assert (columns.dead_lettered, columns.skipped) == (40, 11)
    assert (unknown.start, unknown.end, unknown.unknown) == (100, 120, True)
    assert (skipped.start, skipped.end, skipped.skipped) == (120, 125, 5)


def test_what_is_acknowledged_out_of_order_is_said_in_ranges_of_its_own() -> None:
    journal = Journal()
    recorder = journal.book.recorder("main", "t")
    batch = _batch([b"a", b"b", b"c"], 0, gap=b"\n")
    runs = (
        Run(partition=0, offset=10, count=2, rows=np.array([0, 2])),
        Run(partition=0, offset=12, count=1, rows=np.array([1])),  # refused with others, then alone
    )
    recorder.settled(
        Settled(
            position=_position(1, 0),
            start=0,
            end=6,
            batch=batch,
            runs=runs,
            removed={},
            dead_lettered=0,
            skipped=0,
            records=3,
            read_ms=1,
            acknowledged_ms=2,
        )
    )
    (audit,) = (each for each in journal.publish() if each.ranges)
    assert [(each.start, each.end, each.offset) for each in audit.ranges] == [
        (0, 6, 10),
        (2, 4, 12),
    ]


def test_a_range_is_of_records_that_were_read_within_a_second() -> None:
    journal = Journal()
    recorder = journal.book.recorder("main", "t")
    for number, read_ms in enumerate((0, 400, 999, 1000, 1500)):
        recorder.settled(
            Settled(
                position=_position(1, 2 * number),
                start=2 * number,
                end=2 * number + 2,
                batch=_batch([b"a"], 2 * number, gap=b"\n"),
                runs=(Run(partition=0, offset=number, count=1, rows=slice(0, 1)),),
                removed={},
                dead_lettered=0,
                skipped=0,
                records=1,
                read_ms=read_ms,
                acknowledged_ms=read_ms + 1,
            )
        )
        journal.commit()
    audits = journal.publish()
    ranges = [each for audit in audits for each in audit.ranges]
    times = [(each.read_ms, each.acknowledged_ms, each.records) for each in ranges]
    assert times == [(0, 1000, 3), (1000, 1501, 2)]
    (account,) = (each for audit in audits for each in audit.accounts)
    assert (account.start, account.end, account.records) == (0, 10, 5)
