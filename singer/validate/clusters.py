"""How tools reach the clusters that a person names."""

from __future__ import annotations

from typing import Any

from singer.base.config import ClusterConfig, Config
from singer.base.errors import InputError
from singer.base.hostid import host_id
from singer.base.suggestion import suggestion
from singer.kafka import tokens
from singer.kafka.properties import settings
from singer.kafka.reaching import reaching
from singer.online import brokers


def cluster_of(config: Config, name: str) -> ClusterConfig:
    """A cluster of the configuration that outlives an agent. Raises InputError."""
    cluster = config.clusters.get(name)
    if cluster is None:
        known = config.clusters
        raise InputError(
            f"there is no cluster {name} in the configuration{suggestion(name, known)}"
        )
    if cluster.is_embedded:
        raise InputError(f"cluster {name} is embedded in the agent, and gone with it: name another")
    return cluster


def audited(config: Config, name: str | None) -> ClusterConfig:
    """The cluster of that name, or the only one that is audited. Raises InputError."""
    if name is not None:
        return cluster_of(config, name)
    found = [each for each in config.clusters.values() if each.audit and not each.is_embedded]
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none"
        raise InputError(f"clusters with an audit topic: {names}; name one with --cluster")
    return found[0]


def reach(config: Config, cluster: ClusterConfig, purpose: str) -> dict[str, Any]:
    """A client's settings for a cluster; `purpose` is told to the brokers. Raises InputError."""
    try:
        addresses = brokers(cluster)
    except ValueError as error:
        raise InputError(
            f"cluster {cluster.name}: bootstrap_file {cluster.bootstrap_file}: {error}"
        ) from error
    host = config.agent.id or host_id()
    given = settings(
        cluster,
        bootstrap=",".join(addresses),
        client_id=f"singer-{host},{purpose}",
        agent_id=host,
    )
    token = None if cluster.oauth is None else tokens.source(cluster.oauth).fetch
    return reaching(given, token)


def reach_bootstrap(bootstrap: str, purpose: str) -> dict[str, Any]:
    """The same for brokers that no configuration names: `host:port`, commas between."""
    return {"bootstrap.servers": bootstrap, "client.id": f"singer,{purpose}"}
