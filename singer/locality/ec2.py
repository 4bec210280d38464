"""Where an EC2 instance is, kept up to date: `locality: ec2`.

Owns when to ask, and what is remembered for the next start: on the same boot of the same machine
the zone is the one it was, so it is used at once; after another boot the disk may be in another
machine, and it is asked first. Nobody waits for the answer: without it all zones are used.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from singer.base.backoff import Backoff
from singer.base.errors import LocalityError
from singer.base.events import Emit
from singer.base.smallfile import read_small_file
from singer.base.zone import Zone
from singer.files.threads import DeviceThreads
from singer.locality.events import ZoneFound, ZoneMoved, ZoneUnknown
from singer.positions.durable import replace_file

if TYPE_CHECKING:
    from singer.locality.imds import Imds, Instance

#: First and longest wait before asking a service again that gave no answer.
_BACKOFF_SECONDS: Final = (1.0, 300.0)
#: An instance stays where it is, but its image may be woken up elsewhere.
_ASK_AGAIN_SECONDS: Final = 3600.0
_MOST_BYTES: Final = 4096
_SPEC: Final = "ec2"


class Ec2Zone:
    """Keeps `zone` at what the metadata service says. Loop thread only.

    `changed` is called when the zone has other names; `memory` is a file for the next start.
    """

    def __init__(
        self,
        zone: Zone,
        *,
        memory: str,
        boot_id: str,
        threads: DeviceThreads,
        emit: Emit,
        changed: Callable[[], None],
        environ: Mapping[str, str] = os.environ,
        rng: random.Random | None = None,
    ) -> None:
        self._zone = zone
        self._memory = memory
        self._boot_id = boot_id
        self._threads = threads
        self._emit = emit
        self._changed = changed
        self._environ = environ
        self._rng = rng or random.Random()  # noqa: S311  # jitter
        self._backoff = Backoff(*_BACKOFF_SECONDS, self._rng)
        self._imds: Imds | None = None
        self._remembered: dict[str, object] = {}
        self._said = ""

    def recall(self) -> None:
        """Begin with what was known, if the machine was not started since."""
        with suppress(ValueError, RecursionError):  # then it is asked
            remembered = json.loads(read_small_file(self._memory, _MOST_BYTES))
            if isinstance(remembered, dict):
                self._remembered = remembered
        names = self._remembered.get("zone"), self._remembered.get("zone_id")
        if self._boot_id and self._remembered.get("boot_id") == self._boot_id:
            self._set(tuple(name for name in names if isinstance(name, str)), "remembered")

    async def keep(self) -> None:
        """Ask now, and again for ever."""
        while True:
            try:
                instance = await self._threads.run("ec2 metadata", self._ask)
            except LocalityError as error:
                self._tell(str(error))
                await asyncio.sleep(self._backoff.next())
                continue
            if instance is None:
                self._tell("AWS_EC2_METADATA_DISABLED is set")
                return
            self._backoff.reset()
            await self._take(instance)
            await asyncio.sleep(_ASK_AGAIN_SECONDS * self._rng.uniform(0.8, 1.2))

    def _ask(self) -> Instance | None:
        """What the service says; None: it is not to be asked. Blocks."""
        # It takes a tenth of a second to load, which only those pay who are on EC2, in a thread.
        from singer.locality import imds  # noqa: PLC0415

        if self._imds is None:
            url = imds.endpoint(self._environ)
            if url is None:
                return None
            self._imds = imds.Imds(url)
        return self._imds.instance()

    async def _take(self, instance: Instance) -> None:
        now = {"boot_id": self._boot_id, **asdict(instance)}
        before = self._remembered
        self._set(instance.names, "the metadata service")
        if before.get("zone", instance.zone) != instance.zone:
            self._emit(
                ZoneMoved(
                    before=str(before["zone"]),
                    zone=instance.zone,
                    instance_before=str(before.get("instance_id")),
                    instance=instance.instance_id,
                )
            )
        self._said = ""
        if now != before:
            self._remembered = now
            data = json.dumps(now).encode()
            with suppress(OSError):  # what is not remembered is asked at the next start
                await self._threads.run("the remembered zone", replace_file, self._memory, data)

    def _set(self, names: tuple[str, ...], source: str) -> None:
        if names and names != self._zone.names:
            self._zone.names = names
            self._emit(ZoneFound(zone=names, source=source))
            self._changed()

    def _tell(self, reason: str) -> None:
        """Say once for as long as it lasts that nothing is known."""
        if not self._zone.names and reason != self._said:
            self._said = reason
            self._emit(ZoneUnknown(locality=_SPEC, reason=reason))
