from __future__ import annotations

import dataclasses
import os

from singer.base.config import AgentConfig, StreamConfig
from singer.config import reference
from singer.config.show import show
from tests.config.files import MINIMAL, STREAMS, Folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def test_shown_configuration_loads_as_the_same(folder: Folder) -> None:
    local = "{max_share: 2, hosts: {a: 60, b: 40}}"
    text = MINIMAL.replace(
        "clusters:\n", "clusters:\n  try-out: {bootstrap: embedded}\n  x: {bootstrap_file: y}\n"
    )
    text = text.replace("topic: web.access}", f"topic: t, partitioner: {{local: {local}}}}}")
    config = folder.load(text).config
    again = folder.load(show(config)).config
    assert dataclasses.replace(again, clusters=dict(again.clusters)) == dataclasses.replace(
        config, clusters=dict(config.clusters)
    )


def test_secrets_are_masked(folder: Folder) -> None:
    folder.write("hunter2", "secret")
    text = show(
        folder.load(
            """\
            clusters:
              main:
                bootstrap: [a:1]
                oauth: {command: [token, --secret, "${file:secret}"]}
                properties:
                  security.protocol: SASL_SSL
                  sasl.mechanism: OAUTHBEARER
                  sasl.password: hunter2
                  sasl.jaas.config: hunter2
                  sasl.username: "${file:secret}"
            """.replace("                  sasl.jaas.config: hunter2\n", "")
            + STREAMS.replace("\n", "\n            ")
        ).config
    )
    assert "hunter2" not in text
    assert text.count("***") == 3


def test_reference_is_the_committed_page() -> None:
    with open(os.path.join(ROOT, "docs/configuration.md"), encoding="utf-8") as file:
        assert file.read() == reference.generate(), "run make docs"


def test_every_key_has_a_meaning() -> None:
    for kind in (AgentConfig, StreamConfig):
        names = {field.name for field in dataclasses.fields(kind)}
        assert names == set(reference.comments(kind))
