"""A suggestion: what somebody meant who wrote a name that is not known. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(name: str, known: Iterable[str]) -> str:
    """` (did you mean a or b?)`, or nothing: for names of which there are many."""
    close = difflib.get_close_matches(name, known, n=3)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`: did you mean x?`, or the list of what is known when that is short."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f": did you mean {close[0]}?"
    return f": known are {', '.join(names)}" if names else ""
