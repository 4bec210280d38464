"""What all tests share: `--long`, one Kafka for the session, a stream on a directory of logs, and
no process left behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import kafka_classpath
from tests.support.kafka_cluster import KafkaCluster
from tests.support.rig import Rig
from tests.support.waiting import wait_until


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="a long form: make test-long"))


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail the run when a process that a test started is still there at its end."""
    here = psutil.Process()
    before = {process.pid for process in here.children(recursive=True)}
    yield

    def left() -> list[psutil.Process]:
        return [p for p in here.children(recursive=True) if p.pid not in before]

    wait_until(lambda: not left(), 5.0, lambda: f"every started process has ended: {left()}")


@pytest.fixture(scope="session")
def kafka_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    reason = kafka_classpath.missing()
    if reason is not None:
        if os.environ.get("SINGER_REQUIRE_KAFKA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    cluster = KafkaCluster(str(tmp_path_factory.mktemp("kafka")))
    try:
        cluster.start_all()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def kafka(kafka_session: KafkaCluster) -> Iterator[KafkaCluster]:
    """The session's cluster, whole before and after each test that uses it."""
    yield kafka_session
    kafka_session.heal()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The directory that applications log to."""
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def rig(tmp_path: Path, logs: Path) -> Iterator[Callable[..., Rig]]:
    """`rig(glob, ...)` is a stream over files in `logs`; all have one state directory."""
    made: list[Rig] = []

    def make(*patterns: str, **options: object) -> Rig:
        paths = [str(logs / pattern) for pattern in patterns or ("app.log",)]
        made.append(Rig(str(tmp_path / "state"), paths, **options))
        return made[-1]

    yield make
    for one in made:
        if one.running:
            one.kill()
