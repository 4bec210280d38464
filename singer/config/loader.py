"""The configuration file and its includes as one `Config`, or all of their problems at once.

Owns the files, the top level and what must be compared across files: names that have to exist
or must not exist twice. Reads files and the environment it is given; called before the agent
starts and by `singer check`, in any thread.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from singer.base.config import (
    AgentConfig,
    ClusterConfig,
    Config,
    PlatformConfig,
    ReaderConfig,
    RegistryConfig,
    StreamConfig,
)
from singer.base.errors import ConfigError, Problem
from singer.base.hostid import host_id
from singer.base.suggestion import suggestion
from singer.config import registry, rules
from singer.config.document import Spot, compose, parse
from singer.config.nodes import INVALID, Entry, Invalid, shown
from singer.config.notations import Notations, first
from singer.config.pending import PENDING

MAIN_KEYS: Final = ("agent", "clusters", "streams", "include")
#: What an included file may hold.
INCLUDED_KEYS: Final = ("clusters", "streams")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A valid configuration, what to tell its author, and the files it came from."""

    config: Config
    warnings: tuple[Problem, ...]
    files: tuple[str, ...]


def load(path: str, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Load the configuration at `path`. Raises ConfigError with every problem, in file order."""
    return _Loading(environ).load(path)


def load_reader(text: str) -> ReaderConfig:
    """The reader that `text` says in YAML. Raises ConfigError."""
    root = parse(text, "--reader")
    notations = Notations(os.environ)
    if root is None:
        problem = Problem(file="--reader", line=1, column=1, path="", message="is empty")
        raise ConfigError((problem,))
    reader: ReaderConfig | Invalid = notations.nodes.read(root, ReaderConfig)
    if isinstance(reader, Invalid) or notations.nodes.problems:
        raise ConfigError(tuple(notations.nodes.problems))
    return reader


class _Loading:
    """One run of `load`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._notations = Notations(environ)
        self._nodes = self._notations.nodes
        self._files: list[str] = []
        self._agent = AgentConfig()
        self._platform: tuple[PlatformConfig, ...] = ()
        self._clusters: dict[str, ClusterConfig] = {}
        self._cluster_keys: dict[str, Spot] = {}
        self._streams: list[StreamConfig] = []
        self._registry: RegistryConfig | None = None

    def load(self, path: str) -> Loaded:
        self._main(path)
        self._compare(path)
        if self._nodes.problems:
            order = {file: index for index, file in enumerate(self._files)}
            problems = dict.fromkeys(self._nodes.problems)
            raise ConfigError(
                tuple(sorted(problems, key=lambda each: (order[each.file], each.line, each.column)))
            )
        host = self._agent.id or host_id()
        if self._agent.registry is not None:
            self._apply_registry(self._agent.registry, host)
        streams, undrawn = registry.draw(self._streams, host)
        config = Config(
            agent=self._agent,
            clusters=MappingProxyType(self._clusters),
            streams=streams,
            registry=self._registry,
            undrawn=undrawn,
        )
        return Loaded(config=config, warnings=self._warnings(), files=tuple(self._files))

    def _open(self, file: str) -> dict[str, Entry] | None:
        """The entries of a file; None when it is empty or cannot be used."""
        self._files.append(file)
        try:
            root = compose(file)
        except ConfigError as error:
            self._nodes.problems += error.problems
            return None
        entries = self._nodes.entries(root) if root else None
        return None if entries is None else entries

    def _main(self, path: str) -> None:
        entries = self._open(path)
        if entries is None:
            return
        for name, entry in entries.items():
            if name in PENDING[Config]:
                self._nodes.later(entry.value, PENDING[Config][name])
            elif name not in MAIN_KEYS:
                self._nodes.unknown(entry.key, name, (*MAIN_KEYS, *PENDING[Config]))
        if "agent" in entries:
            agent = self._nodes.read(entries["agent"].value, AgentConfig)
            if agent is not INVALID:
                self._agent = agent
                self._read_registry(entries["agent"].value)
        self._contents(entries)
        if "include" in entries:
            for spot in self._nodes.items(entries["include"].value) or []:
                self._include(spot, path)

    def _read_registry(self, agent: Spot) -> None:
        """Before the streams, whose topics it explains."""
        if self._agent.registry is None:
            return
        entries = self._open(self._agent.registry)
        if entries is None:
            if not self._nodes.problems:
                self._nodes.fault(agent.child(agent.node, "registry"), "is empty")
            return
        registry.unknown_keys(self._notations, entries)
        if "uris" in entries:
            registry.read_uris(self._notations, entries["uris"].value)
        if "properties" in entries:
            self._platform = registry.read_properties(self._notations, entries["properties"].value)
        self._contents({"clusters": entries["clusters"]} if "clusters" in entries else {})

    def _apply_registry(self, path: str, host: str) -> None:
        """The platform's properties below those of each cluster."""
        laid, groups = registry.apply(self._clusters, self._platform, host)
        for name, properties in laid.items():
            self._clusters[name] = replace(self._clusters[name], properties=properties)
        self._registry = registry.registry(path, groups)

    def _include(self, spot: Spot, main: str) -> None:
        pattern = self._nodes.text(spot)
        if isinstance(pattern, Invalid):
            return
        # Not made absolute, so that problems name files the way the author does.
        base = os.path.dirname(main)
        found = sorted(glob.glob(os.path.join(glob.escape(base), pattern), recursive=True))
        if not found and not glob.has_magic(pattern):
            self._nodes.fault(spot, f"no such file: {os.path.join(base, pattern)}")
        for file in found:
            # A file that two globs find, or the main file itself, is not read twice.
            if os.path.realpath(file) in map(os.path.realpath, self._files):
                continue
            entries = self._open(file)
            if entries is None:
                continue
            for name, entry in entries.items():
                if name in (*MAIN_KEYS, *PENDING[Config]) and name not in INCLUDED_KEYS:
                    self._nodes.fault(entry.key, "belongs in the main file, not in an included one")
                elif name not in INCLUDED_KEYS:
                    self._nodes.unknown(entry.key, name, INCLUDED_KEYS)
            self._contents(entries)

    def _contents(self, entries: Mapping[str, Entry]) -> None:
        if "clusters" in entries:
            spot = entries["clusters"].value
            clusters = self._nodes.entries(spot)
            if clusters is not None and not clusters:
                self._nodes.fault(spot, "must not be empty")
            for name, entry in (clusters or {}).items():
                self._cluster(name, entry)
        if "streams" in entries:
            spot = entries["streams"].value
            children = self._nodes.items(spot)
            if children is not None and not children:
                self._nodes.fault(spot, "must not be empty")
            streams = [self._nodes.read(child, StreamConfig) for child in children or []]
            self._streams += [stream for stream in streams if stream is not INVALID]

    def _cluster(self, name: str, entry: Entry) -> None:
        try:
            rules.name(name)
        except ValueError as error:
            self._nodes.fault(entry.key, f"{error}, not {shown(name)}")
        if name in self._cluster_keys:
            where = first(self._cluster_keys[name])
            self._nodes.fault(entry.key, f"duplicate cluster {shown(name)}{where}")
            return
        self._cluster_keys[name] = entry.key
        cluster = self._nodes.read(entry.value, ClusterConfig)
        if cluster is not INVALID:
            self._clusters[name] = replace(cluster, name=name)

    def _compare(self, path: str) -> None:
        for name, spot in self._notations.references:
            if name not in self._cluster_keys:
                hint = suggestion(name, self._cluster_keys)
                self._nodes.fault(spot, f"there is no cluster {shown(name)}{hint}")
        for name, topic, spot in self._notations.topics:
            cluster = self._clusters.get(name)
            if cluster is not None and cluster.audit and cluster.audit.topic == topic:
                self._nodes.fault(
                    spot, f"{shown(topic)} is the audit topic of cluster {name}: use another"
                )
        for name, spot in self._notations.uncompressed:
            cluster = self._clusters.get(name)
            if cluster is not None and cluster.allow_uncompressed is None:
                self._nodes.fault(spot, f"none needs clusters.{name}.allow_uncompressed: <reason>")
        if not self._streams and not self._nodes.problems:
            self._nodes.problems.append(
                Problem(
                    file=path,
                    line=1,
                    column=1,
                    path="streams",
                    message="no stream is configured: say under streams what to read",
                )
            )

    def _warnings(self) -> tuple[Problem, ...]:
        warnings = []
        if ignored := self._nodes.ignored:
            paths = ", ".join(dict.fromkeys(spot.path for spot in ignored))
            warnings.append(ignored[0].problem(f"not built yet, ignored: {paths}"))
        if headed := self._notations.headed:
            paths = ", ".join(dict.fromkeys(spot.path for spot in headed))
            cost = "each record is then sent by a call of its own, at several times the CPU"
            warnings.append(headed[0].problem(f"{paths}: {cost} (docs/benchmarks.md)"))
        return tuple(replace(warning, path="") for warning in warnings)
