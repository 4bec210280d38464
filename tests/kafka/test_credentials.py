"""Files with certificates and passwords: seen to change, and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from singer.base.config import Secret
from singer.base.errors import InputError
from singer.config.substitution import expand
from singer.kafka.credentials import Credentials
from tests.support.certificates import replace


def secret(directory: Path) -> str:
    return expand("pre-${file:password}", str(directory), {})


def test_the_files_behind_properties(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    properties = {
        "ssl.ca.location": "/ca.pem",
        "ssl.key.location": "/ca.pem",
        "sasl.password": secret(tmp_path),
        "ssl.key.password": Secret("from the environment"),
        "linger.ms": "5",
    }
    assert Credentials(properties).files == ("/ca.pem", str(tmp_path / "password"))
    assert Credentials({"linger.ms": "5"}).files == ()


def test_every_change_is_seen(tmp_path: Path) -> None:
    ca, directory = tmp_path / "ca.pem", tmp_path / "authorities"
    directory.mkdir()
    credentials = Credentials({"ssl.ca.location": str(ca), "https.ca.location": str(directory)})
    seen = [credentials.fingerprint()]
    assert credentials.fingerprint() == seen[0]

    def changed() -> bool:
        seen.append(credentials.fingerprint())
        return seen[-1] not in seen[:-1]

    replace(str(ca), "one")
    assert changed()
    replace(str(ca), "two")
    assert changed()
    ca.chmod(0o400)
    assert changed()
    (directory / "a.pem").write_text("one")
    assert changed()
    (directory / "a.pem").write_text("three")
    assert changed()


def test_secrets_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one\n")
    credentials = Credentials({"sasl.password": secret(tmp_path), "sasl.username": "u"})
    file.write_text("two\n")
    read = credentials.read()
    assert read == {"sasl.password": "pre-two", "sasl.username": "u"}
    assert repr(read["sasl.password"]) == "'***'"
    file.unlink()
    with pytest.raises(InputError, match=r"sasl\.password: cannot read file .*: no such file"):
        credentials.read()
