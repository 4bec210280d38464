"""What all tests share: `--long`, one Kafka for the session, an agent or a stream on a
directory of logs, and no process left behind.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from singer.base.config import EmbeddedConfig
from singer.kafka.embedded import EmbeddedCluster
from tests.support import kafka_classpath
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.kafka_cluster import KafkaCluster
from tests.support.rig import Rig
from tests.support.waiting import wait_until

_ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="a long form: make test-long"))


@functools.cache
def _cluster_of(path: str) -> str:
    """The real Kafka that the tests of a file use: the session's, one of their own, or none."""
    text = (_ROOT / path).read_text(encoding="utf-8")
    if "pytestmark = pytest.mark.kafka" not in text:
        return ""
    return "secure kafka" if "SecureKafka" in text else "kafka"


# Not `xdist_group`: xdist 3.8 adds groups to node ids in a way that pytest 9.2 does not see.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Tests go to whoever is free, but all that use one Kafka to one: it is one for the session."""
    from xdist.scheduler import LoadScopeScheduling

    class OneKafka(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _cluster_of(nodeid.split("::", maxsplit=1)[0]) or nodeid

    return OneKafka(config, log)


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


@pytest.fixture(scope="module")
def brokers() -> Iterator[EmbeddedCluster]:
    """Three brokers in this process. Who takes one down brings it up again."""
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=3, racks=("a", "b", "c")))
    yield cluster
    cluster.close()


@pytest.fixture
def agent(
    tmp_path: Path, logs: Path, brokers: EmbeddedCluster, request: pytest.FixtureRequest
) -> Iterator[Callable[..., AgentProcess]]:
    """An agent on `logs/*.log`, with a topic of its own; `make(**changes to the stream)`.

    `prefix` is a command that runs the agent's; `agent` changes the agent's section.
    """
    topic = request.node.name[:200].replace("[", "-").replace("]", "")
    made: list[AgentProcess] = []

    def make(
        *,
        paths: str = "*.log",
        state_dir: str | None = None,
        agent: dict[str, object] | None = None,
        bootstrap: str | None = None,
        create: bool = True,
        prefix: tuple[str, ...] = (),
        **more: object,
    ) -> AgentProcess:
        if create:
            brokers.create_topic(topic, 3)
        config = configuration(
            state_dir=str(state_dir or tmp_path / "state"),
            bootstrap=bootstrap or brokers.bootstrap,
            streams=[stream("s", str(logs / paths), topic, **more)],
            agent=agent,
        )
        made.append(AgentProcess(str(tmp_path / f"agent-{len(made)}"), config, prefix=prefix))
        made[-1].topic = topic
        return made[-1]

    yield make
    for one in made:
        if one.running:
            one.kill()
