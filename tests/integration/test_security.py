"""The real agent at a real broker that wants to know who it is, and is not always pleased.

One broker with a listener for each way; what arrives is read through one without any.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import kafka_classpath
from tests.support.agent_process import AgentProcess, configuration, stream
from tests.support.certificates import replace
from tests.support.consume import Collector, read_topic
from tests.support.lines import LogWriter
from tests.support.oracle import assert_delivered
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka
from tests.support.tokens import Issuer, OidcServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

DELIVERY_SECONDS = 60.0
WRONG = "wrong-horse-staple"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    reason = kafka_classpath.missing()
    if reason is not None:
        if os.environ.get("SINGER_REQUIRE_KAFKA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    broker = SecureKafka(str(tmp_path_factory.mktemp("secure-kafka")))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


class Host:
    """An agent with one log, its topic, and files with secrets beside its configuration."""

    def __init__(self, kafka: SecureKafka, directory: Path) -> None:
        self.kafka = kafka
        self.directory = directory
        self.topic = kafka.create_topic()
        self.writer = LogWriter(str(directory / "app.log"), 1, garble=True)
        self.agent: AgentProcess

    def file(self, name: str, text: str) -> str:
        path = str(self.directory / name)
        replace(path, text)
        return path

    def make(
        self, listener: str, properties: Mapping[str, Any], oauth: Mapping[str, Any] | None = None
    ) -> AgentProcess:
        protocol = "SSL" if listener in ("TLS", "MUTUAL", "ELSEWHERE") else "SASL_SSL"
        config = configuration(
            state_dir=str(self.directory / "state"),
            bootstrap=self.kafka.at(listener),
            streams=[stream("app", self.writer.path, self.topic)],
            properties={
                "security.protocol": protocol,
                "ssl.ca.location": self.kafka.authority.path,
                **properties,
            },
        )
        if oauth is not None:
            config["clusters"]["main"]["oauth"] = dict(oauth)
        self.agent = AgentProcess(str(self.directory / "agent"), config)
        return self.agent

    def delivers(self, lines: int = 500) -> None:
        """More lines, and all so far are there, once, byte for byte."""
        self.writer.write(lines)
        wait_until(
            lambda: self.arrived() >= len(self.writer.written),
            DELIVERY_SECONDS,
            lambda: f"{len(self.writer.written)} records: {self.arrived()}\n{self.agent.tail()}",
        )
        assert_delivered({1: self.writer.written}, read_topic(self.kafka.bootstrap, self.topic))

    def arrived(self) -> int:
        return sum(map(len, read_topic(self.kafka.bootstrap, self.topic).values()))

    def told(self) -> list[str]:
        """What the log says of the cluster, above information."""
        return [
            event["msg"]
            for name in ("cluster-down", "broker-refuses")
            for event in self.agent.events(name)
        ]

    def tells(self, *parts: str) -> None:
        """All parts are in one message, and that is told once."""
        wait_until(
            lambda: any(all(part in line for part in parts) for line in self.told()),
            DELIVERY_SECONDS,
            lambda: f"one message has {parts}: {self.told()}\n{self.agent.tail()}",
        )
        assert sum(all(part in line for part in parts) for line in self.told()) == 1


@pytest.fixture
def host(kafka: SecureKafka, tmp_path: Path) -> Iterator[Host]:
    made = Host(kafka, tmp_path)
    yield made
    made.writer.close()
    if made.agent.running:
        made.agent.kill()
    for secret in (PASSWORD, WRONG):
        said = Path(made.agent.log_path).read_text() + Path(made.agent.output_path).read_text()
        assert secret not in said


Way = tuple[str, dict[str, Any], dict[str, Any] | None]


def mutual(host: Host) -> Way:
    certificate, key = host.kafka.authority.issue("agent")
    given = {
        "ssl.certificate.location": host.file("agent.pem", certificate),
        "ssl.key.location": host.file("agent.key", key),
    }
    return "MUTUAL", given, None


def password(mechanism: str) -> Callable[[Host], Way]:
    def way(host: Host) -> Way:
        host.file("password", PASSWORD + "\n")
        given = {
            "sasl.mechanism": mechanism,
            "sasl.username": USER,
            "sasl.password": f"${{file:{host.directory}/password}}",
        }
        return "PASSWORDS", given, None

    return way


def token_file(host: Host) -> Way:
    path = host.file("token", host.kafka.issuer.token() + "\n")
    return "TOKENS", {"sasl.mechanism": "OAUTHBEARER"}, {"file": path}


def token_command(host: Host) -> Way:
    path = host.file("token", host.kafka.issuer.token())
    script = f"import sys; sys.stdout.write(open({path!r}).read())"
    return "TOKENS", {"sasl.mechanism": "OAUTHBEARER"}, {"command": [sys.executable, "-c", script]}


WAYS: dict[str, Callable[[Host], Way]] = {
    "tls": lambda _: ("TLS", {}, None),
    "mutual-tls": mutual,
    "plain": password("PLAIN"),
    "scram": password("SCRAM-SHA-512"),
    "token-file": token_file,
    "token-command": token_command,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_byte_arrives(host: Host, way: str) -> None:
    host.writer.write(500)
    with host.make(*WAYS[way](host)) as agent:
        assert agent.run_once() == 0, agent.tail()
        assert not host.told()
    assert_delivered({1: host.writer.written}, read_topic(host.kafka.bootstrap, host.topic))


def oidc(host: Host, server: OidcServer) -> Way:
    given = {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": server.url,
        "sasl.oauthbearer.client.id": USER,
        "sasl.oauthbearer.client.secret": f"${{file:{host.directory}/secret}}",
    }
    return "TOKENS", given, None


def test_tokens_of_an_oidc_endpoint_and_a_wrong_secret_there(host: Host) -> None:
    with OidcServer(host.kafka.issuer, USER, PASSWORD) as server:
        host.file("secret", WRONG)
        with host.make(*oidc(host, server)) as agent:
            agent.start()
            host.tells("no token can be had", "sasl.oauthbearer.*")
            host.file("secret", PASSWORD)
            host.delivers()
            assert agent.stop() == 0, agent.tail()
        assert server.requests[0] is False
        assert server.requests[-1] is True


# --- what goes wrong, and is mended while the agent runs --------------------------------------


def test_a_wrong_authority(host: Host) -> None:
    with open(host.kafka.stranger.path, encoding="ascii") as stranger:
        ca = host.file("ca.pem", stranger.read())
    with host.make("TLS", {"ssl.ca.location": ca}) as agent:
        agent.start()
        host.tells("certificate is not accepted: ", "issuer certificate", "correct ssl.ca.location")
        with open(host.kafka.authority.path, encoding="ascii") as authority:
            host.file("ca.pem", authority.read())
        host.delivers()
        assert len(host.told()) == 1
        assert agent.stop() == 0, agent.tail()


def test_a_certificate_for_another_host(host: Host) -> None:
    kafka = host.kafka
    with host.make("ELSEWHERE", {}) as agent:
        agent.start()
        host.tells("certificate is not accepted: IP address mismatch", "advertised.listeners")
        hosts = ["kafka.example.org", "127.0.0.1"]
        kafka.use_certificate("ELSEWHERE", kafka.authority.issue_file("both", hosts=hosts))
        host.delivers()
        assert len(host.told()) == 1
        assert agent.stop() == 0, agent.tail()


def test_a_broker_whose_certificate_expired(host: Host) -> None:
    kafka = host.kafka
    kafka.use_certificate("TLS", kafka.authority.issue_file("expired", expired=True))
    with host.make("TLS", {}) as agent:
        agent.start()
        host.tells("certificate has expired", "renew the broker's certificate")
        kafka.use_certificate("TLS", kafka.authority.issue_file("renewed"))
        host.delivers()
        assert len(host.told()) == 1
        assert agent.stop() == 0, agent.tail()


def test_a_certificate_of_ours_that_expired(host: Host) -> None:
    way = mutual(host)
    certificate, key = host.kafka.authority.issue("agent", expired=True)
    host.file("agent.pem", certificate)
    host.file("agent.key", key)
    with host.make(*way) as agent:
        agent.start()
        host.tells("does not accept our certificate; it may have expired", "renew")
        mutual(host)
        host.delivers()
        assert agent.stop() == 0, agent.tail()


def test_a_wrong_password(host: Host) -> None:
    way = password("SCRAM-SHA-512")(host)
    host.file("password", WRONG)
    with host.make(*way) as agent:
        agent.start()
        host.tells("is wrong: correct sasl.username and sasl.password")
        host.file("password", PASSWORD)
        host.delivers()
        assert len(host.told()) == 1
        assert agent.stop() == 0, agent.tail()


def test_a_token_that_comes_later(host: Host) -> None:
    way = token_file(host)
    os.remove(host.directory / "token")
    with host.make(*way) as agent:
        agent.start()
        host.tells("no token can be had", f"read token from {host.directory}/token: no such file")
        token_file(host)
        host.delivers()
        assert len(host.told()) == 1
        assert agent.stop() == 0, agent.tail()


def test_a_forged_token(host: Host) -> None:
    way = token_file(host)
    elsewhere = host.directory / "forger"
    elsewhere.mkdir()
    forged = Issuer(str(elsewhere)).token()
    host.file("token", forged)
    with host.make(*way) as agent:
        agent.start()
        host.tells("does not accept the token")
        good = host.kafka.issuer.token()
        host.file("token", good)
        host.delivers()
        assert agent.stop() == 0, agent.tail()
        for token in (forged, good):
            assert token.rpartition(".")[2] not in Path(agent.log_path).read_text()


# --- renewal ----------------------------------------------------------------------------------


def test_a_certificate_is_renewed_in_mid_stream(host: Host) -> None:
    with (
        host.make(*mutual(host)) as agent,
        Collector(host.kafka.bootstrap, host.topic) as collector,
    ):
        agent.start()
        host.writer.write(1000)
        collector.wait_for(len(host.writer.written), DELIVERY_SECONDS)
        mutual(host)

        def renewed() -> bool:
            host.writer.write(200)  # records are under way all the time
            return bool(agent.events("credentials-renewed"))

        wait_until(renewed, DELIVERY_SECONDS, agent.tail)
        collector.wait_for(len(host.writer.written), DELIVERY_SECONDS)
        assert agent.stop() == 0, agent.tail()
        agent.assert_balanced()
        assert not host.told()
        assert not agent.events("rewound")
        assert_delivered({1: host.writer.written}, collector.close())


def test_half_a_renewal_changes_nothing(host: Host) -> None:
    with host.make(*mutual(host)) as agent:
        agent.start()
        host.delivers()
        certificate, key = host.kafka.authority.issue("agent")
        host.file("agent.pem", certificate)  # and its key does not come yet
        agent.wait_for_log("event=credentials-unusable")
        host.delivers()
        host.file("agent.key", key)
        agent.wait_for_log("event=credentials-renewed")
        host.delivers()
        assert agent.stop() == 0, agent.tail()


def test_certificates_that_come_after_the_agent(host: Host) -> None:
    way = mutual(host)
    os.remove(host.directory / "agent.key")
    with host.make(*way) as agent:
        agent.start()
        agent.wait_for_log("event=producer-not-replaced.*ssl.key.location")
        mutual(host)
        host.delivers()
        assert agent.stop() == 0, agent.tail()
