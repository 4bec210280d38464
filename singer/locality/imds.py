"""The instance metadata service of EC2 (version 2): which instance this is, and in which zone.

`PUT /latest/api/token` gives a token for so many seconds, without which nothing is told; then
`GET /latest/meta-data/…`. Whoever runs in a container behind one hop too many gets no answer at
all, so every call has a deadline. Blocks; one thread at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import requests

from singer.base.errors import LocalityError
from singer.locality.zone import is_zone

_ENDPOINTS: Final = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
_TOKEN: Final = "X-aws-ec2-metadata-token"  # noqa: S105  # the name of a header
#: How long a token is asked for, and how long it is used.
_TOKEN_SECONDS: Final = 21600
_TOKEN_USED_SECONDS: Final = _TOKEN_SECONDS - 300
#: For one call, and for all of one question.
_CALL_SECONDS: Final = 1.0
_ALL_SECONDS: Final = 3.0
#: Names are short. Whatever is longer is somebody else's page.
_MOST_BYTES: Final = 1024
_INSTANCE: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Which machine this is, and where.

    `zone` is a name as this account has it (us-east-1a), `zone_id` the same for all (use1-az1).
    """

    instance_id: str
    zone: str
    zone_id: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """What the zone may be called as a rack."""
        return (self.zone,) if self.zone_id is None else (self.zone, self.zone_id)


def endpoint(environ: Mapping[str, str]) -> str | None:
    """Where to ask; None: nowhere, because `AWS_EC2_METADATA_DISABLED` says so.

    The variables are those of the AWS SDKs. Raises LocalityError for values that are none.
    """
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    written = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
    if written:
        if not written.startswith(("http://", "https://")):
            raise LocalityError("AWS_EC2_METADATA_SERVICE_ENDPOINT must begin with http://")
        return written.rstrip("/")
    mode = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv4").lower()
    if mode not in _ENDPOINTS:
        raise LocalityError("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE must be IPv4 or IPv6")
    return _ENDPOINTS[mode]


class Imds:
    """Asks at one endpoint; keeps a token for the next time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        # A proxy for the world outside would be asked for its own zone.
        self._session.trust_env = False
        self._token = ""
        self._token_until = 0.0  # monotonic

    def instance(self) -> Instance:
        """What the service says. Raises LocalityError."""
        deadline = time.monotonic() + _ALL_SECONDS
        zone = self._get("placement/availability-zone", deadline)
        zone_id = self._get("placement/availability-zone-id", deadline, optional=True)
        instance_id = self._get("instance-id", deadline)
        assert zone is not None
        assert instance_id is not None
        for name in (zone, zone_id or zone):
            if not is_zone(name):
                raise LocalityError("what the metadata service says is not the name of a zone")
        if _INSTANCE.fullmatch(instance_id) is None:
            raise LocalityError("what the metadata service says is not the id of an instance")
        return Instance(instance_id=instance_id, zone=zone, zone_id=zone_id)

    def _get(self, name: str, deadline: float, *, optional: bool = False) -> str | None:
        """A value; None: there is no such, and that is `optional`."""
        path = f"/latest/meta-data/{name}"
        status, text = self._call("GET", path, {_TOKEN: self._valid_token(deadline)}, deadline)
        if status == HTTPStatus.UNAUTHORIZED:  # the token was good for less than it said
            self._token_until = 0.0
            status, text = self._call("GET", path, {_TOKEN: self._valid_token(deadline)}, deadline)
        if status == HTTPStatus.NOT_FOUND and optional:
            return None
        if status != HTTPStatus.OK:
            raise LocalityError(_refusal(f"GET {path}", status))
        return text.strip()

    def _valid_token(self, deadline: float) -> str:
        now = time.monotonic()
        if now >= self._token_until:
            path = "/latest/api/token"
            lifetime = {f"{_TOKEN}-ttl-seconds": str(_TOKEN_SECONDS)}
            status, text = self._call("PUT", path, lifetime, deadline)
            if status != HTTPStatus.OK:
                raise LocalityError(_refusal(f"PUT {path}", status))
            if not text.isascii() or not text.isprintable() or not text:
                raise LocalityError("the metadata service gives a token that is none")
            self._token, self._token_until = text, now + _TOKEN_USED_SECONDS
        return self._token

    def _call(
        self, method: str, path: str, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, str]:
        """The status and the text of the answer."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise LocalityError(f"the metadata service takes more than {_ALL_SECONDS:g} s")
        try:
            with self._session.request(
                method,
                self._url + path,
                headers=headers,
                timeout=min(left, _CALL_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = b""
                for part in answer.iter_content(_MOST_BYTES):
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise LocalityError("the metadata service answers with a whole page")
                    if time.monotonic() > deadline:
                        raise LocalityError(
                            f"the metadata service takes more than {_ALL_SECONDS:g} s"
                        )
                return answer.status_code, body.decode("ascii", "replace")
        except requests.Timeout as error:
            raise LocalityError(
                f"{self._url} does not answer within {_CALL_SECONDS:g} s: in a container the "
                "instance's metadata hop limit must be 2"
            ) from error
        except requests.RequestException as error:
            raise LocalityError(f"{self._url} cannot be reached") from error


def _refusal(request: str, status: int) -> str:
    if status == HTTPStatus.FORBIDDEN:
        return f"{request}: 403: the instance's metadata service is turned off"
    return f"{request}: the metadata service answers {status}"
