from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.clock import SystemClock
from singer.base.errors import DeadLettersFullError, StateError
from singer.writers import dead_letters
from singer.writers.dead_letters import (
    DeadLetter,
    DeadLetters,
    DeadLettersFailing,
    DeadLettersResumed,
    read_dead_letters,
)

PATHS = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LETTERS = st.builds(
    DeadLetter,
    stream=TEXTS,
    destination=TEXTS,
    path=PATHS,
    device=st.integers(0, 2**64 - 1),
    inode=st.integers(0, 2**64 - 1),
    offset=st.integers(0, 2**63 - 1),
    length=st.integers(0, 2**63 - 1),
    reason=TEXTS,
    part=st.integers(0, 1000),
    payload=st.binary(max_size=200),
)


def a_letter(offset=0, payload=b"bad \xff bytes\0"):
    return DeadLetter(
        stream="access",
        destination="main/web",
        path="/var/log/access.log",
        device=1,
        inode=2,
        offset=offset,
        length=len(payload) + 1,
        reason="oversize",
        payload=payload,
    )


def letters_at(path, emit=None, max_bytes=1 << 20, files=4):
    return DeadLetters(
        str(path),
        max_bytes=max_bytes,
        files=files,
        emit=(lambda event: None) if emit is None else emit,
        clock=SystemClock(),
    )


def offsets(path):
    return [letter.offset for letter in read_dead_letters(str(path))]


@settings(deadline=None, max_examples=50)
@given(st.lists(LETTERS, max_size=5))
def test_letters_come_back_as_they_went(letters):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "dead_letters")
        asyncio.run(letters_at(path).write(letters))
        found = list(read_dead_letters(path)) if letters else []
        assert [replace(letter, time="") for letter in found] == letters
        assert all(letter.time.endswith("+00:00") for letter in found)


def test_lines_are_plain_json_for_any_parser(tmp_path):
    path = tmp_path / "dead_letters"
    odd = replace(a_letter(), path=os.fsdecode(b"/logs/\xff\xc3\xa9.log"))
    asyncio.run(letters_at(path).write([odd, a_letter(5)]))
    first, second = path.read_bytes().splitlines()
    assert b"\\ud" not in first  # half a surrogate pair: many parsers refuse it
    assert json.loads(first)["file"] == "/logs/\\xffé.log"
    entry = json.loads(second)
    assert list(entry) == [
        "time",
        "stream",
        "destination",
        "file",
        "device",
        "inode",
        "offset",
        "length",
        "reason",
        "part",
        "refused",
        "payload",
    ]
    assert entry["offset"] == 5
    assert path.stat().st_mode & 0o777 == 0o600


def test_writes_at_once_do_not_mix(tmp_path):
    path = tmp_path / "dead_letters"

    async def main():
        letters = letters_at(path)
        await asyncio.gather(*(letters.write([a_letter(n), a_letter(n)]) for n in range(30)))

    asyncio.run(main())
    assert offsets(path) == [n for n in range(30) for _ in range(2)]


def test_a_write_that_was_given_up_does_not_mix_with_the_next(tmp_path):
    path = tmp_path / "dead_letters"

    async def main():
        letters = letters_at(path)
        first = asyncio.create_task(letters.write([a_letter(1, b"x" * 200_000)]))
        await asyncio.sleep(0)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        await letters.write([a_letter(2)])

    asyncio.run(main())
    assert offsets(path) in ([1, 2], [2])


def test_files_rotate_and_wait_for_a_person_when_all_are_full(tmp_path):
    path, heard = tmp_path / "dead_letters", []
    line = len(json.dumps({"payload": ""})) + 200

    async def main():
        letters = letters_at(path, heard.append, max_bytes=10 * line, files=3)
        written = []
        with pytest.raises(DeadLettersFullError) as caught:
            for offset in range(1000):
                await letters.write([a_letter(offset)])
                written.append(offset)
        message = str(caught.value)
        assert str(tmp_path) in message
        assert "move them away" in message
        with pytest.raises(DeadLettersFullError):
            await letters.write([a_letter(7)])
        names = ["dead_letters.2", "dead_letters.1", "dead_letters"]
        assert sorted(os.listdir(tmp_path)) == sorted(names)
        assert [offset for name in names for offset in offsets(tmp_path / name)] == written
        total = sum(os.stat(tmp_path / name).st_size for name in names)
        assert total <= 10 * line
        assert [type(event) for event in heard] == [DeadLettersFailing]
        # A person takes one away: there is room at once, nothing else is touched.
        os.rename(tmp_path / "dead_letters.2", tmp_path / "seen")
        await letters.write([a_letter(5000)])
        assert [type(event) for event in heard] == [DeadLettersFailing, DeadLettersResumed]
        names = sorted(name for name in os.listdir(tmp_path) if name != "seen")
        found = [offset for name in names for offset in offsets(tmp_path / name)]
        kept = [*offsets(tmp_path / "seen"), *found]
        assert sorted(kept) == [*written, 5000]

    asyncio.run(main())


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "dead_letters"

    async def main():
        letters = letters_at(path, max_bytes=8000, files=4)
        await letters.write([a_letter(1)])
        await letters.write([a_letter(n) for n in range(10, 20)])  # more than a file's share
        assert offsets(f"{path}.1") == [1]
        assert offsets(path) == list(range(10, 20))
        before = path.read_bytes()
        with pytest.raises(DeadLettersFullError):
            await letters.write([a_letter(n) for n in range(100, 125)])
        assert sorted(os.listdir(tmp_path)) == ["dead_letters", "dead_letters.1"]
        assert path.read_bytes() == before

    asyncio.run(main())


def test_one_letter_may_be_larger_than_a_file_s_share(tmp_path):
    path = tmp_path / "dead_letters"

    async def main():
        letters = letters_at(path, max_bytes=4000, files=4)
        await letters.write([a_letter(1, b"x" * 2000)])
        await letters.write([a_letter(2)])
        with pytest.raises(DeadLettersFullError, match="max_bytes"):
            await letters.write([a_letter(3, b"x" * 4000)])
        assert offsets(f"{path}.1") == [1]
        assert offsets(path) == [2]

    asyncio.run(main())


def test_a_file_moved_away_while_running_is_begun_anew(tmp_path):
    path = tmp_path / "dead_letters"

    async def main():
        letters = letters_at(path)
        await letters.write([a_letter(1)])
        os.rename(path, tmp_path / "seen")
        await letters.write([a_letter(2)])

    asyncio.run(main())
    assert offsets(tmp_path / "seen") == [1]
    assert offsets(path) == [2]


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_line_is_closed_and_passed_over(tmp_path, cut):
    path = tmp_path / "dead_letters"
    asyncio.run(letters_at(path).write([a_letter(1), a_letter(2)]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    asyncio.run(letters_at(path).write([a_letter(2), a_letter(3)]))
    # Only the newline missing: the line is whole.
    assert offsets(path) == ([1, 2, 2, 3] if cut == 1 else [1, 2, 3])
    assert path.read_bytes().startswith(whole[:-cut] + b"\n")


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode()}")
    heard = []

    async def main():
        path = disk / "dead_letters"
        letters = letters_at(path, heard.append)
        await letters.write([a_letter(1)])
        before = path.read_bytes()
        for _ in range(3):
            with pytest.raises(StateError, match="No space left on device"):
                await letters.write([a_letter(2), a_letter(3, b"x" * 300_000)])
            assert [offsets(disk / name) for name in sorted(os.listdir(disk))] == [[], [1]]
        await letters.write([a_letter(4)])
        assert offsets(path) == [4]
        assert (disk / "dead_letters.1").read_bytes() == before
        assert [type(event) for event in heard] == [DeadLettersFailing, DeadLettersResumed]
        assert str(path) in heard[0].message()

    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/null", path)])
def test_something_else_in_its_place_is_named(tmp_path, make):
    path = tmp_path / "dead_letters"
    make(str(path))
    with pytest.raises(StateError) as caught:
        asyncio.run(letters_at(path).write([a_letter()]))
    assert str(path) in str(caught.value)


def test_a_hung_disk_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    """The clock is asked in the thread that writes: one that blocks stands for the disk."""
    path, works = tmp_path / "dead_letters", threading.Event()

    class Blocking(SystemClock):
        def now_ns(self):
            assert works.wait(30)
            return super().now_ns()

    async def main():
        letters = DeadLetters(
            str(path), max_bytes=1 << 20, files=2, emit=lambda event: None, clock=Blocking()
        )
        monkeypatch.setattr(dead_letters, "DEADLINE_SECONDS", 0.1)
        for offset in (1, 2):  # the second must not be written while the first is under way
            with pytest.raises(StateError, match="hung disk"):
                await letters.write([a_letter(offset)])
        works.set()
        monkeypatch.setattr(dead_letters, "DEADLINE_SECONDS", 10)
        await letters.write([a_letter(3)])

    asyncio.run(main())
    assert offsets(path) == [1, 3]


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(StateError, match="read dead letters"):
        list(read_dead_letters(str(tmp_path / "none")))
