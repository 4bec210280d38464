"""Linger: how long what is new in a file waits for more, so that batches compress.

Owns the rounds in which the files of one destination are read. Who finds something new joins the
round that is open, or opens one; all of a round is read at its end, and what goes to one partition
becomes one batch. The width of rounds is fixed, or widened while they hold few records, within what
a budget of latency leaves; where brokers are so far away that nothing is left, one round after the
other is under way. Pure: moments (seconds that never go back) come in.
"""

from __future__ import annotations

from typing import Final

from singer.base.config import LingerConfig

#: A round of so many records is wide enough: twice as many compress hardly better.
ENOUGH_RECORDS: Final = 10
#: The narrowest round, as a part of what the budget leaves: widened from there.
_NARROWEST: Final = 1 / 8
#: Weights of the latest sample in the mean and the spread of delivery times, and how many spreads
#: above the mean nearly all of them are: those of TCP's retransmission timer (RFC 6298).
_MEAN_WEIGHT: Final = 1 / 8
_SPREAD_WEIGHT: Final = 1 / 4
_SPREADS: Final = 4
#: Brokers are far away where no delivery takes less, in seconds: more than a busy machine adds, or
#: the wait would feed itself. Rounds are then as wide as a delivery takes, up to `_FAR_WIDEST`: an
#: idempotent producer has one request of a partition under way (librdkafka 2.16.0), and while
#: records wait behind it the broker's thread never rests. Measured with round trips of 200 ms: two
#: thirds of a core, and nothing arrived earlier for it.
_FAR_SECONDS: Final = 0.03
_FAR_WIDEST: Final = 0.25
#: How fast the least that a delivery takes is forgotten, by the sample.
_FLOOR_RISE: Final = 1 / 16


class Linger:
    """The rounds of one destination."""

    __slots__ = ("_due", "_fixed", "_floor", "_latency", "_mean", "_records", "_spread", "_width")

    def __init__(self, config: LingerConfig) -> None:
        self._fixed = config.wait
        self._latency = config.latency
        self._due = float("-inf")  # when the round ends that was opened last
        self._width = 0.0
        self._records = 0  # of that round
        self._mean = 0.0  # of what delivery takes
        self._spread = 0.0
        self._floor = 0.0  # the least of late

    @property
    def room(self) -> float:
        """Seconds that a round may be wide, so that most of it is delivered within the budget."""
        if self._fixed is not None:
            return self._fixed
        return max(0.0, self._latency - self._mean - _SPREADS * self._spread)

    def due(self, now: float) -> float:
        """When something that was found now is to be read."""
        if now < self._due:
            return self._due
        room, silence = self.room, now - self._due
        far = self._floor > max(_FAR_SECONDS, self._latency)
        if far:
            room = min(self._floor, _FAR_WIDEST)
        if self._fixed is not None:
            self._due = now + self._fixed
        elif silence > room:
            self._due = now  # nobody came, so nobody is waited for
        else:
            self._width = room if far else min(room, self._adapted(room))
            self._due = now + self._width
        self._records = 0
        return self._due

    def _adapted(self, room: float) -> float:
        if self._records < ENOUGH_RECORDS:
            return max(2 * self._width, room * _NARROWEST)
        return self._width * ENOUGH_RECORDS / self._records

    def sent(self, records: int) -> None:
        """So many records were handed over."""
        self._records += records

    def delivered(self, seconds: float) -> None:
        """Some were acknowledged so long after they were handed over."""
        if self._fixed is None:
            self._spread += _SPREAD_WEIGHT * (abs(seconds - self._mean) - self._spread)
            self._mean += _MEAN_WEIGHT * (seconds - self._mean)
            self._floor = min(seconds, self._floor + _FLOOR_RISE * (seconds - self._floor))
