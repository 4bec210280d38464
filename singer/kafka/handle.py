"""One `rd_kafka_t`: made of properties, heard through events, ended without hanging.

Owns the handle's life, its main queue and the eventfd that tells the loop of events. What the
events mean is its owner's business (`Listener`). All methods belong to the loop's thread;
librdkafka calls that block run in daemon threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from singer.base.errors import ClusterError, DeliveryError, InputError, InvariantError
from singer.kafka import errors, properties, security
from singer.kafka import librdkafka as rd
from singer.kafka.threads import in_thread
from singer.kafka.tokens import Token

Result = TypeVar("Result")

#: Events served before other tasks of the loop get their turn. One event is up to a whole
#: produce request, so this is tens of MiB.
EVENTS_PER_TURN: Final = 64

#: How long one wait in `rd_kafka_flush` lasts: what a `close` may have to wait for it.
_FLUSH_SLICE_MS: Final = 200

#: Between two attempts to get a thread in which a handle can end.
_END_AGAIN_SECONDS: Final = 1.0


#: What admin requests are answered with.
_ANSWERS: Final = (
    rd.EVENT_CREATE_TOPICS,
    rd.EVENT_DESCRIBE_CONFIGS,
    rd.EVENT_DESCRIBE_TOPICS,
    rd.EVENT_DESCRIBE_CLUSTER,
)


class Listener(Protocol):
    """Hears a handle's events; called on the loop, must not raise or block."""

    def delivered(self, event: int) -> None:
        """A delivery event (`rd_kafka_event_t *`); it is freed afterwards."""
        ...

    def failed(self, code: int, reason: str) -> None:
        """An error that librdkafka deals with itself, such as a lost connection."""
        ...

    def broken(self, code: int, reason: str) -> None:
        """A fatal error: the handle can no longer be used."""
        ...

    def logged(self, level: int, facility: str, text: str) -> None:
        """A line of librdkafka's log."""
        ...

    def token_wanted(self, handle: Handle) -> None:
        """A token for SASL OAUTHBEARER is needed, the first or one in place of another."""
        ...

    def measured(self, statistics: bytes) -> None:
        """Statistics of librdkafka, as JSON; every `statistics.interval.ms`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a transaction did not go on: once more, abort it, or (`fatal`) end the handle."""

    code: int
    text: str
    retriable: bool
    abort: bool
    fatal: bool


class Handle:
    """A producer instance of librdkafka."""

    def __init__(
        self,
        settings: Mapping[str, str],
        listener: Listener,
        loop: asyncio.AbstractEventLoop,
        codecs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`codecs` are, by topic, those that are not the settings'."""
        self._codecs = codecs
        self._listener = listener
        self._loop = loop
        self._topics: dict[str, int] = {}
        self._answers: dict[int, Callable[[int | None], None]] = {}
        self._numbers = itertools.count(1)
        self._calls: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._eventfd = _eventfd()
        try:
            self.pointer = _create(settings)
        except BaseException:
            os.close(self._eventfd)
            raise
        #: The largest record it takes: value and key, in bytes.
        self.max_record_bytes = int(rd.conf_value(rd.conf(self.pointer), "message.max.bytes"))
        rd.set_log_queue(self.pointer, None)
        self._queue: int = rd.queue_get_main(self.pointer)
        rd.queue_io_event_enable(self._queue, self._eventfd, struct.pack("=Q", 1), 8)
        loop.add_reader(self._eventfd, self._readable)
        # The eventfd is signalled only when the queue turns from empty to non-empty, and it may
        # have done so before.
        loop.call_soon(self._serve)

    def topic(self, name: str) -> int:
        """The `rd_kafka_topic_t *` of a topic."""
        pointer = self._topics.get(name)
        if pointer is None:
            codec = self._codecs.get(name)
            conf = None if codec is None else _topic_conf(self.pointer, codec)
            pointer = self._topics[name] = rd.topic_new(self.pointer, name.encode(), conf)
        return pointer

    def add_brokers(self, addresses: str) -> None:
        """Make more brokers known, `host:port` with commas between; it forgets none."""
        if not self._closed:  # its pointer may lead nowhere any more
            rd.brokers_add(self.pointer, addresses.encode())

    # --- events -----------------------------------------------------------------------------

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._eventfd)
        self._serve()

    def _serve(self) -> None:
        for _ in range(EVENTS_PER_TURN):
            if self._closed:
                return
            event = rd.queue_poll(self._queue, 0)
            if not event:
                return
            try:
                self._dispatch(event)
            finally:
                rd.event_destroy(event)
        # No further signal comes while the queue is not empty: come back by ourselves.
        self._loop.call_soon(self._serve)

    def _dispatch(self, event: int) -> None:
        kind = rd.event_type(event)
        if kind == rd.EVENT_DR:
            self._listener.delivered(event)
        elif kind == rd.EVENT_ERROR:
            self._error(event)
        elif kind == rd.EVENT_LOG:
            facility, text, level = ctypes.c_char_p(), ctypes.c_char_p(), ctypes.c_int()
            rd.event_log(event, ctypes.byref(facility), ctypes.byref(text), ctypes.byref(level))
            self._listener.logged(level.value, _text(facility.value), _text(text.value))
        elif kind == rd.EVENT_OAUTHBEARER_TOKEN_REFRESH:
            self._listener.token_wanted(self)
        elif kind == rd.EVENT_STATS:
            self._listener.measured(rd.event_stats(event))
        elif kind in _ANSWERS:
            answer = self._answers.pop(rd.event_opaque(event) or 0, None)
            if answer is not None:
                answer(event)

    def _error(self, event: int) -> None:
        code, reason = rd.event_error(event), _text(rd.event_error_string(event))
        if code == errors.FATAL or rd.event_error_is_fatal(event):
            code, reason = self.fatal() or (code, reason)
            self._listener.broken(code, reason)
        else:
            self._listener.failed(code, reason)

    def fatal(self) -> tuple[int, str] | None:
        """The fatal error that broke this handle, if one did."""
        text = rd.error_text()
        code = rd.fatal_error(self.pointer, text, rd.ERRSTR_BYTES)
        return (code, _text(text.value)) if code else None

    # --- tokens -----------------------------------------------------------------------------

    def set_token(self, token: Token) -> str:
        """Use a token from now on; what is wrong with it, or ""."""
        if self._closed:
            return ""
        text = rd.error_text()
        failed = rd.oauthbearer_set_token(
            self.pointer,
            token.value.encode(),
            token.ends_ms,
            token.principal.encode(),
            None,
            0,
            text,
            rd.ERRSTR_BYTES,
        )
        return _text(text.value) if failed else ""

    def token_failed(self, cause: str) -> None:
        """There is no token now: librdkafka tells it as an error, and asks again in 10 s."""
        if not self._closed:
            rd.oauthbearer_set_token_failure(self.pointer, cause.encode(errors="replace"))

    # --- questions --------------------------------------------------------------------------

    async def ask(
        self,
        step: str,
        send: Callable[[int, int], None],
        read: Callable[[int], Result],
        *,
        timeout_seconds: float,
    ) -> Result:
        """Put an admin request and read its answer.

        `send(options, queue)` puts it, `read(event)` turns the answer into a value while the
        event is alive. `step` begins the message of the DeliveryError raised for a failure;
        ClusterError when nothing came back in time.
        """
        self._check_open(step)
        answered: asyncio.Future[Result] = self._loop.create_future()

        def answer(event: int | None) -> None:
            if answered.done():
                return
            try:
                if event is None:
                    raise ClusterError(f"{step}: the producer is closed")
                code = rd.event_error(event)
                if code:
                    detail = _text(rd.event_error_string(event))
                    raise errors.failure(step, code, detail=detail)
                answered.set_result(read(event))
            except DeliveryError as error:
                answered.set_exception(error)

        number = next(self._numbers)
        self._answers[number] = answer
        options = rd.admin_options_new(self.pointer, rd.ADMIN_OP_ANY)
        try:
            rd.admin_options_set_request_timeout(
                options, int(timeout_seconds * 1000), rd.error_text(), rd.ERRSTR_BYTES
            )
            rd.admin_options_set_opaque(options, number)
            send(options, self._queue)
        finally:
            rd.admin_options_destroy(options)
        try:
            # librdkafka itself answers when the time is over; it gets a second for that.
            return await asyncio.wait_for(answered, timeout_seconds + 1.0)
        except TimeoutError as error:
            raise errors.failure(step, errors.TIMED_OUT) from error
        finally:
            self._answers.pop(number, None)

    async def call(self, step: str, work: Callable[[], Result]) -> Result:
        """Run a librdkafka call that blocks, for a bounded time, in a daemon thread."""
        self._check_open(step)
        future = in_thread(f"singer-kafka-{step.split(maxsplit=1)[0]}", work)
        self._calls.add(future)
        future.add_done_callback(self._called)
        return await asyncio.shield(future)

    def transact(self, function: Callable[..., int | None], *arguments: int) -> Trouble | None:
        """Call one of librdkafka's functions for transactions; None when it did what it should."""
        if self._closed:  # its pointer may lead nowhere any more
            return Trouble(
                code=errors.FATAL,
                text="the producer is closed",
                retriable=False,
                abort=False,
                fatal=True,
            )
        error = function(self.pointer, *arguments)
        if not error:
            return None
        try:
            return Trouble(
                code=rd.error_code(error),
                text=_text(rd.error_string(error)),
                retriable=bool(rd.error_is_retriable(error)),
                abort=bool(rd.error_txn_requires_abort(error)),
                fatal=bool(rd.error_is_fatal(error)),
            )
        finally:
            rd.error_destroy(error)

    def end_offset(self, topic: str, partition: int, timeout_ms: int) -> int | None:
        """Where a partition ends; None if nobody says. Blocks."""
        low, high = ctypes.c_int64(), ctypes.c_int64()
        code = rd.query_watermark_offsets(
            self.pointer,
            topic.encode(),
            partition,
            ctypes.byref(low),
            ctypes.byref(high),
            timeout_ms,
        )
        return None if code else high.value

    def _called(self, future: asyncio.Future[Any]) -> None:
        self._calls.discard(future)
        if not future.cancelled():
            future.exception()  # whoever waited may have been cancelled: then nobody looks

    def _check_open(self, step: str) -> None:
        if self._closed:
            raise ClusterError(f"{step}: the producer is closed")

    # --- the end ----------------------------------------------------------------------------

    async def flush(self, deadline_seconds: float) -> bool:
        """Send what lingers and wait for all reports; whether none is missing any more.

        The loop serves the reports meanwhile.
        """
        ends = self._loop.time() + deadline_seconds
        while rd.outq_len(self.pointer):
            left_ms = int((ends - self._loop.time()) * 1000)
            if left_ms <= 0 or self._closed:
                return False
            wait_ms = min(_FLUSH_SLICE_MS, left_ms)
            await self.call("flush producer", partial(rd.flush, self.pointer, wait_ms))
        return True

    def purge(self) -> None:
        """Give up everything queued and in flight; the reports of that still come."""
        flags = rd.PURGE_QUEUE | rd.PURGE_INFLIGHT | rd.PURGE_NON_BLOCKING
        rd.purge(self.pointer, flags)

    async def close(self, deadline_seconds: float, keep: object) -> bool:
        """End it; whether that was done in time. No event is heard any more.

        `keep` is what librdkafka may read until it has ended: the payloads under way. If it does
        not end in time, its thread goes on alone and keeps them.
        """
        if self._closed:
            return True
        self._closed = True
        for answer in tuple(self._answers.values()):
            answer(None)
        self._loop.remove_reader(self._eventfd)
        rd.queue_io_event_enable(self._queue, -1, None, 0)
        ending = self._loop.create_task(self._end(keep))
        finished, _ = await asyncio.wait((ending,), timeout=deadline_seconds)
        if not finished:
            _LEFT_BEHIND.append((self, keep))
        return bool(finished)

    async def _end(self, keep: object) -> None:
        while self._calls:  # destroying a handle under a call would crash the process
            await asyncio.wait(tuple(self._calls))
        while True:
            try:
                await in_thread("singer-kafka-destroy", partial(self._destroy, keep))
            except ClusterError:  # no thread to be had; until then `keep` must not be freed
                await asyncio.sleep(_END_AGAIN_SECONDS)
            else:
                return

    def _destroy(self, keep: object) -> object:
        self.purge()
        for topic in self._topics.values():
            rd.topic_destroy(topic)
        rd.queue_destroy(self._queue)
        rd.destroy_flags(self.pointer, rd.DESTROY_NO_CONSUMER_CLOSE)
        os.close(self._eventfd)
        return keep


#: Handles, and the memory they read, that could not be ended: freed with the process.
_LEFT_BEHIND: Final[list[object]] = []


def _topic_conf(pointer: int, codec: str) -> int:
    """A `rd_kafka_topic_conf_t` of a handle's own settings but for the codec; `topic_new` takes it.

    The level of the handle's codec is none of another's.
    """
    conf: int = rd.default_topic_conf_dup(pointer)
    level = properties.ZSTD_LEVEL if codec == "zstd" else "-1"
    for name, value in (("compression.type", codec), ("compression.level", level)):
        text = rd.error_text()
        if rd.topic_conf_set(conf, name.encode(), value.encode(), text, rd.ERRSTR_BYTES):
            raise InvariantError(f"set {name} of a topic to {value}: {_text(text.value)}")
    return conf


def _eventfd() -> int:
    """Made before the handle, which would be left running without it."""
    try:
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except OSError as error:
        raise ClusterError(
            f"create producer: {os.strerror(error.errno or 0)}: raise the limit of open files"
        ) from error


def _create(settings: Mapping[str, str]) -> int:
    """A `rd_kafka_t *`. Raises InputError naming the property that is wrong."""
    conf = rd.conf_new()
    for name, value in settings.items():
        fault = properties.assign(conf, name, value)
        if fault:
            rd.conf_destroy(conf)
            raise InputError(f"create producer: {fault}: correct the cluster's properties")
    events = rd.EVENT_DR | rd.EVENT_ERROR | rd.EVENT_LOG | rd.EVENT_STATS
    if not security.by_oidc(settings):  # librdkafka then answers by itself
        events |= rd.EVENT_OAUTHBEARER_TOKEN_REFRESH
    rd.conf_set_events(conf, events)
    text = rd.error_text()
    pointer: int | None = rd.new(rd.PRODUCER, conf, text, rd.ERRSTR_BYTES)
    if not pointer:  # the configuration then still belongs to us
        rd.conf_destroy(conf)
        raise InputError(f"create producer: {_text(text.value)}: correct the cluster's properties")
    return pointer


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
