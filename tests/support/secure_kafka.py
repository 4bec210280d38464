"""A real Apache Kafka of one broker with a listener for each way to prove who one is.

All calls block, with a deadline, and belong to the main thread.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from confluent_kafka.cimpl import NewTopic

from tests.support import child
from tests.support.certificates import Authority
from tests.support.kafka_classpath import classpath
from tests.support.kafka_cluster import CLUSTER_ID, JVM, START_SECONDS, free_ports
from tests.support.tokens import AUDIENCE, Issuer
from tests.support.waiting import wait_until

USER: Final = "singer"
PASSWORD: Final = "correct-horse-battery"
_ADMIN_SECONDS: Final = 20.0
_LISTENERS: Final = {
    "PLAINTEXT": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",  # who has no certificate is sent away
    "ELSEWHERE": "SSL",  # its certificate is for another host
    "PASSWORDS": "SASL_SSL",  # PLAIN and SCRAM-SHA-512
    "TOKENS": "SASL_SSL",  # OAUTHBEARER
}
_LOGIN: Final = "org.apache.kafka.common.security"
_OAUTH: Final = f"{_LOGIN}.oauthbearer"


class SecureKafka:
    """One broker; `start` and `close` frame its life."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.authority = Authority(directory, "authority")
        self.stranger = Authority(directory, "stranger")
        self.issuer = Issuer(directory)
        self._ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: AdminClient | None = None
        self._topics = 0

    # --- life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Format, start, and wait until it answers; the user of SCRAM is made."""
        path = self._path("server.properties")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{key}={value}\n" for key, value in self._properties().items())
        command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", path)
        with open(self._path("format.log"), "wb") as log:
            status = child.spawn(command, output=log).wait(START_SECONDS)
        assert status == 0, f"format the storage:\n{child.tail(self._path('format.log'))}"
        with open(self._path("broker.log"), "ab") as log:
            self._process = child.spawn(self._java("kafka.Kafka", path), output=log)
        wait_until(self._answers, START_SECONDS, lambda: f"the broker is up:\n{self.tail()}")
        self.set_scram_password(PASSWORD)

    def close(self) -> None:
        """End it. Its data is of no use any more, so nobody waits for a clean stop."""
        self._admin = None
        if self._process is not None:
            self._process.kill()
            self._process.wait(_ADMIN_SECONDS)

    def tail(self) -> str:
        return child.tail(self._path("broker.log"))

    # --- what tests use -----------------------------------------------------------------

    @property
    def bootstrap(self) -> str:
        """Without any security: for the consumers of tests."""
        return self.at("PLAINTEXT")

    def at(self, listener: str) -> str:
        """`host:port` of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    def create_topic(self, name: str = "secure", partitions: int = 1) -> str:
        """A topic nobody else uses; its name."""
        self._topics += 1
        topic = f"{name}-{self._topics}"
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1)
        self.admin.create_topics([new])[topic].result(_ADMIN_SECONDS)
        return topic

    def set_scram_password(self, password: str) -> None:
        """The password of `USER` for SCRAM-SHA-512 from now on."""
        upsertion = UserScramCredentialUpsertion(
            USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        self.admin.alter_user_scram_credentials([upsertion])[USER].result(_ADMIN_SECONDS)

    def use_certificate(self, listener: str, path: str) -> None:
        """Give a listener another key store, while the broker runs."""
        name = f"listener.name.{listener.lower()}.ssl.keystore.location"
        entry = ConfigEntry(name, path, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(_ADMIN_SECONDS)

    @property
    def admin(self) -> AdminClient:
        """One for the broker's life: a client that is collected fails what it was asked."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    # --- parts --------------------------------------------------------------------------

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the broker ended:\n{self.tail()}"
        try:
            return bool(self.admin.list_topics(timeout=2.0).brokers)
        except KafkaException:
            return False

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _java(self, *arguments: str) -> list[str]:
        urls = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{self.issuer.jwks_path}"
        return ["java", *JVM, urls, "-cp", classpath(), *arguments]

    def _properties(self) -> Mapping[str, Any]:
        ports = self._ports
        server = self.authority.issue_file("server")
        elsewhere = self.authority.issue_file("elsewhere", hosts=["kafka.example.org"])
        properties: dict[str, Any] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in _LISTENERS.items()
            ),
            "log.dirs": self._path("data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "num.network.threads": 1,
            "num.io.threads": 2,
            "log.cleaner.dedupe.buffer.size": 2 << 20,
        }
        for name, protocol in _LISTENERS.items():
            if "SSL" in protocol:
                of = f"listener.name.{name.lower()}.ssl"
                properties[f"{of}.keystore.type"] = "PEM"
                properties[f"{of}.keystore.location"] = elsewhere if name == "ELSEWHERE" else server
        mutual = "listener.name.mutual.ssl"
        properties[f"{mutual}.client.auth"] = "required"
        properties[f"{mutual}.truststore.type"] = "PEM"
        properties[f"{mutual}.truststore.location"] = self.authority.path
        passwords, tokens = "listener.name.passwords", "listener.name.tokens"
        properties |= {
            f"{passwords}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            f"{passwords}.plain.sasl.jaas.config": (
                f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            f"{passwords}.scram-sha-512.sasl.jaas.config": (
                f"{_LOGIN}.scram.ScramLoginModule required;"
            ),
            f"{tokens}.sasl.enabled.mechanisms": "OAUTHBEARER",
            f"{tokens}.oauthbearer.sasl.jaas.config": (
                f"{_OAUTH}.OAuthBearerLoginModule required;"
            ),
            f"{tokens}.oauthbearer.sasl.server.callback.handler.class": (
                f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
            ),
            # By default Kafka 4.1 takes any signature.
            "sasl.oauthbearer.jwt.validator.class": f"{_OAUTH}.BrokerJwtValidator",
            "sasl.oauthbearer.jwks.endpoint.url": f"file://{self.issuer.jwks_path}",
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            # A connection ends with its token, unless a new one is shown on it before.
            f"{tokens}.oauthbearer.connections.max.reauth.ms": 3_600_000,
        }
        return properties
