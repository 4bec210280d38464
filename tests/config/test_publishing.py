"""What an entry of `publish` says of itself beyond where it goes."""

from __future__ import annotations

import pytest

from singer.base.config import (
    ByteSize,
    DestinationConfig,
    DestinationStartConfig,
    MaxLagConfig,
    Seconds,
    Start,
)
from singer.config.show import show
from tests.config.files import Folder

CONFIG = """\
clusters:
  main: {bootstrap: [kafka-1:9092]}
  canary: {bootstrap: [kafka-2:9092]}
streams:
  - name: access
    paths: [/var/log/access.log]
    publish:
      - {cluster: main, topic: web.access}
      - {cluster: canary, topic: web.access, KEYS}
"""


def second(folder: Folder, keys: str) -> DestinationConfig:
    """The second destination with these keys; it is the same when it was shown and read again."""
    config = folder.load(CONFIG.replace("KEYS", keys)).config
    assert folder.load(show(config)).config == config
    return config.streams[0].publish[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1GiB", MaxLagConfig(bytes=ByteSize(1 << 30))),
        ("1048576", MaxLagConfig(bytes=ByteSize(1 << 20))),
        ("15m", MaxLagConfig(age=Seconds(900.0))),
        ("{bytes: 2MiB, age: 1h}", MaxLagConfig(bytes=ByteSize(2 << 20), age=Seconds(3600.0))),
        ("null", None),
    ],
)
def test_how_far_a_shadow_may_be_behind(folder: Folder, text: str, expected: MaxLagConfig) -> None:
    assert second(folder, f"shadow: true, max_lag: {text}").max_lag == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("end", DestinationStartConfig(at=Start.END)),
        ("{at: beginning}", DestinationStartConfig(at=Start.BEGINNING)),
        ("{like: main/web.access}", DestinationStartConfig(like="main/web.access")),
        ("null", None),
    ],
)
def test_where_a_new_one_begins(
    folder: Folder, text: str, expected: DestinationStartConfig
) -> None:
    assert second(folder, f"start: {text}").start == expected


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("start: middle", "start: must be one of beginning, end, not 'middle'"),
        ("start: {}", "start: must be beginning, end, or {like: another destination}"),
        ("start: {at: end, like: main/web.access}", "start: must be beginning, end, or {like:"),
        (
            "start: {like: main/web.acess}",
            "start: there is no destination 'main/web.acess' here: did you mean main/web.access?",
        ),
        ("start: {like: canary/web.access}", "start: is like itself: say beginning or end"),
        ("max_lag: 1GiB", "max_lag: lets it skip what it has not sent: only with shadow: true"),
        ("shadow: true, max_lag: {}", "max_lag: says how far: bytes, as 1GiB, or age, as 15m"),
        ("shadow: true, max_lag: 1s", "max_lag: must be at least 5s"),
        ("shadow: true, max_lag: 5", "max_lag: must be at least 1MiB"),
        ("shadow: true, max_lag: far", "must be a size in bytes: 4096, 64MiB, 1GB, not 'far'"),
        ("shadow: true, max_lag: 15min", "must be a size in bytes"),
        ("shadow: true, max_lag: [1GiB]", "max_lag: must be a mapping"),
    ],
)
def test_what_is_wrong(folder: Folder, keys: str, problem: str) -> None:
    (found,) = folder.problems(CONFIG.replace("KEYS", keys))
    assert problem in found
