"""`singer demo`: the order of events, and that nothing of it is left behind.

Owns the temporary directory and everything in it. The brokers live in this process, so that they
survive the agent, which is a child process and is killed half way.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from singer.base.errors import WorldError
from singer.demo import stage
from singer.demo.child import Agent
from singer.demo.consumer import Latency, Reading
from singer.demo.generator import Generator
from singer.demo.oracle import Verdict
from singer.demo.screen import screen
from singer.demo.table import Flow, Happening, View, Zone
from singer.kafka.embedded import EmbeddedCluster

#: Python, numpy and librdkafka loaded by a busy machine, and the first lines delivered.
_START_SECONDS: Final = 30.0
#: How long the last lines may take to arrive.
_DRAIN_SECONDS: Final = 30.0
#: How long the agent stays dead, so that one can see it; less in a short demo.
_DEAD_SECONDS: Final = 1.5
_STEP_SECONDS: Final = 0.05
#: Rates are told over the last so many seconds.
_RATE_SECONDS: Final = 2.0
#: Signals that end the demo in order, as Ctrl-C does.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(options: argparse.Namespace) -> int:
    """Play the demo; 0 when nothing was lost and nothing out of order, 1 otherwise.

    `options` has seconds, rate, plain, keep. Raises WorldError when the agent does not start or
    ends by itself, KeyboardInterrupt when a signal ended the demo; everything is cleaned up then.
    """
    with _ending_signals(), _directory(keep=options.keep) as directory:
        demo = Demo(directory, seconds=options.seconds, rate=options.rate, plain=options.plain)
        return demo.play()


class Demo:
    """One performance."""

    def __init__(self, directory: str, *, seconds: float, rate: float, plain: bool) -> None:
        self._directory = directory
        self._seconds = seconds
        self._rate = rate
        self._plain = plain
        self._phase = "starting"
        self._began: float | None = None
        self._ended_seconds: float | None = None
        self._exit_status: int | None = None
        self._journal: list[Happening] = []
        self._paces: deque[tuple[float, int, int]] = deque()

    def play(self) -> int:
        """From nothing to the verdict. See `main`."""
        with ExitStack() as stack:
            self._set_up(stack)
            with screen(plain=self._plain) as self._screen:
                try:
                    verdict = self._perform()
                except KeyboardInterrupt:
                    self._phase = "interrupted"
                    self._note("interrupted: cleaning up", alarming=True)
                    self._show(now=True)
                    raise
        return self._sum_up(verdict)

    # --- before -------------------------------------------------------------------------------

    def _set_up(self, stack: ExitStack) -> None:
        config_path = os.path.join(self._directory, "singer.yaml")
        os.mkdir(os.path.join(self._directory, "logs"))
        cluster = EmbeddedCluster(stage.CLUSTER)
        stack.callback(cluster.close)
        for topic in stage.TOPICS:
            cluster.create_topic(topic)
        with open(config_path, "w", encoding="utf-8") as config:
            config.write(stage.configuration(self._directory, cluster.bootstrap))
        self._reading = Reading(
            cluster.bootstrap,
            stage.TOPICS,
            files=stage.FILES,
            zone=lambda broker: stage.ZONES[(broker - 1) % len(stage.ZONES)],
        )
        stack.callback(self._reading.finish)
        self._agent = Agent(config_path, os.path.join(self._directory, "agent.log"))
        stack.callback(self._agent.close)
        self._generator = Generator(
            [stage.log_path(self._directory, file) for file in stage.FILES],
            forms=stage.FORMS,
            rate=self._rate,
            complete=lambda: self._reading.delivery.complete,
            rng=random.Random(),
        )
        stack.callback(self._generator.end)

    # --- the acts -----------------------------------------------------------------------------

    def _perform(self) -> Verdict:
        self._start()
        self._wait(self._seconds / 2)
        self._kill_and_restart()
        self._wait(self._seconds)
        self._end()
        return self._reading.judge(self._generator.written.lines)

    def _start(self) -> None:
        self._note(f"brokers in {', '.join(stage.ZONES)}; everything else in {self._directory}")
        self._agent.start()
        self._note(f"agent started in {stage.HOME_ZONE}, pid {self._agent.pid}")
        began = time.monotonic()
        if not self._until(lambda: self._lag == 0, _START_SECONDS):
            raise WorldError(
                f"start the demo: nothing arrived in {_START_SECONDS:g} s; the agent's last "
                f"lines:\n{self._agent.tail()}"
            )
        self._note(f"the first lines arrived {time.monotonic() - began:.1f} s after the start")
        self._phase = "writing"
        self._generator.begin()
        self._began = time.monotonic()

    def _kill_and_restart(self) -> None:
        self._calm: Latency | None = self._reading.delivery.latency
        before = self._generator.written.rotations
        self._agent.kill()
        self._note(f"agent killed: SIGKILL to pid {self._agent.pid}", alarming=True)
        self._wait(self._elapsed + min(_DEAD_SECONDS, self._seconds / 10))
        rotations = self._generator.written.rotations - before
        lag = self._lag
        self._agent.start()
        self._note(
            f"agent started again, pid {self._agent.pid}; {lag:,} lines and {rotations} rotations "
            "behind"
        )
        began, behind = time.monotonic(), self._generator.written
        # Each file is past what it had when the agent came back.
        caught_up = self._until(
            lambda: all(
                complete >= lines
                for complete, lines in zip(
                    self._reading.delivery.complete, behind.lines, strict=True
                )
            ),
            max(0.0, self._seconds - self._elapsed),
        )
        if caught_up:
            self._note(f"caught up {time.monotonic() - began:.1f} s after the new start")

    def _end(self) -> None:
        written = self._generator.end()
        self._ended_seconds = self._elapsed
        self._phase = "delivering the rest"
        self._note(f"writing ended: {sum(written.lines):,} lines, {written.rotations} rotations")
        began = time.monotonic()
        self._until(lambda: self._lag == 0 or self._overrun_and_quiet(), _DRAIN_SECONDS)
        if self._lag == 0:
            self._note("everything arrived")
        else:
            took = time.monotonic() - began
            self._note(f"{self._lag:,} lines did not arrive in {took:.0f} s", alarming=True)
        self._exit_status = self._agent.stop()
        self._note(f"agent stopped: SIGTERM, exit status {self._exit_status}")
        self._reading.finish()
        self._phase = "done"
        self._show(now=True)

    def _sum_up(self, verdict: Verdict) -> int:
        delivery = self._reading.delivery
        if self._calm is not None:
            print(
                f"latency before the kill: p50 {self._calm.p50_ms:.1f} ms, "
                f"p99 {self._calm.p99_ms:.1f} ms from the write to the consumer"
            )
        if delivery.overrun:
            print(
                f"the demo could not keep up: the embedded brokers dropped {delivery.overrun:,} "
                "records before they were read. These are not the agent's: lower --rate"
            )
        if self._exit_status:
            print(f"the agent's last lines:\n{self._agent.tail()}")
        print(f"{verdict.written:,} lines written: {verdict}", flush=True)
        return 0 if verdict.good and not self._exit_status else 1

    # --- watching -----------------------------------------------------------------------------

    @property
    def _elapsed(self) -> float:
        """Seconds since the writing began; 0 before."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def _lag(self) -> int:
        delivered = self._reading.delivery.delivered  # first: it must not be ahead
        return max(0, sum(self._generator.written.lines) - delivered)

    def _overrun_and_quiet(self) -> bool:
        """Whether lines went unread, and the others all arrived: no use in waiting on."""
        # Nothing arrived in the window of the latency, or there would be one.
        delivery = self._reading.delivery
        return delivery.overrun > 0 and delivery.latency is None

    def _wait(self, elapsed_seconds: float) -> None:
        self._until(lambda: False, elapsed_seconds - self._elapsed)

    def _until(self, condition: Callable[[], bool], deadline_seconds: float) -> bool:
        """Watch until the condition holds; False when the deadline passes before."""
        ends = time.monotonic() + deadline_seconds
        while not condition():
            self._agent.check()
            self._generator.check()
            self._reading.check()
            self._show()
            left = ends - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_STEP_SECONDS, left))
        return True

    def _note(self, text: str, *, alarming: bool = False) -> None:
        seconds = None if self._began is None else self._elapsed
        what = Happening(seconds=seconds, text=text, alarming=alarming)
        self._journal.append(what)
        self._screen.happened(what)
        self._show()

    def _show(self, *, now: bool = False) -> None:
        self._screen.show(self._view(), now=now)

    def _view(self) -> View:
        delivery = self._reading.delivery
        written = self._generator.written
        lines = sum(written.lines)
        if self._ended_seconds is None:
            written_rate, delivered_rate = self._rates(lines, delivery.delivered)
        else:  # over all
            written_rate = lines / self._ended_seconds
            delivered_rate = delivery.delivered / self._ended_seconds
        return View(
            phase=self._phase,
            seconds=self._elapsed if self._ended_seconds is None else self._ended_seconds,
            of_seconds=self._seconds,
            written=lines,
            delivered=delivery.delivered,
            written_rate=written_rate,
            delivered_rate=delivered_rate,
            latency=delivery.latency,
            compression=delivery.compression,
            zones=[
                Zone(name=name, nbytes=nbytes, home=name == stage.HOME_ZONE)
                for name, nbytes in delivery.zones.items()
            ],
            streams=self._streams(written.lines, delivery.complete),
            agent=self._agent.state,
            pid=self._agent.pid,
            exit_status=self._exit_status,
            rotations=written.rotations,
            duplicated=delivery.duplicated,
            out_of_order=delivery.out_of_order,
            overrun=delivery.overrun,
            journal=tuple(self._journal),
        )

    def _streams(self, written: Sequence[int], complete: Sequence[int]) -> list[Flow]:
        flows, first = [], 0
        for stream in stage.STREAMS:
            files = slice(first, first + len(stream.files))
            first = files.stop
            flows.append(
                Flow(
                    name=stream.name,
                    form=stream.form.value,
                    written=sum(written[files]),
                    arrived=sum(complete[files]),
                )
            )
        return flows

    def _rates(self, written: int, delivered: int) -> tuple[float, float]:
        now = time.monotonic()
        self._paces.append((now, written, delivered))
        while self._paces[0][0] < now - _RATE_SECONDS:
            self._paces.popleft()
        then, written_then, delivered_then = self._paces[0]
        # A first moment has no rate yet.
        span = max(now - then, _STEP_SECONDS)
        return (written - written_then) / span, (delivered - delivered_then) / span


@contextmanager
def _directory(*, keep: bool) -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="singer-demo-")
    try:
        yield directory
    finally:
        if keep:
            print(f"kept: {directory}", flush=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _ending_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through every `finally`."""
    before = [(number, signal.signal(number, signal.default_int_handler)) for number in _ENDING]
    try:
        yield
    finally:
        for number, handler in before:
            with suppress(TypeError):  # None: a handler that was not set from Python
                signal.signal(number, handler)
