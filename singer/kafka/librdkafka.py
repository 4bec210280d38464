"""librdkafka's C functions, declared for ctypes; nothing else.

The library is the one inside the confluent-kafka wheel: its extension module depends on the
bundled librdkafka, so loading the extension resolves every `rd_kafka_*` symbol, whichever way
the package was installed. Names are those of `rdkafka.h` and `rdkafka_mock.h` without the prefix
`rd_kafka_`; all pointers are plain integers.

Two views of one library: functions that may wait or work long let go of the interpreter lock,
accessors keep it. An accessor takes well under a microsecond, whereas letting go of the lock
offers it to any thread that waits, and getting it back may take milliseconds.

No callback is ever registered: everything comes back as an event, so that no Python runs in
librdkafka's threads.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_int,
    c_int16,
    c_int32,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from typing import Any, Final

import numpy as np
from confluent_kafka import cimpl

from singer.base.errors import InvariantError

_WORK: Final = ctypes.CDLL(cimpl.__file__)
_BRIEF: Final = ctypes.PyDLL(cimpl.__file__)


def _work(name: str, result: Any, *arguments: Any) -> Any:
    return _declare(_WORK, name, result, arguments)


def _brief(name: str, result: Any, *arguments: Any) -> Any:
    return _declare(_BRIEF, name, result, arguments)


def _declare(library: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...]) -> Any:
    function = getattr(library, f"rd_kafka_{name}")
    function.restype, function.argtypes = result, list(arguments)
    return function


# --- constants of rdkafka.h -----------------------------------------------------------------

PRODUCER: Final = 0
CONF_UNKNOWN: Final = -2
CONF_OK: Final = 0
PURGE_QUEUE: Final = 0x1
PURGE_INFLIGHT: Final = 0x2
PURGE_NON_BLOCKING: Final = 0x4
DESTROY_NO_CONSUMER_CLOSE: Final = 0x8
ADMIN_OP_ANY: Final = 0

EVENT_DR: Final = 0x1
EVENT_LOG: Final = 0x4
EVENT_ERROR: Final = 0x8
EVENT_CREATE_TOPICS: Final = 100
EVENT_DESCRIBE_CONFIGS: Final = 104
EVENT_OAUTHBEARER_TOKEN_REFRESH: Final = 0x100
EVENT_STATS: Final = 0x40
EVENT_DESCRIBE_TOPICS: Final = 0x100000
EVENT_DESCRIBE_CLUSTER: Final = 0x200000

RESOURCE_TOPIC: Final = 2
ACL_ALL: Final = 2
ACL_WRITE: Final = 4

#: Room for librdkafka's error texts.
ERRSTR_BYTES: Final = 512

# --- rd_kafka_message_t ---------------------------------------------------------------------

#: `rd_kafka_message_t`. Pointers and sizes are signed here, although they are not in C: all
#: columns they are computed from are int64, and addresses stay below 2**63.
MESSAGE: Final = np.dtype(
    [
        ("err", "i4"),
        ("_pad_err", "i4"),
        ("rkt", "i8"),
        ("partition", "i4"),
        ("_pad_partition", "i4"),
        ("payload", "i8"),
        ("len", "i8"),
        ("key", "i8"),
        ("key_len", "i8"),
        ("offset", "i8"),
        ("private", "i8"),
    ]
)


class Message(ctypes.Structure):
    """`rd_kafka_message_t`, one at a time; for walking delivery events that hold a surprise."""

    _fields_ = (
        ("err", c_int),
        ("rkt", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("len", c_size_t),
        ("key", c_void_p),
        ("key_len", c_size_t),
        ("offset", c_int64),
        ("private", c_uint64),
    )


#: Where `private` and `offset` are in a message; `err` is at 0.
MESSAGE_PRIVATE_OFFSET: Final = 64
MESSAGE_OFFSET_OFFSET: Final = 56


#: `rd_kafka_vu_t`, an argument of `produceva`. What is in the union: one number or pointer, a
#: pointer and a size, or a header's name, value and size.
ARGUMENT: Final = np.dtype(
    [
        ("type", "i4"),
        ("_pad_type", "i4"),
        ("first", "i8"),
        ("second", "i8"),
        ("third", "i8"),
        ("_pad", "V40"),
    ]
)
VTYPE_RKT: Final = 2
VTYPE_PARTITION: Final = 3
VTYPE_VALUE: Final = 4
VTYPE_KEY: Final = 5
VTYPE_OPAQUE: Final = 6
VTYPE_MSGFLAGS: Final = 7
VTYPE_HEADER: Final = 9


class ErrorDescription(ctypes.Structure):
    """`struct rd_kafka_err_desc`."""

    _fields_ = (("code", c_int), ("name", c_char_p), ("desc", c_char_p))


class MetadataBroker(ctypes.Structure):
    """`rd_kafka_metadata_broker_t`."""

    _fields_ = (("id", c_int32), ("host", c_char_p), ("port", c_int))


class MetadataPartition(ctypes.Structure):
    """`rd_kafka_metadata_partition_t`."""

    _fields_ = (
        ("id", c_int32),
        ("err", c_int),
        ("leader", c_int32),
        ("replica_cnt", c_int),
        ("replicas", POINTER(c_int32)),
        ("isr_cnt", c_int),
        ("isrs", POINTER(c_int32)),
    )


class MetadataTopic(ctypes.Structure):
    """`rd_kafka_metadata_topic_t`."""

    _fields_ = (
        ("topic", c_char_p),
        ("partition_cnt", c_int),
        ("partitions", POINTER(MetadataPartition)),
        ("err", c_int),
    )


class Metadata(ctypes.Structure):
    """`rd_kafka_metadata_t`."""

    _fields_ = (
        ("broker_cnt", c_int),
        ("brokers", POINTER(MetadataBroker)),
        ("topic_cnt", c_int),
        ("topics", POINTER(MetadataTopic)),
        ("orig_broker_id", c_int32),
        ("orig_broker_name", c_char_p),
    )


# --- errors ---------------------------------------------------------------------------------

version = _brief("version", c_int)
version_str = _brief("version_str", c_char_p)
err2str = _brief("err2str", c_char_p, c_int)
err2name = _brief("err2name", c_char_p, c_int)
get_err_descs = _brief("get_err_descs", None, POINTER(POINTER(ErrorDescription)), POINTER(c_size_t))
error_code = _brief("error_code", c_int, c_void_p)
error_string = _brief("error_string", c_char_p, c_void_p)
error_destroy = _brief("error_destroy", None, c_void_p)

# --- configuration and handles --------------------------------------------------------------

conf_new = _brief("conf_new", c_void_p)
conf_destroy = _brief("conf_destroy", None, c_void_p)
conf_set = _brief("conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)
conf_get = _brief("conf_get", c_int, c_void_p, c_char_p, c_char_p, POINTER(c_size_t))
conf_set_events = _brief("conf_set_events", None, c_void_p, c_int)
conf = _brief("conf", c_void_p, c_void_p)
new = _work("new", c_void_p, c_int, c_void_p, c_char_p, c_size_t)
destroy_flags = _work("destroy_flags", None, c_void_p, c_int)
set_log_queue = _work("set_log_queue", c_int, c_void_p, c_void_p)
topic_new = _work("topic_new", c_void_p, c_void_p, c_char_p, c_void_p)
default_topic_conf_dup = _brief("default_topic_conf_dup", c_void_p, c_void_p)
topic_conf_set = _brief("topic_conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)
topic_destroy = _work("topic_destroy", None, c_void_p)
brokers_add = _work("brokers_add", c_int, c_void_p, c_char_p)
fatal_error = _brief("fatal_error", c_int, c_void_p, c_char_p, c_size_t)
test_fatal_error = _work("test_fatal_error", c_int, c_void_p, c_int, c_char_p)
outq_len = _brief("outq_len", c_int, c_void_p)
oauthbearer_set_token = _brief(
    "oauthbearer_set_token", c_int, c_void_p, c_char_p, c_int64, c_char_p, c_void_p, c_size_t,
    c_char_p, c_size_t,
)  # fmt: skip
oauthbearer_set_token_failure = _brief("oauthbearer_set_token_failure", c_int, c_void_p, c_char_p)

# --- producing ------------------------------------------------------------------------------

produce_batch = _work("produce_batch", c_int, c_void_p, c_int32, c_int, c_void_p, c_int)
#: Takes one record, in about a microsecond.
produceva = _brief("produceva", c_void_p, c_void_p, c_void_p, c_size_t)
flush = _work("flush", c_int, c_void_p, c_int)
purge = _work("purge", c_int, c_void_p, c_int)

# --- transactions; each returns a `rd_kafka_error_t *`, NULL for success ------------------------

init_transactions = _work("init_transactions", c_void_p, c_void_p, c_int)
begin_transaction = _work("begin_transaction", c_void_p, c_void_p)
commit_transaction = _work("commit_transaction", c_void_p, c_void_p, c_int)
abort_transaction = _work("abort_transaction", c_void_p, c_void_p, c_int)
query_watermark_offsets = _work(
    "query_watermark_offsets", c_int, c_void_p, c_char_p, c_int32, POINTER(c_int64),
    POINTER(c_int64), c_int,
)  # fmt: skip
error_is_fatal = _brief("error_is_fatal", c_int, c_void_p)
error_is_retriable = _brief("error_is_retriable", c_int, c_void_p)
error_txn_requires_abort = _brief("error_txn_requires_abort", c_int, c_void_p)
error_destroy = _brief("error_destroy", None, c_void_p)

# --- events ---------------------------------------------------------------------------------

queue_get_main = _brief("queue_get_main", c_void_p, c_void_p)
queue_destroy = _work("queue_destroy", None, c_void_p)
queue_io_event_enable = _brief("queue_io_event_enable", None, c_void_p, c_int, c_char_p, c_size_t)
#: Only with a time-out of 0: it keeps the interpreter lock.
queue_poll = _brief("queue_poll", c_void_p, c_void_p, c_int)
event_type = _brief("event_type", c_int, c_void_p)
event_name = _brief("event_name", c_char_p, c_void_p)
event_error = _brief("event_error", c_int, c_void_p)
event_error_string = _brief("event_error_string", c_char_p, c_void_p)
event_error_is_fatal = _brief("event_error_is_fatal", c_int, c_void_p)
event_message_count = _brief("event_message_count", c_size_t, c_void_p)
event_message_next = _brief("event_message_next", c_void_p, c_void_p)
event_message_array = _brief("event_message_array", c_size_t, c_void_p, POINTER(c_void_p), c_size_t)
event_log = _brief(
    "event_log", c_int, c_void_p, POINTER(c_char_p), POINTER(c_char_p), POINTER(c_int)
)
event_stats = _brief("event_stats", c_char_p, c_void_p)
event_opaque = _brief("event_opaque", c_void_p, c_void_p)
#: Frees a whole event, thousands of messages at a time: work.
event_destroy = _work("event_destroy", None, c_void_p)

# --- metadata and descriptions --------------------------------------------------------------

metadata = _work("metadata", c_int, c_void_p, c_int, c_void_p, POINTER(POINTER(Metadata)), c_int)
metadata_destroy = _work("metadata_destroy", None, POINTER(Metadata))
admin_options_new = _brief("AdminOptions_new", c_void_p, c_void_p, c_int)
admin_options_destroy = _brief("AdminOptions_destroy", None, c_void_p)
admin_options_set_request_timeout = _brief(
    "AdminOptions_set_request_timeout", c_int, c_void_p, c_int, c_char_p, c_size_t
)
admin_options_set_opaque = _brief("AdminOptions_set_opaque", None, c_void_p, c_void_p)
topic_collection_of_topic_names = _brief(
    "TopicCollection_of_topic_names", c_void_p, POINTER(c_char_p), c_size_t
)
topic_collection_destroy = _brief("TopicCollection_destroy", None, c_void_p)
describe_topics = _work("DescribeTopics", None, c_void_p, c_void_p, c_void_p, c_void_p)
event_describe_topics_result = _brief("event_DescribeTopics_result", c_void_p, c_void_p)
describe_topics_result_topics = _brief(
    "DescribeTopics_result_topics", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
topic_description_error = _brief("TopicDescription_error", c_void_p, c_void_p)
topic_description_partitions = _brief(
    "TopicDescription_partitions", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
partition_info_partition = _brief("TopicPartitionInfo_partition", c_int, c_void_p)
partition_info_leader = _brief("TopicPartitionInfo_leader", c_void_p, c_void_p)
describe_cluster = _work("DescribeCluster", None, c_void_p, c_void_p, c_void_p)
event_describe_cluster_result = _brief("event_DescribeCluster_result", c_void_p, c_void_p)
describe_cluster_result_nodes = _brief(
    "DescribeCluster_result_nodes", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
admin_options_set_include_authorized_operations = _brief(
    "AdminOptions_set_include_authorized_operations", c_void_p, c_void_p, c_int
)
topic_description_name = _brief("TopicDescription_name", c_char_p, c_void_p)
topic_description_authorized_operations = _brief(
    "TopicDescription_authorized_operations", POINTER(c_int), c_void_p, POINTER(c_size_t)
)
partition_info_replicas = _brief(
    "TopicPartitionInfo_replicas", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
config_resource_new = _brief("ConfigResource_new", c_void_p, c_int, c_char_p)
config_resource_destroy_array = _brief(
    "ConfigResource_destroy_array", None, POINTER(c_void_p), c_size_t
)
describe_configs = _work(
    "DescribeConfigs", None, c_void_p, POINTER(c_void_p), c_size_t, c_void_p, c_void_p
)
event_describe_configs_result = _brief("event_DescribeConfigs_result", c_void_p, c_void_p)
describe_configs_result_resources = _brief(
    "DescribeConfigs_result_resources", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
config_resource_error = _brief("ConfigResource_error", c_int, c_void_p)
config_resource_name = _brief("ConfigResource_name", c_char_p, c_void_p)
config_resource_configs = _brief(
    "ConfigResource_configs", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
config_entry_name = _brief("ConfigEntry_name", c_char_p, c_void_p)
config_entry_value = _brief("ConfigEntry_value", c_char_p, c_void_p)
new_topic_new = _brief("NewTopic_new", c_void_p, c_char_p, c_int, c_int, c_char_p, c_size_t)
new_topic_destroy = _brief("NewTopic_destroy", None, c_void_p)
create_topics = _work(
    "CreateTopics", None, c_void_p, POINTER(c_void_p), c_size_t, c_void_p, c_void_p
)
event_create_topics_result = _brief("event_CreateTopics_result", c_void_p, c_void_p)
create_topics_result_topics = _brief(
    "CreateTopics_result_topics", POINTER(c_void_p), c_void_p, POINTER(c_size_t)
)
topic_result_error = _brief("topic_result_error", c_int, c_void_p)
topic_result_error_string = _brief("topic_result_error_string", c_char_p, c_void_p)
node_id = _brief("Node_id", c_int, c_void_p)
node_rack = _brief("Node_rack", c_char_p, c_void_p)

# --- the mock cluster (rdkafka_mock.h); each call waits for the mock's own thread -------------

mock_cluster_new = _work("mock_cluster_new", c_void_p, c_void_p, c_int)
mock_cluster_destroy = _work("mock_cluster_destroy", None, c_void_p)
mock_cluster_bootstraps = _work("mock_cluster_bootstraps", c_char_p, c_void_p)
mock_broker_add = _work("mock_broker_add", c_int, c_void_p, c_int32)
mock_broker_set_rack = _work("mock_broker_set_rack", c_int, c_void_p, c_int32, c_char_p)
mock_broker_set_rtt = _work("mock_broker_set_rtt", c_int, c_void_p, c_int32, c_int)
mock_broker_set_down = _work("mock_broker_set_down", c_int, c_void_p, c_int32)
mock_broker_set_up = _work("mock_broker_set_up", c_int, c_void_p, c_int32)
mock_push_request_errors_array = _work(
    "mock_push_request_errors_array", None, c_void_p, c_int16, c_size_t, POINTER(c_int)
)
#: Variadic in C, for pairs of an error and a delay in ms: here always one pair.
mock_broker_push_request_error_rtts = _work(
    "mock_broker_push_request_error_rtts", c_int, c_void_p, c_int32, c_int16, c_size_t, c_int, c_int
)
mock_topic_create = _work("mock_topic_create", c_int, c_void_p, c_char_p, c_int, c_int)
mock_partition_set_leader = _work(
    "mock_partition_set_leader", c_int, c_void_p, c_char_p, c_int32, c_int32
)
mock_start_request_tracking = _work("mock_start_request_tracking", None, c_void_p)
mock_clear_requests = _work("mock_clear_requests", None, c_void_p)
mock_get_requests = _work("mock_get_requests", POINTER(c_void_p), c_void_p, POINTER(c_size_t))
mock_request_api_key = _work("mock_request_api_key", c_int16, c_void_p)
#: Microseconds of the monotonic clock.
mock_request_timestamp = _work("mock_request_timestamp", c_int64, c_void_p)
mock_request_destroy_array = _work("mock_request_destroy_array", None, POINTER(c_void_p), c_size_t)

# --- checks at import -----------------------------------------------------------------------

#: `_INVALID_DIFFERENT_RECORD` (2.12), the mock's request tracking and `Node_rack` are all there.
MINIMUM_VERSION: Final = 0x020C00FF


def _check() -> None:
    """Refuse a library whose structures or functions are not those declared here."""
    if version() < MINIMUM_VERSION:
        raise InvariantError(
            f"load librdkafka: version {version_str().decode()} is too old;"
            " install confluent-kafka 2.16.1 or newer"
        )
    private = MESSAGE.fields["private"][1] if MESSAGE.fields else -1
    if (
        MESSAGE.itemsize != ctypes.sizeof(Message)
        or MESSAGE.itemsize != 72
        or private != MESSAGE_PRIVATE_OFFSET
        or Message.private.offset != MESSAGE_PRIVATE_OFFSET
        or Message.offset.offset != MESSAGE_OFFSET_OFFSET
        or ARGUMENT.itemsize != 72
    ):
        raise InvariantError(
            f"load librdkafka: rd_kafka_message_t takes {MESSAGE.itemsize} bytes, not 72:"
            " only 64-bit platforms are supported"
        )


_check()


def error_text() -> ctypes.Array[ctypes.c_char]:
    """A buffer for an error text."""
    return ctypes.create_string_buffer(ERRSTR_BYTES)


def conf_value(conf: int, name: str) -> str:
    """A property of a `rd_kafka_conf_t`; "" for those that are not set."""
    text = error_text()
    size = c_size_t(ERRSTR_BYTES)
    conf_get(conf, name.encode(), text, byref(size))
    return text.value.decode(errors="replace")


def pointers(function: Any, owner: int) -> list[int]:
    """The elements of an array-returning accessor `function(owner, &count)`."""
    count = c_size_t()
    array = function(owner, byref(count))
    return [array[index] for index in range(count.value)]
