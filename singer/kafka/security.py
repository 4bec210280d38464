"""How a cluster is to be convinced of who we are: what is wrong with the properties for that,
what a refusal of a broker means, and why the certificate of a broker is not accepted.

`faults` and `refusal` are pure; `prove` connects to a broker and belongs in a thread.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from singer.base.config import OAuthConfig
from singer.kafka import librdkafka as rd

#: Where librdkafka reads a file when a producer is made, and never again.
LOCATIONS: Final = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "https.ca.location",
)
_EXTRA: Final = "aws_msk_iam_sasl_signer"
_AUTHENTICATION: Final = -169
_SSL: Final = -181

#: How long a look at a broker's certificate may take.
_PROOF_SECONDS: Final = 3.0


# --- the configuration ----------------------------------------------------------------------


def mechanism(properties: Mapping[str, str]) -> str:
    """The SASL mechanism that is used, in capitals; "" without SASL."""
    if not properties.get("security.protocol", "").strip().lower().startswith("sasl_"):
        return ""
    named = properties.get("sasl.mechanism") or properties.get("sasl.mechanisms") or "GSSAPI"
    return named.strip().upper()


def by_oidc(properties: Mapping[str, str]) -> bool:
    """Whether librdkafka gets its tokens by itself."""
    return properties.get("sasl.oauthbearer.method", "").strip().lower() == "oidc"


def faults(properties: Mapping[str, str], oauth: OAuthConfig | None) -> dict[str, str]:
    """What could never work, by the property it is said of, or by `oauth`.

    A text follows the property's name where it begins with it.
    """
    name = mechanism(properties)
    said = next((n for n in ("sasl.mechanism", "sasl.mechanisms") if n in properties), None)
    place = said or "security.protocol"
    if name == "GSSAPI" and "sasl_gssapi" not in _features():
        without = "" if said else " (which is what it means without sasl.mechanism)"
        return {
            place: f"{place} GSSAPI{without} needs a librdkafka built with Kerberos, and this one"
            " is not: choose PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, or install"
            " confluent-kafka from source"
        }
    if name == "PLAIN" or name.startswith("SCRAM-"):
        missing = [n for n in ("sasl.username", "sasl.password") if not properties.get(n)]
        if missing:
            return {place: f"{place} {name} needs {' and '.join(missing)}"}
    if oauth is not None:
        return _oauth_faults(properties, oauth, name)
    if name == "OAUTHBEARER" and not by_oidc(properties):
        return {
            place: f"{place} OAUTHBEARER needs tokens: say oauth: {{file: …}},"
            " {command: […]} or {msk_iam: …}, or sasl.oauthbearer.method: oidc"
        }
    return {}


def _oauth_faults(properties: Mapping[str, str], oauth: OAuthConfig, name: str) -> dict[str, str]:
    sources = [oauth.file is not None, bool(oauth.command), oauth.msk_iam is not None]
    if sum(sources) != 1:
        return {"oauth": "needs one of file, command and msk_iam"}
    if name != "OAUTHBEARER":
        return {
            "oauth": "needs sasl.mechanism: OAUTHBEARER and security.protocol: SASL_SSL"
            " in properties"
        }
    if by_oidc(properties):
        return {"oauth": "sasl.oauthbearer.method: oidc gets tokens already: remove one of them"}
    if oauth.msk_iam is not None and importlib.util.find_spec(_EXTRA) is None:
        return {"oauth": "msk_iam needs an extra: pip install 'singer-agent[msk]'"}
    return {}


def _features() -> tuple[str, ...]:
    conf = rd.conf_new()
    try:
        return tuple(rd.conf_value(conf, "builtin.features").split(","))
    finally:
        rd.conf_destroy(conf)


# --- refusals -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A broker and we do not accept each other.

    `kind` is the same for all that is mended in the same way; `unproven`: the broker's
    certificate is not accepted, and why is not known yet; `of_token`: another token may do.
    """

    kind: str
    broker: str
    cause: str
    advice: str
    unproven: bool = False
    of_token: bool = False

    @property
    def text(self) -> str:
        """Who, why, and what to do."""
        return ": ".join(part for part in (self.broker, self.cause, self.advice) if part)


_BROKER: Final = re.compile(r"^(?:sasl_ssl|sasl_plaintext|ssl|plaintext)://([^/\s]+)(?:/\S*?)?: ")
_AFTER: Final = re.compile(r" \(after \d+ms in state \w+\)$")

_CA: Final = "correct ssl.ca.location in the cluster's properties, or the broker's certificate"
_OURS: Final = (
    "renew the certificate in ssl.certificate.location, or have the brokers trust who signed it"
)
_PASSWORD: Final = "correct sasl.username and sasl.password in the cluster's properties"  # noqa: S105
_TOKEN: Final = "see where oauth, or sasl.oauthbearer.*, gets its tokens"  # noqa: S105
_PROTOCOL: Final = "correct security.protocol or the port in bootstrap"

#: What librdkafka 2.16 says (lower case), what it means, and what to do. The first that occurs.
_MEANINGS: Final = (
    ("certificate verify failed", "the broker's certificate is not accepted", _CA),
    ("alert certificate expired", "the broker finds our certificate expired", _OURS),
    ("alert unknown ca", "the broker does not trust who signed our certificate", _OURS),
    ("alert certificate required", "the broker asks for a certificate of ours", _OURS),
    (
        "alert bad certificate",
        "the broker does not accept our certificate, or that there is none",
        _OURS,
    ),
    (
        "alert certificate unknown",
        "the broker does not accept our certificate; it may have expired",
        _OURS,
    ),
    ("to a plaintext broker listener", "the broker does not speak TLS there", _PROTOCOL),
    ("wrong version number", "the broker does not speak TLS there", _PROTOCOL),
    (
        "request not valid in current sasl state",
        "the broker does not ask for SASL there",
        _PROTOCOL,
    ),
    (
        "unsupported sasl mechanism",
        "the broker does not offer this sasl.mechanism",
        "choose another",
    ),
    ("failed to acquire sasl oauthbearer token", "no token can be had", _TOKEN),
    ("no token available", "no token can be had", _TOKEN),
    ("invalid_token", "the broker does not accept the token", _TOKEN),
    ("invalid username or password", "the user name or password is wrong", _PASSWORD),
    ("invalid credentials", "the user name, password or token is wrong", _PASSWORD),
)

#: Python's words for what is wrong with a certificate, and what to do.
_DOUBTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "expired": "renew the broker's certificate",
        "not yet valid": "correct the clock of this host, or the broker's certificate",
        "mismatch": "put the name in bootstrap and advertised.listeners that the certificate has",
        "": _CA,
    }
)


def refusal(code: int, reason: str) -> Refusal | None:
    """What an error of a connection means, if it is one of security; else None."""
    lowered = reason.lower()
    match = _BROKER.match(reason)
    broker = match[1] if match else ""
    detail = _AFTER.sub("", reason[match.end() :] if match else reason)
    for mark, cause, advice in _MEANINGS:
        if mark in lowered:
            unproven = mark == "certificate verify failed"
            of_token = advice is _TOKEN
            return Refusal(
                kind=mark,
                broker=broker,
                cause=f"{cause}: {detail}" if of_token else cause,
                advice=advice,
                unproven=unproven,
                of_token=of_token,
            )
    if code == _AUTHENTICATION:
        return Refusal(kind=str(code), broker=broker, cause=detail, advice=_PASSWORD)
    if code == _SSL:
        return Refusal(kind=str(code), broker=broker, cause=detail, advice=_CA)
    return None


def prove(refusal: Refusal, properties: Mapping[str, str]) -> Refusal:
    """The same with the reason why a broker's certificate is not accepted, if that is seen.

    librdkafka's words are the same for an expired certificate, a foreign one and one for another
    host, so this connects once more, with the same authorities. Blocks for seconds at most.
    """
    host, _, port = refusal.broker.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=_PROOF_SECONDS) as connection,
            _context(properties).wrap_socket(connection, server_hostname=host),
        ):
            return refusal
    except ssl.SSLCertVerificationError as error:
        said = error.verify_message.rstrip(".")
        advice = next(text for mark, text in _DOUBTS.items() if mark in said.lower())
        return replace(refusal, cause=f"{refusal.cause}: {said}", advice=advice)
    except (OSError, ValueError):
        return refusal


def _context(properties: Mapping[str, str]) -> ssl.SSLContext:
    """Who is trusted, as librdkafka has it. Raises OSError, ValueError."""
    location, text = properties.get("ssl.ca.location"), properties.get("ssl.ca.pem")
    if location is None and text is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if location is not None and os.path.isdir(location):
            context.load_verify_locations(capath=location)
        else:
            context.load_verify_locations(cafile=location, cadata=text)
    if properties.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    return context
