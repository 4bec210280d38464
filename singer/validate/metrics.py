"""What a follower found, as Prometheus reads it, at an address."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Final, Self

from singer.base.errors import InputError
from singer.validate.findings import Findings
from singer.validate.following import Follower

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Serves the text that it was given last, at `/metrics` of `host:port`."""

    def __init__(self, address: str) -> None:
        """Raises InputError where nobody can listen."""
        self.text = ""
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path == "/metrics"
                body = metrics.text.encode() if known else b"see /metrics\n"
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", _TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody wants to know."""

        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host, int(port)), Handler)
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(f"serve metrics at {address}: {error}: name a host:port") from error
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)

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


def render(follower: Follower) -> str:
    """The text."""
    return "".join(f"{line}\n" for line in _lines(follower))


def _lines(follower: Follower) -> Iterator[str]:
    yield "# TYPE singer_verify_records_total counter"
    for owner, found in sorted(follower.findings.items()):
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in owner._asdict().items())
        for result, number in _results(found):
            yield f'singer_verify_records_total{{{labels},result="{result}"}} {number}'
        yield f"singer_verify_missing_bytes{{{labels}}} {found.missing_bytes}"
        yield f"singer_verify_skipped_bytes{{{labels}}} {found.skipped_bytes}"
    for topic, places in sorted(follower.unclaimed.items()):
        yield f'singer_verify_unclaimed_total{{topic="{_escaped(topic)}"}} {places.records}'
    yield f"singer_verify_unreadable_total {follower.unreadable}"
    yield f"singer_verify_failed_looks_total {follower.failed_looks}"
    yield f"singer_verify_partitions {len(follower.shares)}"


def _results(found: Findings) -> Iterator[tuple[str, int]]:
    yield "verified", found.verified
    yield "unverified", found.unverified
    yield "lost", found.lost.records
    yield "corrupted", found.corrupted.records
    yield "reordered", found.reordered.records
    yield "duplicated", found.duplicated.records + found.again
    yield "claimed_twice", found.claimed_twice.records
    yield "late", found.late


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
