"""One file through a reader in random windows: the books add up, and no cut changes the answer."""

from __future__ import annotations

from random import Random

import numpy as np

from singer.base.ports import Reader, State
from singer.readers.making import make
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS, Target


def run(name: str, seed: int) -> None:
    """One damaged file, made of `seed`. Raises AssertionError, or what the reader raises."""
    random, target = Random(seed), TARGETS[name]
    data = mutate(b"".join(target.record(random) for _ in range(random.randrange(9))), random)
    reader = make(target.config)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(9)))
    assert read(reader, data, cuts, target) == read(reader, data, [], target)


def read(
    reader: Reader, data: bytes, cuts: list[int], target: Target
) -> tuple[list[tuple[int, bytes, bytes | None]], list[tuple[int, str]]]:
    """Records as (end, payload, key), and (offset, disposal) of each byte given up."""
    records, bad, at, scanned, resume = [], [], 0, 0, b""
    stops = [(cut, State.MORE) for cut in cuts]
    for stop, state in [*stops, (len(data), State.MORE), (len(data), State.FINAL)]:
        window = np.frombuffer(data[at:stop], np.uint8)
        framed = reader.frame(window, at, state, scanned=scanned, resume=resume)
        batch, held = framed.batch, len(window) - framed.consumed
        assert 0 <= framed.consumed <= framed.scanned <= len(window)
        assert batch.span == (at, at + framed.consumed)
        assert held <= reader.max_window
        assert len(framed.resume) <= 1024
        ends = batch.ends.tolist()
        assert ends == sorted(ends)
        assert all(at <= end <= at + framed.consumed for end in ends)
        booked = int(framed.sources.sum())
        for each in framed.bad:
            assert at <= each.start < each.end <= at + framed.consumed
            bad += [(byte, each.disposal.value) for byte in range(each.start, each.end)]
            booked += each.end - each.start
        if target.in_a_row:
            assert booked == framed.consumed
            assert len(ends) == len(set(ends))
        records += [
            (ends[row] * target.in_a_row, batch.payload(row), batch.key(row))
            for row in range(len(batch))
        ]
        at, scanned, resume = at + framed.consumed, framed.scanned - framed.consumed, framed.resume
    assert at == len(data)
    assert len(bad) == len(set(bad))
    return records, sorted(bad)
