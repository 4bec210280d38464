"""What applications write, and that this agent reads it, whatever happens to them."""

import errno
import fcntl
import io
import logging
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from thriftpy2.parser import parser
from thriftpy2.protocol.binary import TBinaryProtocol
from thriftpy2.transport.buffered import TBufferedTransport

from singer import readers
from singer.base.config import ThriftReaderConfig
from singer.base.ports import State
from singer.client import OnFull, SingerHandler, TextLogger, ThriftLogger
from singer.readers.making import make
from tests.readers import thrift_frames
from tests.support.waiting import wait_until

IDL = os.path.join(os.path.dirname(readers.__file__), "log_message.thrift")
LogMessage = parser.parse(IDL, enable_cache=False).LogMessage


def frames(data):
    """The structs in their frames; the last may be torn."""
    at, found = 0, []
    while at + 4 <= len(data):
        (length,) = struct.unpack_from(">i", data, at)
        if at + 4 + length > len(data):
            break
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found, data[at:]


def decoded(content):
    message = LogMessage()
    message.read(TBinaryProtocol(TBufferedTransport(io.BytesIO(content))))
    return message


def test_frames_are_those_of_the_format_byte_for_byte(tmp_path):
    logger = ThriftLogger(tmp_path / "e.log", audit=False, checksum=False)
    logger.log(b"hello", timestamp_ns=7)
    logger.log(b"with key", key=b"k", timestamp_ns=8)
    checked = ThriftLogger(tmp_path / "e.log", audit=False)
    checked.log(b"sum", timestamp_ns=9)
    crc = thrift_frames.i64(4, zlib.crc32(b"sum"))
    assert (tmp_path / "e.log").read_bytes() == (
        thrift_frames.frame(b"hello", timestamp_ns=7)
        + thrift_frames.frame(b"with key", key=b"k", timestamp_ns=8)
        + thrift_frames.frame(b"sum", timestamp_ns=9, more=crc)
    )


def test_records_say_who_wrote_them_and_thrift_itself_reads_it(tmp_path):
    logger = ThriftLogger(tmp_path / "e.log", host="web-1", log_name="events")
    for number in range(3):
        logger.log(b"record %d" % number, key=b"k")
    found, rest = frames((tmp_path / "e.log").read_bytes())
    assert not rest
    messages = [decoded(content) for content in found]
    assert [message.message for message in messages] == [b"record 0", b"record 1", b"record 2"]
    headers = [message.loggingAuditHeaders for message in messages]
    assert [each.logSeqNumInSession for each in headers] == [0, 1, 2]
    assert {(each.host, each.logName, each.pid, each.tracked) for each in headers} == {
        ("web-1", "events", os.getpid(), False)
    }
    assert len({each.session for each in headers}) == 1
    assert all(m.checksum == zlib.crc32(m.message) for m in messages)


def test_the_agents_reader_makes_the_same_of_it(tmp_path):
    logger = ThriftLogger(tmp_path / "e.log")
    logger.log(b"one", key=b"k", timestamp_ns=1_700_000_000_000_000_000)
    logger.log_many([b"two", b"", b"\xff" * 1000])
    window = np.frombuffer((tmp_path / "e.log").read_bytes(), np.uint8)
    framed = make(ThriftReaderConfig(checksum=True)).frame(window, 0, State.FINAL)
    batch = framed.batch
    assert [batch.payload(row) for row in range(4)] == [b"one", b"two", b"", b"\xff" * 1000]
    assert [batch.key(row) for row in range(4)] == [b"k", None, None, None]
    assert batch.timestamps_ms[0] == 1_700_000_000_000
    assert not framed.bad


def test_rotation_by_size_keeps_so_many(tmp_path):
    logger = TextLogger(tmp_path / "a.log", max_bytes=100, backups=3)
    for number in range(60):
        logger.log(f"line {number:02}")
    files = [tmp_path / f"a.log.{number}" for number in (3, 2, 1)] + [tmp_path / "a.log"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    lines = b"".join(file.read_bytes() for file in files).split()
    assert lines[-2:] == [b"line", b"59"]
    numbers = [int(each) for each in lines[1::2]]
    assert numbers == list(range(numbers[0], 60))
    assert all(file.stat().st_size <= 100 for file in files)
    assert logger.file.written == 60


def test_rotation_by_time(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("singer.client.logfile.time.monotonic", lambda: now[0])
    logger = TextLogger(tmp_path / "a.log", rotate_seconds=60)
    logger.log("first")
    now[0] += 59
    logger.log("second")
    now[0] += 2
    logger.log("third")
    assert (tmp_path / "a.log.1").read_bytes() == b"first\nsecond\n"
    assert (tmp_path / "a.log").read_bytes() == b"third\n"


def test_a_file_that_logrotate_moved_is_left_within_a_tenth_of_a_second(tmp_path):
    logger = TextLogger(tmp_path / "a.log")
    logger.log("before")
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")

    def again():
        logger.log("after")
        return (tmp_path / "a.log").exists()

    wait_until(again, 5, "a new file")
    assert b"after" in (tmp_path / "a.log").read_bytes()


def test_the_agent_reads_all_of_it_over_rotations(tmp_path, rig, logs):
    agent = rig(reader=ThriftReaderConfig()).start()
    logger = ThriftLogger(logs / "app.log", max_bytes=20_000, backups=1000)
    expected = [b"record %d" % number for number in range(2000)]
    for number, payload in enumerate(expected):
        logger.log(payload)
        if number % 100 == 0:
            agent.run_for(0.005)
    agent.run_until(lambda: len(agent.writer.arrived) >= len(expected), "all records", 30)
    assert agent.writer.arrived == expected
    assert agent.stop()


WRITER = """
import sys, threading
from singer.client import ThriftLogger
path, name, count, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
logger = ThriftLogger(path, max_bytes=50_000, backups=10_000, log_name=name)
def write(thread):
    for number in range(count):
        logger.log(b"%s-%d-%d " % (name.encode(), thread, number) + b"x" * 50)
writers = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
[each.start() for each in writers]
print("begun", flush=True)
[each.join() for each in writers]
"""


def writer(path, name, count, threads=1):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), name, str(count), str(threads)],
        stdout=subprocess.PIPE,
    )


def test_processes_and_threads_write_one_file_and_rotate_it(tmp_path):
    processes = [writer(tmp_path / "e.log", f"p{n}", 1000, 2) for n in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    for process in processes:
        process.stdout.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 10
    sessions = defaultdict(list)
    for file in files:
        found, rest = frames(file.read_bytes())
        assert not rest, "only whole frames"
        for content in found:
            message = decoded(content)
            headers = message.loggingAuditHeaders
            sessions[headers.logName].append((headers.logSeqNumInSession, message.message))
    assert {name: len(some) for name, some in sessions.items()} == {f"p{n}": 2000 for n in range(4)}
    for some in sessions.values():
        assert sorted(number for number, _ in some) == list(range(2000))
        by_number = [message for _, message in sorted(some)]
        for thread in b"0", b"1":
            mine = [m.split()[0] for m in by_number if m.split(b"-")[1] == thread]
            assert [int(each.split(b"-")[2]) for each in mine] == list(range(1000))


def size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_kill_tears_no_more_than_the_last_frame(tmp_path):
    for number in range(20):
        path = tmp_path / f"{number}.log"
        process = writer(path, "p", 10**9)
        process.stdout.readline()
        # Between a rotation and the next record there is no file at the path.
        wait_until(lambda p=path: size(p) > 3000, 20, "something is written")
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        process.stdout.close()
        for file in tmp_path.glob(f"{number}.log*"):
            found, rest = frames(file.read_bytes())
            numbers = [decoded(each).loggingAuditHeaders.logSeqNumInSession for each in found]
            assert all(b == a + 1 for a, b in pairwise(numbers))
            assert len(rest) < 250
            assert not rest or file == path


def test_a_forked_process_has_a_session_and_a_lock_of_its_own(tmp_path):
    logger = ThriftLogger(tmp_path / "e.log")
    logger.log(b"parent")
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with logger.file.lock:
            held.set()
            let_go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            logger.log(b"child")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    let_go.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    logger.log(b"parent again")
    messages = [decoded(each) for each in frames((tmp_path / "e.log").read_bytes())[0]]
    headers = [message.loggingAuditHeaders for message in messages]
    assert [message.message for message in messages] == [b"parent", b"child", b"parent again"]
    assert [each.logSeqNumInSession for each in headers] == [0, 0, 1]
    assert headers[1].pid == pid


FULL = """
import resource, sys
from singer.client import LogFullError, OnFull, ThriftLogger
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
logger = ThriftLogger(sys.argv[1], on_full=OnFull(sys.argv[2]), max_bytes=None)
told = 0
for number in range(50):
    try:
        logger.log(b"record %d" % number)
    except LogFullError as error:
        assert "free space" in str(error)
        told += 1
print(logger.file.written, logger.file.dropped, told)
"""


@pytest.mark.parametrize("policy", OnFull)
def test_a_full_disk_tears_nothing_and_is_told_or_counted(tmp_path, policy):
    path = tmp_path / "e.log"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), policy.value],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    written, dropped, told = map(int, done.stdout.split())
    assert written + dropped == 50
    assert told == (dropped if policy is OnFull.RAISE else 0)
    assert dropped
    found, rest = frames(path.read_bytes())
    assert (len(found), rest) == (written, b"")


def test_lines(tmp_path):
    logger = TextLogger(tmp_path / "a.log")
    logger.log("é two\nlines")
    logger.log(b"\xff\\")
    logger.log_many(["a", b"b"])
    logger.log_many([])
    assert (tmp_path / "a.log").read_bytes() == "é two\\nlines\n".encode() + b"\xff\\\na\nb\n"


@pytest.mark.parametrize("kind", [TextLogger, ThriftLogger])
def test_python_logging(tmp_path, kind, capsys):
    logger = logging.getLogger(f"app.{kind.__name__}")
    target = kind(tmp_path / "a.log")
    handler = SingerHandler(target)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.warning("disk %d%%", 93)
    content = (tmp_path / "a.log").read_bytes()
    if kind is TextLogger:
        assert content == b"WARNING disk 93%\n"
    else:
        assert decoded(frames(content)[0][0]).message == b"WARNING disk 93%"
    handler.close()
    logger.warning("too late")  # told as logging tells it, and nothing is raised
    assert "Logging error" in capsys.readouterr().err


def test_it_needs_nothing_but_the_standard_library():
    code = (
        "import sys; before = set(sys.modules); import singer.client; "
        "print(sorted(m for m in set(sys.modules) - before if m.split('.')[0] not in "
        "sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert eval(done.stdout) == [
        "singer",
        "singer.base",
        "singer.base.wire",
        "singer.base.wire.log_message",
        "singer.client",
        "singer.client.handler",
        "singer.client.logfile",
        "singer.client.text",
        "singer.client.thrift",
    ]


def test_an_error_of_another_kind_is_not_hidden(tmp_path):
    logger = TextLogger(tmp_path / "a.log", on_full=OnFull.DROP)
    logger.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        logger.log("x")


def test_a_file_that_cannot_be_renamed_is_written_on_and_holds_up_nobody(tmp_path):
    path = tmp_path / "a.log"
    (tmp_path / "a.log.1" / "in the way").mkdir(parents=True)
    logger = TextLogger(path, max_bytes=50, backups=1)
    for number in range(8):
        logger.log(f"record {number} with some text")
    assert len(path.read_bytes().splitlines()) == logger.file.written == 8
    assert logger.file.unrotated > 0
    other = writer(path, "other", 10)
    try:
        assert other.wait(20) == 0
    finally:
        other.kill()
        other.wait(20)
        other.stdout.close()
    (tmp_path / "a.log.1").rename(tmp_path / "elsewhere")
    logger.log("after")
    assert path.read_bytes() == b"after\n"


def test_a_rotation_that_another_process_is_about_is_not_waited_for(tmp_path):
    logger = TextLogger(tmp_path / "a.log", max_bytes=10)
    logger.log("0123456789")
    with (tmp_path / "a.log").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        logger.log("written meanwhile")
    logger.log("after")
    assert (tmp_path / "a.log.1").read_bytes() == b"0123456789\nwritten meanwhile\n"
    assert (tmp_path / "a.log").read_bytes() == b"after\n"


SIGNALS = """
import signal, sys
from singer.client import ThriftLogger
logger = ThriftLogger(sys.argv[1], max_bytes=20_000, backups=10_000)
handled = 0
def handle(*_):
    global handled
    handled += 1
    logger.log(b"handler")
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
written = 0
while handled < 300:
    logger.log(b"main")
    written += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(written + handled)
"""


def test_a_handler_of_a_signal_may_log_what_it_interrupts(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, str(tmp_path / "e.log")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    numbers = []
    for file in tmp_path.iterdir():
        found, rest = frames(file.read_bytes())
        assert not rest
        numbers += [decoded(each).loggingAuditHeaders.logSeqNumInSession for each in found]
    assert sorted(numbers) == list(range(int(done.stdout)))


def test_what_a_killed_process_left_is_a_line_of_its_own(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"whole\ntor")
    TextLogger(path).log("next")
    TextLogger(path).log("last")
    assert path.read_bytes() == b"whole\ntor\nnext\nlast\n"


def test_a_disk_that_is_full_when_the_new_file_is_made_is_full_by_policy(tmp_path, monkeypatch):
    logger = TextLogger(tmp_path / "a.log", max_bytes=10, on_full=OnFull.DROP)
    logger.log("0123456789")

    def no_room(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr("singer.client.logfile.os.open", no_room)
        logger.log("there is no room")
    assert (logger.file.written, logger.file.dropped) == (1, 1)
    logger.log("again")
    assert (tmp_path / "a.log").read_bytes() == b"again\n"


def test_a_file_whose_name_is_not_utf_8_names_the_log(tmp_path):
    logger = ThriftLogger(os.path.join(tmp_path, os.fsdecode(b"\xff.log")))
    logger.log(b"x")
    with open(logger.file.path, "rb") as file:
        assert b"\xff.log" in file.read()


def test_a_text_that_is_no_unicode_is_written_all_the_same(tmp_path):
    TextLogger(tmp_path / "a.log").log("half \ud800 of a pair")
    assert (tmp_path / "a.log").read_bytes() == b"half \\ud800 of a pair\n"
    handler = SingerHandler(ThriftLogger(tmp_path / "e.log"))
    handler.handle(logging.makeLogRecord({"msg": "\ud800 \udcff"}))
    (content,) = frames((tmp_path / "e.log").read_bytes())[0]
    assert decoded(content).message == b"\\ud800 \\udcff"


def test_a_descriptor_that_is_somebody_elses_now_is_left_alone(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("singer.client.logfile.time.monotonic", lambda: now[0])
    logger = TextLogger(tmp_path / "a.log")
    logger.log("before")
    os.close(logger.file._fd)  # as daemons do with all of them
    with (tmp_path / "other").open("wb", buffering=0) as other:
        assert other.fileno() == logger.file._fd
        now[0] += 1
        logger.log("after")
        other.write(b"its own")
    assert (tmp_path / "other").read_bytes() == b"its own"
    assert (tmp_path / "a.log").read_bytes() == b"before\nafter\n"
    os.close(logger.file._fd)
    now[0] += 1
    logger.log("again")
    assert (tmp_path / "a.log").read_bytes() == b"before\nafter\nagain\n"
    logger.close()
    now[0] += 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        logger.log("too late")
