"""Somebody who puts one thing in the place of another, as fast as he can."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def swapping(path: str, other: str) -> Iterator[None]:
    """While inside, `path` is now what it was, now what `other` was, and for moments nothing."""
    aside = path + ".aside"
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(path, aside)
            os.rename(other, path)
            os.rename(path, other)
            os.rename(aside, path)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        over.set()
        swapper.join()
