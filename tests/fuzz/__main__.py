"""`python -m tests.fuzz READER [--seconds N] [--seed S]`: stops at the first seed that fails."""

from __future__ import annotations

import argparse
import time

from tests.fuzz.check import run
from tests.fuzz.targets import TARGETS

parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
parser.add_argument("reader", choices=TARGETS)
parser.add_argument("--seconds", type=float, default=10.0)
parser.add_argument("--seed", type=int, default=0, help="the first seed; each file has one")
arguments = parser.parse_args()
seed, until = arguments.seed, time.monotonic() + arguments.seconds
while time.monotonic() < until:
    try:
        run(arguments.reader, seed)
    except BaseException:
        print(f"failed: --seed {seed}")
        raise
    seed += 1
print(f"{seed - arguments.seed} files")
