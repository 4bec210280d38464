"""Audit messages: what an agent says of records that were acknowledged.

The format is protobuf's, by the schema in docs/audit.md; numbers of fields are for ever. Written by
hand because it is written on every host all the time, and read by whoever has a protobuf library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from singer.base.errors import InputError

#: What is written; a reader takes messages of up to this version.
VERSION: Final = 1
#: Records per digest, as written.
BLOCK: Final = 128
#: A message ends before it is larger than this: brokers take 1 MiB by default.
MESSAGE_BYTES: Final = 256 << 10

_VARINT: Final = 0
_I64: Final = 1
_LEN: Final = 2
_I32: Final = 5
_FIXED: Final = Struct("<Q")
_LARGEST: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Of which file; `stream`, `destination`, `row` and `first_seen_ns` tell it from all others the
    host ever had. `birth_ns` is 0 where the file system does not tell.
    """

    stream: str = ""
    destination: str = ""
    path: bytes = b""
    device: int = 0
    inode: int = 0
    birth_ns: int = 0
    row: int = 0
    first_seen_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Acknowledged records of one file in one partition, in file order.

    `file` is an index of `Audit.files`; [start, end) are the bytes of the file from the first that
    the first record accounts for to the last one's end; `nbytes` those of the payloads. `offset` is
    the first record's, -1 where offsets are unknown. `runs` are counts of consecutive offsets with
    the gaps between them: count, gap, count, gap, ..., count. There is a digest for each `block`
    records, and one for the rest. `read_ms`: the first was read; `acknowledged_ms`: the last was.
    `displaced`: a request with some of them was refused for one of its records, so they may stand
    behind what follows them in the file.
    """

    file: int = 0
    start: int = 0
    end: int = 0
    records: int = 0
    nbytes: int = 0
    offset: int = 0
    runs: tuple[int, ...] = ()
    block: int = 0
    digests: tuple[int, ...] = ()
    read_ms: int = 0
    acknowledged_ms: int = 0
    displaced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the bytes [start, end) of a file; `unknown`: an earlier life knew."""

    file: int = 0
    start: int = 0
    end: int = 0
    delivered: int = 0
    filtered: int = 0
    sampled: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    records: int = 0
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One message: ranges of one partition of a topic, or accounts.

    `run` is another for each run of the agent's process, `cluster` its own name for the cluster.
    """

    version: int = VERSION
    host: str = ""
    zone: str = ""
    run: str = ""
    written_ms: int = 0
    cluster: str = ""
    files: tuple[File, ...] = ()
    topic: str = ""
    partition: int = 0
    ranges: tuple[Range, ...] = ()
    accounts: tuple[Account, ...] = ()


class Entry(NamedTuple):
    """A range or an account as it is kept until it is published: the parts of a message.

    Of two with the same `number` the later one holds. `cluster` and `key` are the message's, `head`
    is what it says besides its lists; `file` is an item of its files, `content` one of the list
    `field`, as it says of the first file.
    """

    number: int
    cluster: str
    key: bytes
    head: bytes
    file: bytes
    field: int
    content: bytes


def encode(audit: Audit) -> bytes:
    """The value of the Kafka record."""
    return bytes(_encoded(audit, _AUDIT))


@lru_cache(maxsize=4096)
def encode_file(file: File) -> bytes:
    """Of the list of a message. The same files are spoken of again and again."""
    return bytes(_encoded(file, _FILE))


def encode_range(growing: object) -> bytes:
    """Of the list of a message: an object with the fields of a Range, and its lists as they are
    written: `packed_runs` and `packed_digests`.
    """
    return bytes(_encoded(growing, _GROWING_RANGE))


def encode_account(growing: object) -> bytes:
    """Of the list of a message: an object with the fields of an Account."""
    return bytes(_encoded(growing, _ACCOUNT))


def put(out: bytearray, number: int) -> None:
    """Append protobuf's varint of a number of up to 64 bits, as in the list `runs`."""
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def messages(entries: Iterable[Entry], written_ms: int) -> list[tuple[bytes, bytes]]:
    """As few messages as it takes: keys and values of Kafka records.

    What has one key and one head stays in order. Nothing is decoded for it: a protobuf message that
    is written behind another is added to it.
    """
    made: list[_Growing] = []
    growing: dict[tuple[bytes, bytes], _Growing] = {}
    for entry in entries:
        place = (entry.key, entry.head)
        message = growing.get(place)
        if message is None or not message.takes(entry):
            message = growing[place] = _Growing(entry.key, entry.head, written_ms)
            made.append(message)
        message.add(entry)
    return [(message.key, bytes(message.value)) for message in made]


class _Growing:
    """A message that entries are added to."""

    def __init__(self, key: bytes, head: bytes, written_ms: int) -> None:
        self.key = key
        self.value = bytearray(head)
        self.value += _encoded(Audit(version=0, written_ms=written_ms), _AUDIT)
        self._files: dict[bytes, int] = {}

    def takes(self, entry: Entry) -> bool:
        return len(self.value) + len(entry.file) + len(entry.content) <= MESSAGE_BYTES

    def add(self, entry: Entry) -> None:
        number = self._files.get(entry.file)
        if number is None:
            number = self._files[entry.file] = len(self._files)
            self._item(FILES, entry.file)
        content = bytearray(entry.content)
        if number:
            content.append(_FILE_TAG)
            put(content, number)
        self._item(entry.field, content)

    def _item(self, field: int, content: bytes | bytearray) -> None:
        self.value.append(field << 3 | _LEN)
        put(self.value, len(content))
        self.value += content


def decode(value: bytes | memoryview) -> Audit:
    """What a record says. Raises InputError for what is no such message, or of a later version."""
    audit: Audit = _decoded(memoryview(value), Audit, _AUDIT)
    if not 1 <= audit.version <= VERSION:
        raise InputError(
            f"read audit message: its version is {audit.version}, known is up to {VERSION};"
            " use a newer singer"
        )
    most = len(audit.files)
    entries: tuple[Range | Account, ...] = (*audit.ranges, *audit.accounts)
    for entry in entries:
        if entry.file >= most or entry.end < entry.start:
            raise InputError("read audit message: it speaks of a file that it does not name")
    if any(_contradictory(each) for each in audit.ranges):
        raise InputError("read audit message: a range contradicts itself")
    return audit


def _contradictory(each: Range) -> bool:
    if each.offset < 0:
        return bool(each.runs)
    counts = each.runs[::2]
    blocks = -(-each.records // each.block) if each.block else -1
    return (
        len(each.runs) % 2 == 0
        or not all(counts)
        or sum(counts) != each.records
        or each.offset + sum(each.runs) > _LARGEST >> 1
        or len(each.digests) != blocks
    )


# --- the kinds of fields ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of a field are read and written; `wire` is protobuf's type of it.

    `write` makes a number of it for a varint, else bytes.
    """

    wire: int
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    repeated: bool = False


def _packed(numbers: Sequence[int]) -> bytearray:
    out = bytearray()
    for number in numbers:
        put(out, number)
    return out


def _varints(data: memoryview) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > _LARGEST:
                raise InputError("read audit message: a number has more than 64 bits")
            yield number
            number = shift = 0
        elif (shift := shift + 7) > 63:
            raise InputError("read audit message: a number has more than 64 bits")
    if shift:
        raise InputError("read audit message: it is cut off")


def _text(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError("read audit message: a name in it is no text") from error


def _packed_fixed(numbers: Sequence[int]) -> bytes:
    return b"".join(map(_FIXED.pack, numbers))


def _fixed(data: memoryview) -> tuple[int, ...]:
    if len(data) % 8:
        raise InputError("read audit message: it is cut off")
    return tuple(number for (number,) in _FIXED.iter_unpack(data))


def _uint(number: int) -> int:
    if number > _LARGEST >> 1:
        raise InputError("read audit message: a number in it is too large")
    return number


_UINT: Final = _Kind(_VARINT, int, _uint)
#: Devices and inodes of some file systems use all 64 bits.
_BITS: Final = _Kind(_VARINT, int, int)
_SINT: Final = _Kind(
    _VARINT,
    lambda number: (number << 1) ^ (number >> 63),
    lambda number: (number >> 1) ^ -(number & 1),
)
_FLAG: Final = _Kind(_VARINT, int, bool)
_TEXT: Final = _Kind(_LEN, lambda text: text.encode("utf-8", "replace"), _text)
_RAW: Final = _Kind(_LEN, bytes, bytes)
_UINTS: Final = _Kind(_LEN, _packed, lambda data: tuple(_varints(data)))
_FIXEDS: Final = _Kind(_LEN, _packed_fixed, _fixed)

_Fields = dict[int, tuple[str, _Kind]]


def _many(made: type, fields: _Fields) -> _Kind:
    return _Kind(
        _LEN,
        lambda value: _encoded(value, fields),
        lambda data: _decoded(data, made, fields),
        repeated=True,
    )


_FILE: Final[_Fields] = {
    1: ("stream", _TEXT),
    2: ("destination", _TEXT),
    3: ("path", _RAW),
    4: ("device", _BITS),
    5: ("inode", _BITS),
    6: ("birth_ns", _SINT),
    7: ("row", _UINT),
    8: ("first_seen_ns", _SINT),
}
_RANGE: Final[_Fields] = {
    1: ("file", _UINT),
    2: ("start", _UINT),
    3: ("end", _UINT),
    4: ("records", _UINT),
    5: ("nbytes", _UINT),
    6: ("offset", _SINT),
    7: ("runs", _UINTS),
    8: ("block", _UINT),
    9: ("digests", _FIXEDS),
    10: ("read_ms", _SINT),
    11: ("acknowledged_ms", _SINT),
    12: ("displaced", _FLAG),
}
_ACCOUNT: Final[_Fields] = {
    1: ("file", _UINT),
    2: ("start", _UINT),
    3: ("end", _UINT),
    4: ("delivered", _UINT),
    5: ("filtered", _UINT),
    6: ("sampled", _UINT),
    7: ("dead_lettered", _UINT),
    8: ("skipped", _UINT),
    9: ("records", _UINT),
    10: ("unknown", _FLAG),
}


#: What is written of a range that grows: its lists grow as they are written.
_GROWING_RANGE: Final[_Fields] = {
    **_RANGE,
    7: ("packed_runs", _RAW),
    9: ("packed_digests", _RAW),
}
#: Of Range and of Account: the field `file`.
_FILE_TAG: Final = 1 << 3 | _VARINT
#: Numbers of the lists of a message.
FILES: Final = 7
RANGES: Final = 10
ACCOUNTS: Final = 11
_AUDIT: Final[_Fields] = {
    1: ("version", _UINT),
    2: ("host", _TEXT),
    3: ("zone", _TEXT),
    4: ("run", _TEXT),
    5: ("written_ms", _SINT),
    6: ("cluster", _TEXT),
    FILES: ("files", _many(File, _FILE)),
    8: ("topic", _TEXT),
    9: ("partition", _UINT),
    RANGES: ("ranges", _many(Range, _RANGE)),
    ACCOUNTS: ("accounts", _many(Account, _ACCOUNT)),
}


def _encoded(value: object, fields: _Fields) -> bytearray:
    out = bytearray()
    for number, (name, kind) in fields.items():
        content = getattr(value, name)
        if not content:  # what is 0, empty or False is not written
            continue
        tag = number << 3 | kind.wire  # of one byte: no number is above 15
        if kind.wire == _VARINT:
            out.append(tag)
            put(out, kind.write(content))
            continue
        for each in content if kind.repeated else (content,):
            data = kind.write(each)
            out.append(tag)
            put(out, len(data))
            out += data
    return out


def _decoded(data: memoryview, made: type, fields: _Fields) -> Any:
    values: dict[str, Any] = {"version": 0} if made is Audit else {}
    lists: dict[str, list[Any]] = {}
    for number, wire, content in _contents(data):
        name, kind = fields.get(number, ("", None))
        if kind is None:
            continue
        if wire != kind.wire:
            raise InputError(f"read audit message: field {number} has another type")
        if kind.repeated:
            lists.setdefault(name, []).append(kind.read(content))
        else:
            values[name] = kind.read(content)
    return made(**values, **{name: tuple(many) for name, many in lists.items()})


def _contents(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, content) of all fields: a number for varints, else bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint_at(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            content, at = _varint_at(data, at)
            yield number, wire, content
            continue
        if wire == _LEN:
            size, at = _varint_at(data, at)
        elif wire in (_I64, _I32):
            size = 8 if wire == _I64 else 4
        else:
            raise InputError(f"read audit message: field {number} has a type that is not known")
        if size > len(data) - at:
            raise InputError("read audit message: it is cut off")
        yield number, wire, data[at : at + size]
        at += size


def _varint_at(data: memoryview, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    end = at
    while end < len(data) and data[end] >= 0x80:
        end += 1
    for number in _varints(data[at : end + 1]):
        return number, end + 1
    raise InputError("read audit message: it is cut off")
