"""What a consumer reads that switches from one destination to the other at each promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.consume import Arrived
from tests.support.lines import identify


def read_by_turns(
    arrived: Mapping[str, Arrived],
    promotions: Sequence[Mapping[str, Any]],
    topics: Mapping[str, str],
) -> list[dict[int, list[bytes]]]:
    """What a consumer reads that begins with the first primary and switches at each promotion.

    `arrived` and `topics` are by destination, `promotions` as `singer promote --list --json` has
    them. One element for each time it reads one of the two, of values by partition.
    """
    begin: dict[int, int] = {}
    leads = promotions[0]["old"]
    read = []
    for promotion in promotions:
        assert promotion["complete"], promotion
        assert promotion["old"] == leads
        ends = {
            name: dict(enumerate(found["offsets"][topics[name]]))
            for name, found in promotion["ends"].items()
        }
        read.append(_slice(arrived[leads], begin, ends[leads]))
        leads = promotion["new"]
        begin = ends[leads]
    read.append(_slice(arrived[leads], begin, {}))
    return read


def _slice(
    arrived: Arrived, begin: Mapping[int, int], end: Mapping[int, int]
) -> dict[int, list[bytes]]:
    return {
        partition: [
            record.value
            for record in records
            if begin.get(partition, 0) <= record.offset < end.get(partition, 1 << 62)
        ]
        for partition, records in arrived.items()
    }


def assert_switched(
    written: Mapping[int, list[bytes]], read: list[dict[int, list[bytes]]], *, exact: bool
) -> int:
    """Every line is read, in order per file and partition, and across the switches; or `exact`ly
    once. Returns how many were read twice.
    """
    values = [value for turn in read for part in turn.values() for value in part]
    everything = {line for lines in written.values() for line in lines}
    assert set(values) == everything, f"missing {len(everything - set(values))}"
    if exact:
        assert len(values) == len(everything)
    highest = dict.fromkeys(written, -1)
    for turn in read:
        before = dict(highest)
        for part in turn.values():
            here = dict(before)
            seen: set[bytes] = set()
            for value in part:
                line = identify(value)
                assert line is not None
                if line.number > here[line.lineage]:
                    here[line.lineage] = line.number
                else:  # sent again
                    assert value in seen or line.number <= before[line.lineage], line
                seen.add(value)
                highest[line.lineage] = max(highest[line.lineage], line.number)
        for lineage, lines in written.items():
            # All up to the furthest one: what is missing would come behind it after the switch.
            known = {v for t in read[: read.index(turn) + 1] for p in t.values() for v in p}
            assert set(lines[: highest[lineage] + 1]) <= known, f"{lineage}: a hole at a switch"
    return len(values) - len(everything)
