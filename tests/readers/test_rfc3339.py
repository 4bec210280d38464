"""Times against Python's own parser."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.readers.rfc3339 import LONGEST, SHORTEST, milliseconds


def read(times):
    data = b" ".join(times)
    lengths = np.array([len(each) for each in times], np.int64)
    starts = np.cumsum(lengths + 1) - lengths - 1
    return milliseconds(np.frombuffer(data, np.uint8), starts, lengths).tolist()


def expected(time):
    text = time.decode()
    parsed = datetime.fromisoformat(text)
    return int(parsed.astimezone(UTC).timestamp()) * 1000 + parsed.microsecond // 1000


@given(
    st.lists(
        st.builds(
            lambda moment, digits, zone: (
                f"{moment:%Y-%m-%dT%H:%M:%S}"
                + (f".{moment.microsecond * 1000 + 7:09d}"[: digits + 1] if digits else "")
                + zone
            ).encode(),
            st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
            st.sampled_from([0, 1, 2, 3, 6, 7, 8, 9]),
            st.sampled_from(["Z", "+00:00", "-11:30", "+08:00"]),
        ),
        max_size=20,
    )
)
def test_times_of_any_precision_and_zone(times):
    assert read(times) == [expected(time) for time in times]


def test_many_lines_in_one_second():
    times = [b"2016-10-06T00:17:09.%03dZ" % n for n in range(1000)]
    assert read(times) == [expected(time) for time in times]


@pytest.mark.parametrize(
    "time",
    [
        b"2016-10-06 00:17:09.1Z",
        b"2016-13-06T00:17:09.1Z",
        b"2016-00-06T00:17:09.1Z",
        b"2016-10-32T00:17:09.1Z",
        b"2016-10-06T24:17:09.1Z",
        b"2016-10-06T00:60:09.1Z",
        b"2016-10-06T00:17:61.1Z",
        b"2016-09-31T00:17:09.1Z",
        b"2015-02-29T00:17:09.1Z",
        b"2100-02-29T00:17:09.1Z",
        b"2016-10-06T00:17:09.Z",
        b"2016-10-06T00:17:09.xZ",
        b"2016-10-06T00:17:09,1Z",
        b"2016-10-06T00:17:09.123x567Z",
        b"2016-10-06T00:17:09.1234:67890Z",
        b"2016-10-06T00:17:09.12345678/Z",
        b"2016-10-06T00:17:09.123456\xb789Z",
        b"2016-10-06T00:17:0x.1Z",
        b"2016-10-06T00:17:09.1+24:00",
        b"2016-10-06T00:17:09.1+0800",
        b"2016-10-06T00:17:09.1X",
        b"1969-12-31T23:59:59Z",
        b"1970-01-01T00:00:00+01:00",
        b"\xff" * SHORTEST,
        b"2" * LONGEST,
    ],
)
def test_what_is_no_time(time):
    assert read([time, b"2016-10-06T00:17:09.5Z"]) == [-1, 1_475_713_029_500]


def test_none():
    assert read([]) == []
