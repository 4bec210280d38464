"""What a configuration may say already and Singer does not do yet.

A key that loses nothing when it is ignored is accepted, with one warning for all of them. One
whose absence would change what is published, or take a guarantee away, is refused: a silent
difference there is a loss that nobody sees. An entry leaves this table when its part is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from singer.base.config import (
    AgentConfig,
    ClusterConfig,
    Config,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A key that is not built yet.

    `neutral` is the value that asks for nothing, `choices` all values it will take (empty: not
    checked), `refusal` what would go wrong without it (empty: it may be ignored).
    """

    meaning: str
    neutral: str = ""
    choices: tuple[str, ...] = ()
    refusal: str = ""


PENDING: Final[Mapping[type, Mapping[str, Pending]]] = MappingProxyType(
    {
        Config: {
            "heartbeat": Pending(meaning="{cluster, topic, every} of this agent's signs of life")
        },
        AgentConfig: {
            "http": Pending(meaning="host:port of the metrics endpoint"),
            "admin_socket": Pending(meaning="socket for `singer status` and others"),
        },
        ClusterConfig: {},
    }
)
