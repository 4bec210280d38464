"""The instance metadata service as strict as the real one, on loopback; and as broken as can be."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

PREFIX = "/latest/meta-data/"


class MetadataServer:
    """Tells `values` to who has a token that is younger than `token_seconds`.

    `refuses`   by path: the status that is answered instead, whoever asks
    `hangs`     paths whose requests are taken and not answered, until it is closed
    `drips`     answers a byte at a time
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.values = {
            "placement/availability-zone": "us-east-1b",
            "placement/availability-zone-id": "use1-az2",
            "instance-id": "i-0123456789abcdef0",
        }
        self.token_seconds: float | None = None
        self.refuses: dict[str, int] = {}
        self.hangs: set[str] = set()
        self.drips = False
        self.asked: Counter[str] = Counter()
        self._tokens: dict[str, float] = {}
        self._closing = threading.Event()
        self._server = _Server((host, 0), self._handler(), host)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        port = self._server.server_address[1]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, method: str, path: str, headers) -> tuple[int, str]:
        self.asked[f"{method} {path}"] += 1
        if path in self.hangs:
            self._closing.wait()
        if path in self.refuses:
            return self.refuses[path], ""
        if method == "PUT" and path == "/latest/api/token":
            seconds = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
                return 400, ""
            token = secrets.token_urlsafe(40)
            life = int(seconds) if self.token_seconds is None else self.token_seconds
            self._tokens[token] = time.monotonic() + life
            return 200, token
        if method != "GET":
            return 405, ""
        until = self._tokens.get(headers.get("X-aws-ec2-metadata-token", ""), 0.0)
        if time.monotonic() >= until:
            return 401, ""
        value = self.values.get(path.removeprefix(PREFIX))
        return (404, "") if value is None else (200, value)

    def _handler(self):
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._answer("GET")

            def do_PUT(self):
                self._answer("PUT")

            def _answer(self, method):
                status, text = served.answer(method, self.path, self.headers)
                self.send_response(status)
                body = text.encode()
                self.send_header("Content-Length", str(len(body)))
                if 300 <= status < 400:
                    self.send_header("Location", served.url)
                self.end_headers()
                for byte in body if served.drips else ():
                    self.wfile.write(bytes([byte]))
                    if served._closing.wait(0.4):
                        return
                if not served.drips:
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address, handler, host):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request, client_address):
        """Who asked did not wait for the answer."""
