"""librdkafka's properties: our defaults, what a user may not change, and what is wrong.

Pure, but for asking librdkafka itself whether a property exists and takes a value. The
configuration loader shows the texts; `settings` is what a producer is made of.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from singer.base.config import ClusterConfig, Secret
from singer.base.errors import InputError
from singer.kafka import librdkafka as rd

#: What differs from librdkafka's defaults.
DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acks": "all",
        "enable.idempotence": "true",
        # A third of the bytes of log text, at 1.27 times the CPU of lz4 (which makes half).
        "compression.type": "zstd",
        # The most with which a host of few lines delivers 99 of 100 in about 5 ms (the bench
        # fleet-host); what a stream may wait beyond that, its `linger` says.
        "linger.ms": "3",
        # The file is the buffer: an outage of any length delays and never drops.
        "message.timeout.ms": "0",
        # The memory budget bounds what is queued; a queue that is full for one stream is full
        # for all of them, so librdkafka's own limits must never be reached.
        "queue.buffering.max.messages": "2147483647",
        "queue.buffering.max.kbytes": "2147483647",
        # Requests end at batch.size, not earlier because lines are short.
        "batch.num.messages": "1000000",
        # A topic that is missing waits for a person; it is not made with the broker's defaults.
        "allow.auto.create.topics": "false",
        "socket.keepalive.enable": "true",
        # Small requests must not wait for the acknowledgement of the one before: measured, the
        # 99th percentile of the latency halves.
        "socket.nagle.disable": "true",
        # Tens of thousands of agents: what they measure they show themselves.
        "enable.metrics.push": "false",
        # The agent asks: while data flows every minute or five, at once in trouble, never at rest.
        "topic.metadata.refresh.interval.ms": "-1",
        # By itself, librdkafka begins anew whenever no broker answers, and so forgets its back-off:
        # 20 attempts a second for as long as an outage lasts, of every host. The cluster's own
        # probe begins anew, ever more rarely.
        "metadata.recovery.strategy": "none",
        # Whoever waits for the answer to a question about metadata has some broker tried twice in
        # this time, whatever the back-off of that broker: of every host, 20 times a second by
        # default, for as long as an outage lasts, and so all at once when it ends.
        "reconnect.backoff.ms": "1000",
        # What was sent of each topic, and how much smaller it had become; connections.
        "statistics.interval.ms": "60000",
    }
)

#: The level for our own default codec; another codec gets its own default.
ZSTD_LEVEL: Final = "1"

#: What must hold whatever the user says; the loader refuses the properties beforehand.
_OURS: Final[Mapping[str, str]] = MappingProxyType({"log.queue": "true"})

#: Overrides for the producer that sends one record per request, to find out which one a broker
#: refuses. In order, because nothing else is in flight. What it sends says nothing of how records
#: usually compress.
QUARANTINE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "batch.num.messages": "1",
        "max.in.flight": "1",
        "linger.ms": "0",
        "statistics.interval.ms": "0",
    }
)

_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "request.required.acks": "acks",
        "delivery.timeout.ms": "message.timeout.ms",
        "compression.codec": "compression.type",
        "queue.buffering.max.ms": "linger.ms",
        "metadata.broker.list": "bootstrap.servers",
        "max.in.flight": "max.in.flight.requests.per.connection",
    }
)


def _always(value: str) -> bool:
    del value
    return True


def _unless(*allowed: str) -> Callable[[str], bool]:
    return lambda value: value.strip().lower() not in allowed


_INTERNAL: Final = "is how the agent hears from librdkafka, and is set by it"
_REFUSED: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = MappingProxyType(
    {
        "enable.idempotence": (
            _unless("true"),
            "must stay true: without it a retry may duplicate and reorder records",
        ),
        "acks": (
            _unless("all", "-1"),
            "must stay all: with less, acknowledged records can be lost with one broker",
        ),
        "message.timeout.ms": (
            _always,
            "cannot be set: records would be dropped in a long outage; the file is the buffer",
        ),
        "delivery.report.only.error": (
            _unless("false"),
            "cannot be set: positions move on reports of success",
        ),
        "queuing.strategy": (_unless("fifo"), "must stay fifo: others reorder records"),
        "enable.gapless.guarantee": (
            _unless("false"),
            "cannot be set: one rejected record would stop all streams",
        ),
        "transactional.id": (_always, "is the agent's id; write delivery: exactly_once"),
        "bootstrap.servers": (_always, "is written as the cluster's own key: bootstrap"),
        "queue.buffering.max.messages": (
            _always,
            "cannot be set: agent.memory bounds what is queued, fairly divided",
        ),
        "queue.buffering.max.kbytes": (
            _always,
            "cannot be set: agent.memory bounds what is queued, fairly divided",
        ),
        "allow.auto.create.topics": (
            _unless("false"),
            "cannot be set: the agent never creates topics by accident",
        ),
        "enable.sasl.oauthbearer.unsecure.jwt": (
            _unless("false"),
            "cannot be set: anybody can make such tokens; say with oauth where they come from",
        ),
        "test.mock.num.brokers": (_unless("0"), "is written as bootstrap: embedded"),
        "log.queue": (_always, _INTERNAL),
        "enabled_events": (_always, _INTERNAL),
        "enable_sasl_queue": (_always, _INTERNAL),
    }
)


def refusals(properties: Mapping[str, str], *, allow_uncompressed: bool = True) -> dict[str, str]:
    """The properties that would break a promise, and why; a text follows the property's name."""
    refused = {}
    for name, value in properties.items():
        canonical = _ALIASES.get(name, name)
        breaks, reason = _REFUSED.get(canonical, (None, ""))
        if breaks is not None and breaks(value):
            refused[name] = f"{name} {reason}"
        elif not allow_uncompressed and _uncompressed(canonical, value, properties):
            refused[name] = f"{name}: {value} needs allow_uncompressed: <reason>"
    return refused


def _uncompressed(canonical: str, value: str, properties: Mapping[str, str]) -> bool:
    """Whether this property says that records are not to be compressed."""
    if canonical == "compression.type":
        return value.strip().lower() == "none"
    if canonical != "compression.level" or value.strip() != "0":
        return False
    # gzip's level 0 stores; with the others it is the default.
    return any(
        _ALIASES.get(name, name) == "compression.type" and codec.strip().lower() == "gzip"
        for name, codec in properties.items()
    )


def invalid(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties this librdkafka does not know or whose value it does not take, and why."""
    faults = {}
    conf = rd.conf_new()
    try:
        for name, value in properties.items():
            fault = assign(conf, name, value)
            if fault:
                faults[name] = fault
    finally:
        rd.conf_destroy(conf)
    return faults


def assign(conf: int, name: str, value: str) -> str:
    """Set one property of a `rd_kafka_conf_t`; returns what is wrong with it, or "".

    What librdkafka says quotes the value, so of a Secret it is not passed on.
    """
    text = rd.error_text()
    try:
        encoded = (name.encode(), value.encode())
    except UnicodeEncodeError:
        return f"{name} is not text"
    if b"\0" in encoded[0] or b"\0" in encoded[1]:  # C would silently cut it off there
        return f"{name} holds a NUL character"
    answer = rd.conf_set(conf, *encoded, text, rd.ERRSTR_BYTES)
    if answer == rd.CONF_UNKNOWN:
        return f"{name} is not a property of librdkafka {rd.version_str().decode()}"
    if answer == rd.CONF_OK:
        return ""
    if isinstance(value, Secret):
        return f"{name} has a value that librdkafka does not take"
    return text.value.decode(errors="replace")


def compression(given: Mapping[str, str]) -> str:
    """The codec of a producer with these properties."""
    codecs = (v for n, v in given.items() if _ALIASES.get(n, n) == "compression.type")
    return next(codecs, DEFAULTS["compression.type"])


def overlaid(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """The properties of both; those `above` hold, under whatever name they are said."""
    said = {_ALIASES.get(name, name) for name in above}
    if "compression.type" in said:  # the level of one codec is none of another
        said.add("compression.level")
    return {n: v for n, v in below.items() if _ALIASES.get(n, n) not in said} | dict(above)


def is_tls(given: Mapping[str, str]) -> bool:
    """Whether connections begin with a TLS handshake."""
    return given.get("security.protocol", "").strip().lower() in ("ssl", "sasl_ssl")


def _idle_ms(client_id: str) -> int:
    """How long a connection is kept that nothing goes over: 310 to 345 s, by host.

    `sticky` moves on, and brokers of earlier partitions are to be let go. At rest librdkafka keeps
    one connection and asks for metadata whenever it is made anew: that has to be less often than
    every 300 s, and before a balancer (350 s) or a broker (600 s) closes it unasked. By host,
    because those that started together would otherwise do so together for as long as they rest.
    """
    return 310_000 + zlib.crc32(client_id.encode()) % 35_000


def settings(
    config: ClusterConfig, *, bootstrap: str, client_id: str, agent_id: str
) -> dict[str, str]:
    """All properties of a cluster's producer. Raises InputError for those that are refused."""
    given = dict(config.properties)
    refused = refusals(given, allow_uncompressed=config.allow_uncompressed is not None)
    if refused:
        raise InputError(f"create producer for {config.name}: {'; '.join(refused.values())}")
    merged = {**DEFAULTS, "connections.max.idle.ms": str(_idle_ms(client_id))}
    if config.exactly_once:
        merged["transactional.id"] = f"singer-{agent_id}"
        # Of records in a transaction librdkafka makes it `transaction.timeout.ms`: what is late
        # then is aborted with it, and sent again.
        del merged["message.timeout.ms"]
    canonical = {_ALIASES.get(name, name) for name in given}
    if not canonical & {"compression.type", "compression.level"}:
        merged["compression.level"] = ZSTD_LEVEL
    if "reconnect.backoff.max.ms" in canonical:  # it must not be below the least
        merged.pop("reconnect.backoff.ms")
    for name in canonical:  # a default must not undo what was set under another name
        merged.pop(name, None)
    return {"client.id": client_id, **merged, **given, **_OURS, "bootstrap.servers": bootstrap}
