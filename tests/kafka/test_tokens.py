"""Where tokens come from, and that failures never quote them."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

import pytest

from singer.base.config import MskIamConfig, OAuthConfig, Seconds, Secret
from singer.base.config import Path as ConfigPath
from singer.base.errors import InputError
from singer.kafka.tokens import OPAQUE_SECONDS, Token, parse, shortened, source


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2lnbmF0dXJl"


def of_command(*command: str, timeout: float = 20.0) -> Token:
    return source(OAuthConfig(command=command, timeout=Seconds(timeout))).fetch()


def of_python(script: str, timeout: float = 20.0) -> Token:
    return of_command(sys.executable, "-c", script, timeout=timeout)


def test_a_token_says_when_it_ends_and_of_whom_it_speaks() -> None:
    ends = int(time.time()) + 600
    token = parse(f"  {jwt(exp=ends, sub='agent-7')}\n".encode())
    assert (token.ends_ms, token.principal) == (ends * 1000, "agent-7")
    assert token.value == jwt(exp=ends, sub="agent-7")
    assert token.value not in repr(token)


@pytest.mark.parametrize("text", ["opaque", "a.b", "a.~.c", "e30.W10.x", jwt(exp="soon", sub=7)])
def test_tokens_that_say_nothing_live_for_a_while(text: str) -> None:
    token = parse(text.encode())
    assert abs(token.ends_ms / 1000 - time.time() - OPAQUE_SECONDS) < 60
    assert token.principal == "singer"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b" \n", "is empty"),
        (b"two words", "is no token"),
        (b"\xff\xfe", "is no token"),
        (jwt(exp=1_000_000_000).encode(), "expired "),
    ],
)
def test_what_is_no_token(text: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as raised:
        parse(text)
    assert text.decode("ascii", "replace").strip() not in str(raised.value) or not text.strip()


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    tokens = source(OAuthConfig(file=ConfigPath(str(path))))
    with pytest.raises(InputError, match=rf"read token from {path}: no such file: have a fresh"):
        tokens.fetch()
    for text in ("first", "second"):
        path.write_text(text)
        assert tokens.fetch().value == text


def test_a_command_is_run_without_a_shell() -> None:
    assert of_python("print('tok' + 'en')").value == "token"
    assert of_command("/bin/echo", "-n", "a").value == "a"
    with pytest.raises(InputError, match="is no token"):
        of_command("/bin/echo", "$HOME;")


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("import sys; print('hunter2'); sys.exit(3)", "ended with status 3"),
        ("print('hunter2 hunter2')", "is no token"),
        ("print('hunter2' * 20000)", "printed more than 65536 bytes"),
    ],
)
def test_a_command_that_fails(script: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as raised:
        of_python(script)
    assert str(raised.value).startswith(f"run {sys.executable} for a token: ")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "script",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "import subprocess; subprocess.run(['sleep', '60'])",
    ],
)
def test_a_command_that_hangs_is_ended_with_all_it_started(script: str) -> None:
    before = time.monotonic()
    with pytest.raises(InputError, match="not done in 1 s"):
        of_python(script, timeout=1.0)
    assert time.monotonic() - before < 30.0


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(InputError, match="run /nowhere/x for a token: no such file"):
        of_command("/nowhere/x", "--secret=hunter2")
    with pytest.raises(InputError, match=r"run \*\*\* for a token"):
        source(OAuthConfig(command=(Secret("/nowhere/hunter2"),))).fetch()


def test_msk_without_its_extra() -> None:
    with pytest.raises(InputError, match=r"in us-east-1: install the extra: .*singer-agent\[msk\]"):
        source(OAuthConfig(msk_iam=MskIamConfig(region="us-east-1"))).fetch()


def test_msk_signs_by_the_credentials_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws_msk_iam_sasl_signer.py").write_text(
        "class MSKAuthTokenProvider:\n"
        "    @staticmethod\n"
        "    def generate_auth_token(region):\n"
        "        if region == 'nowhere':\n"
        "            raise RuntimeError('hunter2')\n"
        "        return 'signed-' + region, 1900000000123\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    token = source(OAuthConfig(msk_iam=MskIamConfig(region="us-east-1"))).fetch()
    assert (token.value, token.ends_ms) == ("signed-us-east-1", 1900000000123)
    with pytest.raises(InputError, match="RuntimeError: see the AWS credentials") as raised:
        source(OAuthConfig(msk_iam=MskIamConfig(region="nowhere"))).fetch()
    assert "hunter2" not in str(raised.value)
    monkeypatch.delitem(sys.modules, "aws_msk_iam_sasl_signer")


def test_a_share_of_its_life_is_of_what_is_left() -> None:
    token = Token(value=Secret("t"), ends_ms=1_600_000, principal="p")
    assert shortened(token, 600_000, 0.75) == Token(
        value=Secret("t"), ends_ms=1_350_000, principal="p"
    )
