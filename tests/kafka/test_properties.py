from __future__ import annotations

import pytest

from singer.base.config import ClusterConfig, Secret
from singer.base.errors import InputError
from singer.kafka import properties
from singer.kafka.properties import invalid, refusals, settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.idempotence", "false"),
        ("acks", "1"),
        ("request.required.acks", "0"),
        ("message.timeout.ms", "300000"),
        ("delivery.timeout.ms", "1"),
        ("delivery.report.only.error", "true"),
        ("queuing.strategy", "lifo"),
        ("enable.gapless.guarantee", "true"),
        ("transactional.id", "x"),
        ("bootstrap.servers", "a:1"),
        ("metadata.broker.list", "a:1"),
        ("queue.buffering.max.messages", "1"),
        ("queue.buffering.max.kbytes", "1"),
        ("allow.auto.create.topics", "true"),
        ("test.mock.num.brokers", "3"),
        ("log.queue", "false"),
        ("enabled_events", "1"),
    ],
)
def test_what_breaks_a_promise_is_refused(name: str, value: str) -> None:
    refused = refusals({name: value, "linger.ms": "50"})
    assert list(refused) == [name]
    assert refused[name].startswith(name)


def test_what_keeps_the_promises_is_not() -> None:
    fine = {"enable.idempotence": "true", "acks": "-1", "linger.ms": "1", "debug": "eos",
            "security.protocol": "SASL_SSL", "sasl.password": "secret"}  # fmt: skip
    assert refusals(fine) == {}
    assert refusals({"acks": "ALL"}) == {}


def test_uncompressed_needs_a_reason() -> None:
    for name in ("compression.type", "compression.codec"):
        given = {name: "none"}
        assert "allow_uncompressed" in refusals(given, allow_uncompressed=False)[name]
        assert refusals(given, allow_uncompressed=True) == {}
    for value in ("NONE", " none"):  # librdkafka takes these, too
        assert refusals({"compression.type": value}, allow_uncompressed=False)


def test_gzip_that_only_stores_is_uncompressed() -> None:
    stored = {"compression.level": "0", "compression.codec": "gzip"}
    assert list(refusals(stored, allow_uncompressed=False)) == ["compression.level"]
    assert refusals(stored, allow_uncompressed=True) == {}
    for codec in ("zstd", "lz4"):  # for them it is the default
        given = {"compression.level": "0", "compression.type": codec}
        assert refusals(given, allow_uncompressed=False) == {}


def test_librdkafka_is_asked_what_it_knows() -> None:
    faults = invalid(
        {"linger.ms": "5", "no.such": "1", "linger.msx": "2", "acks": "some", "a\0b": "1",
         "client.id": "a\0b", "batch.size": "-1"}
    )  # fmt: skip
    assert set(faults) == {"no.such", "linger.msx", "acks", "a\0b", "client.id", "batch.size"}
    assert "no.such is not a property of librdkafka" in faults["no.such"]
    assert "NUL" in faults["client.id"]
    assert invalid(properties.DEFAULTS) == {}
    assert invalid(properties.QUARANTINE) == {}


def test_settings_merge_the_users_over_ours() -> None:
    config = ClusterConfig(
        name="main",
        properties={"linger.ms": "50", "sasl.password": Secret("geheim"), "client.id": "mine"},
    )
    merged = settings(config, bootstrap="a:1,b:2", client_id="singer-1", agent_id="1")
    assert merged["bootstrap.servers"] == "a:1,b:2"
    assert merged["linger.ms"] == "50"
    assert merged["client.id"] == "mine"
    assert merged["acks"] == "all"
    assert merged["compression.type"] == "zstd"
    assert merged["compression.level"] == "1"
    assert merged["log.queue"] == "true"


def test_a_default_does_not_undo_an_alias() -> None:
    config = ClusterConfig(
        name="main", properties={"compression.codec": "lz4", "queue.buffering.max.ms": "7"}
    )
    merged = settings(config, bootstrap="a:1", client_id="x", agent_id="1")
    assert "compression.type" not in merged
    assert "compression.level" not in merged  # lz4 has levels of its own
    assert "linger.ms" not in merged


def test_settings_refuse_too() -> None:
    with pytest.raises(InputError, match="create producer for main: acks must stay all"):
        settings(
            ClusterConfig(name="main", properties={"acks": "1"}),
            bootstrap="a:1",
            client_id="x",
            agent_id="1",
        )
    with pytest.raises(InputError, match="needs allow_uncompressed"):
        settings(
            ClusterConfig(name="main", properties={"compression.type": "none"}),
            bootstrap="a:1",
            client_id="x",
            agent_id="1",
        )
    settings(
        ClusterConfig(
            name="main", properties={"compression.type": "none"}, allow_uncompressed="a test"
        ),
        bootstrap="a:1",
        client_id="x",
        agent_id="1",
    )
