"""Closed files: which of them are not as they were."""

import os

from singer.dormants import Dormant, changed
from singer.files.stat import stat_path


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
