"""Coverage: what accounts say of the bytes of a file, and what none of them speaks of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from singer.base.wire.audit import Account
from singer.validate.findings import Findings
from singer.validate.intervals import Intervals

#: So many accounts are remembered, lest one that is published twice is taken for two.
_KNOWN: Final = 10_000


@dataclass(slots=True, eq=False, kw_only=True)
class Coverage:
    """Of one file of one owner.

    The first byte that an account speaks of is where it begins: a stream may start at the end.
    """

    path: str
    findings: Findings
    _seen: Intervals = field(default_factory=Intervals)
    _known: dict[tuple[int, int], None] = field(default_factory=dict)
    _told: set[tuple[int, int]] = field(default_factory=set)
    records: int = 0  #: that accounts speak of
    claimed: int = 0  #: that ranges claim

    def add(self, account: Account) -> None:
        """Take an account, in any order; one that is known changes nothing."""
        stretch = (account.start, account.end)
        if stretch in self._known:
            return
        self._known[stretch] = None
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        findings = self.findings
        self._seen.add(*stretch)
        self.records += account.records
        if account.unknown:
            findings.unknown_bytes += account.end - account.start
            return
        findings.accounted_bytes += account.end - account.start
        findings.skipped_bytes += account.skipped
        disposed = account.filtered + account.sampled + account.dead_lettered + account.skipped
        if account.delivered + disposed != account.end - account.start:
            findings.malformed += 1

    def look(self) -> bool:
        """Tell what is missing and was not told, once all accounts should be there."""
        new = [gap for gap in self._seen.gaps() if gap not in self._told]
        for gap in new:
            self._told.add(gap)
            self.findings.miss(self.path, *gap)
        return bool(new)

    def close(self, *, whole: bool) -> None:
        """Tell what is missing, once all accounts are there; `whole`: and all ranges."""
        self.look()
        if whole:
            self.findings.without_range += max(0, self.records - self.claimed)
