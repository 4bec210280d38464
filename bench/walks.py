"""CPU of one walk: `python -m bench.walks GLOB [EXCLUDE...]` prints milliseconds, without and with
what is known of the files.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

from singer.files.walk import Walker

_WALKS: Final = 20


def main(glob: str, *excludes: str) -> None:
    walker = Walker([glob], excludes)
    known = walker.walk().tree
    print(f"{_median_ms(walker.walk):.2f} {_median_ms(lambda: walker.walk(known)):.2f}")


def _median_ms(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_WALKS):
        begun = time.process_time()
        work()
        taken.append((time.process_time() - begun) * 1e3)
    return statistics.median(taken)


if __name__ == "__main__":
    main(*sys.argv[1:])
