"""Which file is which: inode numbers used again, equal beginnings, tiny files, many names."""

import contextlib
import os
import shutil
import sqlite3
import subprocess

import pytest

from tests.support.logs import (
    append,
    expect,
    expect_all,
    expect_each,
    later,
    lines,
    run_until_let_go,
    run_until_looked,
    run_until_on_disk,
)

RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


def create_again(path, some, *, inode):
    """A new file with the number of one that was deleted; ext4 gives numbers out again at once."""
    spares = [path.parent / f"spare{n}" for n in range(100)]
    for spare in spares:
        spare.touch()
        if spare.stat().st_ino == inode:
            append(spare, some)
            spare.rename(path)
            break
    else:
        pytest.skip("the file system did not use the inode number again")
    for spare in spares:
        spare.unlink(missing_ok=True)


# --- inode numbers used again ---------------------------------------------------------------------


@RUNNING
@pytest.mark.parametrize("length", [3, 20, 200], ids=["shorter", "as long", "longer"])
@pytest.mark.parametrize("name", ["app.log", "new.log"], ids=["same name", "another name"])
def test_a_new_file_gets_the_inode_number_of_a_deleted_one(rig, logs, running, length, name):
    """A stale position is no position of it. Filebeat 1341 and 6984, Fluent Bit 8025."""
    log = logs / "app.log"
    append(log, lines(0, 20))
    inode = log.stat().st_ino
    agent = rig("*.log").start()
    expect(agent, lines(0, 20))
    run_until_on_disk(agent, log)
    if not running:
        agent.stop()
    log.unlink()
    if running:
        agent.run_until(lambda: not agent.stream._open, "the deleted one let go")
    create_again(logs / name, lines(100, 100 + length), inode=inode)
    if not running:
        agent.start()
    expect(agent, lines(0, 20) + lines(100, 100 + length))
    append(logs / name, lines(500, 510))
    expect(agent, lines(0, 20) + lines(100, 100 + length) + lines(500, 510))


@pytest.mark.parametrize("length", [3, 20, 200], ids=["shorter", "as long", "longer"])
def test_a_new_file_with_an_old_inode_number_and_the_same_first_lines(rig, logs, length):
    """The header is the same, and only the birth time tells. Vector 23076, OTel 43693."""
    log, header = logs / "app.log", [b"# a header, the same in every file " + b"=" * 400]
    append(log, header + lines(0, 20))
    inode = log.stat().st_ino
    agent = rig().start()
    expect(agent, header + lines(0, 20))
    agent.stop()
    log.unlink()
    create_again(log, header + lines(100, 100 + length), inode=inode)
    agent.start()
    expect(agent, header + lines(0, 20) + header + lines(100, 100 + length))


def test_many_deleted_files_leave_their_inode_numbers_to_others(rig, logs):
    """Positions of files that are gone, and as many new files. Vector 23076 and 26334."""
    for n in range(30):
        append(logs / f"old{n}.log", lines(n * 10, n * 10 + 10))
    agent = rig("*.log").start()
    expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(30)))
    agent.stop()
    freed = {path.stat().st_ino for path in logs.iterdir()}
    for path in logs.iterdir():
        path.unlink()
    for n in range(30):
        append(logs / f"new{n}.log", lines(1000 + n * 20, 1000 + n * 20 + n % 10 + 5))
    again = freed & {path.stat().st_ino for path in logs.iterdir()}
    if not again:
        pytest.skip("the file system did not use the inode numbers again")
    agent.start()
    new = [lines(1000 + n * 20, 1000 + n * 20 + n % 10 + 5) for n in range(30)]
    expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(30)), *new)


def test_rotated_compressed_deleted_and_the_inode_number_used_by_the_successor(rig, logs):
    """Rename, compress, delete; the next file gets the number. rsyslog 2659, 4648."""
    log = logs / "app.log"
    append(log, lines(0, 20))
    inode = log.stat().st_ino
    agent = rig().start()
    expect(agent, lines(0, 20))
    run_until_on_disk(agent, log)
    agent.stop()
    log.rename(logs / "app.log.1")
    subprocess.run(["gzip", str(logs / "app.log.1")], check=True)
    create_again(log, lines(20, 60), inode=inode)
    agent.start()
    expect(agent, lines(0, 60))


@RUNNING
def test_a_stranger_beside_a_log_gets_the_inode_number_of_a_deleted_one(rig, logs, running):
    """It is no file of the stream, and what is in it is sent nowhere."""
    log, other = logs / "app.log", logs / "other.log"
    append(log, lines(0, 20))
    append(other, lines(100, 105))
    inode = log.stat().st_ino
    agent = rig("*.log").start()
    expect_all(agent, lines(0, 20) + lines(100, 105))
    run_until_on_disk(agent, log)
    if not running:
        agent.stop()
    log.unlink()
    if running:
        agent.run_until(lambda: len(agent.stream._open) == 1, "the deleted one let go")
    create_again(logs / "private", lines(500, 510), inode=inode)
    other.rename(logs / "other.log.1")
    append(other, lines(105, 110))
    if not running:
        agent.start()
    expect_all(agent, lines(0, 20) + lines(100, 110))
    run_until_looked(agent, logs / "new.log")
    expect_all(agent, lines(0, 20) + lines(100, 110))


# --- content that says little ---------------------------------------------------------------------


@RUNNING
def test_a_hundred_files_with_the_same_long_beginning(rig, logs, running):
    """More equal bytes than a fingerprint covers. Vector 643, Filebeat filestream."""
    header = [b"# %04d " % n + b"h" * 90 for n in range(12)]
    assert sum(len(line) + 1 for line in header) > 1024
    files = [header + lines(n * 10, n * 10 + 5) for n in range(100)]
    for n, file in enumerate(files):
        append(logs / f"{n:03}.log", file)
    agent = rig("*.log").start()
    expect_all(agent, [line for file in files for line in file])
    if not running:
        agent.stop()
    for n in range(100):
        append(logs / f"{n:03}.log", lines(n * 10 + 5, n * 10 + 7))
        (logs / f"{n:03}.log").rename(logs / f"{n:03}.log.1")
        append(logs / f"{n:03}.log", header)
    if not running:
        agent.start()
    more = [lines(n * 10 + 5, n * 10 + 7) + header for n in range(100)]
    expect_all(agent, [line for file in files + more for line in file])


@RUNNING
def test_the_same_header_after_every_rotation(rig, logs, running):
    """Each new file begins as the last one did. Vector 643."""
    log, header = logs / "app.log", [b"# the same header " + b"=" * 1100]
    expected = header + lines(0, 10)
    append(log, expected)
    agent = rig(max_record=2000).start()
    expect(agent, expected)
    for n in range(1, 5):
        if not running:
            agent.stop()
        log.rename(logs / f"app.log.{n}")
        append(log, header)
        if not running:
            agent.start()
        expected = expected + header
        expect(agent, expected)
        append(log, lines(n * 10, n * 10 + 10))
        expected = expected + lines(n * 10, n * 10 + 10)
        expect(agent, expected)


def test_files_of_a_few_bytes_are_read_and_not_repeated(rig, logs):
    """Filebeat reads no file under 1024 bytes, Vector none under 256."""
    for n in range(10):
        (logs / f"{n}.log").write_bytes(b"%d\n" % n)
    (logs / "same1.log").write_bytes(b"x\n")
    (logs / "same2.log").write_bytes(b"x\n")
    (logs / "bare.log").write_bytes(b"\n")
    first = [b"%d" % n for n in range(10)] + [b"x", b"x", b""]
    agent = rig("*.log").start()
    expect_all(agent, first)
    agent.stop()
    agent.start()
    expect_all(agent, first)
    agent.stop()
    for path in sorted(logs.iterdir()):
        append(path, [b"and " + path.name.encode()])
        path.rename(f"{path}.1")
        path.write_bytes(b"y\n")
    agent.start()
    names = [path.name.removesuffix(".1").encode() for path in logs.glob("*.log.1")]
    expect_all(agent, [*first, *(b"and " + name for name in names), *[b"y"] * len(names)])


@RUNNING
def test_empty_files_that_are_filled_later(rig, logs, running):
    """They are all alike until they are written to; some are rotated before."""
    for n in range(6):
        (logs / f"{n}.log").touch()
    agent = rig("*.log").start()
    agent.run_until_caught_up()
    if not running:
        agent.stop()
    for n in (0, 1, 2):
        (logs / f"{n}.log").rename(logs / f"{n}.log.1")
        (logs / f"{n}.log").touch()
    if running:
        agent.run_for(0.1)
    append(logs / "1.log.1", lines(100, 110))  # the writer has not reopened yet
    append(logs / "2.log", lines(200, 210))
    append(logs / "3.log", lines(300, 310))
    if not running:
        agent.start()
    expect_each(agent, lines(100, 110), lines(200, 210), lines(300, 310))
    agent.stop()
    for n in range(6):
        append(logs / f"{n}.log", lines(1000 + n * 10, 1010 + n * 10))
    agent.start()
    expect_each(
        agent,
        lines(100, 110),
        lines(200, 210) + lines(1020, 1030),
        lines(300, 310) + lines(1030, 1040),
        *(lines(1000 + n * 10, 1010 + n * 10) for n in (0, 1, 4, 5)),
    )


def test_a_fingerprint_grows_with_its_file(rig, logs):
    """From one line to more than is marked, with a restart and another name at each step."""
    path, count = logs / "app.log", 1
    append(path, lines(0, 1))
    agent = rig("app.log").start()
    expect(agent, lines(0, 1))
    for more in (1, 2, 5, 20, 100):
        agent.stop()
        append(path, lines(count, count + more))
        count += more
        path.rename(logs / f"elsewhere-{count}")
        path = logs / f"elsewhere-{count}"
        agent.start()
        expect(agent, lines(0, count))
        agent.stop()
        forget_devices(agent)
        agent.start()
        expect(agent, lines(0, count))


# --- another device number ------------------------------------------------------------------------


def forget_devices(agent):
    """Make the positions look as after a reboot that numbered the devices anew."""
    path = os.path.join(agent.state_dir, "positions")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        changed = connection.execute("UPDATE positions SET device = device + 4096").rowcount
        connection.commit()
    assert changed


@pytest.mark.parametrize("length", [2, 10, 100], ids=["a few bytes", "a page", "more"])
def test_a_device_has_another_number_after_a_reboot(rig, logs, length):
    """Everything would be sent again, or lines be skipped. Filebeat's `native` identity."""
    log, old = logs / "app.log", logs / "app.log.1"
    append(old, lines(0, length))
    append(log, lines(1000, 1000 + length))
    agent = rig("app.log*").start()
    expect_each(agent, lines(0, length), lines(1000, 1000 + length))
    agent.stop()
    forget_devices(agent)
    append(log, lines(1000 + length, 1010 + length))
    agent.start()
    expect_each(agent, lines(0, length), lines(1000, 1010 + length))


def test_a_device_has_another_number_and_files_were_rotated(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 50))
    agent = rig().start()
    expect(agent, lines(0, 50))
    agent.stop()
    forget_devices(agent)
    append(log, lines(50, 60))
    log.rename(logs / "app.log.1")
    append(log, lines(60, 70))
    agent.start()
    expect(agent, lines(0, 70))


@pytest.mark.parametrize("written", [True, False], ids=["written", "empty"])
def test_a_device_has_another_number_and_a_file_was_copied_and_truncated(rig, logs, written):
    """The row tells of the copy, though its inode is another file's now, on a device it names
    otherwise."""
    log, old = logs / "app.log", logs / "app.log.1"
    append(log, lines(0, 50))
    agent = rig().start()
    expect(agent, lines(0, 50))
    agent.stop()
    forget_devices(agent)
    shutil.copyfile(log, old)
    later(old, 1)
    os.truncate(log, 0)
    if written:
        append(log, lines(50, 60))
        later(log, 2)
    agent.start()
    expect(agent, lines(0, 60 if written else 50))


@pytest.fixture
def disk(tmp_path):
    """An ext4 image of its own, and mounting it through a loop device of choice."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"mkfs.ext4: {made.stderr.decode()}")
    with contextlib.ExitStack() as stack:
        yield stack, image


@contextlib.contextmanager
def loop_device(image):
    made = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"losetup: {made.stderr.decode()}")
    device = made.stdout.decode().strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


@contextlib.contextmanager
def mounted(*arguments, at):
    done = subprocess.run(["mount", *arguments, str(at)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_a_file_system_is_mounted_again_under_another_number(rig, logs, disk, tmp_path):
    stack, image = disk
    with loop_device(image) as device, mounted(device, at=logs):
        append(logs / "app.log", lines(0, 50))
        before = logs.stat().st_dev
        agent = rig().start()
        expect(agent, lines(0, 50))
        agent.stop()
    occupied = tmp_path / "occupied"
    occupied.write_bytes(bytes(1 << 20))
    stack.enter_context(loop_device(occupied))  # takes the number that was given back
    with loop_device(image) as device, mounted(device, at=logs):
        if logs.stat().st_dev == before:
            pytest.skip("the file system got the same device number")
        append(logs / "app.log", lines(50, 60))
        (logs / "app.log").rename(logs / "app.log.1")
        append(logs / "app.log", lines(60, 70))
        agent.start()
        expect(agent, lines(0, 70))
        agent.stop()


@RUNNING
@pytest.mark.parametrize("changed", [True, False], ids=["changed", "same"])
def test_a_clone_of_a_disk_is_mounted_beside_it(rig, logs, disk, running, changed):
    """Each file is there twice, with the same numbers and the same birth: positions stay with the
    files they are of, and the others are read as files of their own."""
    stack, image = disk
    clone, beside = image.parent / "clone", image.parent / "beside"
    beside.mkdir()
    stack.enter_context(mounted(stack.enter_context(loop_device(image)), at=logs))
    append(logs / "app.log", lines(0, 50))
    os.sync()
    agent = rig("*.log", f"{beside}/*.log").start()
    stack.callback(lambda: agent.running and agent.kill())
    expect(agent, lines(0, 50))
    if not running:
        agent.stop()
    shutil.copyfile(image, clone)
    stack.enter_context(mounted(stack.enter_context(loop_device(clone)), at=beside))
    stack.callback(lambda: agent.running and agent.kill())
    like = lines(0, 50)
    if changed:
        like[0] = b"*" + like[0][1:]
        with (beside / "app.log").open("r+b") as other:
            other.write(b"*")
    append(logs / "app.log", lines(50, 60))
    if not running:
        agent.start()
    expect_all(agent, [*lines(0, 60), *like])
    agent.stop()
    append(logs / "app.log", lines(60, 70))
    append(beside / "app.log", lines(80, 82))
    agent.start()
    expect_all(agent, [*lines(0, 70), *like, *lines(80, 82)])


# --- one file under several names -----------------------------------------------------------------


@ROOT
@pytest.mark.parametrize("rotated", [False, True], ids=["written to", "rotated"])
def test_a_bind_mount_shows_every_file_twice(rig, logs, rotated):
    """As containers do it with volumes: one file, two paths, delivered once."""
    here, there = logs / "here", logs / "there"
    here.mkdir()
    there.mkdir()
    append(here / "app.log", lines(0, 10))
    with mounted("--bind", str(here), at=there):
        agent = rig("*/app.log").start()
        expect(agent, lines(0, 10))
        if rotated:
            (there / "app.log").rename(there / "app.log.1")
        append(there / "app.log", lines(10, 20))
        expect(agent, lines(0, 20))
        agent.stop()
        if rotated:
            (here / "app.log").rename(here / "app.log.2")
        append(here / "app.log", lines(20, 30))
        agent.start()
        expect(agent, lines(0, 30))
        agent.stop()


@ROOT
def test_a_bind_mount_that_comes_and_goes(rig, logs, tmp_path):
    """The same file appears at a second path, and the first one vanishes."""
    here, there = logs / "here", logs / "there"
    here.mkdir()
    there.mkdir()
    append(here / "app.log", lines(0, 10))
    agent = rig("*/app.log").start()
    expect(agent, lines(0, 10))
    agent.stop()
    with mounted("--bind", str(here), at=there):
        agent.start()
        agent.run_until_caught_up()
        append(there / "app.log", lines(10, 20))
        expect(agent, lines(0, 20))
        agent.stop()
    append(here / "app.log", lines(20, 30))
    agent.start()
    expect(agent, lines(0, 30))


@RUNNING
def test_names_of_one_file_come_and_go(rig, logs, running):
    """Hard links: whichever name is left, the file is read on and never twice."""
    append(logs / "a.log", lines(0, 10))
    agent = rig("*.log").start()
    expect(agent, lines(0, 10))
    names, count = ["a.log"], 10
    for step, name in enumerate(["b.log", "c.log", "0.log", "d.log"]):
        if not running:
            agent.stop()
        os.link(logs / names[-1], logs / name)
        if step % 2:
            (logs / names.pop()).unlink()
        names.append(name)
        append(logs / name, lines(count, count + 10))
        count += 10
        if not running:
            agent.start()
        expect(agent, lines(0, count))


@pytest.mark.parametrize("name", ["0", "app.log.1", "z"])
def test_a_log_with_another_name_is_still_written_to(rig, logs, name):
    """The line that is being written is not sent for that, as of a file that was rotated."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.stop()
    os.link(log, logs / name)
    with log.open("ab") as file:
        file.write(b"begun ")
    agent.start()
    agent.run_until_caught_up()
    agent.run_for(0.1)  # longer than the grace of a rotated file
    with log.open("ab") as file:
        file.write(b"and ended\n")
    expect(agent, [*lines(0, 10), b"begun and ended"])


def test_a_deleted_file_gives_its_disk_space_back(rig, logs):
    """Vector 17349, 22273, 22288: descriptors of deleted files fill the disk."""
    for n in range(20):
        append(logs / f"{n}.log", lines(n * 10, n * 10 + 10))
    agent = rig("*.log").start()
    expect_each(agent, *(lines(n * 10, n * 10 + 10) for n in range(20)))
    for path in list(logs.iterdir()):
        path.unlink()
    run_until_let_go(agent, logs)
    append(logs / "0.log", lines(500, 510))
    agent.run_until(lambda: agent.writer.arrived[-10:] == lines(500, 510), "the new one")
