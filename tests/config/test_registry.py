"""The platform's registry: topic URIs, and properties for a share of the hosts."""

from __future__ import annotations

import hashlib

import pytest

from singer.base.config import PlatformConfig
from singer.config.registry import is_drawn
from singer.config.show import show
from singer.kafka.topic_uri import parse, prefix
from tests.config.files import Folder

URI = "secure:/rn:kafka:prod:aws_us-east-1:logs:web.access"
REGISTRY = """\
clusters:
  logs: {bootstrap_file: /var/serverset/logs, properties: {linger.ms: 7}}
  rest: {bootstrap: [r:1]}
uris:
  "secure:/rn:kafka:prod:aws_us-east-1:logs": logs
  "secure:/rn:kafka:prod": rest
properties:
  - {name: all, properties: {linger.ms: 20, socket.timeout.ms: 5000}}
  - {name: nobody, percent: 0, properties: {socket.timeout.ms: 1000}}
"""
MAIN = """\
agent: {{id: host-1, registry: registry.yaml}}
streams:
  - {{name: s, paths: [/a], publish: [{publish}]}}
"""


def main(publish: str) -> str:
    return MAIN.format(publish=publish)


def test_a_uri_names_the_cluster_of_its_longest_prefix(folder: Folder) -> None:
    folder.write(REGISTRY, "registry.yaml")
    other = URI.replace("logs:web", "db:web")
    config = folder.load(main(f'{{topic: "{URI}"}}, {{topic: "{other}"}}')).config
    (stream,) = config.streams
    assert [(d.cluster, d.topic, d.name) for d in stream.publish] == [
        ("logs", "web.access", "logs/web.access"),
        ("rest", "web.access", "rest/web.access"),
    ]
    assert config.clusters["logs"].bootstrap_file == "/var/serverset/logs"


def test_properties_stand_below_those_of_a_cluster(folder: Folder) -> None:
    folder.write(REGISTRY, "registry.yaml")
    config = folder.load(main(f'{{topic: "{URI}"}}')).config
    assert dict(config.clusters["logs"].properties) == {
        "linger.ms": "7",
        "socket.timeout.ms": "5000",
    }
    assert dict(config.clusters["rest"].properties)["linger.ms"] == "20"
    assert config.registry is not None
    assert config.registry.groups == ("all",)
    assert config.registry.digest == hashlib.sha256(REGISTRY.encode()).hexdigest()
    again = folder.load(show(config)).config
    assert dict(again.clusters) == dict(config.clusters)
    assert again.streams == config.streams


def test_a_rollout_grows_and_each_draws_other_hosts() -> None:
    def drawn(name: str, percent: float) -> set[int]:
        group = PlatformConfig(name=name, percent=percent, properties={})
        return {n for n in range(10_000) if is_drawn(f"host-{n}", group.name, group.percent)}

    ten = drawn("a", 10)
    assert 900 < len(ten) < 1100
    assert ten < drawn("a", 25)
    assert len(ten & drawn("b", 10)) < 200
    assert (len(drawn("a", 0)), len(drawn("a", 100))) == (0, 10_000)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("linger.ms: 20", "acks: 1", "properties[0].properties.acks: must stay all"),
        ("linger.ms: 20", "compression.type: none", "needs allow_uncompressed"),
        ("percent: 0", "percent: 101", "properties[1].percent: must be at most 100"),
        ("name: nobody", "name: all", "duplicate group 'all'"),
        ('prod": rest', 'prod": rets', "there is no cluster 'rets': did you mean rest?"),
        ('prod": rest', 'pr od": rest', "its environment is 'pr od': must be of letters"),
        ("uris:", "urls:", "urls: unknown key: did you mean uris?"),
    ],
)
def test_what_is_wrong_with_a_registry(folder: Folder, old: str, new: str, expected: str) -> None:
    assert old in REGISTRY
    folder.write(REGISTRY.replace(old, new), "registry.yaml")
    assert expected in "\n".join(folder.problems(main("{cluster: logs, topic: t}")))


def test_a_registry_that_is_not_there(folder: Folder) -> None:
    assert "no such file" in "\n".join(folder.problems(main(f'{{topic: "{URI}"}}')))


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        ('{topic: "secure:/rn:kafka:dev:x:logs:t"}', "must begin like one of the uris"),
        ('{topic: "secure:/rn:kafka:prod:x:logs"}', "lacks its topic: must be protocol:/rn:"),
        ('{topic: "secure:/rn:kafka:prod:x:logs:a b"}', "must be a topic name"),
        (f'{{cluster: logs, topic: "{URI}"}}', "a topic URI names the cluster: remove cluster"),
    ],
)
def test_what_is_wrong_with_a_uri(folder: Folder, publish: str, expected: str) -> None:
    folder.write(REGISTRY, "registry.yaml")
    assert expected in "\n".join(folder.problems(main(publish)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:/rn:b:c:d:e:", "lacks its topic"),
        ("a:/rn:b:c", "lacks its cloud_region"),
        ("a:/rn:b:c:d:e:f:g", "has parts too many"),
        ("a:/rn:b::d:e:f", "its environment is empty"),
        (":/rn:b:c:d:e:f", "its protocol is empty"),
        ("topic", "lacks its :/rn:"),
    ],
)
def test_uris_say_which_part_is_wrong(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(text)


def test_prefixes_end_between_parts() -> None:
    assert prefix("a:/rn:b:c:") == prefix("a:/rn:b:c") == ("a", "b", "c")
    with pytest.raises(ValueError, match="without the topic"):
        prefix("a:/rn:b:c:d:e:f")
