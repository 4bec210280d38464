"""Rotated files that are compressed: delivered once, whether as plain file or as archive."""

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import time

import pytest
import zstandard

from singer.base.config import Rotated
from singer.base.events import FileDamaged, FileRewritten
from singer.files.archives import Archives
from tests.support.logs import append, expect, later, lines, long_ago, run_until_on_disk

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def pack(path, suffix=".gz"):
    """As the tools do it: a file beside, with the time of the plain one, which is removed then."""
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(PACK[suffix](path.read_bytes()))
    stat = path.stat()
    os.utime(packed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.unlink()
    return packed


def rotate(log, number=1):
    later(log, 0)
    return log.rename(log.with_name(f"{log.name}.{number}"))


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_after_it_was_read_it_is_not_shipped_again(rig, logs, suffix):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    pack(rotate(log), suffix)
    append(log, lines(30, 40))
    expect(agent, lines(0, 40))
    assert agent.stop()
    append(log, lines(40, 45))
    agent.start()
    expect(agent, lines(0, 45))


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_while_the_agent_finds_it_nothing_arrives_twice(rig, logs, suffix, monkeypatch):
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    assert agent.stop()
    later(log, 0)
    rotate(log, 1)
    append(log, lines(10, 30))
    plain = rotate(log, 2)
    packed = plain.with_name(plain.name + suffix)
    packed.write_bytes(PACK[suffix](plain.read_bytes()))
    append(log, lines(30, 40))
    judge = Archives.judge

    def judge_late(self, *arguments):
        plain.unlink(missing_ok=True)
        return judge(self, *arguments)

    monkeypatch.setattr(Archives, "judge", judge_late)
    agent.start()
    expect(agent, lines(0, 40))
    agent.run_for(0.6)
    expect(agent, lines(0, 40))


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_while_stopped_the_rest_is_read_first(rig, logs, suffix):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    append(log, lines(30, 50))
    pack(rotate(log), suffix)
    append(log, lines(50, 60))
    agent.start()
    expect(agent, lines(0, 60))
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    expect(agent, lines(0, 60))


def test_an_empty_directory_for_rotated_files_hides_no_rows_from_archives(rig, logs):
    (logs / "archive").mkdir()
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig(rotated_dirs=(str(logs / "archive"),)).start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    append(log, lines(30, 50))
    pack(rotate(log))
    append(log, lines(50, 60))
    agent.start()
    expect(agent, lines(0, 60))


def test_an_archive_beside_a_younger_file_of_its_plain_name_is_read(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    append(log, lines(30, 40))
    pack(rotate(log))
    append(log, lines(40, 50))
    rotate(log)
    append(log, lines(50, 60))
    agent.start()
    expect(agent, lines(0, 60))


def test_rotated_and_compressed_again_and_again_while_stopped(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    for number in (3, 2, 1):
        append(log, lines(100 * (4 - number), 100 * (4 - number) + 20))
        later(log, 10 * (4 - number))
        pack(log.rename(logs / f"app.log.{number}"))
    append(log, lines(500, 510))
    later(log, 100)
    agent.start()
    rest = [line for first in (100, 200, 300) for line in lines(first, first + 20)]
    expect(agent, lines(0, 30) + rest + lines(500, 510))


def test_compressed_while_no_broker_answers_and_then_killed(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    agent.writer.up = False
    append(log, lines(30, 50))
    agent.run_until(lambda: agent.writer.under_way, "sent")
    pack(rotate(log))
    append(log, lines(50, 60))
    agent.run_for(0.2)
    agent.kill()
    agent.writer.up = True
    agent.start()
    expect(agent, lines(0, 60))


@pytest.mark.parametrize("delivered", [0, 3])  # less than can be told from chance
def test_compressed_while_little_of_it_is_delivered_it_is_not_shipped_again(rig, logs, delivered):
    log = logs / "app.log"
    agent = rig().start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    append(log, lines(0, delivered))
    expect(agent, lines(0, delivered))
    agent.writer.up = False
    append(log, lines(delivered, 50))
    agent.run_until(lambda: agent.writer.under_way, "sent")
    archive = pack(rotate(log))
    append(log, lines(50, 60))
    agent.run_for(0.8)  # a rescan finds the archive
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 60))
    agent.run_until(
        lambda: (archive.stat().st_dev, archive.stat().st_ino) in agent.stream._dormants,
        "the archive is known to be finished",
    )
    expect(agent, lines(0, 60))


def test_copied_compressed_and_truncated_while_no_broker_answers_nothing_arrives_twice(rig, logs):
    log = logs / "app.log"
    agent = rig().start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    agent.writer.up = False
    append(log, lines(0, 50))
    agent.run_until(lambda: agent.writer.under_way, "sent")
    content = log.read_bytes()
    os.truncate(log, 0)
    (logs / "app.log.1.gz").write_bytes(gzip.compress(content))
    append(log, lines(50, 60))
    agent.run_for(0.8)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 60))
    agent.run_for(0.8)
    expect(agent, lines(0, 60))


def test_the_copy_is_packed_under_the_name_of_a_rotated_file_that_is_still_open(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    rotate(log)
    append(log, lines(30, 60))
    expect(agent, lines(0, 60))
    # All of this between two looks: only the truncated file says at once that it changed.
    lookout = agent.stream._lookout
    agent.loop.run_until_complete(lookout.stop())
    pack(logs / "app.log.1").rename(logs / "app.log.2.gz")
    shutil.copyfile(log, logs / "app.log.1")
    os.truncate(log, 0)
    pack(logs / "app.log.1")
    append(log, lines(60, 80))
    expect(agent, lines(0, 80))
    assert [event.copied for event in agent.seen(FileRewritten)] == [True]
    lookout.start()
    expect(agent, lines(0, 80))


def test_an_archive_beside_a_file_of_its_plain_name_and_with_the_same_header_is_read(rig, logs):
    log, header = logs / "app.log", lines(0, 30)
    agent = rig().start()
    agent.run_until(agent.stream.scanned.is_set, "the first look")
    assert agent.stop()
    append(log, header + lines(30, 40))
    first = rotate(log)
    later(first, -10)
    append(log, header + lines(40, 50))  # before the other is compressed
    pack(first)
    rotate(log)
    agent.start()
    agent.run_until_caught_up()
    assert agent.writer.arrived == header + lines(30, 40) + header + lines(40, 50)


def test_an_archive_beside_another_file_under_its_plain_name_is_read(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    run_until_on_disk(agent, log)
    agent.writer.up = False
    append(log, lines(30, 60))
    agent.run_until(lambda: agent.writer.waiting, "what is on its way")
    agent.kill()
    first = rotate(log)
    append(log, lines(60, 90))
    pack(first)
    rotate(log)  # under the name that the archive is of
    agent.writer.up = True
    agent.start()
    expect(agent, lines(0, 90))


def test_an_archive_that_is_being_written_waits_until_it_is_whole(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    append(log, lines(30, 400))
    content = gzip.compress(log.read_bytes())
    log.unlink()
    archive = logs / "app.log.1.gz"
    archive.write_bytes(content[: len(content) // 2])
    agent.start()
    agent.run_until(agent.stream.scanned.is_set, "first scan")
    agent.run_for(0.7)
    with archive.open("ab") as file:
        file.write(content[len(content) // 2 :])
    expect(agent, lines(0, 400))


def test_an_archive_that_stays_cut_off_holds_up_nobody(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig(rotated_files=Rotated.ALL).start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    append(log, lines(30, 400))
    archive = pack(rotate(log))
    os.truncate(archive, archive.stat().st_size // 2)
    minutes_ago = time.time_ns() - 120 * 10**9
    os.utime(archive, ns=(minutes_ago, minutes_ago))
    append(log, lines(400, 410))
    agent.start()
    agent.run_until(lambda: lines(409, 410)[0] in agent.writer.arrived, "the live file is read")
    agent.run_until_caught_up()
    rest = agent.writer.arrived[30:-10]
    assert agent.writer.arrived[-10:] == lines(400, 410)
    assert 0 < len(rest) < 370
    assert rest == lines(30, 30 + len(rest)), "whole lines only"


def test_the_real_gzip_on_a_file_that_is_read(rig, logs):
    if shutil.which("gzip") is None:
        pytest.skip("gzip is not installed")
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig("*").start()
    expect(agent, lines(0, 30))
    for number in range(1, 4):
        append(log, lines(1000 * number, 1000 * number + 500))
        rotated = log.rename(logs / f"app.log.{number}")
        subprocess.run(["gzip", "-1", rotated], check=True)
        agent.run_for(0.05)
    rest = [line for n in range(1, 4) for line in lines(1000 * n, 1000 * n + 500)]
    expect(agent, lines(0, 30) + rest)
    assert agent.stop()
    agent.start()
    agent.run_until_caught_up()
    expect(agent, lines(0, 30) + rest)


def test_a_damaged_archive_gives_what_can_be_had_and_is_said(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    assert agent.stop()
    append(log, lines(30, 50))
    archive = pack(rotate(log))
    content = bytearray(archive.read_bytes())
    content[-6] ^= 0xFF  # the checksum: the content is all there
    archive.write_bytes(content)
    append(log, lines(50, 60))
    agent.start()
    expect(agent, lines(0, 60))
    (damaged,) = agent.seen(FileDamaged)
    assert damaged.path == str(archive)


def test_an_archive_that_is_nobodys_rotated_file_is_left_alone(rig, logs):
    (logs / "backup.tar.gz").write_bytes(gzip.compress(b"not a log\n"))
    append(logs / "app.log", lines(0, 5))
    agent = rig("*").start()
    expect(agent, lines(0, 5))


def test_an_archive_from_before_the_first_look_is_history(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 5))
    long_ago(pack(rotate(log)))
    append(log, lines(5, 10))
    agent = rig().start()
    expect(agent, lines(5, 10))
