"""librdkafka's error codes: what each means for a record, a topic or the producer.

Owns the words: `describe` and `advise` make error messages of codes. What is known of them is in
`error_table`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from singer.base.errors import ClusterError, DeliveryError, FatalProducerError, Kind, TopicError
from singer.kafka import librdkafka as rd
from singer.kafka.error_table import TABLE, ErrorClass

MSG_SIZE_TOO_LARGE: Final = 10
UNKNOWN_TOPIC_OR_PART: Final = 3
TOPIC_AUTHORIZATION_FAILED: Final = 29
TOPIC_ALREADY_EXISTS: Final = 36
INVALID_RECORD: Final = 87
INVALID_DIFFERENT_RECORD: Final = -138
FATAL: Final = -150
PURGE_QUEUE: Final = -152
QUEUE_FULL: Final = -184
ALL_BROKERS_DOWN: Final = -187
TIMED_OUT: Final = -185


def codes() -> Mapping[int, str]:
    """All codes this librdkafka knows, with their names; 0 is success."""
    array = ctypes.POINTER(rd.ErrorDescription)()
    count = ctypes.c_size_t()
    rd.get_err_descs(ctypes.byref(array), ctypes.byref(count))
    return {array[i].code: array[i].name.decode() for i in range(count.value) if array[i].name}


#: Whatever is in no row is a fault of the connection or of a broker: nothing is given up and
#: nothing is replaced because of a code nobody thought of.
_CLASSES: Final = MappingProxyType(
    {row.code: error_class for error_class, rows in TABLE.items() for row in rows}
)
#: The codes of class RECORD.
RECORD_CODES: Final = tuple(row.code for row in TABLE[ErrorClass.RECORD])

_ADVICE: Final = MappingProxyType({row.code: row.advice for rows in TABLE.values() for row in rows})


def classify(code: int) -> ErrorClass:
    """The class of a code other than 0; CONNECTION for those that are not in the table."""
    return _CLASSES.get(code, ErrorClass.CONNECTION)


def describe(code: int) -> str:
    """The words of librdkafka for a code, with its name: what a person searches for."""
    return f"{words(code)} ({name(code)})"


def words(code: int) -> str:
    """The words of librdkafka for a code."""
    text: bytes = rd.err2str(code)
    return text.decode()


def name(code: int) -> str:
    """The name of librdkafka for a code."""
    text: bytes = rd.err2name(code)
    return text.decode()


def kind(code: int) -> Kind:
    """What an error of this code is counted as."""
    return Kind(classify(code).value, name(code))


def advise(code: int) -> str:
    """What a person can do about a code, as the end of a message: "" or ": do this"."""
    advice = _ADVICE.get(code)
    return f": {advice}" if advice else ""


def failure(step: str, code: int, *, detail: str = "", settled: int = 0) -> DeliveryError:
    """The exception for a code of class TOPIC, CONNECTION or FATAL.

    `step` names what was done to what (`produce to web.access`), `detail` is librdkafka's own
    explanation where there is one.
    """
    kind: type[DeliveryError]
    match classify(code):
        case ErrorClass.FATAL:
            kind = FatalProducerError
        case ErrorClass.TOPIC:
            kind = TopicError
        case _:
            kind = ClusterError
    return kind(
        f"{step}: {detail or describe(code)}{advise(code)}", settled=settled, code=name(code)
    )
