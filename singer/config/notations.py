"""The parts of a configuration whose notation is richer than their dataclass.

`bootstrap: embedded`, `reader: text`, `rotated: all`, the default name of a destination, Kafka
properties; and the names that are claimed and referred to on the way, which `loader` compares
once everything is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

import yaml

from singer.base.config import (
    AgentConfig,
    AuditConfig,
    ClusterConfig,
    Codec,
    ContainerReaderConfig,
    CreateConfig,
    DestinationConfig,
    DestinationStartConfig,
    EmbeddedConfig,
    EnvelopeConfig,
    FramesReaderConfig,
    Glob,
    HeadersConfig,
    LengthType,
    LimitConfig,
    LingerConfig,
    LocalConfig,
    MaxLagConfig,
    MultilineReaderConfig,
    Ordering,
    PartitionerConfig,
    PartitionerType,
    Path,
    PatternConfig,
    PlatformConfig,
    PrefixConfig,
    ProtobufReaderConfig,
    ReaderConfig,
    ReaderType,
    RedactConfig,
    Regex,
    Secret,
    StreamConfig,
    TextReaderConfig,
    ThriftReaderConfig,
    TransformConfig,
)
from singer.base.suggestion import suggestion
from singer.config import rules
from singer.config.document import Spot
from singer.config.nodes import INVALID, SCALARS, Check, Entry, Invalid, Nodes, is_null, shown
from singer.config.pending import PENDING
from singer.files.pathpattern import PathPattern
from singer.kafka import properties as kafka_properties
from singer.kafka import security, topic_uri
from singer.kafka.addresses import address
from singer.kafka.headers import HEADER_NAMES
from singer.kafka.topic_template import TopicTemplate
from singer.locality import zone
from singer.readers.encoding import Encoding
from singer.transforms.making import make as make_transform

#: Begins or ends a text, which lines have no part in.
_OF_A_TEXT: Final = re.compile(r"(?<!\\)(?:\\\\)*\\[Az]")
#: By the word of its `type`, the record of a reader.
_READERS: Final[Mapping[str | None, type[ReaderConfig]]] = MappingProxyType(
    {
        ReaderType.TEXT.value: TextReaderConfig,
        ReaderType.MULTILINE.value: MultilineReaderConfig,
        ReaderType.CRI.value: ContainerReaderConfig,
        ReaderType.DOCKER.value: ContainerReaderConfig,
        ReaderType.AUTO.value: ContainerReaderConfig,
        ReaderType.FRAMES.value: FramesReaderConfig,
        ReaderType.PROTOBUF.value: ProtobufReaderConfig,
        ReaderType.THRIFT.value: ThriftReaderConfig,
    }
)


class Notations:
    """A `Nodes` that knows Singer's configuration.

    `references` are the cluster names that destinations use, `stream_names` those of streams,
    `uris` the clusters of prefixes of topic URIs, `topics` what is published to: cluster, topic;
    `headed` is where headers are asked for, `uncompressed` where no compression is: cluster, place.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.references: list[tuple[str, Spot]] = []
        self.stream_names: dict[str, Spot] = {}
        self.uris: dict[tuple[str, ...], str] = {}
        self.headed: list[Spot] = []
        self.uncompressed: list[tuple[str, Spot]] = []
        self._codecs: dict[tuple[str, str], tuple[Codec | None, Spot]] = {}
        self.topics: list[tuple[str, str, Spot]] = []
        checks: dict[tuple[type, str], Check] = {key: _within(*key) for key in rules.LIMITS}
        checks |= {
            (AgentConfig, "locality"): _quoted(zone.parse),
            (ClusterConfig, "bootstrap"): self._check_bootstrap,
            (ClusterConfig, "allow_uncompressed"): _quoted(rules.reason),
            (EmbeddedConfig, "racks"): _not_empty,
            (PlatformConfig, "name"): _quoted(rules.name),
            (StreamConfig, "name"): self._check_stream_name,
            (StreamConfig, "paths"): self._check_paths,
            (StreamConfig, "publish"): self._check_publish,
            (StreamConfig, "path_pattern"): _quoted(PathPattern),
            (TextReaderConfig, "encoding"): _quoted(Encoding),
            (MultilineReaderConfig, "encoding"): _quoted(Encoding),
            (DestinationConfig, "name"): _quoted(rules.destination_name),
            (DestinationConfig, "topic"): _quoted(TopicTemplate),
            (AuditConfig, "topic"): _quoted(_plain_topic),
            (DestinationConfig, "cluster"): self._refer,
            (LocalConfig, "hosts"): self._check_hosts,
            (HeadersConfig, "static"): self._check_static,
        }
        self.nodes = Nodes(
            environ=environ,
            notations={
                AgentConfig: self._agent,
                ClusterConfig: self._cluster,
                PlatformConfig: self._platform,
                StreamConfig: self._stream,
                DestinationConfig: self._destination,
                ReaderConfig: self._reader,
                PartitionerConfig: self._partitioner,
                CreateConfig: lambda spot: self._optional(CreateConfig, spot),
                LocalConfig: lambda spot: self._optional(LocalConfig, spot),
                HeadersConfig: self._headers,
                MaxLagConfig: self._max_lag,
                DestinationStartConfig: self._start,
                TransformConfig: self._transform,
                PatternConfig: lambda spot: self._short(PatternConfig, "pattern", spot),
                RedactConfig: self._redact,
                PrefixConfig: lambda spot: self._short(PrefixConfig, "text", spot),
                EnvelopeConfig: lambda spot: self._short(EnvelopeConfig, "type", spot),
                LimitConfig: lambda spot: self._short(LimitConfig, "bytes_per_second", spot),
                LingerConfig: self._linger,
                AuditConfig: lambda spot: self._short(AuditConfig, "topic", spot),
            },
            checks=checks,
            conversions={
                Path: lambda text, spot: _resolved(rules.path(text), spot),
                Glob: lambda text, _: rules.glob(text),
                Regex: lambda text, _: rules.regex(text),
            },
            pending=PENDING,
        )

    # --- agent and clusters ----------------------------------------------------------------

    def _agent(self, spot: Spot) -> Any:
        agent = self.nodes.record(AgentConfig, spot)
        entries = self.nodes.entries(spot)
        if agent is INVALID or not entries or "locality" not in entries:
            return agent
        place = entries["locality"].value
        locality = zone.parse(agent.locality)
        if locality.source is zone.Source.FILE:
            path = _resolved(locality.argument, place)
            agent = replace(agent, locality=f"{locality.source.value}:{path}")
        return agent

    def _cluster(self, spot: Spot) -> Any:
        entries = self.nodes.entries(spot)
        if entries is None:
            return INVALID
        given: dict[str, object] = {"name": ""}  # the loader knows it: it is the key
        bootstrap = entries.get("bootstrap")
        if bootstrap and bootstrap.value.node.value == "embedded":
            del entries["bootstrap"]
            embedded = entries.pop("embedded", None)
            given["bootstrap"] = ()
            given["embedded"] = (
                self.nodes.read(embedded.value, EmbeddedConfig) if embedded else EmbeddedConfig()
            )
            if "delivery" in entries and entries["delivery"].value.node.value == "exactly_once":
                place = entries["delivery"].value
                self.nodes.fault(place, "the embedded cluster forgets all at each start")
        elif "embedded" in entries:
            self.nodes.fault(entries["embedded"].key, "needs bootstrap: embedded")
        elif bootstrap is None and "bootstrap_file" not in entries:
            self.nodes.fault(
                spot, "bootstrap is missing: a list of host:port, or embedded; or bootstrap_file"
            )
        if bootstrap and "bootstrap_file" in entries:
            self.nodes.fault(
                entries["bootstrap_file"].key, "is another way to say bootstrap: remove one of them"
            )
        properties = entries.pop("properties", None)
        if properties:
            given["properties"] = self._properties(properties.value)
        cluster = self.nodes.fill(ClusterConfig, spot, entries, **given)
        if cluster is INVALID:
            return INVALID
        refused = kafka_properties.refusals(
            cluster.properties, allow_uncompressed=cluster.allow_uncompressed is not None
        )
        if refused and properties:
            self._report(refused, properties.value)
            return INVALID
        for key, reason in security.faults(cluster.properties, cluster.oauth).items():
            if key in entries:
                self.nodes.fault(entries[key].value, reason)
            elif properties:
                self._report({key: reason}, properties.value)
        return cluster

    def _platform(self, spot: Spot) -> Any:
        entries = self.nodes.entries(spot)
        if entries is None:
            return INVALID
        given = entries.pop("properties", None)
        if given is None:
            return self.nodes.fault(spot, "properties is missing")
        values = self._properties(given.value)
        if values is not INVALID:
            refused = kafka_properties.refusals(values, allow_uncompressed=False)
            self._report(refused, given.value)
        return self.nodes.fill(PlatformConfig, spot, entries, properties=values)

    def _properties(self, spot: Spot) -> Any:
        entries = self.nodes.entries(spot)
        if entries is None:
            return INVALID
        values = {name: self.nodes.text(entry.value) for name, entry in entries.items()}
        # Those that could be read are judged even if others could not: all problems at once.
        texts = {
            name: _masked(value) if rules.is_secret(name) else value
            for name, value in values.items()
            if not isinstance(value, Invalid)
        }
        faults = kafka_properties.invalid(texts) | kafka_properties.refusals(texts)
        self._report(faults, spot)
        return INVALID if faults or len(texts) < len(values) else MappingProxyType(texts)

    def _check_bootstrap(self, addresses: tuple[str, ...], spot: Spot) -> None:
        _not_empty(addresses, spot)
        self._each(addresses, spot, address)

    def _report(self, faults: Mapping[str, str], spot: Spot) -> None:
        entries = self.nodes.entries(spot) or {}
        for name, reason in faults.items():
            self.nodes.fault(entries[name].value, reason.removeprefix(f"{name} "))

    # --- streams ---------------------------------------------------------------------------

    def _stream(self, spot: Spot) -> Any:
        entries = self.nodes.entries(spot)
        if entries is None:
            return INVALID
        rotated = entries.get("rotated")
        if rotated and rotated.value.node.value in ("all", "since"):
            entries["rotated_files"] = entries.pop("rotated")
        stream = self.nodes.fill(StreamConfig, spot, entries)
        if stream is INVALID:
            return INVALID
        publish = entries["publish"].value
        self._check_groups(stream, publish)
        return self._partitioned(stream, publish) if stream.reader.of_keys else stream

    def _partitioned(self, stream: StreamConfig, publish: Spot) -> StreamConfig:
        """A stream of records with keys: those choose the partition where nothing is said."""
        destinations = []
        for destination, spot in zip(stream.publish, self.nodes.items(publish) or (), strict=True):
            entry = (self.nodes.entries(spot) or {}).get("partitioner")
            given = self._entries_with("type", entry.value) if entry else None
            partitioner = destination.partitioner
            if "type" not in (given or {}):
                partitioner = replace(partitioner, type=PartitionerType.KEY_MURMUR2)
                self._check_order(
                    partitioner, given or {}, "; if there are no keys, say type: sticky"
                )
            destinations.append(replace(destination, partitioner=partitioner))
        return replace(stream, publish=tuple(destinations))

    def _check_groups(self, stream: StreamConfig, publish: Spot) -> None:
        """What topics are filled in with must be found in the paths."""
        known = PathPattern(stream.path_pattern).names if stream.path_pattern else frozenset()
        for destination, spot in zip(stream.publish, self.nodes.items(publish) or (), strict=True):
            for group in sorted(TopicTemplate(destination.topic).groups - known):
                topic = (self.nodes.entries(spot) or {})["topic"].value
                self.nodes.fault(topic, f"path_pattern has no group (?P<{group}>…)")

    def _destination(self, spot: Spot) -> Any:
        entries = self.nodes.entries(spot)
        if entries is None:
            return INVALID
        given = {} if "name" in entries else {"name": ""}
        topic = self.nodes.text(entries["topic"].value) if "topic" in entries else ""
        if isinstance(topic, str) and topic_uri.is_uri(topic):
            try:
                given |= self._located(topic, entries)
            except ValueError as error:
                return self.nodes.fault(entries["topic"].value, f"{error}, not {shown(topic)}")
            del entries["topic"]
        destination = self.nodes.fill(DestinationConfig, spot, entries, **given)
        if destination is INVALID:
            return INVALID
        self.topics.append((destination.cluster, destination.topic, spot))
        self._check_codec(destination, entries.get("compression"), spot)
        if destination.max_lag and not destination.shadow:
            self.nodes.fault(
                entries["max_lag"].key, "lets it skip what it has not sent: only with shadow: true"
            )
        if destination.name:
            return destination
        return replace(destination, name=f"{destination.cluster}/{destination.topic}")

    def _check_codec(self, destination: DestinationConfig, entry: Entry | None, spot: Spot) -> None:
        """One topic of a cluster has one codec: a producer has one for each topic."""
        place, codec = entry.value if entry else spot, destination.compression
        if codec is Codec.NONE:
            self.uncompressed.append((destination.cluster, place))
        key = (destination.cluster, destination.topic)
        before, where = self._codecs.setdefault(key, (codec, place))
        if codec is not before:
            self.nodes.fault(
                place,
                f"compression of topic {shown(destination.topic)} differs from that of another "
                f"destination{first(where)}: say the same, or give the cluster a second name",
            )

    def _located(self, text: str, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The cluster and the topic that a topic URI stands for. Raises ValueError."""
        uri = topic_uri.parse(text)
        TopicTemplate(uri.topic)
        if "cluster" in entries:
            raise ValueError("a topic URI names the cluster: remove cluster, or write the topic")
        cluster = topic_uri.find(uri, self.uris)
        if cluster is None:
            raise ValueError("must begin like one of the uris of agent.registry")
        return {"cluster": cluster, "topic": uri.topic}

    def _partitioner(self, spot: Spot) -> Any:
        partitioner = self._typed(PartitionerConfig, spot)
        if partitioner is INVALID:
            return INVALID
        entries = self._entries_with("type", spot) or {}
        if (partitioner.type is PartitionerType.FIXED) is not bool(partitioner.partitions):
            place = entries["partitions"].value if "partitions" in entries else spot
            self.nodes.fault(place, "partitions says how many, with type: fixed, and only then")
        self._check_order(partitioner, entries)
        return partitioner

    def _check_order(
        self, partitioner: PartitionerConfig, entries: Mapping[str, Entry], hint: str = ""
    ) -> None:
        """What order `ordering` asks for has to be kept."""
        if (
            partitioner.type.by_key
            and partitioner.local
            and partitioner.ordering is not Ordering.NONE
        ):
            self.nodes.fault(
                entries["local"].value,
                f"with {partitioner.type.value} a key has other partitions in each zone, and when "
                f"leaders move: remove it, or say ordering: none if that may be{hint}",
            )

    def _optional(self, kind: type, spot: Spot) -> Any:
        """`true` is short for `{}`, `false` for nothing."""
        if not isinstance(spot.node, yaml.ScalarNode):
            return self.nodes.record(kind, spot)
        word = self.nodes.read(spot, bool)
        return word if word is INVALID else kind() if word else None

    def _headers(self, spot: Spot) -> Any:
        """A list is short for `{add: …}`."""
        short = {"add": Entry(key=spot, value=spot)}
        entries = short if isinstance(spot.node, yaml.SequenceNode) else self.nodes.entries(spot)
        headers = INVALID if entries is None else self.nodes.fill(HeadersConfig, spot, entries)
        if headers is not INVALID and headers:
            self.headed.append(spot)
        return headers

    def _start(self, spot: Spot) -> Any:
        start = self._short(DestinationStartConfig, "at", spot)
        if start is not INVALID and (start.at is None) is (start.like is None):
            return self.nodes.fault(spot, "must be beginning, end, or {like: another destination}")
        return start

    def _max_lag(self, spot: Spot) -> Any:
        """A size is short for `{bytes: …}`, a duration for `{age: …}`."""
        text = self.nodes.text(spot) if isinstance(spot.node, yaml.ScalarNode) else ""
        of_time = isinstance(text, str) and text.endswith(("s", "m", "h", "d"))
        max_lag = self._short(MaxLagConfig, "age" if of_time else "bytes", spot)
        if max_lag is not INVALID and max_lag.bytes is max_lag.age is None:
            return self.nodes.fault(spot, "says how far: bytes, as 1GiB, or age, as 15m, or both")
        return max_lag

    def _check_static(self, static: Mapping[str, str], spot: Spot) -> None:
        for name in static:
            place = (self.nodes.entries(spot) or {})[name].key
            if not name or "\0" in name:
                self.nodes.fault(place, "must be a name")
            elif name in HEADER_NAMES:
                self.nodes.fault(place, "is the name of one that add fills in: use another")

    def _check_hosts(self, hosts: Mapping[str, float], spot: Spot) -> None:
        for rack, number in hosts.items():
            if number <= 0:
                place = (self.nodes.entries(spot) or {})[rack].value
                self.nodes.fault(place, f"must be more than 0, not {number:g}")

    def _reader(self, spot: Spot) -> Any:
        """The keys are those of the type, which decides; what it cannot be is said once."""
        entries = self._entries_with("type", spot)
        if entries is None:
            return INVALID
        word = entries["type"].value.node.value if "type" in entries else None
        reader = self._typed(_READERS.get(word, TextReaderConfig), spot)
        for key, message in _faults(reader).items():
            self.nodes.fault(entries[key].value if key in entries else spot, message)
        return reader

    def _transform(self, spot: Spot) -> Any:
        transform = self.nodes.record(TransformConfig, spot)
        if transform is not INVALID:
            try:
                make_transform(transform, host="", decider=lambda _: 100.0)
            except ValueError as error:
                return self.nodes.fault(spot, str(error))
        return transform

    def _linger(self, spot: Spot) -> Any:
        """`auto` is short for `{}`, a duration for `{wait: …}`."""
        if spot.node.value == "auto":
            return LingerConfig()
        linger = self._short(LingerConfig, "wait", spot)
        entries = self._entries_with("wait", spot) or {}
        if linger is not INVALID and linger.wait is not None and "latency" in entries:
            self.nodes.fault(
                entries["latency"].value, "is for linger: auto; with wait it says nothing"
            )
        return linger

    def _redact(self, spot: Spot) -> Any:
        entries = self.nodes.entries(spot)
        if entries is None:
            return INVALID
        if "with" in entries and "replacement" not in entries:
            entries["replacement"] = entries.pop("with")
        return self.nodes.fill(RedactConfig, spot, entries)

    def _short(self, kind: type, key: str, spot: Spot) -> Any:
        """`word` is short for `{key: word}`."""
        entries = self._entries_with(key, spot)
        return INVALID if entries is None else self.nodes.fill(kind, spot, entries)

    def _entries_with(self, key: str, spot: Spot) -> dict[str, Entry] | None:
        scalar = isinstance(spot.node, yaml.ScalarNode) and not is_null(spot)
        return {key: Entry(key=spot, value=spot)} if scalar else self.nodes.entries(spot)

    def _typed(self, kind: type, spot: Spot) -> Any:
        """A record of which one key is `type`."""
        entries = self._entries_with("type", spot)
        if entries is None:
            return INVALID
        return self.nodes.fill(kind, spot, entries)

    def _check_stream_name(self, name: str, spot: Spot) -> None:
        _quoted(rules.name)(name, spot)
        if name in self.stream_names:
            raise ValueError(f"duplicate stream {shown(name)}{first(self.stream_names[name])}")
        self.stream_names[name] = spot

    def _check_paths(self, paths: tuple[str, ...], spot: Spot) -> None:
        _not_empty(paths, spot)
        self._each(paths, spot, _absolute)

    def _check_publish(self, destinations: tuple[DestinationConfig, ...], spot: Spot) -> None:
        _not_empty(destinations, spot)
        seen: set[str] = set()
        for index, destination in enumerate(destinations):
            if destination.name in seen:
                self.nodes.fault(
                    spot.child(spot.node.value[index], index),
                    f"duplicate destination {shown(destination.name)}: give one of them a name:",
                )
            seen.add(destination.name)
        likes = {d.name: d.start.like for d in destinations if d.start and d.start.like}
        for index, destination in enumerate(destinations):
            if destination.name not in likes:
                continue
            place = spot.child(spot.node.value[index], index)
            like, passed = likes[destination.name], {destination.name}
            if like not in seen:
                hint = suggestion(like, seen - passed)
                self.nodes.fault(place, f"start: there is no destination {shown(like)} here{hint}")
            while like in likes and like not in passed:
                passed.add(like)
                like = likes[like]
            if like in passed:
                self.nodes.fault(place, "start: is like itself: say beginning or end")

    def _refer(self, cluster: str, spot: Spot) -> None:
        self.references.append((cluster, spot))

    def _each(self, values: tuple[str, ...], spot: Spot, check: Callable[[str], object]) -> None:
        for index, value in enumerate(values):
            try:
                check(value)
            except ValueError as error:
                child = spot.child(spot.node.value[index], index)
                self.nodes.fault(child, f"{error}, not {shown(value)}")


def first(spot: Spot) -> str:
    """Where something was seen first, as the end of a message."""
    return f", first in {spot.file} on line {spot.node.start_mark.line + 1}"


def _faults(reader: Any) -> Mapping[str, str]:
    """What is wrong with a reader beyond its single keys, by key."""
    match reader:
        case ThriftReaderConfig():
            from singer.readers import idl  # noqa: PLC0415  # 50 ms of each start

            return idl.look(reader)[1]
        case ProtobufReaderConfig():
            from singer.readers import protobuf_fields  # noqa: PLC0415  # 30 ms

            return protobuf_fields.faults(reader)
        case MultilineReaderConfig() if reader.start is reader.end is None:
            return {"start": "needs start or end: what is found in a record's first or last line"}
        case FramesReaderConfig() if (reader.length is LengthType.FIXED) is not bool(reader.size):
            return {"size": "size says how long each is, with length: fixed, and only then"}
        case FramesReaderConfig() if reader.size and reader.size > reader.max_record:
            return {"size": "must be at most max_record, or all of them would be dead letters"}
        case MultilineReaderConfig():
            patterns = {"start": reader.start or "", "end": reader.end or ""}
            return {
                key: r"is found in lines: say ^ for \A and $ for \z"
                for key, pattern in patterns.items()
                if _OF_A_TEXT.search(pattern)
            }
    return {}


def _masked(value: str) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _resolved(path: str, spot: Spot) -> str:
    resolved = os.path.normpath(os.path.join(spot.directory, path))
    return Secret(resolved) if isinstance(path, Secret) else resolved


def _quoted(check: Callable[[str], object]) -> Check:
    def quoting(value: str, _: Spot) -> None:
        try:
            check(value)
        except ValueError as error:
            raise ValueError(f"{error}, not {shown(value)}") from error

    return quoting


def _within(kind: type, name: str) -> Check:
    least, most = rules.LIMITS[kind, name]
    hint = get_type_hints(kind)[name]
    (given,) = (part for part in get_args(hint) or (hint,) if part is not type(None))
    parse: Callable[[str], Any] = SCALARS[given]

    def within(value: Any, _: Spot) -> None:
        if least is not None and value < parse(least):
            raise ValueError(f"must be at least {least}")
        if most is not None and value > parse(most):
            raise ValueError(f"must be at most {most}")

    return within


def _plain_topic(topic: str) -> None:
    if TopicTemplate(topic).groups:
        raise ValueError("must be a topic name without {groups}")


def _absolute(path: str) -> None:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")


def _not_empty(values: tuple[object, ...], _: Spot) -> None:
    if not values:
        raise ValueError("must not be empty")
