"""IDL: which fields of a described struct are the key and the time.

Reads `.thrift` files, with thriftpy2's parser; blocks. Only the description comes from there:
structs themselves are decoded with it only where people look at them.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from thriftpy2.parser import parser
from thriftpy2.parser.exc import ThriftParserError
from thriftpy2.protocol.binary import TBinaryProtocol
from thriftpy2.thrift import TException, TType
from thriftpy2.transport.buffered import TBufferedTransport

from singer.base.config import Payload, ThriftReaderConfig
from singer.base.errors import InputError
from singer.base.suggestion import suggestion
from singer.readers.thrift_fields import I64, LOG_MESSAGE, STRING, STRUCT, FieldPath, Layout

#: A struct as thriftpy2 describes it: (type, name, ...) by the field's number.
_Fields: TypeAlias = Mapping[int, tuple[Any, ...]]

#: The IDL of what frames hold that nobody described.
_LOG_MESSAGE: Final = os.path.join(os.path.dirname(__file__), "log_message.thrift")
#: Types that the parser tells apart, and the wire does not.
_ON_THE_WIRE: Final = {TType.BINARY: STRING}
_NAMES: Final = {STRING: "string or binary", I64: "i64"}


def layout(config: ThriftReaderConfig) -> Layout:
    """Where the fields lie that a reader looks for. Raises InputError."""
    found, faults = look(config)
    if faults:
        said = "; ".join(f"{key}: {message}" for key, message in faults.items())
        raise InputError(f"reader thrift: {said}")
    return found


def look(config: ThriftReaderConfig) -> tuple[Layout, dict[str, str]]:
    """The layout, and what is wrong with the configuration, by key."""
    if config.idl is None:
        given = [key for key in ("struct", "key", "timestamp") if getattr(config, key) is not None]
        return LOG_MESSAGE, dict.fromkeys(given, "needs an idl, which says what it is")
    faults: dict[str, str] = {}
    if config.payload is Payload.MESSAGE:
        faults["payload"] = "must be frame with an idl: only a LogMessage has a message"
    fields: _Fields = {}
    try:
        fields = _struct(config.idl, config.struct).thrift_spec
    except InputError as error:
        faults["idl"] = str(error)
    paths: dict[str, FieldPath] = {}
    for key, path, wanted in ("key", config.key, STRING), ("timestamp", config.timestamp, I64):
        if path is not None and fields:
            try:
                paths[key] = _path(path, fields, wanted)
            except InputError as error:
                faults[key] = str(error)
    heads = frozenset((_kind(spec), number) for number, spec in fields.items())
    return Layout(heads=heads, key=paths.get("key"), timestamp=paths.get("timestamp")), faults


def decoder(config: ThriftReaderConfig) -> Callable[[bytes], object]:
    """What makes plain values of a struct that a reader found sound. Raises InputError."""
    described = _struct(config.idl or _LOG_MESSAGE, config.struct)
    return lambda content: _plain(_decoded(described, content))


def _decoded(described: Any, content: bytes) -> Any:
    """The struct, or the bytes if they are another's."""
    # The memory transport would read beyond them.
    transport = TBufferedTransport(io.BytesIO(content))  # type: ignore[no-untyped-call]
    protocol = TBinaryProtocol(transport, decode_response=False)  # type: ignore[no-untyped-call]
    value = described()
    try:
        value.read(protocol)
    except (TException, ValueError, TypeError, struct.error):
        return content
    return value


def _plain(value: Any) -> object:
    """Structs and containers as JSON has them; fields that are not there left out."""
    spec = getattr(value, "thrift_spec", None)
    if isinstance(spec, dict):
        fields = ((each[1], getattr(value, each[1])) for each in spec.values())
        return {name: _plain(field) for name, field in fields if field is not None}
    if isinstance(value, dict):
        # Keys may be structs.
        return [[_plain(key), _plain(each)] for key, each in value.items()]
    if isinstance(value, (list, set)):
        return [_plain(each) for each in value]
    return value


def _struct(path: str, name: str | None) -> Any:
    """The class that thriftpy2 makes of a struct, by default of the one nobody else has in it.

    Raises InputError.
    """
    try:
        described = parser.parse(path, enable_cache=False)  # type: ignore[no-untyped-call]
    except (OSError, ThriftParserError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}") from error
    structs = {
        each: value
        for each, value in vars(described).items()
        if isinstance(getattr(value, "thrift_spec", None), dict) and value.thrift_spec
    }
    if name is None:
        inner = {id(part) for value in structs.values() for part in _parts(value.thrift_spec)}
        outer = [each for each, value in structs.items() if id(value) not in inner]
        if len(outer) != 1:
            raise InputError(f"say which struct it is: {', '.join(sorted(structs)) or 'none'}")
        (name,) = outer
    if name not in structs:
        raise InputError(f"has no struct {name}{suggestion(name, structs)}")
    return structs[name]


def _parts(spec: object) -> Iterator[object]:
    """All that a description is made of."""
    if isinstance(spec, (tuple, list)):
        for part in spec:
            yield from _parts(part)
    elif isinstance(spec, dict):
        yield from _parts(list(spec.values()))
    else:
        yield spec


def _path(path: str, fields: _Fields, wanted: int) -> FieldPath:
    """The numbers on the way to a field. Raises InputError."""
    numbers: list[int] = []
    *outer, last = path.split(".")
    for name in outer:
        number, spec = _field(name, fields)
        if _kind(spec) != STRUCT:
            raise InputError(f"{name} is no struct, so there is nothing below it")
        numbers.append(number)
        fields = spec[2].thrift_spec
    number, spec = _field(last, fields)
    if _kind(spec) != wanted:
        raise InputError(f"{last} must be {_NAMES[wanted]}")
    return (*numbers, number)


def _field(name: str, fields: _Fields) -> tuple[int, tuple[Any, ...]]:
    for number, spec in fields.items():
        if spec[1] == name:
            return number, spec
    raise InputError(f"there is no field {name}{suggestion(name, [f[1] for f in fields.values()])}")


def _kind(spec: tuple[Any, ...]) -> int:
    return _ON_THE_WIRE.get(spec[0], int(spec[0]))
