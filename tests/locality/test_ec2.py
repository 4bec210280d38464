"""`locality: ec2` from one start to the next, with a metadata service that comes and goes."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

import pytest

from singer.base.events import Event
from singer.base.zone import Zone
from singer.files.threads import DeviceThreads
from singer.locality.ec2 import Ec2Zone
from singer.locality.events import ZoneFound, ZoneMoved, ZoneUnknown
from tests.locality.metadata_server import MetadataServer

TOKEN = "/latest/api/token"


class Host:
    """One machine with a disk; `boot` is what the kernel calls this run of it."""

    def __init__(self, directory, url: str) -> None:
        self.memory = str(directory / "zone")
        self.url = url
        self.boot = "first"
        self.disabled = False
        self.events: list[Event] = []
        self.zone = Zone()
        self.changes = 0

    def run(self, until: Callable[[], bool]) -> Zone:
        """Start, until something is so; what was known at once."""
        return asyncio.run(self._run(until))

    async def _run(self, until: Callable[[], bool]) -> Zone:
        self.events.clear()
        self.zone = Zone()
        self.changes = 0
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url}
        if self.disabled:
            environ["AWS_EC2_METADATA_DISABLED"] = "true"
        ec2 = Ec2Zone(
            self.zone,
            memory=self.memory,
            boot_id=self.boot,
            threads=DeviceThreads(self.events.append),
            emit=self.events.append,
            changed=self._changed,
            environ=environ,
            rng=random.Random(1),
        )
        ec2.recall()
        at_once = Zone(self.zone.names)
        keeping = asyncio.create_task(ec2.keep())
        async with asyncio.timeout(20):
            while not until():  # noqa: ASYNC110  # of the tests' server and disk
                await asyncio.sleep(0.005)
        keeping.cancel()
        await asyncio.wait([keeping])
        return at_once

    def _changed(self) -> None:
        self.changes += 1

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def remembers(self, zone: str) -> bool:
        try:
            with open(self.memory, encoding="utf-8") as file:
                remembered = json.load(file)
        except (FileNotFoundError, ValueError, RecursionError):
            return False
        here = {"zone": zone, "boot_id": self.boot}
        return isinstance(remembered, dict) and remembered.items() >= here.items()


@pytest.fixture
def server():
    with MetadataServer() as server:
        yield server


@pytest.fixture
def host(tmp_path, server):
    return Host(tmp_path, server.url)


def test_found_out_and_remembered(host):
    assert host.run(lambda: host.remembers("us-east-1b")).names == ()
    assert host.zone.names == ("us-east-1b", "use1-az2")
    assert host.changes == 1
    (found,) = host.seen(ZoneFound)
    assert "us-east-1b, use1-az2 (the metadata service)" in found.message()


def test_after_a_restart_of_the_process_it_is_known_at_once(host, server):
    host.run(lambda: host.remembers("us-east-1b"))
    server.hangs.add(TOKEN)
    at_once = host.run(lambda: server.asked[f"PUT {TOKEN}"] >= 2)
    assert at_once.names == ("us-east-1b", "use1-az2")
    assert not host.seen(ZoneUnknown)
    (found,) = host.seen(ZoneFound)
    assert "(remembered)" in found.message()


def test_after_another_boot_it_is_asked_first(host, server):
    host.run(lambda: host.remembers("us-east-1b"))
    host.boot = "second"
    assert host.run(lambda: host.remembers("us-east-1b")).names == ()
    assert not host.seen(ZoneMoved)


def test_the_disk_is_in_another_machine_in_another_zone(host, server):
    host.run(lambda: host.remembers("us-east-1b"))
    host.boot = "second"
    server.values["placement/availability-zone"] = "us-east-1c"
    server.values["placement/availability-zone-id"] = "use1-az4"
    server.values["instance-id"] = "i-other"
    assert host.run(lambda: host.remembers("us-east-1c")).names == ()
    assert host.zone.names == ("us-east-1c", "use1-az4")
    (moved,) = host.seen(ZoneMoved)
    assert "zone us-east-1b (instance i-0123456789abcdef0)" in moved.message()
    assert "us-east-1c (instance i-other)" in moved.message()
    host.run(lambda: bool(host.seen(ZoneFound)))
    assert not host.seen(ZoneMoved), "said once"


def test_an_image_that_is_woken_up_elsewhere_is_noticed_by_asking_again(host, server):
    """The same boot, and what is remembered is wrong."""
    host.run(lambda: host.remembers("us-east-1b"))
    server.values["placement/availability-zone"] = "us-east-1c"
    assert host.run(lambda: host.remembers("us-east-1c")).names == ("us-east-1b", "use1-az2")
    assert host.zone.names == ("us-east-1c", "use1-az2")
    assert len(host.seen(ZoneMoved)) == 1
    assert host.changes == 2


def test_no_answer_is_said_once_and_asked_again_until_there_is_one(host, server):
    server.refuses[TOKEN] = 503

    def three_times() -> bool:
        if server.asked[f"PUT {TOKEN}"] == 3:
            server.refuses.clear()
        return host.remembers("us-east-1b")

    host.run(three_times)
    (unknown,) = host.seen(ZoneUnknown)
    assert "503" in unknown.message()
    assert "partitions in all zones are used" in unknown.message()
    assert unknown.gauges()[0].value == 0
    assert host.seen(ZoneFound)[0].gauges()[0].value == 1


def test_where_it_is_turned_off_nobody_asks(host, server):
    host.disabled = True
    host.run(lambda: bool(host.seen(ZoneUnknown)))
    assert "AWS_EC2_METADATA_DISABLED is set" in host.seen(ZoneUnknown)[0].message()
    assert not server.asked


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 4000, b"[1]", b'{"boot_id": "first"}', b"\xff"]
)
def test_what_is_remembered_may_be_damaged(host, content):
    with open(host.memory, "wb") as file:
        file.write(content)
    assert host.run(lambda: host.remembers("us-east-1b")).names == ()


def test_what_cannot_be_remembered_is_known_all_the_same(host):
    host.memory += "/nowhere"
    host.run(lambda: bool(host.zone.names))
    assert host.zone.names == ("us-east-1b", "use1-az2")
