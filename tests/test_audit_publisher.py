"""When what audits say is sent, and what becomes of it when that does not work."""

from __future__ import annotations

import asyncio
from pathlib import Path

from singer.audit_publisher import AuditPublisher
from singer.base.clock import SystemClock
from singer.base.config import AuditConfig, ByteSize, Seconds
from singer.base.events import AuditLost, AuditPublished, AuditWaits
from singer.base.wire.audit import (
    RANGES,
    Audit,
    Entry,
    File,
    Range,
    decode,
    encode,
    encode_file,
)
from tests.positions.parts import Heard, opened, until
from tests.support.rig import LoopbackWriter

#: A range of which nothing is said but that.
_NO_OFFSETS = b"\x30\x01"


class AuditTopic(LoopbackWriter):
    def hasten(self) -> None:
        """There is no transaction."""


def _entries(first: int, count: int, nbytes: int = 0) -> list[Entry]:
    head = encode(Audit(host="h", cluster="main", topic="t"))
    return [
        Entry(
            n, "main", b"t\00", head, encode_file(File(row=n)), RANGES, bytes(nbytes) or _NO_OFFSETS
        )
        for n in range(first, first + count)
    ]


class Publishing:
    """A publisher on a real journal; the far end answers when the test says so."""

    def __init__(self, store, heard: Heard, **config: object) -> None:
        self.writer = AuditTopic()
        self.said: list[Entry] = []
        self.final = 1
        store.keep(self._take)
        self.publisher = AuditPublisher(
            "main",
            AuditConfig(topic="audit", every=Seconds(0.05), **config),
            writer=self.writer,
            journal=store,
            close=lambda: self.final,
            clock=SystemClock(),
            emit=heard,
        )

    def say(self, entries: list[Entry]) -> None:
        self.said += entries
        self.final = entries[-1].number + 1

    def _take(self) -> list[Entry]:
        taken, self.said = self.said, []
        return taken


def test_what_is_final_is_sent_in_few_messages_and_forgotten(tmp_path: Path) -> None:
    heard = Heard()

    async def main() -> None:
        async with opened(str(tmp_path / "positions"), heard) as store:
            made = Publishing(store, heard)
            made.say(_entries(1, 2500))
            made.final = 2400
            await made.publisher.publish()
            audits = [decode(value) for value in made.writer.arrived]
            assert len(audits) == 3
            said = [audit.files[each.file].row for audit in audits for each in audit.ranges]
            assert said == list(range(1, 2400))
            assert all(audit.host == "h" and audit.written_ms for audit in audits)
            assert all(audit.ranges[0] == Range(offset=-1) for audit in audits)
            assert len(await store.entries("main", 9999, 9999)) == 101
            assert sum(event.messages for event in heard.of(AuditPublished)) == 3

    asyncio.run(main())


def test_acknowledgements_that_never_come_do_not_fill_the_journal(tmp_path: Path) -> None:
    heard = Heard()

    async def main() -> None:
        async with opened(str(tmp_path / "positions"), heard) as store:
            made = Publishing(store, heard, max_bytes=ByteSize(20_000))
            made.writer.up = False
            made.say(_entries(1, 10, 1000))
            publishing = asyncio.create_task(made.publisher.publish())
            await until(lambda: heard.of(AuditWaits), 10, "it is said that it waits")
            made.say(_entries(11, 30, 1000))
            await store.flush()
            await until(lambda: heard.of(AuditLost), 10, "the journal is cut")
            assert len(await store.entries("main", 9999, 9999)) < 20
            assert "no broker acknowledged" in heard.of(AuditLost)[0].message()
            made.writer.up = True
            made.writer.settle()
            await publishing
            await made.publisher.publish()
            assert await store.entries("main", 9999, 9999) == []
            assert len(heard.of(AuditWaits)) == 1

    asyncio.run(main())


def test_messages_that_are_refused_are_lost_and_hold_up_nothing(tmp_path: Path) -> None:
    heard = Heard()

    async def main() -> None:
        async with opened(str(tmp_path / "positions"), heard) as store:
            made = Publishing(store, heard)
            made.writer.refuses = lambda payload: True
            made.say(_entries(1, 5))
            await made.publisher.publish()
            assert await store.entries("main", 9999, 9999) == []
            (lost,) = heard.of(AuditLost)
            assert lost.entries == 5
            made.writer.failing = True
            made.say(_entries(6, 5))
            await made.publisher.publish()
            assert len(await store.entries("main", 9999, 9999)) == 5
            (waits,) = heard.of(AuditWaits)
            assert "topic refuses" in waits.message()

    asyncio.run(main())
