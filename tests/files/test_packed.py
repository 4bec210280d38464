"""Compressed files as they are found: whole, half written, damaged, hostile. All on real files."""

from __future__ import annotations

import bz2
import lzma
import os
import random
import shutil
import subprocess
import sys
import threading
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from singer.base.errors import ReadError
from singer.base.position import FINGERPRINT_BYTES, NO_MARK, TAIL_BYTES, Mark
from singer.files.packed import Known, Packed, PackedSource, examine
from singer.files.siblings import Compression
from singer.files.source import WINDOW_BYTES, Outcome
from tests.files.archives import COMPRESS, available, available_before_error, lines
from tests.support.waiting import wait_until

EACH = pytest.mark.parametrize("compression", list(Compression))
EACH_FORMAT = st.sampled_from(list(Compression))
LENIENT = (Compression.GZIP, Compression.BZIP2)
STRICT = (Compression.ZSTD, Compression.XZ)

CONTENT = lines(9000, seed=1)  # about 400 kB: several zstd blocks, more than one step
SMALL = {
    each: COMPRESS[each](lines(20)) + COMPRESS[each](lines(15, seed=2)) for each in Compression
}
SMALL_CONTENT = lines(20) + lines(15, seed=2)


class Archive:
    """A file that is written here and read through a descriptor of its own."""

    def __init__(self, path):
        self.path = str(path)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CREAT)

    def write(self, data, at=0):
        """Put `data` at `at`; the file ends there unless it was longer."""
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(data)

    def replace(self, data):
        os.truncate(self.path, 0)
        self.write(data)

    @property
    def size(self):
        return os.fstat(self.fd).st_size


@pytest.fixture
def archive(tmp_path):
    made = Archive(tmp_path / "archive")
    yield made
    os.close(made.fd)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """For hypothesis, which runs its examples inside one test."""
    made = Archive(tmp_path_factory.mktemp("scratch") / "archive")
    yield made
    os.close(made.fd)


def read(packed, offset=0, size=100_000):
    """Everything there is for now from `offset` on, `size` bytes at a time."""
    view, content = memoryview(bytearray(size)), b""
    while count := packed.read_at(offset + len(content), view):
        content += view[:count]
    return content


# --- whole files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "compression"),
    [
        ("gzip -1", Compression.GZIP),
        ("gzip -9", Compression.GZIP),
        ("bzip2", Compression.BZIP2),
        ("xz -0", Compression.XZ),
        ("xz -6 -T2 --block-size=65536", Compression.XZ),
        ("zstd -1", Compression.ZSTD),
        ("zstd -19 --no-check", Compression.ZSTD),
        ("zstd --long=27", Compression.ZSTD),
    ],
)
def test_what_the_tools_made(archive, command, compression):
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    made = subprocess.run([*command.split(), "-c"], input=CONTENT, capture_output=True, check=True)
    archive.write(made.stdout)
    packed = Packed(archive.fd, compression)
    assert read(packed) == CONTENT
    assert (packed.length, packed.reached, packed.fault) == (len(CONTENT), len(CONTENT), None)
    assert packed.head == CONTENT[:FINGERPRINT_BYTES]
    assert packed.seen == archive.size


@EACH
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_members_one_behind_the_other(archive, compression, size):
    contents = [lines(3), b"", lines(1, seed=1), lines(500, seed=2)]
    archive.write(b"".join(COMPRESS[compression](content) for content in contents))
    packed = Packed(archive.fd, compression)
    assert read(packed, size=size) == b"".join(contents)
    assert packed.length == sum(map(len, contents))


@EACH
def test_a_member_for_each_line(archive, compression):
    content = lines(3000)
    archive.write(b"".join(map(COMPRESS[compression], content.splitlines(keepends=True))))
    packed = Packed(archive.fd, compression)
    assert read(packed) == content
    assert packed.length == len(content)


@EACH
def test_a_view_is_filled_while_there_is_content(archive, compression):
    archive.write(COMPRESS[compression](CONTENT))
    packed, view = Packed(archive.fd, compression), memoryview(bytearray(300_000))
    assert packed.read_at(0, view) == 300_000
    assert packed.length is None
    assert packed.read_at(300_000, view) == len(CONTENT) - 300_000


@EACH
@pytest.mark.parametrize("padding", [1, 4, 300_000])
def test_zeros_behind_are_padding_and_members_may_follow(archive, compression, padding):
    archive.write(SMALL[compression] + bytes(padding))
    packed = Packed(archive.fd, compression)
    assert read(packed) == SMALL_CONTENT
    assert packed.length == len(SMALL_CONTENT)
    archive.write(SMALL[compression], at=archive.size)
    assert read(packed, len(SMALL_CONTENT)) == SMALL_CONTENT
    assert packed.length == 2 * len(SMALL_CONTENT)


@EACH
def test_any_offset_can_be_read_from(archive, compression):
    archive.write(COMPRESS[compression](CONTENT))
    packed, view = Packed(archive.fd, compression), memoryview(bytearray(500))
    for offset in (0, 399_000, 7, 7, 300_000, 262_144, 100, len(CONTENT) - 1):
        count = packed.read_at(offset, view)
        assert bytes(view[:count]) == CONTENT[offset : offset + 500]
    assert packed.reached >= len(CONTENT) - 1
    assert packed.read_at(len(CONTENT), view) == 0
    assert packed.length == len(CONTENT)
    assert packed.read_at(10 * len(CONTENT), view) == 0
    packed.read_at(0, view)
    assert (packed.length, packed.reached) == (len(CONTENT), len(CONTENT))


# --- files that are still being written -----------------------------------------------------------


@EACH
def test_every_beginning_gives_what_it_holds_and_then_the_rest(archive, compression):
    whole = SMALL[compression]
    for cut in range(len(whole)):
        size = 17 if cut % 2 else WINDOW_BYTES
        archive.replace(whole[:cut])
        packed = Packed(archive.fd, compression)
        begun = read(packed, size=size)
        assert begun == available(compression, whole[:cut])
        assert packed.fault is None
        assert packed.seen == cut
        # What was used is not looked at again.
        archive.write(b"\xaa" * cut)
        archive.write(whole[cut:], at=cut)
        assert begun + read(packed, len(begun), size) == SMALL_CONTENT
        assert (packed.length, packed.fault) == (len(SMALL_CONTENT), None)


@EACH
def test_a_file_is_complete_only_where_a_member_ends(archive, compression):
    whole, first = SMALL[compression], len(COMPRESS[compression](lines(20)))
    packed = Packed(archive.fd, compression)
    complete = []
    for cut in range(len(whole) + 1):
        archive.write(whole[:cut])
        read(packed, packed.reached)
        if packed.length is not None:
            complete.append((cut, packed.length))
    assert complete == [(first, len(lines(20))), (len(whole), len(SMALL_CONTENT))]


@EACH
def test_a_complete_file_is_not_while_a_member_is_added(archive, compression):
    archive.write(SMALL[compression])
    packed = Packed(archive.fd, compression)
    read(packed)
    assert packed.length == len(SMALL_CONTENT)
    more = COMPRESS[compression](CONTENT)
    archive.write(more[:-1], at=archive.size)
    view = memoryview(bytearray(10))
    assert packed.read_at(len(SMALL_CONTENT), view) == 10
    assert packed.length is None
    content = bytes(view) + read(packed, len(SMALL_CONTENT) + 10)
    assert packed.length is None
    archive.write(more[-1:], at=archive.size)
    content += read(packed, len(SMALL_CONTENT) + len(content))
    assert content == CONTENT
    assert packed.length == len(SMALL_CONTENT) + len(CONTENT)


def test_nothing_is_kept_back_when_a_zstd_file_ends_with_a_block(archive):
    # As a logger leaves it that flushes: the end of the file is the end of a block.
    compressor = zstandard.ZstdCompressor().compressobj()
    packed, offset = Packed(archive.fd, Compression.ZSTD), 0
    for begin in range(0, len(CONTENT), 300_000):
        part = CONTENT[begin : begin + 300_000]
        archive.write(compressor.compress(part) + compressor.flush(1), at=archive.size)
        assert read(packed, offset, size=1000) == part
        offset += len(part)
    assert packed.length is None


@EACH
def test_an_empty_file_is_still_being_written(archive, compression):
    packed = Packed(archive.fd, compression)
    assert read(packed) == b""
    assert (packed.length, packed.fault, packed.seen) == (None, None, 0)


# --- files that are not what they should be -------------------------------------------------------


@EACH
@pytest.mark.parametrize("data", [b"x", b"plain text\n" * 9, bytes(100)])
def test_a_name_that_lies_is_a_fault(archive, compression, data):
    archive.write(data)
    packed = Packed(archive.fd, compression)
    assert read(packed) == b""
    assert "although its name says so; rename it" in packed.fault
    assert (packed.length, packed.reached, packed.settled) == (None, 0, True)


@pytest.mark.parametrize("compression", LENIENT)
@pytest.mark.parametrize("garbage", [b"x", b"\x1fx", b"not a member" * 99])
def test_garbage_behind_is_ignored_as_the_tool_does(archive, compression, garbage):
    archive.write(SMALL[compression] + garbage)
    packed = Packed(archive.fd, compression)
    assert read(packed) == SMALL_CONTENT
    assert (packed.length, packed.fault, packed.settled) == (len(SMALL_CONTENT), None, True)
    archive.write(SMALL[compression], at=archive.size)
    assert read(packed, len(SMALL_CONTENT)) == b""
    assert packed.length == len(SMALL_CONTENT)


@pytest.mark.parametrize("compression", STRICT)
def test_garbage_behind_is_a_fault_as_the_tool_says(archive, compression):
    archive.write(SMALL[compression] + b"garbage")
    packed = Packed(archive.fd, compression)
    assert read(packed) == SMALL_CONTENT
    assert f"begins at byte {len(SMALL[compression])}" in packed.fault
    assert packed.length is None


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.BZIP2, Compression.ZSTD])
def test_a_wrong_checksum_is_a_fault_behind_all_content(archive, compression):
    # The last byte: of gzip's length, of bzip2's checksum, of zstd's.
    data = bytearray(COMPRESS[compression](CONTENT))
    data[-2 if compression is Compression.BZIP2 else -1] ^= 0x10
    archive.write(data)
    packed = Packed(archive.fd, compression)
    assert read(packed) == CONTENT
    assert packed.fault.startswith(f"corrupt {compression.name.lower()} data before byte")
    assert packed.reached == len(CONTENT)


@EACH
@pytest.mark.parametrize("place", [0.3, 0.99])
def test_all_that_can_be_had_comes_before_the_fault(archive, compression, place):
    data = bytearray(COMPRESS[compression](CONTENT))
    at = int(len(data) * place)
    data[at : at + 8] = b"\xff" * 8
    archive.write(data)
    packed = Packed(archive.fd, compression)
    content = read(packed, size=WINDOW_BYTES)
    assert content == available_before_error(compression, bytes(data))
    assert packed.fault is not None
    assert packed.reached == len(content)
    # It stays so, from wherever it is read, and however the file grows.
    archive.write(SMALL[compression], at=archive.size)
    assert read(packed, len(content)) == b""
    assert read(packed, 5, 1000) == content[5:]
    assert (
        read(Packed(archive.fd, compression), len(content) // 2, 333)
        == (content[len(content) // 2 :])
    )


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.XZ])
@pytest.mark.parametrize("seen", [1000, 12_345, 50_000])
def test_all_that_can_be_had_comes_when_the_file_grew_meanwhile(archive, compression, seen):
    data = bytearray(COMPRESS[compression](CONTENT))
    data[seen + 500 : seen + 508] = b"\xff" * 8
    packed = Packed(archive.fd, compression)
    archive.write(data[:seen])
    content = read(packed)
    archive.write(data)
    content += read(packed, len(content))
    assert content == available_before_error(compression, bytes(data))
    assert packed.fault is not None


@settings(max_examples=200, deadline=None)
@given(
    compression=EACH_FORMAT,
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
    size=st.sampled_from([1, 50, 1 << 20]),
)
def test_damage_anywhere(scratch, compression, damage, size):
    data = bytearray(SMALL[compression])
    for place, change in damage:
        data[int(place * (len(data) - 1))] ^= change
    first = next((n for n, byte in enumerate(data) if byte != SMALL[compression][n]), len(data))
    scratch.replace(bytes(data))
    packed = Packed(scratch.fd, compression)
    content = read(packed, size=size)
    before = available(compression, SMALL[compression][:first])
    assert content[: len(before)] == before
    assert packed.reached == len(content)
    if packed.length is not None:  # all checksums agreed; a lenient format may end too early
        assert content == SMALL_CONTENT or (compression in LENIENT and content == lines(20))
    assert read(packed) == content  # once more from the beginning


@settings(max_examples=200, deadline=None)
@given(compression=EACH_FORMAT, data=st.binary(max_size=300), magic=st.booleans())
def test_any_bytes_at_all(scratch, compression, data, magic):
    scratch.replace((SMALL[compression][:9] if magic else b"") + data)
    packed = Packed(scratch.fd, compression)
    assert len(read(packed)) == packed.reached


def test_an_xz_dictionary_is_limited(archive):
    data = bytearray(lzma.compress(CONTENT))
    header = 12  # of the stream; the block's: size, flags, filter, size of properties, dictionary
    assert data[header + 2 : header + 4] == b"\x21\x01"
    data[header + 4] = 38  # 2 GiB
    end = header + 4 * (data[header] + 1) - 4
    data[end : end + 4] = zlib.crc32(data[header:end]).to_bytes(4, "little")
    archive.write(data)
    packed = Packed(archive.fd, Compression.XZ)
    assert read(packed) == b""
    assert packed.fault.startswith("needs more than 128 MiB of memory")


# --- what else may happen -------------------------------------------------------------------------


@EACH
def test_a_file_that_cannot_be_read_raises(tmp_path, compression):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(ReadError, match=f"read '{tmp_path}': is a directory"):
            Packed(fd, compression).read_at(0, memoryview(bytearray(10)))
    finally:
        os.close(fd)


_MEASURE = """
import resource, sys
from singer.files.packed import Packed
from singer.files.siblings import Compression

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

packed = Packed(0, Compression(sys.argv[1]))
view = memoryview(bytearray(1 << 20))
view[:] = bytes(1 << 20)
packed.read_at(0, view[:1])
before, length = peak(), 0
while count := packed.read_at(length, view):
    length += count
print(length, peak() - before, packed.length, packed.fault)
"""


def bomb(compression, length):
    """`length` zeros in one member."""
    if compression is Compression.GZIP:
        compressor = zlib.compressobj(1, wbits=31)
    elif compression is Compression.BZIP2:
        compressor = bz2.BZ2Compressor(1)
    elif compression is Compression.XZ:
        compressor = lzma.LZMACompressor(preset=0)
    else:
        compressor = zstandard.ZstdCompressor(1).compressobj()
    zeros = bytes(1 << 20)
    return b"".join(compressor.compress(zeros) for _ in range(length >> 20)) + compressor.flush()


@EACH
@pytest.mark.parametrize(
    "length", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.long)], ids=["64M", "1G"]
)
def test_a_bomb_takes_no_memory(archive, compression, length):
    archive.write(bomb(compression, length))
    assert archive.size < length / 200
    with open(archive.path, "rb") as file:
        ran = subprocess.run(
            [sys.executable, "-c", _MEASURE, compression.value],
            stdin=file,
            capture_output=True,
            check=True,
            text=True,
        )
    produced, grown, told, fault = ran.stdout.split()
    assert (int(produced), told, fault) == (length, str(length), "None")
    assert int(grown) < 8 << 20


def test_an_abandoned_read_ends_soon(archive):
    archive.write(bomb(Compression.ZSTD, 64 << 20) * 1000)  # a minute's work
    packed = Packed(archive.fd, Compression.ZSTD)
    reader = threading.Thread(
        target=packed.read_at, args=(1 << 40, memoryview(bytearray(1))), daemon=True
    )
    reader.start()
    wait_until(lambda: packed.reached, 10, "the read has begun")
    packed.abandon()
    reader.join(10)
    assert not reader.is_alive()
    assert packed.length is None


# --- the cursor -----------------------------------------------------------------------------------


def source_of(archive, compression, offset=0, tail=b""):
    return PackedSource(archive.fd, compression, offset, tail)


def drain(source, want=100_000):
    """Read and consume to the end for now."""
    content = b""
    while source.read_cold(want) is Outcome.GREW:
        content += source.window.tobytes()
        source.consume(source.held, source.held)
    return content


@EACH
def test_a_cursor_shows_windows_of_the_content(archive, compression):
    archive.write(COMPRESS[compression](CONTENT))
    source = source_of(archive, compression)
    assert source.read(1000, nowait=True) is Outcome.COLD
    assert source.read(1000, nowait=False) is Outcome.GREW
    assert source.window.tobytes() == CONTENT[:1000]
    source.consume(900, 1000)
    assert (source.offset, source.read_offset, source.held, source.scanned) == (900, 1000, 100, 100)
    assert source.tail == CONTENT[900 - TAIL_BYTES : 900]
    assert source.read_cold(50) is Outcome.GREW
    assert source.window.tobytes() == CONTENT[900:1050]
    source.reset(500, CONTENT[244:500])
    assert drain(source) == CONTENT[500:]
    assert source.offset == len(CONTENT)
    assert source.tail == CONTENT[-TAIL_BYTES:]


@EACH
def test_a_cursor_may_begin_anywhere(archive, compression):
    archive.write(COMPRESS[compression](CONTENT))
    assert drain(source_of(archive, compression, 123_456, b"")) == CONTENT[123_456:]
    assert drain(source_of(archive, compression, len(CONTENT) + 5, b"")) == b""


@EACH
def test_a_cursor_knows_whether_there_may_be_more(archive, compression):
    whole = SMALL[compression]
    archive.write(whole[:-1])
    source = source_of(archive, compression)
    assert source.unread(archive.size) >= WINDOW_BYTES
    assert not source.complete
    content = drain(source)
    assert source.unread(archive.size) == 0
    assert not source.complete
    assert source.read(0, nowait=True) is Outcome.END
    archive.write(whole)
    assert source.unread(archive.size) >= WINDOW_BYTES
    content += drain(source)
    assert content == SMALL_CONTENT
    assert source.unread(archive.size) == 0
    assert source.complete
    assert source.unread(archive.size - 1) < 0  # truncated
    source.reset(10, SMALL_CONTENT[:10])
    assert source.unread(archive.size) >= WINDOW_BYTES
    assert drain(source) == SMALL_CONTENT[10:]
    archive.write(whole, at=len(whole))
    assert source.unread(archive.size) >= WINDOW_BYTES
    assert drain(source) == SMALL_CONTENT
    assert source.complete


@EACH
def test_a_cursor_ends_at_a_fault(archive, compression):
    data = bytearray(COMPRESS[compression](CONTENT))
    data[len(data) // 2 :] = random.Random(1).randbytes(len(data) - len(data) // 2)
    archive.write(data)
    source = source_of(archive, compression)
    assert source.fault is None
    content = drain(source)
    assert content == available_before_error(compression, bytes(data))
    assert source.fault.startswith("corrupt")
    assert source.complete
    for size in (archive.size, archive.size + 1):
        assert source.unread(size) == 0
    source.reset(0, b"")
    assert source.unread(archive.size) > 0
    assert drain(source) == content


def test_a_cursor_that_met_garbage_expects_no_more_of_a_growing_file(archive):
    archive.write(SMALL[Compression.GZIP] + b"garbage")
    source = source_of(archive, Compression.GZIP)
    assert drain(source) == SMALL_CONTENT
    assert source.unread(archive.size + 100) == 0
    assert source.complete


@EACH
def test_a_fork_reads_on_by_itself(archive, compression):
    archive.write(COMPRESS[compression](CONTENT))
    source = source_of(archive, compression)
    source.read_cold(1000)
    source.consume(400, 1000)
    source.read_cold(5000)  # nobody waits for this one any more
    fork = source.fork(600)
    assert isinstance(fork, PackedSource)
    assert fork.window.tobytes() == CONTENT[400:1000]
    assert (fork.offset, fork.held, fork.scanned) == (400, 600, 600)
    assert source.read_cold(5000) is Outcome.END  # and this one has nothing to say any more
    assert drain(fork) == CONTENT[400:]


# --- recognising files ----------------------------------------------------------------------------


def known(content, offset, *, fingerprint=FINGERPRINT_BYTES, tail=TAIL_BYTES):
    return Known(
        Mark.of(content[: min(fingerprint, offset)]),
        offset,
        Mark.of(content[max(0, offset - tail) : offset]),
    )


@EACH
def test_marks_agree_with_their_content_only(archive, compression):
    archive.write(COMPRESS[compression](CONTENT))
    other = lines(9000, seed=3)
    length = len(CONTENT)
    offsets = (300_000, 0, 1, 200, 262_144, 262_145, 262_400, 300_000, 300_100, length)
    marks = [known(CONTENT, offset) for offset in offsets]
    wrong = [
        known(other, 5000),  # another content
        Known(Mark.of(CONTENT[:1024]), 5000, Mark.of(other[4744:5000])),  # another tail
        Known(Mark.of(other[:1024]), 5000, Mark.of(CONTENT[4744:5000])),  # another beginning
        Known(Mark.of(CONTENT[:1024]), length + 1, NO_MARK),  # longer
        Known(NO_MARK, 100, Mark.of(b"x" * 101)),  # a tail that reaches before the beginning
    ]
    found = examine(archive.fd, compression, marks + wrong, whole=True)
    expected = tuple(CONTENT[max(0, offset - TAIL_BYTES) : offset] for offset in offsets)
    assert found.tails == expected + (None,) * len(wrong)
    assert (found.length, found.fault) == (length, None)
    assert found.head == CONTENT[:FINGERPRINT_BYTES]


@settings(max_examples=60, deadline=None)
@given(
    compression=EACH_FORMAT,
    length=st.integers(0, 3000),
    offsets=st.lists(st.integers(0, 3000), max_size=5),
    tail=st.integers(0, TAIL_BYTES),
    cut=st.booleans(),
)
def test_marks_of_any_offset(scratch, *, compression, length, offsets, tail, cut):
    content = lines(80)[:length]
    data = COMPRESS[compression](content)
    data = data[: len(data) * 3 // 4] if cut else data
    there = available(compression, data)
    scratch.replace(data)
    marks = [known(lines(80), offset, tail=tail) for offset in offsets]
    found = examine(scratch.fd, compression, marks, whole=True)
    assert found.tails == tuple(
        there[max(0, offset - TAIL_BYTES) : offset] if offset <= len(there) else None
        for offset in offsets
    )
    assert found.head == there[:FINGERPRINT_BYTES]
    assert found.length == (None if cut else len(content))


@EACH
def test_an_examination_goes_no_further_than_it_must(archive, compression):
    data = bytearray(COMPRESS[compression](lines(20_000)))  # four steps
    data[-len(data) // 10 :] = random.Random(1).randbytes(len(data) // 10)
    archive.write(data)
    near, far = known(lines(20_000), 300_000), Known(NO_MARK, 1 << 40, NO_MARK)
    assert examine(archive.fd, compression, [near], whole=False).fault is None
    strange = Known(Mark.of(b"other"), 1 << 40, NO_MARK)
    assert examine(archive.fd, compression, [near, strange], whole=False).fault is None
    for found in (
        examine(archive.fd, compression, [near, far], whole=False),
        examine(archive.fd, compression, [near], whole=True),
    ):
        assert found.fault.startswith("corrupt")
        assert found.tails[0] is not None
        assert found.length is None


@EACH
def test_an_examination_of_what_is_no_archive(archive, compression):
    archive.write(b"plain text")
    marks = [known(b"plain text", 5), known(b"", 0)]
    found = examine(archive.fd, compression, marks, whole=True)
    assert found.tails == (None, b"")
    assert "although its name says so" in found.fault
    assert (found.length, found.head) == (None, b"")
