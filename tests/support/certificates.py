"""Certificates of the tests' own: an authority, and what it signs, as PEM files."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY: Final = dt.timedelta(days=1)


class Authority:
    """Signs certificates; `path` is its own, what clients call the CA file."""

    def __init__(self, directory: str, name: str) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .not_valid_before(now - 10 * _DAY)
            .not_valid_after(now + 10 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = os.path.join(directory, f"{name}.pem")
        replace(self.path, _pem(self._certificate))

    def issue(
        self, name: str, *, hosts: Sequence[str] = ("127.0.0.1",), expired: bool = False
    ) -> tuple[str, str]:
        """The texts of a certificate for `name` at `hosts`, and of its key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            _builder(subject, self._name, key.public_key())
            .not_valid_before(now - 5 * _DAY)
            .not_valid_after(now - _DAY if expired else now + 5 * _DAY)
            .add_extension(x509.SubjectAlternativeName(map(_host, hosts)), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return _pem(certificate), private.decode()

    def issue_file(
        self,
        file: str,
        *,
        name: str = "server",
        hosts: Sequence[str] = ("127.0.0.1",),
        expired: bool = False,
    ) -> str:
        """The path of a new file with key and certificate, as Kafka's PEM key stores want it."""
        certificate, key = self.issue(name, hosts=hosts, expired=expired)
        path = os.path.join(self.directory, f"{file}.pem")
        replace(path, key + certificate)
        return path


def replace(path: str, text: str) -> None:
    """Put `text` in place of what is at `path`, as whoever renews a secret should."""
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
