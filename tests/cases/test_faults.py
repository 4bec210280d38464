"""What a broker answers in the middle of everything: each error, and what becomes of every line.

The mock looks at no sequence numbers. With several requests under way those behind a refused one
would overtake it, which no real broker lets them do: so one at a time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import pytest

from singer.base.config import EmbeddedConfig
from singer.kafka import errors
from singer.kafka.embedded import API_PRODUCE, EmbeddedCluster
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.consume import Collector
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered
from tests.support.waiting import wait_until

SECONDS: Final = 30.0

#: By Kafka's numbers. One request is refused, and what it held is sent again.
REFUSED_RECORDS: Final = (4, 10, 18, 32, 43)
REFUSED_TOPICS: Final = (17, 21, 29, 44, 76)
#: librdkafka sends the request again by itself: of UNKNOWN_TOPIC_OR_PART (3) too, since a broker
#: that has just come up may say it; of leaders that move (5, 6), a time-out within the cluster (7),
#: too few replicas (19, 20) and a full disk (56).
RETRIED: Final = (3, 5, 6, 7, 19, 20, 56)
LOST_COUNT: Final = 45  # librdkafka tells it in its own words
BROKEN_PRODUCERS: Final = (31, LOST_COUNT, 47, 53, 90)


class Host:
    """An agent with the streams a, b and c, whose topics brokers 1, 2 and 3 lead."""

    def __init__(
        self, tmp_path: Path, cluster: EmbeddedCluster, properties: Mapping[str, str]
    ) -> None:
        self.cluster = cluster
        self._parts = contextlib.ExitStack()
        self.writers: dict[str, LogWriter] = {}
        self.collectors: dict[str, Collector] = {}
        for broker, name in enumerate("abc", 1):
            cluster.create_topic(name, 1)
            cluster.set_leader(name, 0, broker)
            path = str(tmp_path / f"{name}.log")
            self.writers[name] = self._parts.enter_context(LogWriter(path, broker))
            self.collectors[name] = self._parts.enter_context(Collector(cluster.bootstrap, name))
        config = configuration(
            state_dir=str(tmp_path / "state"),
            bootstrap=cluster.bootstrap,
            streams=[stream(name, str(tmp_path / f"{name}.log"), name) for name in "abc"],
            properties={"max.in.flight": "1", **properties},
        )
        self.agent = self._parts.enter_context(AgentProcess(str(tmp_path / "agent"), config))

    def __enter__(self) -> Self:
        self.write(100)
        self.agent.start()
        self.await_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def write(self, count: int, names: str = "abc") -> None:
        for name in names:
            self.writers[name].write(count)

    def await_all(self, names: str = "abc", seconds: float = SECONDS) -> None:
        """Until every line that was written arrived."""
        for name in names:
            self.collectors[name].wait_for_values(len(self.writers[name].written), seconds)

    def refuse(self, *codes: int) -> None:
        """Let broker 1 answer the next produce requests so."""
        self.cluster.push_errors(API_PRODUCE, codes, broker=1)

    def next_letter(self, before: int) -> dict[str, str]:
        """The dead letter that is told after so many."""
        wait_until(
            lambda: len(self.agent.events("record-dead-lettered")) > before,
            SECONDS,
            lambda: f"a dead letter is told:\n{self.agent.tail()}",
        )
        return self.agent.events("record-dead-lettered")[before]

    def stop(self) -> dict[str, int]:
        """Stop the agent: every line arrived once and in order, and nothing is open; its books."""
        assert self.agent.stop() == 0, self.agent.tail()
        for name, writer in self.writers.items():
            assert_delivered({writer.lineage: writer.written}, self.collectors[name].close())
        return self.agent.assert_balanced()


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """Its properties are the parameter of the fixture, if there is one."""
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=3))
    try:
        with Host(tmp_path, cluster, getattr(request, "param", {})) as made:
            yield made
    finally:
        cluster.close()


def name_of(code: int) -> str:
    return f"({errors.codes()[code]})"


# --- one answer -----------------------------------------------------------------------------------


def test_a_request_is_refused_for_a_record(host: Host) -> None:
    for code in REFUSED_RECORDS:
        host.refuse(code)
        host.write(100)
        host.await_all()
        said = host.agent.events("request-refused")[-1]
        assert name_of(code) in said["cause"]
        assert "produce to a: " in said["msg"]
        assert "one by one to find the culprit" in said["msg"]
    total = host.stop()
    assert total["dead_lettered"] == total["rewound"] == 0


def test_a_record_that_is_refused_alone_is_a_dead_letter_and_its_neighbours_arrive(
    host: Host,
) -> None:
    writer = host.writers["a"]
    letters = []
    for code in REFUSED_RECORDS:
        host.refuse(code, code)
        writer.write(1)
        culprit = writer.written.pop()
        letters.append((culprit, host.next_letter(len(letters))))
        assert name_of(code) in letters[-1][1]["reason"]
        # Its number is free again: the file has the line, and the topic must not.
        host.write(100)
        host.await_all()
    content = Path(writer.path).read_bytes()
    for culprit, letter in letters:
        assert letter["path"] == writer.path
        assert content[int(letter["offset"]) :].startswith(culprit + b"\n")
    total = host.stop()
    assert total["dead_lettered"] == sum(len(culprit) + 1 for culprit, _ in letters)


def test_a_topic_is_refused(host: Host) -> None:
    for code in REFUSED_TOPICS:
        host.refuse(code)
        host.write(100)
        host.await_all()
        said = host.agent.events("rewound")[-1]
        assert name_of(code) in said["cause"]
        assert "produce to a: " in said["msg"]
        assert "reading again from offset" in said["msg"]
    assert host.stop()["rewound"] > 0


def test_librdkafka_sends_it_again(host: Host) -> None:
    for code in RETRIED:
        host.refuse(code)
        host.write(100)
        host.await_all()
    assert host.stop()["rewound"] == 0


def test_the_producer_is_fenced_or_lost_count(host: Host) -> None:
    for code in BROKEN_PRODUCERS:
        host.refuse(code)
        host.write(100)
        host.await_all()
        assert len(host.agent.events("producer-broken")) == 1 + BROKEN_PRODUCERS.index(code)
        said = host.agent.events("producer-broken")[-1]
        told = "sequence desynchronization" if code == LOST_COUNT else name_of(code)
        assert told in said["cause"]
        assert said["msg"].endswith("the producer is replaced")
    host.stop()


# --- for a while ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(6, id="no leader"),
        pytest.param(19, id="too few replicas", marks=pytest.mark.long),
        pytest.param(56, id="disk full", marks=pytest.mark.long),
    ],
)
def test_the_others_go_on_while_one_broker_refuses_everything(host: Host, code: int) -> None:
    host.refuse(*[code] * 10_000)
    host.write(20_000)
    host.await_all("bc")
    host.write(20_000)
    host.await_all("bc")
    assert host.collectors["a"].count == 100, "broker 1 takes nothing"
    host.cluster.set_leader("a", 0, 2)  # noticed within seconds, because nothing is acknowledged
    host.await_all()
    assert host.stop()["rewound"] == 0


@pytest.mark.parametrize(
    "seconds", [4.0, pytest.param(60.0, marks=pytest.mark.long)], ids=["short", "a minute"]
)
def test_a_broker_takes_two_seconds_for_each_request(host: Host, seconds: float) -> None:
    host.cluster.set_rtt(1, 2000)
    ends = time.monotonic() + seconds
    host.write(20_000)
    while time.monotonic() < ends:
        host.write(500, "bc")
        host.await_all("bc")
        host.write(50, "a")
    host.cluster.set_rtt(1, 0)
    host.await_all()
    assert host.stop()["rewound"] == 0


#: What librdkafka waits for by default, in milliseconds. An outage of 6 s beside a hundredth of
#: each is one of 10 minutes.
_TIMEOUTS_MS: Final = {
    "socket.timeout.ms": 60_000,
    "request.timeout.ms": 30_000,
    "topic.metadata.propagation.max.ms": 30_000,
    "topic.metadata.refresh.interval.ms": 300_000,
    "metadata.max.age.ms": 900_000,
    "reconnect.backoff.max.ms": 10_000,
    "retry.backoff.max.ms": 10_000,
}
_HUNDREDTHS: Final = {name: str(amount // 100) for name, amount in _TIMEOUTS_MS.items()}


@pytest.mark.parametrize(
    ("host", "seconds"),
    [
        pytest.param(_HUNDREDTHS, 6.0, id="time-outs of a hundredth"),
        pytest.param({}, 600.0, marks=[pytest.mark.long, pytest.mark.timeout(900)], id="real"),
    ],
    indirect=["host"],
)
def test_an_outage_of_ten_minutes(host: Host, seconds: float) -> None:
    for broker in range(4):
        host.cluster.set_down(broker)
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        host.write(1000)
        host.agent.wait_for_log("event=cluster-down")
        time.sleep(seconds / 20)  # the outage is what is tried here: it has to last
        for writer in host.writers.values():
            writer.rotate()
    host.write(1000)
    for broker in range(4):
        host.cluster.set_up(broker)
    host.await_all(seconds=60.0)
    assert len(host.agent.events("cluster-down")) == 1
    assert host.stop()["dead_lettered"] == 0
