"""`singer check --online` where there is no cluster to be asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from singer.cli.main import main

CONFIG = """\
clusters: {main: {%s}}
streams:
  - {name: s, paths: [/none/*.log], publish: [{cluster: main, topic: t}]}
"""


@pytest.mark.parametrize(
    ("cluster", "status", "expected"),
    [
        ("bootstrap: ['127.0.0.1:1']", os.EX_UNAVAILABLE, "Connection refused"),
        ("bootstrap_file: gone", os.EX_UNAVAILABLE, "gone: no such file: mend it"),
        ("bootstrap: embedded", os.EX_OK, "the cluster is embedded"),
    ],
)
def test_what_cannot_be_asked(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cluster: str,
    status: int,
    expected: str,
) -> None:
    config = tmp_path / "singer.yaml"
    config.write_text(CONFIG % cluster)
    assert main(["check", "--online", "-c", str(config)]) == status
    _, first, last = capsys.readouterr().out.splitlines()
    level = "error" if status else "note"
    assert first.startswith(f"{level:7}  main")
    assert expected in first
    assert last == f"online: {int(bool(status))} error(s), 0 warning(s)"
