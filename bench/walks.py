"""CPU of one walk: `python -m bench.walks GLOB` prints milliseconds, without and with what is
known of the files; `-` where a walk cannot be given that.
"""

from __future__ import annotations

import inspect
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

from singer.files.walk import Walker

_WALKS: Final = 20


def main(glob: str) -> None:
    walker = Walker([glob])
    walk: Callable[..., object] = walker.walk
    seen = walker.walk().tree
    plain = _median_ms(walk)
    if "known" not in inspect.signature(walk).parameters:
        print(f"{plain:.2f} -")
        return
    print(f"{plain:.2f} {_median_ms(lambda: walk(seen)):.2f}")


def _median_ms(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_WALKS):
        begun = time.process_time()
        work()
        taken.append((time.process_time() - begun) * 1e3)
    return statistics.median(taken)


if __name__ == "__main__":
    main(sys.argv[1])
