from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.config import scalars


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("30d", 2592000), ("1.5s", 1.5)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert scalars.duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "s", "-1s", "1 s", "1w", "1:30", "", "1e3s", "inf", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        scalars.duration(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4096", 4096),
        ("64MiB", 64 << 20),
        ("1GB", 10**9),
        ("1 KiB", 1024),
        ("1.5kB", 1500),
        ("9007199254740993", 9007199254740993),  # a float cannot hold it
    ],
)
def test_sizes(text: str, amount: int) -> None:
    assert scalars.size(text) == amount


@pytest.mark.parametrize("text", ["-1", "64MiBs", "64 mib", "", "0x10", "1_000", "9" * 40])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|64 bits"):
        scalars.size(text)


@pytest.mark.parametrize("text", ["yes", "on", "True", "1", "", "TRUE"])
def test_booleans_are_true_and_false_only(text: str) -> None:
    with pytest.raises(ValueError, match="true or false"):
        scalars.boolean(text)


@pytest.mark.parametrize("text", ["0123", "1.0", "1e3", "", "+1", "1_000", "9" * 19, "0x1"])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        scalars.integer(text)


@given(st.integers(0, 2**63 - 1))
def test_sizes_round_trip(amount: int) -> None:
    assert scalars.size(scalars.format_size(amount)) == amount


@given(st.integers(0, 10**9))
def test_durations_round_trip_to_the_millisecond(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert scalars.duration(scalars.format_duration(seconds)) == pytest.approx(seconds)


@given(st.text(max_size=20), st.sampled_from([scalars.duration, scalars.size, scalars.integer]))
def test_any_text_is_read_or_refused(text: str, read: Callable[[str], float]) -> None:
    try:
        value = read(text)
    except ValueError as error:
        assert str(error).startswith(("must be", "is l"))
    else:
        assert 0 <= abs(value) < 2**63
