"""Partitioners of a live cluster whose leaders move, vanish and return."""

from __future__ import annotations

import pytest

from singer.base.config import LocalConfig, PartitionerType
from singer.kafka import keyhashes
from tests.kafka.support import consume, embedded, run
from tests.writers.live import (
    assert_ordered,
    config_of,
    live,
    some_keys,
    until_used,
    used,
)

BY_KEY = [kind for kind in PartitionerType if kind.by_key]
OTHERS = [kind for kind in PartitionerType if not kind.by_key]


@pytest.mark.parametrize(
    ("kind", "max_share"),
    [
        *((kind, None) for kind in PartitionerType),
        (PartitionerType.STICKY, 9.0),
        (PartitionerType.RANDOM, 9.0),
    ],
)
def test_local_records_follow_the_leaders_out_of_the_zone_and_back(
    kind: PartitionerType, max_share: float | None
) -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=6) as server:
            async with live(server) as there:
                files = there.files(config_of(kind, local=LocalConfig(max_share=max_share)))
                assert await used(files) <= {1, 4}

                server.set_leader("t", 1, 3)
                await there.look()
                assert await used(files) == {4}, "one of them is left"

                server.set_leader("t", 4, 1)
                await there.look()
                assert await used(files) <= {0, 1, 2, 3, 4, 5}
                await until_used(files, {0, 2, 3, 5})

                server.set_leader("t", 5, 2)
                await there.look()
                assert await used(files) == {5}
                for file in files:
                    await file.settle()

    run(main())


@pytest.mark.parametrize("kind", OTHERS)
def test_partitions_without_a_leader_are_skipped(kind: PartitionerType) -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=3) as server:
            async with live(server) as there:
                files = there.files(config_of(kind))
                await used(files)
                for file in files:
                    await file.settle()
                server.set_leader("t", 1, -1)
                await there.look()
                for _ in range(20):
                    assert await used(files) <= {0, 2}
                server.set_leader("t", 1, 2)
                await there.look()
                await until_used(files, {1})
                for file in files:
                    await file.settle()

    run(main())


@pytest.mark.parametrize("kind", BY_KEY)
def test_keys_keep_their_order_while_leaders_move(kind: PartitionerType) -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=5) as server:
            async with live(server) as there:
                (file,) = there.files(config_of(kind), count=1)
                for turn in range(6):
                    await file.send(some_keys(200))
                    server.set_leader("t", turn % 5, 1 + turn % 3)
                    server.set_leader("t", (turn + 1) % 5, 1 + (turn + 1) % 3)
                    await file.send(some_keys(200))
                await file.settle()
            records = consume(server.bootstrap, "t", 5, len(file.sent))
            assert_ordered(file, records)
            homes: dict[bytes | None, set[int]] = {}
            for partition, key, _ in records:
                homes.setdefault(key, set()).add(partition)
            assert all(len(home) == 1 for home in homes.values())
            assert set().union(*homes.values()) == {0, 1, 2, 3, 4}

    run(main())


def test_keys_and_records_without_go_where_they_should() -> None:
    async def main() -> None:
        with embedded(brokers=3, partitions=5) as server:
            async with live(server) as there:
                (file,) = there.files(config_of(PartitionerType.KEY_MURMUR2), count=1)
                await file.send([b"a", None, b"foobar", None, b""] * 20)
                await file.settle()
            records = consume(server.bootstrap, "t", 5, 100)
        for key in (b"a", b"foobar"):
            home = (keyhashes.murmur2_of(key) & 0x7FFFFFFF) % 5
            assert [p for p, its, _ in records if its == key] == [home] * 20
        assert len({p for p, its, _ in records if its is None}) == 1

    run(main())
