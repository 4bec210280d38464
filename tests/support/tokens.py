"""Tokens for SASL OAUTHBEARER: who signs them, and an OIDC endpoint that gives them out."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE: Final = "kafka"
_KEY_ID: Final = "tests"


class Issuer:
    """Signs JSON Web Tokens; `jwks_path` is the file by which a broker verifies them."""

    def __init__(self, directory: str) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": _KEY_ID,
            "use": "sig",
            "alg": "RS256",
            "n": _base64(public.n.to_bytes(256, "big")),
            "e": _base64(public.e.to_bytes(3, "big")),
        }
        self.jwks_path = os.path.join(directory, "jwks.json")
        with open(self.jwks_path, "w", encoding="ascii") as file:
            json.dump({"keys": [key]}, file)

    def token(self, *, seconds: float = 3600.0, subject: str = "singer") -> str:
        """A token that ends in `seconds`."""
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        claims = {
            "iss": "tests",
            "aud": AUDIENCE,
            "sub": subject,
            "scope": "logs",
            "iat": now - 5,
            "exp": int(now + seconds),
        }
        signed = f"{_encode(head)}.{_encode(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"


class OidcServer:
    """A token endpoint on loopback: client credentials in, a token out."""

    def __init__(self, issuer: Issuer, client_id: str, client_secret: str) -> None:
        expected = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                form = urllib.parse.parse_qs(body.decode())
                basic = self.headers.get("Authorization", "").removeprefix("Basic ")
                granted = basic == expected and form.get("grant_type") == ["client_credentials"]
                server.requests.append(granted)
                token = {
                    "access_token": issuer.token(seconds=server.seconds),
                    "token_type": "Bearer",
                    "expires_in": int(server.seconds),
                }
                answer = json.dumps(token if granted else {"error": "invalid_client"}).encode()
                self.send_response(200 if granted else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                """Nothing: tests look at `requests`."""

        self.seconds = 3600.0
        #: Of each request so far, whether it was granted.
        self.requests: list[bool] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _encode(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value).encode())
