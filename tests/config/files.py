"""Configurations as files for the tests of this package."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping

import pytest

from singer.base.errors import ConfigError
from singer.config.loader import Loaded, load

CLUSTERS = """\
clusters:
  main: {bootstrap: [kafka-1:9092]}
"""

STREAMS = """\
streams:
  - name: access
    paths: [/var/log/access.log]
    publish: [{cluster: main, topic: web.access}]
"""

MINIMAL = CLUSTERS + STREAMS


class Folder:
    """A directory of configuration files."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.main = os.path.join(path, "singer.yaml")

    def write(self, text: str | bytes, name: str = "singer.yaml") -> str:
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = textwrap.dedent(text).encode() if isinstance(text, str) else text
        with open(path, "wb") as file:
            file.write(data)
        return path

    def load(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> Loaded:
        self.write(text)
        return load(self.main, environ or {})

    def problems(
        self, text: str | bytes | None = None, environ: Mapping[str, str] | None = None
    ) -> list[str]:
        """The problems of `text`, with file names relative to the directory."""
        if text is not None:
            self.write(text)
        with pytest.raises(ConfigError) as caught:
            load(self.main, environ or {})
        assert caught.value.exit_status == os.EX_CONFIG
        lines = str(caught.value).splitlines()
        assert len(lines) == len(caught.value.problems)
        return [line.replace(self.path + "/", "") for line in lines]

    def problem(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
        """The only problem of `text`."""
        (line,) = self.problems(text, environ)
        return line
