"""A writer without mercy: `python -m bench.firehose BYTES_PER_SECOND SECONDS PATH...`."""

from __future__ import annotations

import os
import sys
import time

from bench.workspace import LINE_BYTES
from tests.support.lines import line

_BLOCK_LINES = (1 << 20) // LINE_BYTES


def main(bytes_per_second: float, seconds: float, paths: list[str]) -> None:
    """Append a block to each file in turn, as fast as the disk allows and no faster than that."""
    block = b"".join(line(2, n, LINE_BYTES - 1) + b"\n" for n in range(_BLOCK_LINES))
    files = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in paths]
    begun = time.monotonic()
    written = 0
    while (passed := time.monotonic() - begun) < seconds:
        if written > bytes_per_second * passed:
            time.sleep(0.001)
            continue
        written += os.write(files[written // len(block) % len(files)], block)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
