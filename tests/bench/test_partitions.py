"""How even 300 simulated hosts load the partitions of a topic in 100 intervals."""

from __future__ import annotations

import pytest

from bench.partitions import BOTH, EVEN, LOST_LEADERS, NEAR, TOLD, UNEVEN_HOSTS, load
from singer.base.config import LocalConfig, PartitionerConfig, PartitionerType


@pytest.mark.parametrize("local", [None, NEAR])
@pytest.mark.parametrize(
    "kind", [PartitionerType.STICKY, PartitionerType.RANDOM, PartitionerType.ROUND_ROBIN]
)
def test_every_partition_is_loaded_within_20_percent_of_even(
    kind: PartitionerType, local: LocalConfig | None
) -> None:
    result = load(EVEN, PartitionerConfig(type=kind, local=local), blocks=1)
    assert 0.8 <= result.least <= result.most <= 1.2
    assert result.across == 0.0 if local else 0.6 < result.across < 0.73


def test_a_zone_that_lost_leaders_spills_what_is_above_its_ceiling() -> None:
    without = load(LOST_LEADERS, PartitionerConfig(local=NEAR), blocks=1)
    assert without.most == pytest.approx(2.0, rel=0.05)
    capped = PartitionerConfig(local=LocalConfig(max_share=1.5))
    bounded = load(LOST_LEADERS, capped, blocks=1)
    assert bounded.most == pytest.approx(1.5, rel=0.05)
    # A third of the records is written there, and a quarter of those is too much.
    assert bounded.across == pytest.approx(1 / 12, rel=0.05)


def test_a_zone_of_most_hosts_spills_if_it_is_told_so() -> None:
    config = PartitionerConfig(local=LocalConfig(max_share=1.5, hosts=TOLD))
    assert load(UNEVEN_HOSTS, config, blocks=1).most == pytest.approx(1.5, rel=0.05)
    config = PartitionerConfig(local=LocalConfig(max_share=2.0, hosts=TOLD))
    assert load(BOTH, config, blocks=1).most == pytest.approx(2.0, rel=0.05)
    untold = PartitionerConfig(local=LocalConfig(max_share=2.0))
    assert load(BOTH, untold, blocks=1).most > 3.4, "nobody can see how many hosts there are"
