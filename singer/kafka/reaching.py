"""How confluent-kafka's own clients reach a cluster: with the producer's settings for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from singer.kafka.tokens import Token

#: Beginnings of the names of settings that say how a cluster is reached, and not how it is used.
_REACHING: Final = (
    "bootstrap.servers",
    "client.",
    "security.",
    "ssl.",
    "enable.ssl",
    "https.",
    "sasl.",
    "socket.",
    "broker.address",
)


def reaching(
    settings: Mapping[str, str], token: Callable[[], Token] | None = None
) -> dict[str, Any]:
    """What of a producer's settings a consumer or an admin client needs as well.

    `token` fetches one for SASL OAUTHBEARER, in the client's thread.
    """
    wanted: dict[str, Any] = {k: v for k, v in settings.items() if k.startswith(_REACHING)}
    if token is not None:

        def answer(_: str) -> tuple[str, float]:
            fetched = token()
            return fetched.value, fetched.ends_ms / 1000

        wanted["oauth_cb"] = answer
    return wanted
