"""`singer audit verify`: an audit topic held against the topics that it speaks of. Blocks.

One pass: all that the audit topic says is taken in, then each partition is read once from its first
claim on. Memory holds what was claimed (a digest for each 128 records); what is to be found in all
of a topic, copies, goes through files in a temporary directory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from singer.base.errors import TopicError
from singer.validate.audits import FOREVER_MS, Audits, Wanted
from singer.validate.claims import Claims
from singer.validate.findings import Findings, Owner, Places
from singer.validate.repeats import Repeats
from singer.validate.topic import Topic


@dataclass(slots=True, eq=False, kw_only=True)
class Report:
    """What was found. `unclaimed`: records that nobody claims, and that are no copies either."""

    audit_topic: str
    findings: dict[Owner, Findings]
    unclaimed: dict[str, Places] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    messages: int = 0
    unreadable: int = 0
    cause: str = ""
    records: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong that the agent promised not to happen."""
        faults = any(findings.faults for findings in self.findings.values())
        return not faults and not self.unreadable and not self.absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """`reaching` are a client's settings for the cluster, `told` hears of progress."""

    reaching: Mapping[str, Any]
    audit_topic: str
    wanted: Wanted
    told: Callable[[str], None]

    def verify(self) -> Report:
        """One pass over all that there is now. Raises DeliveryError, OSError."""
        audits = Audits(self.wanted)
        report = Report(audit_topic=self.audit_topic, findings=audits.findings)
        with Topic(self.audit_topic, self.reaching) as topic:
            for partition in topic.partitions():
                low, end = topic.bounds(partition)
                start = self._begin(topic, partition, low)
                for stretch in topic.read(partition, start, end):
                    report.messages += len(stretch.values)
                    for value in stretch.values:
                        audits.add(value)
        report.unreadable, report.cause = audits.unreadable, audits.cause
        self.told(f"{report.messages} audit messages of {len(audits.findings)} destinations")
        by_topic: dict[str, list[Claims]] = {}
        for claims in audits.claims.values():
            by_topic.setdefault(claims.topic, []).append(claims)
        for name in sorted(by_topic):
            self._verify_topic(name, by_topic[name], audits, report)
        for coverage in audits.files.values():
            coverage.close(whole=self.wanted == Wanted(late_ms=self.wanted.late_ms))
        return report

    def _verify_topic(self, name: str, every: list[Claims], audits: Audits, report: Report) -> None:
        with tempfile.TemporaryDirectory(prefix="singer-verify-") as directory:
            repeats = Repeats(directory)
            try:
                with Topic(name, self.reaching) as topic:
                    there = topic.partitions()
                    for claims in sorted(every, key=lambda each: each.partition):
                        if claims.partition in there:
                            self._verify_partition(topic, claims, repeats, report)
                            self.told(f"{name} [{claims.partition}] is read")
                        else:
                            report.absent.append(f"{name} [{claims.partition}]")
                        claims.close()
            except TopicError as error:
                report.absent.append(str(error))
                for claims in every:
                    claims.close()
                return
            finally:
                repeats.close()
            unclaimed = report.unclaimed[name] = Places()
            for owners, rows in repeats.found():
                for owner in np.unique(owners).tolist():
                    places = unclaimed
                    if owner >= 0:
                        places = audits.findings[audits.owners[owner]].duplicated
                    for _, partition, offset in rows[owners == owner].tolist():
                        places.add(name, partition, offset, offset + 1)

    def _verify_partition(
        self, topic: Topic, claims: Claims, repeats: Repeats, report: Report
    ) -> None:
        low, high = topic.bounds(claims.partition)
        claims.low = low
        start = self._begin(topic, claims.partition, low)
        if claims.start is not None:
            start = min(start, claims.start)
        end = high
        if self.wanted.to_ms < FOREVER_MS:
            end = min(high, max(claims.end, topic.offset_at(claims.partition, self.wanted.to_ms)))
        for stretch in topic.read(claims.partition, start, end):
            owners = claims.check(stretch)
            report.records += len(owners)
            repeats.add(claims.partition, stretch.offsets, stretch.values, owners)

    def _begin(self, topic: Topic, partition: int, low: int) -> int:
        """The offset with which the time begins that is looked at."""
        return topic.offset_at(partition, self.wanted.from_ms) if self.wanted.from_ms else low
