"""Two multisets on disk against a Counter."""

from __future__ import annotations

import tempfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.errors import StateError
from singer.validate.contents import A, B, Contents
from singer.validate.repeats import Repeats
from singer.validate.stretch import Stretch


class Keyed:
    """As much of a client's message as is asked for."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def key(self) -> bytes | None:
        return self._key


Record = tuple[bytes | None, bytes]
_records = st.lists(
    st.tuples(st.sampled_from([None, b"", b"k"]), st.sampled_from([b"", b"a", b"b", b"ab", b"c"])),
    max_size=40,
)


def _stretch(records: list[Record]) -> Stretch:
    return Stretch(
        start=0,
        end=len(records),
        offsets=np.arange(len(records)),
        values=[value for _, value in records],
        messages=[Keyed(key) for key, _ in records],  # type: ignore[misc]
    )


@settings(deadline=None)
@given(_records, _records, st.integers(1, 5_000_000))
def test_differences_are_those_of_the_multisets(
    a: list[Record], b: list[Record], expected: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        contents = Contents(directory, expected)
        contents.add(A, 0, _stretch(a))
        contents.add(B, 7, _stretch(b))
        found = list(contents.differences())

    def named(rows: list[tuple[int, int]], side: list[Record]) -> Counter[Record]:
        return Counter(side[offset] for offset, _ in rows)

    def of(name: str, side: list[Record]) -> Counter[Record]:
        rows = [row for each in found for row in getattr(each, name).tolist()]
        assert len(set(rows)) == len(rows)
        return named(rows, side)

    only_a, only_b = Counter(a) - Counter(b), Counter(b) - Counter(a)
    assert of("missing", a) == Counter({r: n for r, n in only_a.items() if r not in b})
    assert of("extra", b) == Counter({r: n for r, n in only_b.items() if r not in a})
    assert of("repeated_a", a) == Counter({r: n for r, n in only_a.items() if r in b})
    assert of("repeated_b", b) == Counter({r: n for r, n in only_b.items() if r in a})


def test_too_little_room_is_said_before() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        pytest.raises(StateError, match=r"MiB free.*set TMPDIR"),
    ):
        Contents(directory, 1 << 60)


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=1), st.integers(-1, 2)), max_size=60))
def test_copies_are_known_by_the_owner_of_what_they_are_copies_of(
    records: list[tuple[bytes, int]],
) -> None:
    owners = {value: owner for value, owner in records if owner >= 0}
    with tempfile.TemporaryDirectory() as directory:
        repeats = Repeats(directory)
        values = [value for value, _ in records]
        claimed = np.array([owner for _, owner in records], np.int32)
        repeats.add(3, np.arange(len(values)), values, claimed)
        found = [
            (owner, partition, offset)
            for each, rows in repeats.found()
            for owner, (_, partition, offset) in zip(each.tolist(), rows.tolist(), strict=True)
        ]
    assert [offset for _, _, offset in found] == [n for n, (_, o) in enumerate(records) if o < 0]
    for owner, partition, offset in found:
        value = records[offset][0]
        assert partition == 3
        assert (owner >= 0) == (value in owners)
        assert owner in {-1, *(o for v, o in records if v == value)}
