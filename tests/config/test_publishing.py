"""What an entry of `publish` says of itself beyond where it goes."""

from __future__ import annotations

import pytest

from singer.base.config import (
    ByteSize,
    Codec,
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


def drawn(folder: Folder, keys: str, hosts: int = 1000) -> set[int]:
    """The hosts that the second destination with these keys is for."""
    text = CONFIG.replace("KEYS", keys)
    found = set()
    for number in range(hosts):
        config = folder.load(f"agent: {{id: host-{number}}}\n{text}").config
        names = [destination.name for destination in config.streams[0].publish]
        assert names[0] == "main/web.access"
        if len(names) == 2:
            assert not config.undrawn
            found.add(number)
        else:
            ((stream, destination),) = config.undrawn
            assert (stream, destination.cluster) == ("access", "canary")
    return found


def test_a_share_of_the_hosts_to_which_more_are_added_as_it_grows(folder: Folder) -> None:
    few, more = drawn(folder, "sample: 10%", 300), drawn(folder, "sample: 30%", 300)
    assert 15 <= len(few) <= 45
    assert 65 <= len(more) <= 115
    assert few < more
    assert len(drawn(folder, "sample: 100%", 20)) == 20
    assert not drawn(folder, "sample: 0%", 20)


def test_the_same_name_draws_the_same_hosts_and_another_one_others(folder: Folder) -> None:
    by_topic, named = drawn(folder, "sample: 30%", 200), drawn(folder, "sample: 30%, name: x", 200)
    other = drawn(folder, "sample: 30%, shadow: true, name: x", 200)
    assert named == other != by_topic


def test_a_stream_of_which_no_destination_is_for_this_host_is_not_read(folder: Folder) -> None:
    text = CONFIG.replace("KEYS", "sample: 0%").replace(
        "topic: web.access}", "topic: web.access, sample: 0%}"
    )
    config = folder.load(text).config
    assert not config.streams
    assert len(config.undrawn) == 2


def test_a_topic_has_a_codec_of_its_own(folder: Folder) -> None:
    assert second(folder, "compression: lz4").compression is Codec.LZ4
    uncompressed = CONFIG.replace("KEYS", "compression: none")
    (found,) = folder.problems(uncompressed)
    assert found.endswith("compression: none needs clusters.canary.allow_uncompressed: <reason>")
    folder.load(uncompressed.replace("2:9092]", "2:9092], allow_uncompressed: a fast network"))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("compression: br", "compression: must be one of none, gzip, snappy, lz4, zstd, not 'br'"),
        (
            "compression: lz4}\n      - {cluster: canary, topic: web.access, name: x",
            "compression of topic 'web.access' differs from that of another destination, first in",
        ),
        ("sample: 10", "sample: must be a percentage: 10%, 0.5%, not '10'"),
        ("sample: 101%", "sample: must be at most 100%, not '101%'"),
        ("sample: -1%", "sample: must be a number, not '-1%'"),
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
