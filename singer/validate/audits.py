"""What an audit topic says, put in order: ranges by partition, accounts by file. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from singer.base.errors import InputError
from singer.base.wire.audit import Audit, File, Range, decode
from singer.validate.claims import Claims
from singer.validate.coverage import Coverage
from singer.validate.findings import Findings, Owner

FOREVER_MS: Final = 1 << 62

#: So many files are kept in mind; of those that were met first no gap is found any more.
_FILES: Final = 1_000_000
#: A file of a host: its owner, the row, and when it was first seen.
_FileKey = tuple[Owner, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose records are looked at; empty: everybody's. Acknowledged from `from_ms` to `to_ms`."""

    streams: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    from_ms: int = 0
    to_ms: int = FOREVER_MS
    late_ms: int = 60_000


_EVERYBODY: Final = Wanted()


@dataclass(slots=True, eq=False)
class Audits:
    """Takes messages one by one. `findings` may be shared with others."""

    wanted: Wanted = _EVERYBODY
    claims: dict[tuple[str, int], Claims] = field(default_factory=dict)
    owners: list[Owner] = field(default_factory=list)
    findings: dict[Owner, Findings] = field(default_factory=dict)
    files: dict[_FileKey, Coverage] = field(default_factory=dict)
    unreadable: int = 0  #: messages that are none
    cause: str = ""  #: why the last of those is none
    _numbers: dict[Owner, int] = field(default_factory=dict)

    def add(self, value: bytes) -> tuple[str, int] | None:
        """Take the value of a record of the audit topic; the partition it claims records of."""
        try:
            audit = decode(value)
        except InputError as error:
            self.unreadable += 1
            self.cause = str(error)
            return None
        wanted = self.wanted
        if wanted.hosts and audit.host not in wanted.hosts:
            return None
        for each in audit.ranges:
            file = audit.files[each.file]
            if not wanted.from_ms <= each.acknowledged_ms <= wanted.to_ms:
                continue
            if wanted.topics and audit.topic not in wanted.topics:
                continue
            if not wanted.streams or file.stream in wanted.streams:
                self._range(audit, file, each)
        if wanted.from_ms <= audit.written_ms and not wanted.topics:
            for account in audit.accounts:
                file = audit.files[account.file]
                if not wanted.streams or file.stream in wanted.streams:
                    self._coverage(audit.host, file).add(account)
        return (audit.topic, audit.partition) if audit.ranges else None

    def _range(self, audit: Audit, file: File, claimed: Range) -> None:
        coverage = self._coverage(audit.host, file)
        owner = Owner(audit.host, file.stream, file.destination)
        key = (audit.topic, audit.partition)
        claims = self.claims.get(key)
        if claims is None:
            claims = self.claims[key] = Claims(*key)
        row = (owner, file.row, file.first_seen_ns)
        if claims.add(claimed, row, self._numbers[owner], coverage.findings):
            coverage.claimed += claimed.records
            if claimed.acknowledged_ms - claimed.read_ms > self.wanted.late_ms:
                coverage.findings.late += claimed.records

    def _coverage(self, host: str, file: File) -> Coverage:
        owner = Owner(host, file.stream, file.destination)
        if owner not in self._numbers:
            self._numbers[owner] = len(self.owners)
            self.owners.append(owner)
        findings = self.findings.setdefault(owner, Findings())
        key = (owner, file.row, file.first_seen_ns)
        coverage = self.files.get(key)
        if coverage is None:
            coverage = self.files[key] = Coverage(path=os.fsdecode(file.path), findings=findings)
            if len(self.files) > _FILES:
                del self.files[next(iter(self.files))]
        return coverage
