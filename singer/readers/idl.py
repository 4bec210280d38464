"""IDL: which fields of a described struct are the key and the time.

Reads `.thrift` files, with thriftpy2's parser; blocks. Only the description comes from there:
structs themselves are never decoded with it on the way of a record.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from thriftpy2.parser import parser
from thriftpy2.parser.exc import ThriftParserError
from thriftpy2.thrift import TType

from singer.base.config import Payload, ThriftReaderConfig
from singer.base.errors import InputError
from singer.readers.thrift_fields import I64, LOG_MESSAGE, STRING, STRUCT, FieldPath, Layout

#: A struct as thriftpy2 describes it: (type, name, ...) by the field's number.
_Fields: TypeAlias = Mapping[int, tuple[Any, ...]]

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
        fields = struct(config).thrift_spec
    except InputError as error:
        faults["idl" if config.struct is not None else "struct"] = str(error)
    paths: dict[str, FieldPath] = {}
    for key, path, wanted in ("key", config.key, STRING), ("timestamp", config.timestamp, I64):
        if path is not None and fields:
            try:
                paths[key] = _path(path, fields, wanted)
            except InputError as error:
                faults[key] = str(error)
    heads = frozenset((_kind(spec), number) for number, spec in fields.items())
    return Layout(heads=heads, key=paths.get("key"), timestamp=paths.get("timestamp")), faults


def struct(config: ThriftReaderConfig) -> Any:
    """The class that thriftpy2 makes of the struct. Raises InputError."""
    try:
        described = parser.parse(str(config.idl), enable_cache=False)  # type: ignore[no-untyped-call]
    except (OSError, ThriftParserError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}") from error
    structs = {
        name: value
        for name, value in vars(described).items()
        if isinstance(getattr(value, "thrift_spec", None), dict) and value.thrift_spec
    }
    if config.struct is None:
        raise InputError(f"is missing: which of {', '.join(sorted(structs)) or 'none'}?")
    if config.struct not in structs:
        raise InputError(f"has no struct {config.struct}{_meant(config.struct, structs)}")
    return structs[config.struct]


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
    raise InputError(f"there is no field {name}{_meant(name, [f[1] for f in fields.values()])}")


def _kind(spec: tuple[Any, ...]) -> int:
    return _ON_THE_WIRE.get(spec[0], int(spec[0]))


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
