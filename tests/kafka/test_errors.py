from __future__ import annotations

import os

import pytest
from confluent_kafka import KafkaError

from singer.base.errors import ClusterError, FatalProducerError, TopicError
from singer.kafka import error_reference, errors
from singer.kafka.error_table import TABLE, TREATMENTS, UNMET, ErrorClass
from singer.kafka.errors import classify

PAGE = os.path.join(os.path.dirname(__file__), "../../docs/operations.md")


def test_every_code_of_the_library_has_one_class_or_a_reason_to_have_none() -> None:
    names = errors.codes()
    assert len(names) > 150
    rows = [row for rows in TABLE.values() for row in rows]
    listed = [row.code for row in rows] + [code for codes in UNMET.values() for code in codes]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(names)
    assert {row.code: row.name for row in rows} == {row.code: names[row.code] for row in rows}
    assert set(TABLE) == set(TREATMENTS) == set(ErrorClass)
    assert all(classify(row.code) is each for each, rows in TABLE.items() for row in rows)


def test_the_manual_lists_them() -> None:
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    assert page == error_reference.update(page), "run make docs"
    row = next(line for line in page.splitlines() if "`TOPIC_AUTHORIZATION_FAILED`" in line)
    assert row == (
        "| 29 | `TOPIC_AUTHORIZATION_FAILED` | Broker: Topic authorization failed"
        " | grant this client WRITE and DESCRIBE on the topic |"
    )
    with pytest.raises(ValueError, match="lacks the marks"):
        error_reference.update("# Operations")


def test_the_codes_that_matter() -> None:
    assert classify(KafkaError.MSG_SIZE_TOO_LARGE) is ErrorClass.RECORD
    assert classify(KafkaError._INVALID_DIFFERENT_RECORD) is ErrorClass.RECORD
    assert classify(KafkaError.INVALID_RECORD) is ErrorClass.RECORD
    assert classify(KafkaError.UNKNOWN_TOPIC_OR_PART) is ErrorClass.TOPIC
    assert classify(KafkaError.TOPIC_AUTHORIZATION_FAILED) is ErrorClass.TOPIC
    assert classify(KafkaError.NOT_ENOUGH_REPLICAS) is ErrorClass.CONNECTION
    assert classify(KafkaError._PURGE_QUEUE) is ErrorClass.CONNECTION
    assert classify(KafkaError._FATAL) is ErrorClass.FATAL
    assert classify(30_000) is ErrorClass.CONNECTION  # from the future
    assert errors.TIMED_OUT == KafkaError._TIMED_OUT
    assert errors.ALL_BROKERS_DOWN == KafkaError._ALL_BROKERS_DOWN
    assert errors.QUEUE_FULL == KafkaError._QUEUE_FULL


def test_the_exception_names_step_cause_and_remedy() -> None:
    denied = errors.failure("produce to web", KafkaError.TOPIC_AUTHORIZATION_FAILED, settled=7)
    assert isinstance(denied, TopicError)
    assert denied.settled == 7
    assert str(denied) == (
        "produce to web: Broker: Topic authorization failed (TOPIC_AUTHORIZATION_FAILED):"
        " grant this client WRITE and DESCRIBE on the topic"
    )
    assert isinstance(errors.failure("x", KafkaError._TRANSPORT), ClusterError)
    assert isinstance(errors.failure("x", KafkaError._FENCED), FatalProducerError)
    assert str(errors.failure("x", KafkaError._TRANSPORT, detail="gone")) == "x: gone"
