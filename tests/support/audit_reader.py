"""What an audit topic says, recomputed from the records: with docs/audit.md and nothing of ours.

Naive on purpose: the protobuf library, a plain consumer, all in memory. Any contradiction fails.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import xxhash

from tests.support.audit_schema import schema
from tests.support.consume import Arrived, read_topic

COLUMNS: Final = ("delivered", "filtered", "sampled", "dead_lettered", "skipped")


@dataclass
class Evidence:
    """What is proven. `unclaimed` are records that no range speaks of, by (partition, offset)."""

    arrived: Arrived
    #: By path, its accounts in the order of their bytes, without repetitions.
    accounts: dict[str, list[Any]] = field(default_factory=dict)
    #: By path, the records that ranges claim, in the order of the ranges' bytes.
    claimed: dict[str, list[bytes]] = field(default_factory=dict)
    unclaimed: dict[tuple[int, int], bytes] = field(default_factory=dict)
    columns: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    ranges: int = 0

    def covered(self, path: str) -> tuple[int, int]:
        """The bytes that accounts speak of, each of them once."""
        accounts = self.accounts[path]
        for before, after in itertools.pairwise(accounts):
            assert before.end == after.start, f"{path}: {before.end} to {after.start}"
        return accounts[0].start, accounts[-1].end


def digest(values: list[bytes]) -> int:
    payloads = b"".join(value + b"\n" for value in values)
    lengths = struct.pack(f"<{len(values)}i", *map(len, values))
    return xxhash.xxh3_64_intdigest(lengths, seed=xxhash.xxh3_64_intdigest(payloads))


def read_evidence(
    bootstrap: str,
    audit_topic: str,
    topic: str,
    *,
    arrived: Arrived | None = None,
    properties: Mapping[str, Any] | None = None,
) -> Evidence:
    """Hold all that an audit topic says of one topic against its records."""
    found = Evidence(arrived or read_topic(bootstrap, topic, properties=properties))
    values = {
        (partition, record.offset): record.value
        for partition, records in found.arrived.items()
        for record in records
    }
    homes: defaultdict[bytes | None, set[int]] = defaultdict(set)
    accounts: defaultdict[str, dict[tuple[int, ...], Any]] = defaultdict(dict)
    ranges: dict[tuple[object, ...], tuple[str, int, Any]] = {}
    for partition, records in read_topic(bootstrap, audit_topic, properties=properties).items():
        for record in records:
            found.messages += 1
            audit = schema().FromString(record.value)
            assert audit.version == 1
            assert len(record.value) < 900 << 10
            homes[record.key].add(partition)
            for each in audit.ranges:
                file = audit.files[each.file]
                assert record.key == f"{audit.topic}\0{audit.partition}".encode()
                assert audit.topic == topic
                path = file.path.decode(errors="surrogateescape")
                at = (file.row, file.first_seen_ns, audit.partition, each.offset, each.start)
                ranges[*at, each.records] = (path, audit.partition, each)
            for each in audit.accounts:
                file = audit.files[each.file]
                assert record.key == f"{audit.host}\0{file.stream}".encode()
                path = file.path.decode(errors="surrogateescape")
                accounts[path][file.row, file.first_seen_ns, each.start, each.end] = each
    assert all(len(home) == 1 for home in homes.values()), "a key in several partitions"
    _hold(found, values, ranges)
    for path, each in accounts.items():
        found.accounts[path] = [each[key] for key in sorted(each)]
        for account in found.accounts[path]:
            columns = {name: getattr(account, name) for name in COLUMNS}
            if account.unknown:
                columns = {"unknown": account.end - account.start}
            assert sum(columns.values()) == account.end - account.start
            found.columns.update(columns | {"records": account.records})
    return found


def _hold(
    found: Evidence,
    values: dict[tuple[int, int], bytes],
    ranges: dict[tuple[object, ...], tuple[str, int, Any]],
) -> None:
    taken: set[tuple[int, int]] = set()
    found.ranges = len(ranges)
    for path, partition, each in sorted(ranges.values(), key=lambda entry: entry[2].start):
        offsets, at = [], each.offset
        for place, number in enumerate(each.runs):
            if place % 2 == 0:
                offsets += range(at, at + number)
            at += number
        assert len(offsets) == each.records
        places = [(partition, offset) for offset in offsets]
        assert taken.isdisjoint(places), f"claimed twice: {path} {each}"
        taken.update(places)
        records = [values[place] for place in places]
        assert sum(map(len, records)) == each.nbytes
        blocks = [records[at : at + each.block] for at in range(0, len(records), each.block)]
        assert list(map(digest, blocks)) == list(each.digests), f"{path} {each}"
        found.claimed.setdefault(path, []).extend(records)
    found.unclaimed = {place: values[place] for place in values.keys() - taken}
