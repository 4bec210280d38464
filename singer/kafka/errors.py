"""librdkafka's error codes: what each means for a record, a topic or the producer.

Owns the one table, and the words: `describe` and `advise` make error messages of codes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from singer.base.errors import ClusterError, DeliveryError, FatalProducerError, TopicError
from singer.kafka import librdkafka as rd


class ErrorClass(Enum):
    """What a code is about, and so what becomes of what it was reported for."""

    RECORD = "record"  #: this record or one beside it: the culprit is rejected, the others sent
    TOPIC = "topic"  #: this destination waits and tries again
    CONNECTION = "connection"  #: librdkafka retries; what still comes back is sent again
    FATAL = "fatal"  #: the producer instance has to be replaced


MSG_SIZE_TOO_LARGE: Final = 10
UNKNOWN_TOPIC_OR_PART: Final = 3
TOPIC_AUTHORIZATION_FAILED: Final = 29
TOPIC_ALREADY_EXISTS: Final = 36
INVALID_DIFFERENT_RECORD: Final = -138
FATAL: Final = -150
PURGE_QUEUE: Final = -152
QUEUE_FULL: Final = -184
ALL_BROKERS_DOWN: Final = -187
TIMED_OUT: Final = -185

_NAMED: Final[Mapping[ErrorClass, tuple[int, ...]]] = MappingProxyType(
    {
        ErrorClass.RECORD: (
            INVALID_DIFFERENT_RECORD,
            -198,  # _BAD_COMPRESSION: the request could not be compressed
            2,  # INVALID_MSG: its checksum is wrong
            4,  # INVALID_MSG_SIZE
            MSG_SIZE_TOO_LARGE,
            18,  # RECORD_LIST_TOO_LARGE: larger than a segment
            32,  # INVALID_TIMESTAMP
            43,  # UNSUPPORTED_FOR_MESSAGE_FORMAT
            87,  # INVALID_RECORD
        ),
        ErrorClass.TOPIC: (
            -188,  # _UNKNOWN_TOPIC
            -190,  # _UNKNOWN_PARTITION
            UNKNOWN_TOPIC_OR_PART,
            17,  # TOPIC_EXCEPTION: an illegal or internal name
            21,  # INVALID_REQUIRED_ACKS
            TOPIC_AUTHORIZATION_FAILED,
            44,  # POLICY_VIOLATION
            76,  # UNSUPPORTED_COMPRESSION_TYPE
            100,  # UNKNOWN_TOPIC_ID
            103,  # INCONSISTENT_TOPIC_ID
        ),
        ErrorClass.FATAL: (
            FATAL,
            -144,  # _FENCED
            -148,  # _GAPLESS_GUARANTEE
            -149,  # _INCONSISTENT
            31,  # CLUSTER_AUTHORIZATION_FAILED: an idempotent producer may not start
            45,  # OUT_OF_ORDER_SEQUENCE_NUMBER
            47,  # INVALID_PRODUCER_EPOCH
            53,  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            59,  # UNKNOWN_PRODUCER_ID
            90,  # PRODUCER_FENCED
        ),
    }
)


def codes() -> Mapping[int, str]:
    """All codes this librdkafka knows, with their names; 0 is success."""
    array = ctypes.POINTER(rd.ErrorDescription)()
    count = ctypes.c_size_t()
    rd.get_err_descs(ctypes.byref(array), ctypes.byref(count))
    return {array[i].code: array[i].name.decode() for i in range(count.value) if array[i].name}


def _table() -> Mapping[int, ErrorClass]:
    """Every code in exactly one class. Whatever is not named is a fault of the connection or of
    a broker: nothing is given up and nothing is replaced because of a code nobody thought of.
    """
    table = dict.fromkeys(codes(), ErrorClass.CONNECTION)
    for error_class, members in _NAMED.items():
        for code in members:
            table[code] = error_class
    return MappingProxyType(table)


_TABLE: Final = _table()

_ADVICE: Final[Mapping[int, str]] = MappingProxyType(
    {
        -188: "create the topic or correct its name",
        -190: "the topic lost partitions; they are looked up again",
        UNKNOWN_TOPIC_OR_PART: "create the topic or correct its name",
        17: "correct the topic's name",
        TOPIC_AUTHORIZATION_FAILED: "grant this client WRITE and DESCRIBE on the topic",
        31: "grant this client IDEMPOTENT_WRITE on the cluster",
        44: "ask for the policy of the topic",
        58: "correct the credentials in the cluster's properties",
        -169: "correct the credentials in the cluster's properties",
        -181: "correct the ssl.* properties of the cluster",
        -193: "correct bootstrap or the name service of this host",
        MSG_SIZE_TOO_LARGE: "if this goes on, set batch.size in the cluster's properties below"
        " the topic's max.message.bytes",
        76: "choose another compression.type or raise the topic's message format",
        QUEUE_FULL: "raise queue.buffering.max.* above agent.memory",
    }
)


def classify(code: int) -> ErrorClass:
    """The class of a code other than 0; CONNECTION for codes from the future."""
    return _TABLE.get(code, ErrorClass.CONNECTION)


def describe(code: int) -> str:
    """The words of librdkafka for a code, with its name: what a person searches for."""
    text, name = rd.err2str(code).decode(), rd.err2name(code).decode()
    return f"{text} ({name})"


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
    return kind(f"{step}: {detail or describe(code)}{advise(code)}", settled=settled)
