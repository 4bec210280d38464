"""A Kafka cluster inside the process: librdkafka's mock cluster, for trying out and for tests.

It speaks the real protocol on real sockets. It keeps 5 MiB or 100,000 records per partition, and
has no disk, no TLS, no SASL and no access control. Calls block for a moment, until the mock's
own thread did what they ask for.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from singer.base.config import EmbeddedConfig
from singer.base.errors import InputError
from singer.kafka import errors
from singer.kafka import librdkafka as rd

#: The mock names broker 0 as its controller but does not have one: requests to the controller
#: would wait for ever. It gets one, which leads no partition.
_CONTROLLER: Final = 0

#: TOPIC_ALREADY_EXISTS: a consumer that asked for the topic made it.
_EXISTS: Final = 36

#: The mock's thread misses the signal for about one operation in twelve and then sleeps on until
#: its next look, a second later; a connection wakes it. This is how long it gets to hear by
#: itself.
_NUDGE_SECONDS: Final = 0.005

#: Kafka's number of the Produce request, for `push_errors`.
API_PRODUCE: Final = 0
API_METADATA: Final = 3
#: The first on each connection.
API_VERSIONS: Final = 18


class EmbeddedCluster:
    """Brokers 1 to n, with racks."""

    def __init__(self, config: EmbeddedConfig) -> None:
        """Start the brokers. Raises InputError when there are none to start."""
        if config.brokers < 1 or config.partitions < 1:
            raise InputError("start embedded cluster: brokers and partitions must be at least 1")
        self._config = config
        conf = rd.conf_new()
        # The handle serves the mock's books only; it has nothing to say.
        text = rd.error_text()
        rd.conf_set(conf, b"log_level", b"0", text, rd.ERRSTR_BYTES)
        self._handle: int = rd.new(rd.PRODUCER, conf, text, rd.ERRSTR_BYTES)
        self._mock: int = rd.mock_cluster_new(self._handle, config.brokers)
        self.bootstrap: str = rd.mock_cluster_bootstraps(self._mock).decode()
        self._operate("add broker", rd.mock_broker_add, _CONTROLLER)
        for broker in range(1, config.brokers + 1):
            if config.racks:
                rack = config.racks[(broker - 1) % len(config.racks)]
                self.set_rack(broker, rack)
        self._topics: set[str] = set()
        self._closed = False

    def create_topic(self, name: str, partitions: int | None = None) -> None:
        """Make a topic, leaders dealt evenly to brokers 1 to n; nothing if it was made before."""
        if name in self._topics:
            return
        count = partitions or self._config.partitions
        self._topics.add(name)
        step = f"create topic {name}"
        self._operate(step, rd.mock_topic_create, name.encode(), count, 1, but=_EXISTS)
        for partition in range(count):
            self.set_leader(name, partition, 1 + partition % self._config.brokers)

    def set_leader(self, topic: str, partition: int, broker: int) -> None:
        """Move a partition; broker -1 leaves it without a leader.

        Without a leader it must not be sent to: the mock follows a null pointer then, and the
        process ends.
        """
        step = f"move {topic} [{partition}]"
        self._operate(step, rd.mock_partition_set_leader, topic.encode(), partition, broker)

    def set_rack(self, broker: int, rack: str) -> None:
        """Say which zone a broker is in."""
        self._operate("set rack", rd.mock_broker_set_rack, broker, rack.encode())

    def set_down(self, broker: int = -1) -> None:
        """Cut a broker's connections and take no new ones; -1: all brokers."""
        self._operate("stop broker", rd.mock_broker_set_down, broker)

    def set_up(self, broker: int = -1) -> None:
        """Undo `set_down`."""
        self._operate("start broker", rd.mock_broker_set_up, broker)

    def set_rtt(self, broker: int, milliseconds: int) -> None:
        """Let a broker (-1: all) answer this much later."""
        self._operate("delay broker", rd.mock_broker_set_rtt, broker, milliseconds)

    def push_errors(self, api_key: int, codes: Sequence[int], *, broker: int = -1) -> None:
        """Answer the next requests of a kind with these codes, one each; 0 lets one through.

        `broker` is the one that does; -1: all of them together.
        """
        if broker != -1:
            for code in codes:
                step = f"let broker {broker} refuse requests"
                push = rd.mock_broker_push_request_error_rtts
                self._operate(step, push, broker, api_key, 1, code, 0)
            return
        array = (ctypes.c_int * len(codes))(*codes)
        rd.mock_push_request_errors_array(self._mock, api_key, len(codes), array)

    def track_requests(self) -> None:
        """Begin to count requests, from 0."""
        rd.mock_start_request_tracking(self._mock)
        rd.mock_clear_requests(self._mock)

    def requests(self, api_key: int) -> int:
        """Requests of a kind since `track_requests`."""
        return sum(key == api_key for key, _ in self.request_log())

    def request_log(self) -> list[tuple[int, float]]:
        """The kind of each request since `track_requests`, and when it came (`time.monotonic`)."""
        count = ctypes.c_size_t()
        array = rd.mock_get_requests(self._mock, ctypes.byref(count))
        requests = (array[i] for i in range(count.value))
        log = [
            (rd.mock_request_api_key(each), rd.mock_request_timestamp(each) / 1e6)
            for each in requests
        ]
        rd.mock_request_destroy_array(array, count)
        return log

    def close(self) -> None:
        """Stop the brokers; what they hold is gone."""
        if self._closed:
            return
        self._closed = True
        rd.mock_cluster_destroy(self._mock)
        rd.destroy_flags(self._handle, rd.DESTROY_NO_CONSUMER_CLOSE)

    # --- inside -----------------------------------------------------------------------------

    def _operate(self, step: str, function: Any, *arguments: Any, but: int = 0) -> None:
        with self._nudging():
            code = function(self._mock, *arguments)
        if code not in (0, but):
            raise InputError(f"{step} of the embedded cluster: {errors.describe(code)}")

    @contextlib.contextmanager
    def _nudging(self) -> Iterator[None]:
        """Wake the mock's thread every few milliseconds while an operation waits for it."""
        done = threading.Event()

        def nudge() -> None:
            while not done.wait(_NUDGE_SECONDS):
                for address in self.bootstrap.split(","):
                    host, port = address.rsplit(":", 1)
                    with contextlib.suppress(OSError):  # that broker is down
                        socket.create_connection((host, int(port)), timeout=1.0).close()

        thread = threading.Thread(target=nudge, name="singer-embedded-nudge", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=2.0)
