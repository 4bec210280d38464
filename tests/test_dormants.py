"""Closed files: which of them are not as they were."""

import asyncio
import os

from singer.base.events import discard
from singer.dormants import Dormant, Dormants, changed
from singer.files.stat import stat_path
from singer.files.wakeup import Wakeup


def asleep(path):
    stat = stat_path(str(path))
    dormant = Dormant(
        path=str(path),
        seen_at=str(path),
        birth_ns=stat.birth_ns,
        size=stat.size,
        mtime_ns=stat.mtime_ns,
    )
    return {(stat.device, stat.inode): dormant}


def test_a_file_at_rest_is_as_it_was(tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"1")
    assert changed(asleep(log)) == []


def test_a_file_that_grew_went_away_or_was_replaced_is_not(tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"1")
    dormants = asleep(log)
    with log.open("ab") as file:
        file.write(b"2")
    assert changed(dormants) == list(dormants)
    dormants = asleep(log)
    log.rename(tmp_path / "app.log.1")
    assert changed(dormants) == list(dormants)
    log.write_bytes(b"12")
    stat = (tmp_path / "app.log.1").stat()
    os.utime(log, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert changed(dormants) == list(dormants)


def test_what_cannot_be_seen_may_be_as_it_was(tmp_path):
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    log.write_bytes(b"1")
    dormants = asleep(log)
    log.parent.rename(tmp_path / "away")
    log.parent.write_bytes(b"no directory")
    assert changed(dormants) == []


def test_a_file_that_grew_before_it_was_watched_is_told_of_at_once(tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"1")
    stat = stat_path(str(log))
    stirred = []

    async def close() -> None:
        wakeup = Wakeup(asyncio.get_running_loop(), discard)
        dormants = Dormants(wakeup, stirred.append)
        with log.open("ab", buffering=0) as file:
            file.write(b"2")
            dormants.add((stat.device, stat.inode), str(log), str(log), stat, fd=file.fileno())
        wakeup.close()

    asyncio.run(close())
    assert [dormant.path for dormant in stirred] == [str(log)]


def test_a_file_is_found_by_its_inode_number_whatever_its_device(tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"1")
    stat = stat_path(str(log))

    async def look() -> list[list[Dormant]]:
        wakeup = Wakeup(asyncio.get_running_loop(), discard)
        dormants = Dormants(wakeup, lambda _: None)
        found = []
        for device in (1, 2):
            dormants.add((device, stat.inode), str(log), str(log), stat)
        for device in (1, 2):
            found.append(list(dormants.with_inode(stat.inode)))
            dormants.forget((device, stat.inode))
        found.append(list(dormants.with_inode(stat.inode)))
        wakeup.close()
        return found

    assert [len(some) for some in asyncio.run(look())] == [2, 1, 0]
