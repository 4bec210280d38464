"""Tokens for SASL OAUTHBEARER: from a file, a command, or AWS.

A source's `fetch` blocks and belongs in a thread. Its failures say what was asked and what went
wrong, never what was answered: that is a secret. When a token is renewed is librdkafka's
business: it asks again at 80 % of the life that it is told, and 10 s after a failure.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from typing import Final, Protocol

from singer.base.config import MskIamConfig, OAuthConfig, Secret
from singer.base.errors import InputError
from singer.base.smallfile import read_small_file

_MAX_BYTES: Final = 64 << 10

#: How long a token is taken to live that does not say so itself.
OPAQUE_SECONDS: Final = 300.0

#: `token68` of RFC 6750.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, the moment of its end in ms since 1970, and whom it speaks of."""

    value: Secret
    ends_ms: int
    principal: str


def shortened(token: Token, now_ms: int, share: float) -> Token:
    """The token with this share of what is left of its life.

    For librdkafka, which renews a token at 80 % of its life: hosts that started together would go
    on asking for tokens together.
    """
    return replace(token, ends_ms=now_ms + int((token.ends_ms - now_ms) * share))


class TokenSource(Protocol):
    """Where tokens come from."""

    def fetch(self) -> Token:
        """A token of now. Raises InputError."""
        ...


def source(config: OAuthConfig) -> TokenSource:
    """The source that a configuration names."""
    if config.file is not None:
        return TokenFile(config.file)
    if config.msk_iam is not None:
        return MskIam(config.msk_iam)
    return TokenCommand(config.command, config.timeout)


class TokenFile:
    """A file that somebody else keeps fresh."""

    def __init__(self, path: str) -> None:
        self._path = path

    def fetch(self) -> Token:
        """See TokenSource."""
        try:
            return parse(read_small_file(self._path, _MAX_BYTES))
        except ValueError as error:
            raise InputError(
                f"read token from {_shown(self._path)}: {error}: have a fresh one put there"
            ) from error


class TokenCommand:
    """A command that prints a token; run without a shell."""

    def __init__(self, command: tuple[str, ...], timeout_seconds: float) -> None:
        self._command = command
        self._timeout_seconds = timeout_seconds

    def fetch(self) -> Token:
        """See TokenSource."""
        try:
            return parse(self._run())
        except OSError as error:
            fault = (error.strerror or str(error)).lower()
            raise InputError(self._failed(fault)) from error
        except ValueError as error:
            raise InputError(self._failed(str(error))) from error

    def _failed(self, fault: str) -> str:
        # Not its arguments, nor what it printed: both may hold secrets.
        name = _shown(self._command[0])
        return f"run {name} for a token: {fault}: run it by hand as the agent's user"

    def _run(self) -> bytes:
        """What it printed. Raises OSError, ValueError."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            ends = time.monotonic() + self._timeout_seconds
            printed = _read(process.stdout.fileno(), ends)
            try:
                status = process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise ValueError(f"not done in {self._timeout_seconds:g} s") from error
        except TimeoutError as error:
            raise ValueError(f"not done in {self._timeout_seconds:g} s") from error
        finally:
            with contextlib.suppress(ProcessLookupError):  # with all that it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if status:
            raise ValueError(f"ended with status {status}")
        return printed


class MskIam:
    """Signed requests in place of tokens: Amazon MSK with IAM; the extra `singer-agent[msk]`."""

    def __init__(self, config: MskIamConfig) -> None:
        self._region = config.region

    def fetch(self) -> Token:
        """See TokenSource."""
        step = f"sign a token for MSK in {self._region}"
        try:
            signer = importlib.import_module("aws_msk_iam_sasl_signer")
        except ImportError as error:
            raise InputError(
                f"{step}: install the extra: pip install 'singer-agent[msk]'"
            ) from error
        try:
            value, ends_ms = signer.MSKAuthTokenProvider.generate_auth_token(self._region)
        except Exception as error:  # noqa: BLE001  # AWS's own, of many kinds
            # Its kind only: the text is AWS's, and may quote what it was given.
            raise InputError(
                f"{step}: {type(error).__name__}: see the AWS credentials of this host"
            ) from None
        return Token(value=Secret(value), ends_ms=int(ends_ms), principal="msk-iam")


def _shown(text: str) -> str:
    return Secret.MASK if isinstance(text, Secret) else text


def parse(text: bytes) -> Token:
    """The token in what was read. Raises ValueError, whose text never quotes it."""
    value = text.strip().decode("ascii", "replace")
    if not value:
        raise ValueError("is empty")
    if _TOKEN.fullmatch(value) is None:
        raise ValueError("is no token")
    claims = _claims(value)
    ends = claims.get("exp")
    now = time.time()
    if isinstance(ends, bool) or not isinstance(ends, int | float):
        ends = now + OPAQUE_SECONDS
    if ends <= now:
        raise ValueError(f"the token expired {now - ends:.0f} s ago")
    subject = claims.get("sub")
    principal = subject if isinstance(subject, str) and subject else "singer"
    return Token(value=Secret(value), ends_ms=int(ends * 1000), principal=principal)


def _claims(value: str) -> dict[str, object]:
    """What a JSON Web Token says; nothing for other tokens."""
    parts = value.split(".")
    if len(parts) != 3:
        return {}
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _read(descriptor: int, ends: float) -> bytes:
    """All that comes until the end. Raises TimeoutError, and ValueError for too much."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(data) <= _MAX_BYTES:
            if not selector.select(max(0.0, ends - time.monotonic())):
                raise TimeoutError
            part = os.read(descriptor, 1 << 16)
            if not part:
                return data
            data += part
    raise ValueError(f"printed more than {_MAX_BYTES} bytes")
