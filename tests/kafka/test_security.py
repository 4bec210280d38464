"""What can never work, and what a refusal means."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from singer.base.config import MskIamConfig, OAuthConfig
from singer.base.config import Path as ConfigPath
from singer.kafka.security import Refusal, by_oidc, faults, mechanism, prove, refusal
from tests.support.certificates import Authority

FILE = OAuthConfig(file=ConfigPath("/run/token"))
SASL = {"security.protocol": "SASL_SSL"}
OAUTH = {**SASL, "sasl.mechanism": "OAUTHBEARER"}


@pytest.mark.parametrize(
    ("properties", "oauth"),
    [
        ({}, None),
        ({"security.protocol": "ssl"}, None),
        ({**SASL, "sasl.mechanisms": "plain", "sasl.username": "u", "sasl.password": "p"}, None),
        (OAUTH, FILE),
        (OAUTH, OAuthConfig(command=("token",))),
        ({**OAUTH, "sasl.oauthbearer.method": "OIDC"}, None),
    ],
)
def test_what_can_work(properties: dict[str, str], oauth: OAuthConfig | None) -> None:
    assert faults(properties, oauth) == {}


@pytest.mark.parametrize(
    ("properties", "oauth", "place", "part"),
    [
        (SASL, None, "security.protocol", "what it means without sasl.mechanism"),
        ({**SASL, "sasl.mechanism": "gssapi"}, None, "sasl.mechanism", "built with Kerberos"),
        ({**SASL, "sasl.mechanisms": "GSSAPI"}, None, "sasl.mechanisms", "SCRAM-SHA-512"),
        (
            {**SASL, "sasl.mechanism": "PLAIN", "sasl.username": "u"},
            None,
            "sasl.mechanism",
            "PLAIN needs sasl.password",
        ),
        (OAUTH, None, "sasl.mechanism", "needs tokens: say oauth"),
        (OAUTH, OAuthConfig(), "oauth", "one of file, command and msk_iam"),
        ({}, FILE, "oauth", "needs sasl.mechanism: OAUTHBEARER"),
        ({**OAUTH, "sasl.oauthbearer.method": "oidc"}, FILE, "oauth", "remove one of them"),
        (OAUTH, OAuthConfig(msk_iam=MskIamConfig(region="r")), "oauth", "singer-agent[msk]"),
    ],
)
def test_what_never_can(
    properties: dict[str, str], oauth: OAuthConfig | None, place: str, part: str
) -> None:
    ((name, reason),) = faults(properties, oauth).items()
    assert name == place
    assert part in reason


def test_the_mechanism_in_use() -> None:
    assert mechanism({"sasl.mechanism": "PLAIN"}) == ""
    assert mechanism({"security.protocol": "SASL_plaintext", "sasl.mechanism": "plain"}) == "PLAIN"
    assert not by_oidc({})


AT = "sasl_ssl://kafka-1:9093/bootstrap: "


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (
            -169,
            (
                f"{AT}SASL authentication error: Authentication failed: Invalid username"
                " or password (after 302ms in state AUTH_REQ)"
            ),
            (
                "kafka-1:9093: the user name or password is wrong: correct sasl.username and"
                " sasl.password in the cluster's properties"
            ),
        ),
        (
            -195,
            (
                "ssl://[::1]:9093/2: Receive failed: error:0A000416:SSL routines::ssl/tls alert"
                " certificate unknown: SSL alert number 46 (after 14ms in state APIVERSION_QUERY)"
            ),
            (
                "[::1]:9093: the broker does not accept our certificate; it may have expired: renew"
                " the certificate in ssl.certificate.location, or have the brokers trust who"
                " signed it"
            ),
        ),
        (
            -169,
            "Failed to acquire SASL OAUTHBEARER token: read token from /t: is empty",
            (
                "no token can be had: Failed to acquire SASL OAUTHBEARER token: read token from /t:"
                " is empty: see where oauth, or sasl.oauthbearer.*, gets its tokens"
            ),
        ),
        (
            -169,
            f"{AT}something new (after 1ms in state AUTH_REQ)",
            (
                "kafka-1:9093: something new: correct sasl.username and sasl.password in the"
                " cluster's properties"
            ),
        ),
        (
            -181,
            "ssl://kafka-1:9093/bootstrap: something new",
            (
                "kafka-1:9093: something new: correct ssl.ca.location in the cluster's properties,"
                " or the broker's certificate"
            ),
        ),
    ],
)
def test_what_a_refusal_means(code: int, reason: str, text: str) -> None:
    told = refusal(code, reason)
    assert told is not None
    assert told.text == text


def test_other_errors_are_no_refusals() -> None:
    assert refusal(-195, "kafka-1:9092/bootstrap: Connect failed: Connection refused") is None


class Server:
    """Shows one certificate to whoever connects."""

    def __init__(self, path: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(path)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(str(tmp_path), "authority")


@pytest.fixture
def unproven() -> Refusal:
    told = refusal(-181, "ssl://127.0.0.1:1/1: certificate verify failed: by librdkafka")
    assert told is not None
    assert told.unproven
    return told


@pytest.mark.parametrize(
    ("certificate", "cause", "advice"),
    [
        ({"expired": True}, "certificate has expired", "renew the broker's certificate"),
        ({"hosts": ["kafka-1"]}, "IP address mismatch", "advertised.listeners"),
    ],
)
def test_why_a_certificate_is_not_accepted(
    authority: Authority, unproven: Refusal, certificate: dict[str, Any], cause: str, advice: str
) -> None:
    with contextlib.closing(Server(authority.issue_file("server", **certificate))) as server:
        asked = replace(unproven, broker=server.address)
        trusted = {"ssl.ca.location": authority.path}
        for properties in (trusted, {"ssl.ca.pem": Path(authority.path).read_text()}):
            proven = prove(asked, properties)
            assert cause in proven.cause
            assert advice in proven.advice
        foreign = prove(asked, {"ssl.ca.location": authority.directory})
        assert "issuer certificate" in foreign.cause
        assert "ssl.ca.location" in foreign.advice
        if "hosts" in certificate:
            lenient = {"ssl.endpoint.identification.algorithm": "none"}
            assert prove(asked, trusted | lenient) is asked


def test_what_cannot_be_looked_at_stays_as_it_is(unproven: Refusal) -> None:
    assert prove(unproven, {}) is unproven
    assert prove(unproven, {"ssl.ca.location": "/nowhere"}) is unproven
