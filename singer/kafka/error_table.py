"""The one table of librdkafka's error codes: what each is about, and what a person can do.

Pure data. `errors` makes exceptions and messages of it, `error_reference` a section of
docs/operations.md. A code is in exactly one row; a test compares codes and names with librdkafka's.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple


class ErrorClass(Enum):
    """What a code is about, and so what becomes of what it was reported for."""

    RECORD = "record"  #: this record or one beside it: the culprit is rejected, the others sent
    TOPIC = "topic"  #: this destination waits and tries again
    CONNECTION = "connection"  #: librdkafka retries; what still comes back is sent again
    FATAL = "fatal"  #: the producer instance has to be replaced


class Treatment(NamedTuple):
    """What the agent does about every error of a class, and what a person does who is told no
    more than that; sentences of the manual.
    """

    agent: str
    operator: str


class Row(NamedTuple):
    """One code. `advice` is the end of a message; without it, there is nothing special to do."""

    code: int
    name: str
    advice: str = ""


TREATMENTS: Final[Mapping[ErrorClass, Treatment]] = MappingProxyType(
    {
        ErrorClass.RECORD: Treatment(
            "Nothing is read again and nobody waits. Records that the broker calls innocent are"
            " sent again; where it names nobody, all records of the request are sent again, one"
            " per request. What is refused even so is a dead letter.",
            "see `singer dead-letters list`; mend what writes it, or the topic's limits, and then"
            " `replay`",
        ),
        ErrorClass.TOPIC: Treatment(
            "The destination waits, asks again after 0.1 s to 30 s, and goes on from the committed"
            " position by itself. Other destinations do not notice.",
            "see to the topic",
        ),
        ErrorClass.CONNECTION: Treatment(
            "librdkafka connects and sends again, for as long as it takes. What it gives back all"
            " the same is read again from the committed position after 0.1 s to 30 s.",
            "nothing, if it passes; else look at the brokers and at the network to them",
        ),
        ErrorClass.FATAL: Treatment(
            "The producer is replaced by a new one after 0.1 s to 60 s; what it held is read again"
            " from the committed positions.",
            "nothing, unless it comes again and again: then report it with the lines before it",
        ),
    }
)

_CREDENTIALS: Final = "correct the credentials in the cluster's properties"
_CREATE: Final = "create the topic or correct its name"
_REPLICAS: Final = (
    "bring the topic's other replicas back, or lower its min.insync.replicas until they are"
)
_TRANSACTIONS: Final = "grant this client WRITE on the transactional id"

TABLE: Final[Mapping[ErrorClass, tuple[Row, ...]]] = MappingProxyType(
    {
        ErrorClass.RECORD: (
            Row(-198, "_BAD_COMPRESSION"),
            Row(-138, "_INVALID_DIFFERENT_RECORD"),
            Row(2, "INVALID_MSG"),
            Row(4, "INVALID_MSG_SIZE"),
            Row(
                10,
                "MSG_SIZE_TOO_LARGE",
                "if this goes on, set batch.size in the cluster's properties below"
                " the topic's max.message.bytes",
            ),
            Row(
                18,
                "RECORD_LIST_TOO_LARGE",
                "if this goes on, set batch.size in the cluster's properties below the topic's"
                " segment.bytes",
            ),
            Row(32, "INVALID_TIMESTAMP", "correct this host's clock or raise the topic's limits"),
            Row(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", "raise the topic's message format"),
            Row(
                87,
                "INVALID_RECORD",
                "see whether the topic is compacted (records need keys) or validates records",
            ),
        ),
        ErrorClass.TOPIC: (
            Row(-190, "_UNKNOWN_PARTITION", "the topic lost partitions; they are looked up again"),
            Row(-188, "_UNKNOWN_TOPIC", _CREATE),
            Row(3, "UNKNOWN_TOPIC_OR_PART", _CREATE),
            Row(17, "TOPIC_EXCEPTION", "correct the topic's name"),
            Row(21, "INVALID_REQUIRED_ACKS"),
            Row(
                29,
                "TOPIC_AUTHORIZATION_FAILED",
                "grant this client WRITE and DESCRIBE on the topic",
            ),
            Row(44, "POLICY_VIOLATION", "ask for the policy of the topic"),
            Row(
                76,
                "UNSUPPORTED_COMPRESSION_TYPE",
                "choose another compression.type or raise the topic's message format",
            ),
            Row(100, "UNKNOWN_TOPIC_ID"),
            Row(103, "INCONSISTENT_TOPIC_ID"),
        ),
        ErrorClass.CONNECTION: (
            Row(-199, "_BAD_MSG"),
            Row(-197, "_DESTROY"),
            Row(-196, "_FAIL"),
            Row(-195, "_TRANSPORT"),
            Row(-194, "_CRIT_SYS_RESOURCE", "see which limit of this host is reached"),
            Row(-193, "_RESOLVE", "correct bootstrap or the name service of this host"),
            Row(-192, "_MSG_TIMED_OUT"),
            Row(-189, "_FS", "see whether the files that the cluster's properties name are there"),
            Row(-187, "_ALL_BROKERS_DOWN"),
            Row(-186, "_INVALID_ARG"),
            Row(-185, "_TIMED_OUT"),
            Row(-184, "_QUEUE_FULL", "raise queue.buffering.max.* above agent.memory"),
            Row(-183, "_ISR_INSUFF", _REPLICAS),
            Row(-182, "_NODE_UPDATE"),
            Row(-181, "_SSL", "correct the ssl.* properties of the cluster"),
            Row(-180, "_WAIT_COORD"),
            Row(-178, "_IN_PROGRESS"),
            Row(-177, "_PREV_IN_PROGRESS"),
            Row(-173, "_CONFLICT"),
            Row(-172, "_STATE"),
            Row(-171, "_UNKNOWN_PROTOCOL"),
            Row(-170, "_NOT_IMPLEMENTED"),
            Row(-169, "_AUTHENTICATION", _CREDENTIALS),
            Row(-167, "_OUTDATED"),
            Row(-166, "_TIMED_OUT_QUEUE"),
            Row(-165, "_UNSUPPORTED_FEATURE", "upgrade the brokers, or leave the feature out"),
            Row(-164, "_WAIT_CACHE"),
            Row(-163, "_INTR"),
            Row(-158, "_PARTIAL"),
            Row(-157, "_READ_ONLY"),
            Row(-156, "_NOENT"),
            Row(-155, "_UNDERFLOW"),
            Row(-154, "_INVALID_TYPE"),
            Row(-153, "_RETRY"),
            Row(-152, "_PURGE_QUEUE"),
            Row(-151, "_PURGE_INFLIGHT"),
            Row(-146, "_UNKNOWN_BROKER"),
            Row(-145, "_NOT_CONFIGURED"),
            Row(-141, "_NOOP"),
            Row(-137, "_DESTROY_BROKER"),
            Row(-1, "UNKNOWN", "see the broker's log"),
            Row(5, "LEADER_NOT_AVAILABLE"),
            Row(6, "NOT_LEADER_FOR_PARTITION"),
            Row(7, "REQUEST_TIMED_OUT"),
            Row(8, "BROKER_NOT_AVAILABLE"),
            Row(9, "REPLICA_NOT_AVAILABLE"),
            Row(13, "NETWORK_EXCEPTION"),
            Row(14, "COORDINATOR_LOAD_IN_PROGRESS"),
            Row(15, "COORDINATOR_NOT_AVAILABLE"),
            Row(16, "NOT_COORDINATOR"),
            Row(19, "NOT_ENOUGH_REPLICAS", _REPLICAS),
            Row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", _REPLICAS),
            Row(33, "UNSUPPORTED_SASL_MECHANISM", "choose a sasl.mechanism the brokers have"),
            Row(34, "ILLEGAL_SASL_STATE", "correct security.protocol in the cluster's properties"),
            Row(35, "UNSUPPORTED_VERSION", "upgrade the brokers"),
            Row(41, "NOT_CONTROLLER"),
            Row(42, "INVALID_REQUEST"),
            Row(46, "DUPLICATE_SEQUENCE_NUMBER"),
            Row(48, "INVALID_TXN_STATE"),
            Row(49, "INVALID_PRODUCER_ID_MAPPING"),
            Row(
                50,
                "INVALID_TRANSACTION_TIMEOUT",
                "set transaction.timeout.ms below the brokers' transaction.max.timeout.ms",
            ),
            Row(51, "CONCURRENT_TRANSACTIONS"),
            Row(54, "SECURITY_DISABLED", "correct security.protocol in the cluster's properties"),
            Row(55, "OPERATION_NOT_ATTEMPTED"),
            Row(56, "KAFKA_STORAGE_ERROR", "see to the broker's disk"),
            Row(58, "SASL_AUTHENTICATION_FAILED", _CREDENTIALS),
            Row(60, "REASSIGNMENT_IN_PROGRESS"),
            Row(72, "LISTENER_NOT_FOUND", "give every broker the listener that bootstrap names"),
            Row(89, "THROTTLING_QUOTA_EXCEEDED", "raise the quota of this client, or send less"),
            Row(97, "PRINCIPAL_DESERIALIZATION_FAILURE", "see the broker's log"),
            Row(120, "TRANSACTION_ABORTABLE"),
            Row(129, "REBOOTSTRAP_REQUIRED"),
        ),
        ErrorClass.FATAL: (
            Row(-150, "_FATAL"),
            Row(-149, "_INCONSISTENT"),
            Row(-148, "_GAPLESS_GUARANTEE"),
            Row(-144, "_FENCED", "see whether another agent runs with the same identity"),
            Row(
                31,
                "CLUSTER_AUTHORIZATION_FAILED",
                "grant this client IDEMPOTENT_WRITE on the cluster",
            ),
            Row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
            Row(47, "INVALID_PRODUCER_EPOCH"),
            Row(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", _TRANSACTIONS),
            Row(59, "UNKNOWN_PRODUCER_ID"),
            Row(90, "PRODUCER_FENCED", "see whether another agent runs with the same identity"),
        ),
    }
)

#: Codes that no answer to a producer holds, by who meets them instead. Should one come all the
#: same, it is treated as every code that is not in the table: as CONNECTION.
UNMET: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "are no errors": (-200, -100, 0),
        "only consumers and their groups meet": (
            *(-191, -179, -176, -175, -174, -168, -160, -159, -147, -142, -140, -139),
            *(1, 12, 22, 23, 24, 25, 26, 27, 28, 30, 68, 69, 70, 71, 74, 75, 78, 79, 81, 82, 86),
            *(88, 110, 111, 112, 113, 121, 122, 123, 124, 128, 130, 131, 132, 133),
        ),
        "only administrators' requests meet": (
            *(36, 37, 38, 39, 40, 57, 61, 62, 63, 64, 65, 66, 67, 73, 80, 83, 84, 85),
            *(91, 92, 93, 95, 96, 114, 115, 116),
        ),
        "only brokers tell each other": (11, 52, 77, 94, 119, 125, 126, 127),
        "belong to features the agent does not use (serialisers, interceptors, pushed metrics)": (
            *(-162, -161, -143, 117, 118),
        ),
    }
)
