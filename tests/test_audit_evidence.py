"""What an agent says of what it delivered, recomputed by a reader that shares no code with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from singer.kafka.embedded import EmbeddedCluster
from tests.readers.thrift_frames import frame
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.audit_reader import Evidence, read_evidence
from tests.support.consume import read_topic
from tests.support.waiting import wait_until


class Audited:
    """An agent that audits, and the reader."""

    def __init__(
        self,
        tmp_path: Path,
        brokers: EmbeddedCluster,
        topic: str,
        logs: Path,
        *,
        audit: dict[str, object] | None = None,
        properties: dict[str, object] | None = None,
        **more: Any,
    ) -> None:
        self.topic, self.bootstrap = topic, brokers.bootstrap
        self.agent = AgentProcess(
            str(tmp_path / "agent"),
            configuration(
                state_dir=str(tmp_path / "state"),
                bootstrap=brokers.bootstrap,
                streams=[stream("s", str(logs / "*.log"), topic, **more)],
                agent={"commit_every": "20ms"},
                cluster={"audit": {"topic": f"{topic}.audit", "every": "100ms", **(audit or {})}},
                properties=properties,
            ),
        )

    def evidence(self) -> Evidence:
        return read_evidence(self.bootstrap, f"{self.topic}.audit", self.topic)


@pytest.fixture
def audited(
    tmp_path: Path, logs: Path, brokers: EmbeddedCluster, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Audited]]:
    topic = request.node.name[:150].replace("[", "-").replace("]", "")
    made: list[Audited] = []

    def make(*, audit_topic: bool = True, **more: Any) -> Audited:
        brokers.create_topic(topic, 4)
        if audit_topic:
            brokers.create_topic(f"{topic}.audit", 2)
        made.append(Audited(tmp_path, brokers, topic, logs, **more))
        return made[-1]

    yield make
    for one in made:
        if one.agent.running:
            one.agent.kill()


def _some(count: int, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    return [b"%d %s" % (n, b"x" * source.choice((0, 1, 40, 200))) for n in range(count)]


@pytest.mark.parametrize("partitioner", ["sticky", "round_robin"])
@pytest.mark.parametrize("gap", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_lines_however_they_end(
    audited: Callable[..., Audited], logs: Path, partitioner: str, gap: bytes
) -> None:
    made = audited(
        partitioner=partitioner,
        reader={"type": "text", "crlf": gap == b"\r\n"},
        flush_partial_after="200ms",
    )
    lines = [*_some(3000), b"", b"\0\xff"]
    whole = gap.join(lines) + gap
    for _ in range(2):
        with (logs / "a.log").open("ab") as log:
            log.write(whole)
        assert made.agent.run_once() == 0
    with (logs / "a.log").open("ab") as log:
        log.write(whole[: -len(gap)])  # nobody will end the last one
    made.agent.start()
    wait_until(lambda: _arrived(made) == 3 * len(lines), 30.0, lambda: "all lines arrive")
    assert made.agent.stop() == 0
    path, size = str(logs / "a.log"), (logs / "a.log").stat().st_size
    found = made.evidence()
    assert found.covered(path) == (0, size)
    assert found.columns["delivered"] == size
    assert found.columns["records"] == 3 * len(lines)
    assert sorted(found.claimed[path]) == sorted(3 * lines)
    assert not found.unclaimed


def test_records_that_are_taken_out_and_that_are_refused(
    audited: Callable[..., Audited], logs: Path
) -> None:
    made = audited(
        transforms=[
            {"drop": "^DEBUG"},
            {"sample": {"percent": 50, "by": "payload"}},
            {"prefix": "> "},
        ],
        reader={"type": "text", "max_record": "8KiB"},
        properties={"message.max.bytes": "3000"},
    )
    lines = [line for n, each in enumerate(_some(2000)) for line in (each, b"DEBUG %d" % n)]
    lines[777], lines[1500] = b"L" * 5000, b"R" * 9000  # one for the client, one for the reader
    data = b"\n".join(lines) + b"\n"
    (logs / "a.log").write_bytes(data)
    assert made.agent.run_once() == 0
    columns = made.agent.assert_balanced()
    found = made.evidence()
    assert found.covered(str(logs / "a.log")) == (0, len(data))
    for name in ("delivered", "filtered", "sampled", "dead_lettered", "skipped"):
        assert found.columns[name] == columns[name], name
    assert found.columns["filtered"] >= 2000 * len(b"DEBUG 0\n")
    assert found.columns["sampled"]
    assert found.columns["dead_lettered"] + found.columns["skipped"] >= 9001
    assert not found.unclaimed
    assert all(value.startswith(b"> ") for value in found.claimed[str(logs / "a.log")])


def test_thrift_with_keys(audited: Callable[..., Audited], logs: Path) -> None:
    made = audited(reader="thrift", partitioner="key_murmur2")
    frames = [frame(each, key=b"key %d" % (n % 50)) for n, each in enumerate(_some(4000))]
    (logs / "a.log").write_bytes(b"".join(frames))
    assert made.agent.run_once() == 0
    found = made.evidence()
    path = str(logs / "a.log")
    assert found.covered(path) == (0, sum(map(len, frames)))
    assert len(found.claimed[path]) == 4000
    assert sum(bool(records) for records in found.arrived.values()) == 4
    assert not found.unclaimed


def test_few_lines_are_said_together(audited: Callable[..., Audited], logs: Path) -> None:
    made = audited(audit={"every": "1h"})
    made.agent.start()
    made.agent.wait_for_log("event=agent-started")
    for number in range(30):  # each is committed by itself
        with (logs / "a.log").open("ab") as log:
            log.write(b"line %d\n" % number)
        wait_until(
            lambda number=number: _arrived(made) == number + 1, 30.0, lambda: "the line arrives"
        )
    assert made.agent.stop() == 0
    found = made.evidence()
    assert len(found.claimed[str(logs / "a.log")]) == 30
    assert len(found.accounts[str(logs / "a.log")]) == 1
    assert found.ranges < 30
    assert found.messages <= 5  # one for each partition, at most, and one of the account


def _arrived(made: Audited) -> int:
    return sum(map(len, read_topic(made.bootstrap, made.topic).values()))


def test_an_audit_topic_that_is_not_there_holds_nobody_up(
    audited: Callable[..., Audited], logs: Path, brokers: EmbeddedCluster
) -> None:
    made = audited(audit_topic=False)
    lines = _some(2000)
    (logs / "a.log").write_bytes(b"\n".join(lines) + b"\n")
    made.agent.start()
    wait_until(lambda: _arrived(made) == 2000, 30.0, lambda: "all lines arrive")
    made.agent.wait_for_log("event=audit-waits")
    made.agent.kill()
    brokers.create_topic(f"{made.topic}.audit", 2)
    assert made.agent.run_once() == 0
    found = made.evidence()
    assert found.covered(str(logs / "a.log")) == (0, (logs / "a.log").stat().st_size)
    assert not set(found.claimed[str(logs / "a.log")]) ^ set(lines)


def test_a_journal_that_is_full_gives_up_the_oldest(
    audited: Callable[..., Audited], logs: Path, brokers: EmbeddedCluster
) -> None:
    made = audited(audit_topic=False, audit={"max_bytes": "1MiB"})
    # 400 bytes for each file, as it were: what was said of the first ones has to go.
    for number in range(4000):
        (logs / f"{number:04}-{'n' * 180}.log").write_bytes(b"one\n")
    made.agent.start()
    made.agent.wait_for_log("event=audit-lost", 90.0)
    wait_until(lambda: _arrived(made) == 4000, 90.0, lambda: "all lines arrive")
    made.agent.kill()
    brokers.create_topic(f"{made.topic}.audit", 2)
    assert made.agent.run_once() == 0
    found = made.evidence()
    assert 0 < sum(map(len, found.claimed.values())) < 4000
    assert found.unclaimed
