"""Words: eight bytes of a window compared as one number. Pure."""

from __future__ import annotations

import numpy as np

from singer.base.batch import Bytes, Int64s


def words(window: Bytes) -> Int64s:
    """The eight bytes from each index on, as a number; int64[n - 7], without a copy."""
    return np.ndarray(max(0, len(window) - 7), np.int64, window.data, strides=(1,))


def word(text: bytes) -> int:
    """The number that `words` has where these eight bytes stand."""
    return int(np.frombuffer(text, np.int64)[0])
