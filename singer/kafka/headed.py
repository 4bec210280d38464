"""Records with headers, handed over one by one.

`rd_kafka_produce_batch` takes no headers, so each record is a call of `rd_kafka_produceva`, with
its arguments written a column at a time. librdkafka copies headers and keys; payloads are borrowed
as everywhere. Loop thread only.
"""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np

from singer.base.batch import Header, Int32s, Int64s
from singer.kafka import librdkafka as rd

#: Arguments of every record: topic, partition, flags, value, key, opaque.
_FIXED: Final = 6
_TOPIC, _PARTITION, _FLAGS, _VALUE, _KEY, _OPAQUE = range(_FIXED)


def produce(
    handle: int,
    topic: int,
    partition: int,
    messages: np.ndarray[tuple[int], np.dtype[np.void]],
    *,
    headers: tuple[Header, ...],
    rows: Int64s,
) -> Int32s:
    """Hand over messages (`librdkafka.MESSAGE`) with the headers of `rows`; a code for each.

    A code other than 0 says that the record was not taken.
    """
    arguments = np.zeros((len(messages), _FIXED + len(headers)), rd.ARGUMENT)
    kinds = (rd.VTYPE_RKT, rd.VTYPE_PARTITION, rd.VTYPE_MSGFLAGS, rd.VTYPE_VALUE, rd.VTYPE_KEY,
             rd.VTYPE_OPAQUE)  # fmt: skip
    arguments["type"][:, :_FIXED] = kinds
    arguments["first"][:, _TOPIC] = topic
    arguments["first"][:, _PARTITION] = partition
    arguments["first"][:, _VALUE] = messages["payload"]
    arguments["second"][:, _VALUE] = messages["len"]
    arguments["first"][:, _KEY] = messages["key"]
    arguments["second"][:, _KEY] = messages["key_len"]
    arguments["first"][:, _OPAQUE] = messages["private"]
    names = [ctypes.create_string_buffer(header.name) for header in headers]
    for place, (header, name) in enumerate(zip(headers, names, strict=True), _FIXED):
        arguments["type"][:, place] = rd.VTYPE_HEADER
        arguments["first"][:, place] = ctypes.addressof(name)
        base = header.buffer.__array_interface__["data"][0]
        arguments["second"][:, place] = base + rows * header.stride
        arguments["third"][:, place] = header.size
    codes = np.zeros(len(messages), np.int32)
    count = arguments.shape[1]
    address = arguments.__array_interface__["data"][0]
    step = count * rd.ARGUMENT.itemsize
    call = rd.produceva
    for row in range(len(messages)):
        error = call(handle, address + row * step, count)
        if error:
            codes[row] = rd.error_code(error)
            rd.error_destroy(error)
    return codes
