"""Fields of protobuf messages: a key and a time, by the numbers on the way to them.

A bounded scan of one message that trusts no length: all bytes it looks at lie in the message. The
descriptors come from a file, which blocks; messages are never parsed with them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from singer.base.config import ProtobufReaderConfig, TimeUnit
from singer.base.errors import InputError
from singer.base.suggestion import suggestion

#: Numbers of fields, the outermost first.
FieldPath: TypeAlias = tuple[int, ...]

_VARINT: Final = 0
_I64: Final = 1
_LEN: Final = 2
_I32: Final = 5
_TIMESTAMP: Final = "google.protobuf.Timestamp"
_TEXTS: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_VARINTS: Final = (
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_UINT32,
)
_FIXED: Final = (FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64)
_PER_SECOND: Final = {TimeUnit.S: 1, TimeUnit.MS: 1000, TimeUnit.US: 10**6, TimeUnit.NS: 10**9}
#: Later ones are none.
_LATEST_MS: Final = 1 << 53


class Fields:
    """Finds the key and the time of messages. Raises InputError if the configuration is wrong."""

    __slots__ = ("_key", "_per_second", "_stamp", "_time")

    def __init__(self, config: ProtobufReaderConfig) -> None:
        faults, self._key, self._time, self._stamp = _look(config)
        if faults:
            said = "; ".join(f"{key}: {message}" for key, message in faults.items())
            raise InputError(f"reader protobuf: {said}")
        self._per_second = _PER_SECOND[config.timestamp_unit]

    @property
    def wanted(self) -> bool:
        """Whether there is anything to find."""
        return self._key is not None or self._time is not None

    def key(self, message: bytes) -> tuple[int, int]:
        """Index and length of the key, or -1."""
        found = None if self._key is None else _find(message, self._key)
        if found is None or found[0] != _LEN:
            return -1, -1
        return found[1], found[2] - found[1]

    def time_ms(self, message: bytes) -> int:
        """Milliseconds since 1970, or -1."""
        if self._time is None:
            return -1
        if self._stamp:
            seconds = _number(message, (*self._time, 1))
            nanos = _number(message, (*self._time, 2)) or 0
            time = None if seconds is None else seconds * 1000 + nanos // 1_000_000
        else:
            number = _number(message, self._time)
            time = None if number is None else number * 1000 // self._per_second
        return time if time is not None and 0 <= time < _LATEST_MS else -1


def faults(config: ProtobufReaderConfig) -> dict[str, str]:
    """What is wrong with the configuration, by key."""
    return _look(config)[0]


def _look(
    config: ProtobufReaderConfig,
) -> tuple[dict[str, str], FieldPath | None, FieldPath | None, bool]:
    """Faults by key, the paths of key and time, and whether that is a `Timestamp`."""
    if config.descriptor_set is None:
        given = [key for key in ("message", "key", "timestamp") if getattr(config, key) is not None]
        return (
            dict.fromkeys(given, "needs a descriptor_set, which says what it is"),
            None,
            None,
            False,
        )
    try:
        described = _message(config)
    except InputError as error:
        return {"descriptor_set": str(error)}, None, None, False
    paths: dict[str, FieldPath] = {}
    faults: dict[str, str] = {}
    stamp = False
    for key, path in ("key", config.key), ("timestamp", config.timestamp):
        if path is None:
            continue
        try:
            paths[key], field = _path(path, described)
        except InputError as error:
            faults[key] = str(error)
            continue
        inner = field.message_type
        stamp = inner is not None and inner.full_name == _TIMESTAMP
        if key == "key" and field.type not in _TEXTS:
            faults[key] = f"{field.name} must be string or bytes"
        elif key == "timestamp" and not stamp and field.type not in (*_VARINTS, *_FIXED):
            faults[key] = f"{field.name} must be a whole number or a {_TIMESTAMP}"
    return faults, paths.get("key"), paths.get("timestamp"), stamp


def _message(config: ProtobufReaderConfig) -> Descriptor:
    """The description of the messages. Raises InputError."""
    described = descriptor_pb2.FileDescriptorSet()
    try:
        with open(str(config.descriptor_set), "rb") as file:
            described.ParseFromString(file.read())
    except (OSError, DecodeError) as error:
        raise InputError(f"cannot be read: {error}") from error
    pool = descriptor_pool.DescriptorPool()
    names: list[str] = []
    try:
        for each in described.file:
            pool.Add(each)
            prefix = f"{each.package}." if each.package else ""
            names += [prefix + message.name for message in each.message_type]
        if config.message is None:
            raise InputError(f"message says which it is: {', '.join(sorted(names))}")
        found: Descriptor = pool.FindMessageTypeByName(config.message)
    except KeyError as error:
        raise InputError(
            f"has no message {config.message}{suggestion(config.message or '', names)}"
        ) from error
    except TypeError as error:
        raise InputError(f"is not whole ({error}): make it with --include_imports") from error
    return found


def _path(path: str, message: Descriptor) -> tuple[FieldPath, FieldDescriptor]:
    numbers: list[int] = []
    field: FieldDescriptor | None = None
    for name in path.split("."):
        if field is not None:
            if field.message_type is None:
                raise InputError(f"{field.name} is no message, so there is nothing below it")
            message = field.message_type
        field = message.fields_by_name.get(name)
        if field is None:
            known = list(message.fields_by_name)
            raise InputError(f"there is no field {name}{suggestion(name, known)}")
        numbers.append(field.number)
    assert field is not None
    return tuple(numbers), field


def _find(message: bytes, path: FieldPath) -> tuple[int, int, int] | None:
    """Wire type, index and end of the last value at `path`; None: it is not there, or torn."""
    at, end = 0, len(message)
    for depth, wanted in enumerate(path):
        found = None
        while at < end:
            tag, at = _varint(message, at, end)
            if at < 0:
                return None
            kind, number = tag & 7, tag >> 3
            if kind == _VARINT:
                _, stop = _varint(message, at, end)
                start = at
            elif kind == _LEN:
                length, start = _varint(message, at, end)
                stop = start + length if start >= 0 else -1
            elif kind in (_I64, _I32):
                start, stop = at, at + (8 if kind == _I64 else 4)
            else:
                return None
            if stop < 0 or stop > end:
                return None
            if number == wanted:
                found = (kind, start, stop)
            at = stop
        if found is None:
            return None
        if depth + 1 < len(path):
            if found[0] != _LEN:
                return None
            _, at, end = found
    return found


def _number(message: bytes, path: FieldPath) -> int | None:
    found = _find(message, path)
    if found is None:
        return None
    kind, start, stop = found
    if kind == _VARINT:
        value, _ = _varint(message, start, stop)
        return value - (1 << 64) if value >> 63 else value
    return int.from_bytes(message[start:stop], "little", signed=True) if kind == _I64 else None


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends; -1: nowhere."""
    value = shift = 0
    for index in range(at, min(at + 10, end)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # the last byte of a varint
            return value & ((1 << 64) - 1), index + 1
        shift += 7
    return 0, -1
