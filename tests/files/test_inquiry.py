"""What unknown files are: real files, real descriptors."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from dataclasses import replace

import pytest

from singer.base.errors import ReadError
from singer.base.position import TAIL_BYTES, FileIdentity, Mark, Position
from singer.files.archives import Unfinished
from singer.files.finding import Suspect
from singer.files.identity import Verdict
from singer.files.inquiry import Inquiry
from singer.files.likeness import Live
from singer.files.stat import stat_path
from singer.files.walk import Walker
from tests.support.descriptors import open_below

NOW_NS = 10**18  # long before the files: whatever is asked about was changed since


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def opener(logs):
    """How the stream of these logs opens files."""
    return Walker([f"{logs.parent}/*.log"]).open


@pytest.fixture
def ask(logs):
    """Answers about suspects; closes what was found, and says if anything else is left open."""
    findings = []

    def answer(
        suspects,
        *,
        rows=(),
        orphans=(),
        live=None,
        at_end=(),
        destinations=("out",),
        now_ns=NOW_NS,
        copies=None,
        earlier_boot=(),
        busy=None,
        unfinished=None,
        rewriting=None,
        open_file=None,
    ):
        inquiry = Inquiry(
            stream="s",
            destinations=destinations,
            suspects=suspects,
            rows=rows,
            orphans=orphans,
            served={},
            live=live or {},
            copies=copies or {},
            busy=busy or {},
            unfinished=unfinished or {},
            rewriting=rewriting or {},
            earlier_boot=earlier_boot,
            at_end=frozenset(at_end),
            of_lines=True,
            now_ns=now_ns,
            open=open_file or opener(logs),
        )
        findings.append(inquiry.answer())
        return findings[-1]

    yield answer
    for finding in (finding for answer in findings for finding in answer.found):
        os.close(finding.fd)
    assert not open_below(logs)


def suspect(path, lineage=None):
    return Suspect(path=str(path), lineage=str(lineage or path), stat=stat_path(str(path)))


def row_of(path, offset, *, lineage=None, destination="out", row_id=1):
    """The row of a file that was delivered up to `offset`."""
    stat, data = stat_path(str(path)), path.read_bytes()[:offset]
    return Position(
        id=row_id,
        stream="s",
        destination=destination,
        path=str(lineage or path),
        identity=FileIdentity(
            device=stat.device,
            inode=stat.inode,
            birth_ns=stat.birth_ns,
            fingerprint=Mark.of(data[:1024]),
        ),
        offset=offset,
        tail=Mark.of(data[-TAIL_BYTES:]),
        first_seen_ns=NOW_NS,
    )


def live_at(path, offset):
    """The file that is open and at its path, delivered up to `offset`."""
    stat = stat_path(str(path))
    return {str(path): Live(key=(stat.device, stat.inode), read=(row_of(path, offset),))}


def test_an_unknown_file_is_read_from_its_beginning(ask, logs):
    log = logs / "app.log"
    log.write_bytes(b"content\n" * 100)
    (found,) = ask([suspect(log)]).found
    entry = found.entries["out"]
    assert (entry.verdict, entry.position.offset, entry.tail) == (Verdict.NEW, 0, b"")
    assert entry.position.path == str(log)
    assert entry.position.first_seen_ns == NOW_NS
    assert not entry.keep, "its row has to be written"
    assert os.fstat(found.fd).st_ino == log.stat().st_ino


def test_a_known_file_resumes_with_the_bytes_before_its_offset(ask, logs):
    log = logs / "app.log"
    log.write_bytes(os.urandom(2000))
    row = row_of(log, 1500)
    (found,) = ask([suspect(log)], rows=[row]).found
    entry = found.entries["out"]
    assert (entry.verdict, entry.position, entry.keep) == (Verdict.RESUME, row, True)
    assert entry.tail == log.read_bytes()[1500 - TAIL_BYTES : 1500]


def test_a_known_file_on_another_device_resumes_with_a_row_that_has_to_be_written(ask, logs):
    log = logs / "app.log"
    log.write_bytes(os.urandom(2000))
    row = row_of(log, 1500)
    moved = replace(row, identity=replace(row.identity, device=row.identity.device + 1))
    (found,) = ask([suspect(log)], rows=[moved]).found
    entry = found.entries["out"]
    assert (entry.verdict, entry.position, entry.keep) == (Verdict.RESUME, row, False)


def test_every_destination_has_a_place_of_its_own(ask, logs):
    log = logs / "app.log"
    log.write_bytes(os.urandom(2000))
    rows = [row_of(log, 500, destination="a"), row_of(log, 1500, destination="b")]
    (found,) = ask([suspect(log)], rows=rows, destinations=("a", "b", "c")).found
    assert {name: entry.position.offset for name, entry in found.entries.items()} == {
        "a": 500,
        "b": 1500,
        "c": 0,
    }


def test_start_end_begins_at_the_last_line_of_every_file_that_is_there(ask, logs):
    log, older = logs / "app.log", logs / "app.log.1"
    log.write_bytes(b"one\ntwo\nthr")
    older.write_bytes(b"old\n")
    findings = ask(
        [suspect(log), suspect(older, log)], at_end=["late"], destinations=("late", "early")
    )
    offsets = {
        (os.path.basename(finding.suspect.path), name): entry.position.offset
        for finding in findings.found
        for name, entry in finding.entries.items()
    }
    assert offsets == {
        ("app.log", "late"): 8,
        ("app.log", "early"): 0,
        ("app.log.1", "late"): 4,
        ("app.log.1", "early"): 0,
    }


def test_a_file_replaced_between_the_look_and_the_open_is_unsettled(ask, logs):
    log, older, other = logs / "app.log", logs / "app.log.1", logs / "other.log"
    for path in (log, older, other):
        path.write_bytes(b"x" * 500)
    suspects = [suspect(older, log), suspect(log), suspect(other)]
    (logs / "new").write_bytes(b"y" * 500)
    (logs / "new").rename(log)
    findings = ask(suspects)
    assert findings.unsettled == {str(log)}
    assert [finding.suspect.path for finding in findings.found] == [str(other)], (
        "none of its path: a younger one would be read before an older one"
    )
    assert not findings.failed


def test_a_file_gone_between_the_look_and_the_open_is_unsettled(ask, logs):
    log, other = logs / "app.log", logs / "other.log"
    log.write_bytes(b"x")
    other.write_bytes(b"y")
    suspects = [suspect(log), suspect(other)]
    log.unlink()
    findings = ask(suspects, orphans=[replace(row_of(other, 1), path=str(log))])
    assert findings.unsettled == {str(log)}
    assert [finding.suspect.path for finding in findings.found] == [str(other)]
    assert not findings.homeless, "while it is unsettled, nothing is said to be gone"


def test_what_is_no_regular_file_any_more_fails_alone(ask, logs):
    log, other = logs / "app.log", logs / "other.log"
    log.write_bytes(b"x")
    other.write_bytes(b"y")
    suspects = [suspect(log), suspect(other)]
    log.unlink()
    log.mkdir()
    findings = ask(suspects)
    assert [failed.path for failed, _ in findings.failed] == [str(log)]
    assert [finding.suspect.path for finding in findings.found] == [str(other)]


def test_the_copy_of_a_copytruncate_takes_the_row(ask, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(2000))
    row = row_of(log, 1500)
    shutil.copyfile(log, copy)
    log.write_bytes(b"anew\n")
    findings = ask([suspect(copy, log), suspect(log)], rows=[row])
    entries = {finding.suspect.path: finding.entries["out"] for finding in findings.found}
    assert entries[str(copy)].verdict is Verdict.RESUME
    assert entries[str(copy)].position.id == row.id
    assert entries[str(copy)].position.offset == 1500
    assert entries[str(copy)].position.identity.inode == copy.stat().st_ino
    assert not entries[str(copy)].keep
    assert entries[str(log)].position.offset == 0
    assert not findings.homeless


def test_a_row_whose_content_is_nowhere_is_homeless(ask, logs):
    log, sibling = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(2000))
    row = row_of(log, 1500)
    sibling.write_bytes(os.urandom(2000))
    log.write_bytes(b"anew\n")
    findings = ask([suspect(sibling, log), suspect(log)], rows=[row])
    assert findings.homeless == (row,)
    assert {f.entries["out"].position.offset for f in findings.found} == {0}


def test_a_restored_file_takes_the_row_of_its_path_only(ask, logs):
    log, copy, stranger = logs / "app.log", logs / "app.log.1", logs / "web.log.1"
    log.write_bytes(os.urandom(2000))
    row = row_of(log, 1500)
    shutil.copyfile(log, copy)
    shutil.copyfile(log, stranger)
    log.unlink()
    findings = ask([suspect(stranger, logs / "web.log"), suspect(copy, log)], orphans=[row])
    offsets = {f.suspect.path: f.entries["out"].position.offset for f in findings.found}
    assert offsets == {str(copy): 1500, str(stranger): 0}


@pytest.fixture
def bad_disk(monkeypatch):
    """The content of some files cannot be read."""
    bad, read = set(), os.pread

    def pread(fd, length, offset):
        if os.fstat(fd).st_ino in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    return lambda path: bad.add(path.stat().st_ino)


def test_an_unreadable_sibling_takes_no_row_and_leaves_the_others_alone(ask, logs, bad_disk):
    log, copy, other = logs / "app.log", logs / "app.log.1", logs / "other.log"
    log.write_bytes(os.urandom(2000))
    row = row_of(log, 1500)
    shutil.copyfile(log, copy)
    log.write_bytes(b"anew\n")
    other.write_bytes(b"other\n")
    bad_disk(copy)
    findings = ask([suspect(copy, log), suspect(log), suspect(other)], rows=[row])
    assert findings.homeless == (row,)
    assert {str(log), str(other)} <= {finding.suspect.path for finding in findings.found}


def test_an_unreadable_known_file_fails_alone(ask, logs, bad_disk):
    log, other = logs / "app.log", logs / "other.log"
    log.write_bytes(os.urandom(2000))
    other.write_bytes(os.urandom(2000))
    rows = [row_of(log, 1500, row_id=1), row_of(other, 1500, row_id=2)]
    bad_disk(log)
    findings = ask([suspect(log), suspect(other)], rows=rows)
    assert [failed.path for failed, _ in findings.failed] == [str(log)]
    assert [finding.suspect.path for finding in findings.found] == [str(other)]


def test_a_copy_of_what_is_being_read_is_left_alone(ask, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(2000))
    shutil.copyfile(log, copy)
    live = live_at(log, 1500)
    assert not ask([suspect(copy, log)], live=live).found
    (found,) = ask([suspect(copy, log)]).found
    assert found.entries["out"].position.offset == 0, "of nothing that is being read"


def test_a_copy_that_is_still_being_written_is_left_alone_for_a_while(ask, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(5000))
    copy.write_bytes(log.read_bytes()[:2000])
    live = live_at(log, 4000)
    now_ns = copy.stat().st_mtime_ns
    assert not ask([suspect(copy, log)], live=live, now_ns=now_ns).found
    copy.write_bytes(log.read_bytes()[:200])
    findings = ask([suspect(copy, log)], live=live, now_ns=copy.stat().st_mtime_ns)
    assert not findings.found
    assert findings.unclear == {str(log)}
    hour_ns = 3600 * 10**9
    (found,) = ask([suspect(copy, log)], live=live, now_ns=now_ns + hour_ns).found
    assert found.entries["out"].position.offset == 0, "in doubt it is read"


def test_a_known_file_is_never_taken_for_a_copy(ask, logs):
    log, older = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(2000))
    shutil.copyfile(log, older)
    live = live_at(log, 1500)
    (found,) = ask([suspect(older, log)], rows=[row_of(older, 300, lineage=log)], live=live).found
    assert found.entries["out"].position.offset == 300


@pytest.mark.parametrize("delivered", [39, 2000])
def test_a_sibling_that_only_begins_like_what_is_being_read_is_found(ask, logs, delivered):
    log, older = logs / "app.log", logs / "app.log.1"
    header = b"# a header that every file begins with\n"
    log.write_bytes(header + os.urandom(3000))
    older.write_bytes(header + b"lines that are nowhere else\n" * 100)
    live = live_at(log, delivered)
    (found,) = ask([suspect(older, log)], live=live).found
    assert found.entries["out"].position.offset == 0


def test_a_copy_that_is_shorter_than_what_was_delivered_since_is_finished(ask, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(2000))
    shutil.copyfile(log, copy)
    with log.open("ab") as file:
        file.write(os.urandom(500))
    findings = ask([suspect(copy, log)], live=live_at(log, 2500), destinations=("other", "out"))
    assert {(each.path, name) for each, name in findings.copies} == {
        (str(copy), "other"),
        (str(copy), "out"),
    }
    row = row_of(log, 2500)
    log.write_bytes(b"anew\n")
    stat = copy.stat()
    key = (stat.st_dev, stat.st_ino)
    # Of another's copy nothing is known: this row may be of what came into the file later.
    (found,) = ask([suspect(copy, log)], orphans=[row], copies={"other": {key}}).found
    assert found.entries["out"].position.id == 0
    findings = ask([suspect(copy, log)], orphans=[row], copies={"out": {key}})
    (entry,) = [finding.entries["out"] for finding in findings.found]
    assert entry.position.id == row.id
    assert entry.position.offset == 2000
    assert entry.tail == copy.read_bytes()[-TAIL_BYTES:]
    assert not findings.homeless


def test_a_sibling_born_before_the_live_file_is_no_copy_however_alike(ask, logs):
    log, older = logs / "app.log", logs / "app.log.1"
    older.write_bytes(b"a header as long as all there is\n" * 20)
    if stat_path(str(older)).birth_ns is None:
        pytest.skip("this file system tells no birth times")
    shutil.copyfile(older, log)
    (found,) = ask([suspect(older, log)], live=live_at(log, 660)).found
    assert found.suspect.path == str(older)
    assert found.entries["out"].position.offset == 0


def test_a_sibling_longer_than_the_live_file_is_no_copy_of_it(ask, logs):
    log, other = logs / "app.log", logs / "app.log.1"
    header = os.urandom(400)
    log.write_bytes(header)
    other.write_bytes(header + os.urandom(400))
    (found,) = ask([suspect(other, log)], live=live_at(log, 400)).found
    assert found.suspect.path == str(other)


def test_a_copy_of_a_live_file_that_was_cut_meanwhile_is_left_to_its_pipeline(ask, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(2000))
    live = live_at(log, 1500)
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    findings = ask([suspect(copy, log)], live=live)
    assert not findings.found
    assert findings.unclear == {str(log)}


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ENOENT, "unsettled"),
        (errno.EACCES, "failed"),
        (errno.EIO, "failed"),
        (errno.EMFILE, "refused"),
    ],
)
def test_a_sibling_of_a_live_file_that_cannot_be_opened_is_not_read_as_new(
    ask, logs, number, outcome
):
    log, sibling = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(1000))
    sibling.write_bytes(os.urandom(800))

    def refusing(path):
        if path == str(log):
            error = OSError(number, os.strerror(number))
            raise ReadError(f"open {path!r}: {error.strerror}") from error
        return opener(logs)(path)

    findings = ask([suspect(sibling, log)], live=live_at(log, 500), open_file=refusing)
    assert not findings.found
    said = {
        "unsettled": set(findings.unsettled),
        "refused": set(findings.refused),
        "failed": {each.lineage for each, _ in findings.failed},
    }
    assert {name for name, paths in said.items() if str(log) in paths} == {outcome}


def test_a_sibling_is_left_to_destinations_that_begin_its_file_anew(ask, logs):
    log, sibling = logs / "app.log", logs / "app.log.1"
    sibling.write_bytes(os.urandom(800))
    rewriting = {str(log): {"one"}}
    (found,) = ask([suspect(sibling, log)], destinations=("one", "two"), rewriting=rewriting).found
    assert found.entries.keys() == {"two"}
    findings = ask([suspect(sibling, log)], destinations=("one",), rewriting=rewriting)
    assert not findings.found
    assert findings.unclear == {str(log)}


def test_an_archive_of_which_nothing_was_delivered_is_not_decompressed_whole(
    ask, logs, monkeypatch
):
    log, archive = logs / "app.log", logs / "app.log.1.gz"
    log.write_bytes(os.urandom(3_000_000))
    archive.write_bytes(gzip.compress(os.urandom(3_000_000)))
    inode, pread, read = archive.stat().st_ino, os.pread, []

    def counting(fd, length, offset):
        data = pread(fd, length, offset)
        if os.fstat(fd).st_ino == inode:
            read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    row = replace(row_of(log, 0), id=7)
    (found,) = ask([suspect(archive, log)], busy={str(log): [row]}).found
    assert found.entries["out"].position.offset == 0
    assert 0 < sum(read) < 1_000_000


def test_an_archive_of_a_deleted_file_that_is_still_read_waits_for_it(ask, logs):
    log, plain, archive = logs / "app.log", logs / "app.log.1", logs / "app.log.1.gz"
    plain.write_bytes(os.urandom(2_000))
    archive.write_bytes(gzip.compress(plain.read_bytes()))
    fd = os.open(plain, os.O_RDONLY)
    try:
        plain.unlink()
        findings = ask([suspect(archive, log)], unfinished={str(log): [Unfinished(fd=fd, rows=())]})
        assert not findings.found
        assert findings.unclear == {str(log)}
    finally:
        os.close(fd)


def test_a_file_that_lost_its_end_in_a_power_loss_is_read_on_from_there(ask, logs):
    log = logs / "app.log"
    log.write_bytes(os.urandom(3000))
    row = row_of(log, 2500)
    os.truncate(log, 2000)
    os.utime(log, ns=(row.updated_ns, row.updated_ns))
    (found,) = ask([suspect(log)], rows=[row], earlier_boot={row.id}).found
    entry = found.entries["out"]
    assert (entry.position.id, entry.position.offset) == (row.id, 2000)
    assert entry.position.tail == Mark.of(log.read_bytes()[-TAIL_BYTES:])
    assert not entry.keep


def test_a_file_that_was_written_to_since_the_power_loss_is_read_from_its_beginning(ask, logs):
    log = logs / "app.log"
    log.write_bytes(os.urandom(3000))
    row = row_of(log, 2500)
    os.truncate(log, 2000)
    os.utime(log, ns=(row.updated_ns + 1, row.updated_ns + 1))
    (found,) = ask([suspect(log)], rows=[row], earlier_boot={row.id}).found
    assert found.entries["out"].position.offset == 0


@pytest.mark.parametrize("same_boot", [True, False])
def test_a_file_that_is_shorter_for_another_reason_is_read_from_its_beginning(ask, logs, same_boot):
    log = logs / "app.log"
    log.write_bytes(os.urandom(3000))
    row = replace(row_of(log, 2500), updated_ns=2 * NOW_NS)
    if same_boot:
        os.truncate(log, 2000)
    else:
        log.write_bytes(os.urandom(2000))
    (found,) = ask([suspect(log)], rows=[row], earlier_boot=() if same_boot else {row.id}).found
    assert found.entries["out"].position.offset == 0


def test_a_copy_is_found_beside_a_sibling_that_is_not_clear_yet(ask, logs):
    log, copy, archive = logs / "app.log", logs / "app.log.1", logs / "app.log.2.gz"
    log.write_bytes(os.urandom(3000))
    row = row_of(log, 2500)
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    archive.write_bytes(gzip.compress(os.urandom(3000))[:500])  # it is being written
    findings = ask([suspect(copy, log), suspect(archive, log)], orphans=[row])
    assert findings.unclear == {str(log)}
    (found,) = findings.found
    assert (found.suspect.path, found.entries["out"].position.offset) == (str(copy), 2500)


def test_a_copy_of_what_a_reboot_found_truncated_is_finished_before_all_else(ask, logs):
    log, copy = logs / "app.log", logs / "app.log.1"
    log.write_bytes(os.urandom(3000))
    row = replace(row_of(log, 2500), updated_ns=2 * NOW_NS)
    shutil.copyfile(log, copy)
    os.truncate(log, 2000)
    findings = ask([suspect(copy, log), suspect(log)], rows=[row], earlier_boot={row.id})
    offsets = {f.suspect.path: f.entries["out"].position.offset for f in findings.found}
    assert offsets == {str(copy): 2500, str(log): 0}
