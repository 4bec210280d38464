from __future__ import annotations

from confluent_kafka import KafkaError

from singer.base.errors import ClusterError, FatalProducerError, TopicError
from singer.kafka import errors
from singer.kafka.errors import ErrorClass, classify


def test_every_code_of_the_library_has_one_class() -> None:
    codes = errors.codes()
    assert len(codes) > 150
    assert set(errors._TABLE) == set(codes)
    named = [code for members in errors._NAMED.values() for code in members]
    assert len(named) == len(set(named))
    assert set(named) <= set(codes)


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
