"""The two Admin calls that move leaders between brokers that are all well.

The client library lacks the first, and its binding of the second fails before it asks
(`AdminClient.elect_leaders` of confluent-kafka 2.16.1: SystemError). Both are spoken over a
plain socket, to any broker, which forwards them to the controller.
https://kafka.apache.org/protocol.html#The_Messages_AlterPartitionReassignments
https://kafka.apache.org/protocol.html#The_Messages_ElectLeaders
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_ALTER_PARTITION_REASSIGNMENTS: Final = (45, 0)
_ELECT_LEADERS: Final = (43, 2)
_PREFERRED: Final = 0
_DEADLINE_SECONDS: Final = 15.0
_TIMEOUT_MS: Final = struct.pack(">i", int(_DEADLINE_SECONDS * 1000))
_NO_TAGS: Final = b"\0"


def reassign(port: int, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    """Give each partition its list of replicas; the first one is the preferred leader.

    Raises AssertionError when the cluster refuses as a whole; the refusal of a single
    partition shows in that its replicas stay as they were.
    """
    partitions = [
        struct.pack(">i", partition) + _integers(brokers) + _NO_TAGS
        for partition, brokers in replicas.items()
    ]
    topics = _array([_string(topic) + _array(partitions) + _NO_TAGS])
    _ask(port, _ALTER_PARTITION_REASSIGNMENTS, _TIMEOUT_MS + topics + _NO_TAGS)


def elect_preferred(port: int, topic: str, partitions: Iterable[int]) -> None:
    """Make the first replica of each partition its leader, where that one is in sync."""
    topics = _array([_string(topic) + _integers(list(partitions)) + _NO_TAGS])
    _ask(port, _ELECT_LEADERS, bytes([_PREFERRED]) + topics + _TIMEOUT_MS + _NO_TAGS)


def _ask(port: int, request: tuple[int, int], body: bytes) -> None:
    client = b"singer-tests"
    header = struct.pack(">hhih", *request, 1, len(client)) + client + _NO_TAGS
    with socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        (length,) = struct.unpack(">i", _receive(connection, 4))
        answer = _receive(connection, length)
    # correlation id (4), tags (1), throttle time (4), error code (2)
    (error,) = struct.unpack_from(">h", answer, 9)
    assert error == 0, f"admin request {request} at port {port}: Kafka error code {error}"


def _string(text: str) -> bytes:
    return _varint(len(text.encode()) + 1) + text.encode()


def _integers(numbers: Sequence[int]) -> bytes:
    return _array([struct.pack(">i", number) for number in numbers])


def _array(items: Sequence[bytes]) -> bytes:
    return _varint(len(items) + 1) + b"".join(items)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _receive(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        piece = connection.recv(length - len(received))
        assert piece, "admin request: the broker closed the connection"
        received += piece
    return received
