"""Many agents at once: after an outage they do not come back together."""

from __future__ import annotations

from bench.herd import returns
from tests.kafka.support import run


def test_agents_do_not_return_together_after_an_outage() -> None:
    result = run(returns(agents=30, outage_seconds=6.0))
    assert len(result.seconds) == 30
    assert result.within(1.0) <= 20, result  # left to librdkafka alone: all
    assert max(result.seconds) < 20.0
