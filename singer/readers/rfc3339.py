"""Times as RFC 3339 writes them, many at once: `2016-10-06T00:17:09.669794202Z`. Pure.

The date and time of day are 19 bytes in a fixed layout; a fraction of any length may follow, then
`Z`, or hours and minutes east of Greenwich.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from singer.base.batch import Bools, Bytes, Int64s
from singer.readers.words import words

#: Bytes of the shortest, with `Z`, and the longest that is read: nanoseconds and an offset.
SHORTEST: Final = 20
LONGEST: Final = 35

_MARKS: Final = {4: ord("-"), 7: ord("-"), 10: ord("T"), 13: ord(":"), 16: ord(":")}
_ZERO: Final = ord("0")
_DAYS_IN: Final = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
#: Days before each month in a year that begins with March.
_DAYS_BEFORE: Final = np.array([0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337], np.int64)


def milliseconds(window: Bytes, starts: Int64s, lengths: Int64s) -> Int64s:
    """int64[n]: milliseconds since 1970 of the times at `window[starts[i]:][:lengths[i]]`; or -1.

    Each is SHORTEST to LONGEST bytes long, and in the window.
    """
    found = np.full(len(starts), -1, np.int64)
    if not len(starts):
        return found
    zulu = window[starts + lengths - 1] == ord("Z")
    # Logs have many lines in a second: what is the same as in the line before is read once.
    eight = words(window)
    parts = [eight[starts], eight[starts + 8], eight[starts + 11]]
    fresh = np.ones(len(starts), np.bool_)
    fresh[1:] = np.logical_or.reduce([part[1:] != part[:-1] for part in parts])
    seconds = _seconds(window, starts[fresh])[np.cumsum(fresh) - 1]
    fraction, digits = _fractions(window, starts, lengths - np.where(zulu, 1, 6))
    east = np.zeros_like(starts)
    sound = (seconds >= 0) & digits
    if not zulu.all():
        east[~zulu], fine = _offsets(window, (starts + lengths)[~zulu])
        sound[~zulu] &= fine & (lengths[~zulu] >= SHORTEST + 5)
    time = seconds * 1000 + fraction - east * 60_000
    found[sound & (time >= 0)] = time[sound & (time >= 0)]
    return found


def _number(window: Bytes, at: Int64s, digits: int) -> tuple[Int64s, Bools]:
    """Decimal numbers of so many digits, and whether they are."""
    value, sound = np.zeros_like(at), np.ones(len(at), np.bool_)
    for index in range(digits):
        digit = window[at + index].astype(np.int64) - _ZERO
        sound &= (digit >= 0) & (digit <= 9)
        value = value * 10 + digit
    return value, sound


def _seconds(window: Bytes, at: Int64s) -> Int64s:
    """Seconds since 1970 of dates and times of day; -1: it is none."""
    sound = np.ones(len(at), np.bool_)
    for index, mark in _MARKS.items():
        sound &= window[at + index] == mark
    values = []
    limits = (
        (0, 4, 1970, 9999),
        (5, 2, 1, 12),
        (8, 2, 1, 31),
        (11, 2, 0, 23),
        (14, 2, 0, 59),
        (17, 2, 0, 59),
    )
    for place, digits, least, most in limits:
        value, fine = _number(window, at + place, digits)
        sound &= fine & (value >= least) & (value <= most)
        values.append(np.where(sound, value, least))
    year, month, day, hour, minute, second = values
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    sound &= day <= _DAYS_IN[month - 1] + (leap & (month == 2))
    # Years that begin with March end with the leap day (Howard Hinnant, days_from_civil).
    year = year - (month <= 2)
    days = 365 * year + year // 4 - year // 100 + year // 400
    days += _DAYS_BEFORE[(month + 9) % 12] + day - 1 - 719_468
    total = ((days * 24 + hour) * 60 + minute) * 60 + second
    return np.where(sound & (total >= 0), total, -1)


def _fractions(window: Bytes, starts: Int64s, lengths: Int64s) -> tuple[Int64s, Bools]:
    """Milliseconds behind the second, of times without their zone; and whether they are sound."""
    digits = lengths - SHORTEST
    sound = (digits == -1) | (digits > 0)
    more = np.flatnonzero(sound & (digits > 0))
    at, digits = starts[more] + SHORTEST, digits[more]
    fine = window[at - 1] == ord(".")
    value = np.zeros(len(more), np.int64)
    # Nanoseconds are the rule: the last eight at once.
    long = digits >= 8
    if long.all():
        value, sound_value = _number(window, at, 3)
        fine &= sound_value
    else:
        for index, weight in enumerate((100, 10, 1)):
            here = digits > index
            digit = window[np.where(here, at + index, 0)].astype(np.int64) - _ZERO
            fine &= ~here | ((digit >= 0) & (digit <= 9))
            value += np.where(here, digit * weight, 0)
    fine[long] &= _are_digits(words(window)[(at + digits - 8)[long]])
    short = np.flatnonzero(~long)
    for index in range(3, 8):
        rows = short[digits[short] > index]
        byte = window[at[rows] + index]
        fine[rows] &= (byte >= _ZERO) & (byte <= _ZERO + 9)
    found = np.zeros_like(starts)
    found[more], sound[more] = value, fine
    return found, sound


def _are_digits(eight: Int64s) -> Bools:
    """Whether all eight bytes of each are decimal digits."""
    high, zeros, six = 0xF0F0F0F0F0F0F0F0, 0x3030303030303030, 0x0606060606060606
    unsigned = eight.view(np.uint64)
    three = unsigned & np.uint64(high) == np.uint64(zeros)
    low = (unsigned + np.uint64(six)) & np.uint64(high) == np.uint64(zeros)
    both: Bools = three & low
    return both


def _offsets(window: Bytes, ends: Int64s) -> tuple[Int64s, Bools]:
    """Minutes east of Greenwich of times that end at `ends`."""
    sign = window[ends - 6]
    hours, fine = _number(window, ends - 5, 2)
    minutes, sound = _number(window, ends - 2, 2)
    sound &= fine & (window[ends - 3] == ord(":")) & (hours < 24) & (minutes < 60)
    sound &= (sign == ord("+")) | (sign == ord("-"))
    return np.where(sign == ord("-"), -1, 1) * (hours * 60 + minutes), sound
