"""The conservation ledger: every byte read ends in exactly one column.

    read = delivered + filtered + sampled + dead_lettered + skipped + rewound + held + in_flight

in source-file bytes, terminators included, per stream, destination and run of the process.
`held` and `in_flight` are what is on its way now; all others only grow. `skipped` holds bytes
that were read and disposed of by rule.

The two sides are counted in different places: `read` where bytes leave a file, the columns
where batches end. A difference is therefore a bug, and `check` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from singer.base.errors import InvariantError


@dataclass(slots=True, kw_only=True)
class Account:
    """The columns of one (stream, destination), in bytes. Loop thread only."""

    stream: str
    destination: str
    read: int = 0
    delivered: int = 0
    filtered: int = 0
    sampled: int = 0
    dead_lettered: int = 0
    rewound: int = 0
    held: int = 0
    in_flight: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    records: int = 0

    def remove(self, removed: Mapping[str, int]) -> None:
        """Book bytes of records that were taken out on their way, by what took them."""
        for name, nbytes in removed.items():
            if name == "filtered":
                self.filtered += nbytes
            elif name == "sampled":
                self.sampled += nbytes
            else:
                self.skipped[name] += nbytes

    @property
    def difference(self) -> int:
        """Bytes that left the books; 0, or there is a bug."""
        return self.read - (
            self.delivered
            + self.filtered
            + self.sampled
            + self.dead_lettered
            + self.skipped.total()
            + self.rewound
            + self.held
            + self.in_flight
        )

    def check(self) -> None:
        """Raise InvariantError unless the account is balanced and no column is negative."""
        if self.difference or min(self.held, self.in_flight) < 0:
            raise InvariantError(f"ledger out of balance by {self.difference} bytes: {self}")


class Ledger:
    """All accounts of this run."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}

    def account(self, stream: str, destination: str) -> Account:
        """The account of one (stream, destination), opened when first asked for."""
        key = (stream, destination)
        if key not in self._accounts:
            self._accounts[key] = Account(stream=stream, destination=destination)
        return self._accounts[key]

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def check(self) -> None:
        """Check every account."""
        for account in self:
            account.check()
