"""What all tests share: `--long`, one Kafka for the session, and no process left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest

from tests.support import kafka_classpath
from tests.support.kafka_cluster import KafkaCluster
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
