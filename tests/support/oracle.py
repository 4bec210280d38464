"""The one oracle: what was written against what arrived.

Lines are known by the identity `lines` gives them. Lost, corrupted and unexpected records are
never right; duplicates are right within the bound a test names; the first deliveries of a
lineage ascend in each partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from tests.support.consume import Arrived
from tests.support.lines import LineId, identify

#: Per lineage its lines, in the order they were written.
Written: TypeAlias = Mapping[int, Sequence[bytes]]

#: How many of each fault a message shows.
_EXAMPLES: Final = 5


class Place(NamedTuple):
    """Where a record lies."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All faults. `duplicated` counts arrivals of a line beyond its first."""

    written: int
    arrived: int
    lost: tuple[LineId, ...]
    duplicated: int
    out_of_order: tuple[tuple[Place, LineId], ...]
    corrupted: tuple[tuple[Place, LineId], ...]
    unexpected: tuple[tuple[Place, bytes], ...]

    def __str__(self) -> str:
        faults = {
            "lost": self.lost,
            "out of order": self.out_of_order,
            "corrupted": self.corrupted,
            "unexpected": self.unexpected,
        }
        lines = [f"written {self.written}, arrived {self.arrived}, duplicated {self.duplicated}"]
        for name, found in faults.items():
            lines.append(f"{name} {len(found)}")
            lines += [f"    {example}" for example in found[:_EXAMPLES]]
        return "\n".join(lines)


def judge(written: Written, arrived: Arrived) -> Verdict:
    """Compare, byte for byte."""
    seen: dict[LineId, int] = {}
    out_of_order: list[tuple[Place, LineId]] = []
    corrupted: list[tuple[Place, LineId]] = []
    unexpected: list[tuple[Place, bytes]] = []
    for partition, records in arrived.items():
        here: set[LineId] = set()
        highest: dict[int, int] = {}
        for record in records:
            place = Place(partition, record.offset)
            line = identify(record.value)
            if line is None or line.number >= len(written.get(line.lineage, ())):
                unexpected.append((place, record.value[:80]))
                continue
            if record.value != written[line.lineage][line.number]:
                corrupted.append((place, line))
            if line not in here:
                if line.number < highest.get(line.lineage, -1):
                    out_of_order.append((place, line))
                highest[line.lineage] = max(line.number, highest.get(line.lineage, -1))
                here.add(line)
            seen[line] = seen.get(line, 0) + 1
    lost = [
        LineId(lineage, number)
        for lineage, lines in written.items()
        for number in range(len(lines))
        if (lineage, number) not in seen
    ]
    return Verdict(
        written=sum(len(lines) for lines in written.values()),
        arrived=sum(len(records) for records in arrived.values()),
        lost=tuple(lost),
        duplicated=sum(seen.values()) - len(seen),
        out_of_order=tuple(out_of_order),
        corrupted=tuple(corrupted),
        unexpected=tuple(unexpected),
    )


def assert_delivered(written: Written, arrived: Arrived, *, duplicates_at_most: int = 0) -> Verdict:
    """Every line arrived, byte for byte, in order, and none more often than allowed."""
    verdict = judge(written, arrived)
    wrong = verdict.lost or verdict.out_of_order or verdict.corrupted or verdict.unexpected
    assert not wrong, str(verdict)
    assert verdict.duplicated <= duplicates_at_most, (
        f"{verdict}\nat most {duplicates_at_most} duplicates are right here"
    )
    return verdict
