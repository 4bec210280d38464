"""Valid files, damaged: bytes changed, cut off, put in, doubled, and lengths that cannot be."""

from __future__ import annotations

from random import Random

LENGTHS = [each.to_bytes(4, "big", signed=True) for each in (0, -1, 2**31 - 1)]


def mutate(data: bytes, random: Random) -> bytes:
    """`data` with up to four damages."""
    for _ in range(random.randrange(5)):
        at, size = random.randrange(len(data) + 1), random.randrange(40)
        match random.randrange(5):
            case 0:
                data = data[:at] + random.randbytes(1) + data[at + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + random.randbytes(size) + data[at:]
            case 3:
                data = data[: at + size] + data[at:]
            case 4:
                data = data[:at] + random.choice(LENGTHS) + data[at + 4 :]
    return data
