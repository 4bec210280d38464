"""The message class that the schema of docs/audit.md describes, of the protobuf library."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "audit.md"
_TYPES: Final = {
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "sint64": descriptor_pb2.FieldDescriptorProto.TYPE_SINT64,
    "fixed64": descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}


@functools.cache
def schema() -> Any:
    """`Audit`, with `FromString`."""
    block = re.search(r"```proto\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    assert block is not None
    file = descriptor_pb2.FileDescriptorProto(name="audit.proto", syntax="proto3")
    for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", block[1], re.DOTALL):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(
            r"(repeated )?(\w+) (\w+) = (\d+)(?: \[packed = true\])?;", body
        ):
            added = message.field.add(name=field, number=int(number))
            added.label = added.LABEL_REPEATED if repeated else added.LABEL_OPTIONAL
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type, added.type_name = added.TYPE_MESSAGE, f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Audit"))
