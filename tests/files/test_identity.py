"""Is this file one we know: every rule, both ways, without a file."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from singer.base.position import NO_MARK, TAIL_BYTES, FileIdentity, Mark, Position
from singer.files.identity import Verdict, identify, is_copy
from singer.files.stat import FileStat

REGULAR = 0o100644
TAIL = Mark.of(b"t" * TAIL_BYTES)
HEAD = Mark.of(b"h" * 100)


@dataclass
class Says:
    """Evidence as the test wants it."""

    fingerprint: bool = True
    tail: bool = True

    def fingerprint_agrees(self, mark):
        return self.fingerprint

    def tail_agrees(self, offset, mark):
        return self.tail


def stat(*, device=1, inode=10, birth_ns=None, size=1000, ctime_ns=500):
    return FileStat(device, inode, birth_ns, size, ctime_ns, ctime_ns, 1, REGULAR, 0)


def row(*, device=1, birth_ns=None, offset=1000, tail=TAIL, first_seen_ns=100, row_id=1):
    return Position(
        id=row_id,
        stream="s",
        destination="out",
        path="/logs/app.log",
        identity=FileIdentity(device=device, inode=10, birth_ns=birth_ns, fingerprint=HEAD),
        offset=offset,
        tail=tail,
        first_seen_ns=first_seen_ns,
    )


def test_a_file_without_rows_is_new():
    assert identify(stat(), [], Says()) == (Verdict.NEW, None)


def test_the_known_file_resumes():
    known = row()
    assert identify(stat(), [known], Says()) == (Verdict.RESUME, known)
    assert identify(stat(size=5000), [known], Says()) == (Verdict.RESUME, known)


@pytest.mark.parametrize("evidence", [Says(fingerprint=False), Says(tail=False)])
def test_the_known_inode_with_another_content_was_rewritten(evidence):
    known = row()
    assert identify(stat(), [known], evidence) == (Verdict.REWRITTEN, known)


def test_a_file_shorter_than_the_offset_was_rewritten():
    known = row(offset=1000)
    assert identify(stat(size=999), [known], Says()) == (Verdict.REWRITTEN, known)
    assert identify(stat(size=1000), [known], Says()) == (Verdict.RESUME, known)


def test_another_device_with_a_tail_resumes():
    known = row(device=2)
    assert identify(stat(device=1), [known], Says()) == (Verdict.RESUME, known)


def test_another_device_without_a_tail_says_nothing_about_the_file():
    known = row(device=2, offset=0, tail=NO_MARK)
    assert identify(stat(device=1), [known], Says()) == (Verdict.NEW, None)


def test_another_device_with_another_content_is_new_and_not_rewritten():
    assert identify(stat(device=1), [row(device=2)], Says(tail=False)) == (Verdict.NEW, None)


def test_another_device_with_another_content_and_the_same_birth_was_rewritten():
    known = row(device=2, birth_ns=7)
    told = identify(stat(device=1, birth_ns=7), [known], Says(tail=False))
    assert told == (Verdict.REWRITTEN, known)


def test_the_row_of_the_same_device_is_preferred():
    here, elsewhere = row(device=1, row_id=1), row(device=2, row_id=2)
    for rows in ([here, elsewhere], [elsewhere, here]):
        assert identify(stat(device=1), rows, Says()) == (Verdict.RESUME, here)


@pytest.mark.parametrize("device", [1, 2])
def test_a_birth_time_tells_a_reused_inode_from_the_same_file(device):
    known = row(device=device, birth_ns=7)
    assert identify(stat(birth_ns=8), [known], Says()) == (Verdict.NEW, None)
    assert identify(stat(birth_ns=7), [known], Says()) == (Verdict.RESUME, known)


@pytest.mark.parametrize(("kept", "told"), [(None, 8), (7, None)])
def test_a_birth_time_that_only_one_side_knows_decides_nothing(kept, told):
    known = row(birth_ns=kept)
    assert identify(stat(birth_ns=told), [known], Says()) == (Verdict.RESUME, known)


def test_of_several_rows_the_one_of_this_birth_counts():
    dead, alive = row(birth_ns=7, row_id=1), row(birth_ns=8, row_id=2)
    assert identify(stat(birth_ns=8), [dead, alive], Says()) == (Verdict.RESUME, alive)
    assert identify(stat(birth_ns=8), [dead, alive], Says(tail=False)) == (
        Verdict.REWRITTEN,
        alive,
    )


def test_a_copy_holds_everything_that_was_delivered():
    assert is_copy(stat(inode=11), row(), Says())
    assert not is_copy(stat(inode=11), row(), Says(tail=False))
    assert not is_copy(stat(inode=11), row(), Says(fingerprint=False))


def test_a_copy_needs_a_full_tail():
    whole, short = b"t" * TAIL_BYTES, b"t" * (TAIL_BYTES - 1)
    assert is_copy(stat(size=5000), row(offset=TAIL_BYTES, tail=Mark.of(whole)), Says())
    assert not is_copy(stat(size=5000), row(offset=TAIL_BYTES - 1, tail=Mark.of(short)), Says())


def test_a_copy_reaches_the_offset():
    assert is_copy(stat(size=1000), row(offset=1000), Says())
    assert not is_copy(stat(size=999), row(offset=1000), Says())


def test_a_copy_was_changed_after_the_file_was_first_seen():
    assert is_copy(stat(ctime_ns=100), row(first_seen_ns=100), Says())
    assert not is_copy(stat(ctime_ns=99), row(first_seen_ns=100), Says())
