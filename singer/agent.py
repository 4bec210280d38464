"""The agent: from a configuration to running streams, and back to nothing without loss.

Owns the order of starting and stopping, the signals, and the wiring of all parts; has no logic
of its own about files or Kafka. `run` is the whole life of the process but for its exit.

Stopping has two phases: read no more; then wait for what was sent, commit, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from functools import partial
from stat import S_ISCHR
from typing import Any, Final

from singer import __version__
from singer.audit import Book
from singer.audit_publisher import AuditPublisher
from singer.base.clock import SystemClock
from singer.base.config import (
    ClusterConfig,
    Config,
    DestinationConfig,
    LingerConfig,
    PartitionerConfig,
    PartitionerType,
    Seconds,
    StreamConfig,
)
from singer.base.errors import DeliveryError, ReadError, StateError
from singer.base.events import (
    AgentStarted,
    AgentStopped,
    AgentStopping,
    Emit,
    HostNotDrawn,
    InternalError,
    LedgerBalance,
    PositionsUnwritten,
    RegistryRead,
    UpkeepFailed,
)
from singer.base.hostid import host_id
from singer.base.ledger import Ledger
from singer.base.ports import Clock
from singer.base.zone import Zone
from singer.bootstrap import BootstrapFile
from singer.budget import Budget
from singer.catch_up import CatchUp
from singer.deciders import Deciders
from singer.descriptors import Descriptors
from singer.files.pathpattern import PathPattern
from singer.files.threads import DeviceThreads
from singer.files.wakeup import Wakeup
from singer.files.walk import Walker
from singer.kafka.cluster import KafkaCluster
from singer.kafka.embedded import EmbeddedCluster
from singer.kafka.events import PreflightFailed
from singer.kafka.headers import Headers
from singer.kafka.preflight import Level, Need
from singer.lag import Lag
from singer.limit import Limit
from singer.linger import Linger
from singer.locality.ec2 import Ec2Zone
from singer.locality.zone import Source, resolve
from singer.observe.arrivals import Arrivals
from singer.online import needs
from singer.outlets import Outlet, Outlets
from singer.positions.breaker import CrashBreaker
from singer.positions.sqlite import SqlitePositions
from singer.positions.state_dir import StateDir
from singer.positions.travelling import Travelling
from singer.promotion import Promotions
from singer.readers.making import make as make_reader
from singer.services import Destination, Services
from singer.stream import Stream
from singer.transforms.making import make as make_transform
from singer.turns import Turns
from singer.writers.dead_letters import DeadLetters
from singer.writers.kafka import KafkaWriter

#: Positions of files that are gone are looked for this often, or up to ten times as often: jitter.
_UPKEEP_SECONDS: Final = 6 * 3600.0
#: How long each stream may take to say which of its files exist: some 100,000 take seconds, and a
#: mount that hangs must not keep the rows of the others.
_PRESENT_SECONDS: Final = 60.0
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: How long the loop waits for a busy thread of ours to let go of the interpreter; the default of
#: 5 ms would be the latency of a line.
_SWITCH_SECONDS: Final = 0.0005
#: How often `--once` looks whether everything is delivered.
_ONCE_POLL_SECONDS: Final = 0.01
#: How often the files that people change are looked at.
_WATCHED_SECONDS: Final = 1.0
#: Between the start and the first look at the topics, and between two attempts.
_PREFLIGHT_SECONDS: Final = (0.5, 5.0)
#: How long a start waits for the file that names a cluster's brokers.
_BOOTSTRAP_SECONDS: Final = 5.0
#: What closing connections may take, once everything is settled or given up.
_CLOSE_SECONDS: Final = 3.0


def run(config: Config, *, once: bool, emit: Emit) -> int:
    """Run until SIGTERM or SIGINT, or (`once`) until everything there is delivered.

    Returns the exit status: 0, 75 when data was left to deliver, 70 after a bug. Raises
    StateError when the state directory cannot be used. The caller is expected to leave with
    `os._exit`: a thread may hang in a read for ever.
    """
    clock = SystemClock()
    state = StateDir(config.agent.state_dir)
    breaker = CrashBreaker(state, emit)
    breaker.open()
    _raise_file_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        return asyncio.run(Agent(config, state, breaker, once=once, emit=emit, clock=clock).main())
    finally:
        breaker.close()
        state.close()


class Agent:
    """One run of the agent, on the loop that runs `main`."""

    def __init__(
        self,
        config: Config,
        state: StateDir,
        breaker: CrashBreaker,
        *,
        once: bool,
        emit: Emit,
        clock: Clock,
    ) -> None:
        self.ledger = Ledger()
        self.streams: list[Stream] = []
        self._config = config
        self._state = state
        self._breaker = breaker
        self._once = once
        self._emit = emit
        self._clock = clock
        self._status = os.EX_OK
        self._stop = asyncio.Event()
        self._stop_cause = ""
        self._embedded: dict[str, EmbeddedCluster] = {}
        self._clusters: dict[str, KafkaCluster] = {}
        self._lines: dict[str, CatchUp] = {}
        self._outlets: dict[tuple[str, str], Outlets] = {}  # by stream and destination
        self._arrivals: list[Arrivals] = []
        self._book: Book | None = None  # None until it is known who we are
        self._publishers: list[AuditPublisher] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changeovers: list[asyncio.Task[None]] = []
        self._deciders = Deciders(config.agent.decider_file)
        self._positions = SqlitePositions(
            state.positions,
            emit=emit,
            clock=clock,
            commit_every_seconds=config.agent.commit_every,
        )
        self._promotions = Promotions(self._positions, emit=emit, clock=clock)
        self._dead_letters = DeadLetters(
            state.dead_letters,
            max_bytes=config.agent.dead_letters.max_bytes,
            files=config.agent.dead_letters.files,
            emit=emit,
            clock=clock,
        )

    def request_stop(self, cause: str) -> None:
        """Begin to stop; again is allowed and changes nothing."""
        if not self._stop.is_set():
            self._stop_cause = cause
            self._stop.set()

    async def main(self) -> int:
        """Start, wait, stop; returns the exit status. Raises StateError if it cannot start."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._crashed)
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._signalled, signal.Signals(number).name)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)  # `singer run` holds them back
        await self._positions.open()
        wakeup = Wakeup(loop, self._emit)
        try:
            await self._start(loop, wakeup)
            await self._wait()
        finally:
            await self._wind_up()
            wakeup.close()
        self._emit(AgentStopped(status=self._status))
        return self._status

    # --- starting -----------------------------------------------------------------------------

    async def _start(self, loop: asyncio.AbstractEventLoop, wakeup: Wakeup) -> None:
        config, agent = self._config, self._config.agent
        agent_id = agent.id or host_id()
        if (said := self._deciders.look()) is not None:  # before the first record is sent
            self._emit(said)
        if (registry := config.registry) is not None:
            self._emit(
                RegistryRead(
                    path=registry.path, digest=registry.digest, groups=",".join(registry.groups)
                )
            )
        for stream_name, left_out in config.undrawn:
            self._emit(
                HostNotDrawn(stream=stream_name, destination=left_out.name, percent=left_out.sample)
            )
        zone = Zone(resolve(agent.locality, emit=self._emit))
        threads = DeviceThreads(self._emit)
        ec2 = self._ec2(zone, threads) if agent.locality == Source.EC2.value else None
        await self._connect(agent_id, zone, threads)
        await self._audit(agent_id, zone)
        services = Services(
            loop=loop,
            spawn=self._spawn,
            clock=self._clock,
            emit=self._emit,
            threads=threads,
            wakeup=wakeup,
            breaker=self._breaker,
            turns=Turns(),
        )
        descriptors = Descriptors(
            self._emit,
            max_open=_most_open_files(agent.max_open_files),
            max_deleted_files=agent.max_deleted_files,
            max_deleted_bytes=agent.max_deleted_bytes,
        )
        budget = Budget(agent.memory, clusters=len(self._clusters))
        await self._promotions.load(config.streams)
        for stream in map(self._promotions.in_effect, config.streams):
            self.streams.append(
                Stream(
                    stream,
                    {d.name: self._destination(stream, d, budget) for d in stream.publish},
                    services,
                    self._positions,
                    Walker(
                        stream.paths,
                        stream.exclude,
                        stream.rotated,
                        rotated_dirs=stream.rotated_dirs,
                        avoid=self._own_files(),
                        follow_symlinks=stream.follow_symlinks,
                    ),
                    descriptors=descriptors,
                    rescan_seconds=agent.rescan,
                    close_idle_seconds=agent.close_idle,
                    positions_lost=self._positions.recovered,
                )
            )
        self._emit(
            AgentStarted(
                version=__version__,
                agent_id=agent_id,
                state_dir=self._state.path,
                zone="/".join(zone.names) or "unknown",
                streams=len(self.streams),
                clusters=len(self._clusters),
            )
        )
        for started in self.streams:
            started.start()
        for started in self.streams:
            self._promote(started)
        for name, needed in needs(config).items():
            self._spawn(self._preflight(self._clusters[name], needed))
        for publisher in self._publishers:
            self._spawn(publisher.run())
        self._spawn(self._accept_recovery())
        self._spawn(self._keep_up())
        if config.agent.decider_file is not None:
            self._spawn(self._keep_deciders(threads))
        if ec2 is not None:
            self._spawn(ec2.keep())
        # What lives now lives as long as the process: collections need not look at it again.
        gc.freeze()

    def _ec2(self, zone: Zone, threads: DeviceThreads) -> Ec2Zone:
        """Who keeps the zone at what the instance's metadata say."""

        def changed() -> None:
            for cluster in self._clusters.values():
                cluster.zone_changed()

        ec2 = Ec2Zone(
            zone,
            memory=self._state.zone,
            boot_id=self._state.boot_id,
            threads=threads,
            emit=self._emit,
            changed=changed,
        )
        ec2.recall()
        return ec2

    def _own_files(self) -> set[tuple[int, int]]:
        """(device, inode) of what the agent writes: shipping its own log would never end."""
        own = set()
        for file in (self._state.path, 1, 2):
            with contextlib.suppress(OSError):
                stat = os.stat(file)
                if not S_ISCHR(stat.st_mode):  # /dev/null and terminals are nobody's
                    own.add((stat.st_dev, stat.st_ino))
        return own

    async def _connect(self, agent_id: str, zone: Zone, threads: DeviceThreads) -> None:
        labels = self._config.agent.labels
        client_id = ",".join([f"singer-{agent_id}", *(f"{k}={v}" for k, v in labels.items())])
        for name, config in _used(self._config).items():
            embedded = None
            if config.embedded is not None:
                embedded = self._embedded[name] = EmbeddedCluster(config.embedded)
                await self._forget_positions_of(name)
            file, brokers = None, config.bootstrap
            if config.bootstrap_file is not None:
                file = BootstrapFile(name, config.bootstrap_file, memory=self._state.brokers(name))
                brokers = await self._begin_with(file, threads)
            self._clusters[name] = cluster = KafkaCluster(
                config,
                bootstrap=embedded.bootstrap if embedded else ",".join(brokers),
                host=agent_id,
                client_id=client_id,
                zone=zone,
                emit=self._emit,
                clock=self._clock,
                embedded=embedded,
                keeper=Travelling(agent_id, self._positions, self._state.committed_offset(name))
                if config.exactly_once
                else None,
            )
            await cluster.start(spread_seconds=0.0 if embedded else self._spread_seconds())
            if embedded is not None and config.embedded is not None and config.embedded.show:
                self._arrivals.append(Arrivals(embedded.bootstrap))
            if file is not None:
                self._spawn(self._keep_brokers(file, cluster, threads))

    async def _audit(self, agent_id: str, zone: Zone) -> None:
        """Record what is delivered, and publish it, where clusters say so."""
        self._book = book = Book(
            host=agent_id,
            zone=lambda: zone.names[0] if zone.names else "",
            first=await self._positions.last_entry() + 1,
        )
        self._positions.keep(book.take)
        audited = {n: c for n in self._clusters if (c := self._config.clusters[n].audit)}
        # Those of an embedded cluster spoke of what was in it, which is gone. Whoever has no stream
        # now may have one again.
        every = self._config.clusters.items()
        await self._positions.forget_entries_except(
            [name for name, each in every if each.audit and name not in self._embedded]
        )
        for name, config in audited.items():
            cluster = self._clusters[name]
            if config.create is not None:
                cluster.may_create(config.topic, config.create)
            by_key = PartitionerConfig(type=PartitionerType.KEY_MURMUR2)
            self._publishers.append(
                AuditPublisher(
                    name,
                    config,
                    writer=KafkaWriter(cluster, config.topic, by_key),
                    journal=self._positions,
                    close=partial(book.close, name),
                    clock=self._clock,
                    emit=self._emit,
                )
            )

    def _spread_seconds(self) -> float:
        """Ten thousand services may be starting; a person who waits is one."""
        return 0.0 if self._once or os.isatty(2) else self._config.agent.start_spread

    async def _begin_with(self, file: BootstrapFile, threads: DeviceThreads) -> tuple[str, ...]:
        """The brokers to start with: a mount that hangs does not hold up the other clusters."""
        file.recall()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BOOTSTRAP_SECONDS):
                said = await threads.run(file.path, file.look)
                if said is not None:
                    self._emit(said)
        return file.brokers

    async def _forget_positions_of(self, cluster: str) -> None:
        """An embedded cluster is empty at each start, so nothing was delivered to it."""
        for stream in self._config.streams:
            for destination in stream.publish:
                if destination.cluster == cluster:
                    await self._positions.forget_destination(stream.name, destination.name)

    def _destination(
        self, stream: StreamConfig, config: DestinationConfig, budget: Budget
    ) -> Destination:
        outlets = self._outlets[stream.name, config.name] = Outlets(
            config.topic,
            None if stream.path_pattern is None else PathPattern(stream.path_pattern),
            partial(self._outlet, stream, config, budget),
        )
        return Destination(
            stream=stream.name,
            name=config.name,
            reader=make_reader(stream.reader),
            transforms=tuple(
                make_transform(each, host=socket.gethostname(), decider=self._deciders.percent)
                for each in stream.transforms
            ),
            catch_up=self._catch_up(config.cluster),
            limit=Limit.of(stream.limit, self._clock.monotonic()),
            linger=Linger(LingerConfig(wait=Seconds(0)) if self._once else stream.linger),
            headed=bool(config.headers),
            committer=self._positions,
            account=self.ledger.account(stream.name, config.name),
            priority=stream.priority,
            ceilings=budget.destination(
                config.cluster, shadow=config.shadow, priority=stream.priority
            ),
            outlet=outlets,
            file_ceiling=partial(budget.file, config.cluster),
            dead_letters=self._dead_letters,
            rotate_grace_seconds=stream.rotate_grace,
            flush_partial_after_seconds=stream.flush_partial_after,
            quiet_after_seconds=stream.reader.quiet_after,
            once=self._once,
            # One that was promoted is no shadow any more, whatever else is said of it.
            lag=Lag(config.max_lag, stream.reader) if config.shadow and config.max_lag else None,
            barrier=self._promotions.barrier(stream.name, config.name),
        )

    def _promote(self, stream: Stream) -> None:
        """Carry out the promotion that a stream is waiting for, if there is one."""
        name = stream.config.name
        clusters = {each.name: each.cluster for each in stream.config.publish}
        changeover = self._promotions.changeover(
            name,
            stream,
            lambda destination, path: self._outlets[name, destination].topic(path),
            lambda destination: self._clusters[clusters[destination]].end_offsets,
        )
        if changeover is not None:
            self._changeovers.append(self._spawn(changeover.run()))

    def _catch_up(self, cluster: str) -> CatchUp | None:
        """The line of a cluster for backlog, one for all of its destinations."""
        config = self._config.clusters[cluster].catch_up
        if config is not None and cluster not in self._lines:
            self._lines[cluster] = CatchUp(config, self._clock)
        return self._lines.get(cluster)

    def _outlet(
        self, stream: StreamConfig, config: DestinationConfig, budget: Budget, topic: str
    ) -> Outlet:
        cluster = self._clusters[config.cluster]
        if config.create is not None:
            cluster.may_create(topic, config.create)
        if config.compression is not None:
            cluster.compress(topic, config.compression.value)
        cluster.published(topic, stream.name, config.name)
        headers = None
        if config.headers:
            headers = Headers(config.headers, host=socket.gethostname(), zone=cluster.zone)
        audit = None
        if config.audit and self._config.clusters[config.cluster].audit and self._book is not None:
            audit = self._book.recorder(config.cluster, topic)
        return Outlet(
            audit=audit,
            writer=KafkaWriter(cluster, topic, config.partitioner, headers),
            partition_ceiling=partial(
                budget.partition, config.cluster, topic, priority=stream.priority
            ),
        )

    # --- running ------------------------------------------------------------------------------

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        hung_since: float | None = None
        delivered_at: float | None = None
        while self._once and not self._stop.is_set():
            late = [stream for stream in self.streams if not stream.caught_up]
            if not late:
                # A promotion takes a moment more; a cluster that is down is not waited for.
                delivered_at = delivered_at or loop.time()
                patience = self._config.agent.drain_deadline if self._changes_over else 0.0
                if loop.time() - delivered_at >= patience:
                    self.request_stop("everything is delivered")
                    return
            elif not all(stream.hangs for stream in late):
                hung_since = None
            elif hung_since is None:
                hung_since = loop.time()
            elif loop.time() - hung_since >= self._config.agent.drain_deadline:
                names = ", ".join(repr(stream.config.name) for stream in late)
                self.request_stop(
                    f"all that is left is on mounts that do not answer, of streams {names}"
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ONCE_POLL_SECONDS):
                    await self._stop.wait()
        await self._stop.wait()
        if self._once and not all(stream.caught_up for stream in self.streams):
            self._status = self._status or os.EX_TEMPFAIL

    @property
    def _changes_over(self) -> bool:
        """Whether a promotion is not complete."""
        return any(not each.done() for each in self._changeovers)

    async def _keep_deciders(self, threads: DeviceThreads) -> None:
        """Look whether somebody changed the decider file."""
        while True:
            await asyncio.sleep(_WATCHED_SECONDS)
            said = await threads.run("the decider file", self._deciders.look)
            if said is not None:
                self._emit(said)

    async def _preflight(self, cluster: KafkaCluster, needed: tuple[Need, ...]) -> None:
        """Say once what is not as it should be; a cluster that is down is asked when it may be up.

        Not at once: ten thousand agents may be starting.
        """
        while True:
            await asyncio.sleep(random.uniform(*_PREFLIGHT_SECONDS))  # noqa: S311  # jitter
            if cluster.is_up is False:
                continue
            try:
                found = await cluster.preflight(needed)
            except DeliveryError:
                continue
            for each in found:
                if each.level is not Level.NOTE:
                    self._emit(
                        PreflightFailed(
                            cluster=cluster.name,
                            thing=each.thing,
                            cause=each.cause,
                            advice=each.advice,
                        )
                    )
            return

    async def _keep_brokers(
        self, file: BootstrapFile, cluster: KafkaCluster, threads: DeviceThreads
    ) -> None:
        """Look whether the brokers of a cluster are said to be elsewhere."""
        while True:
            await asyncio.sleep(_WATCHED_SECONDS)
            said = await threads.run(file.path, file.look)
            if said is not None:
                self._emit(said)
            cluster.relocate(",".join(file.brokers))

    async def _keep_up(self) -> None:
        """Drop rows of files long gone, now and then."""
        while True:
            await asyncio.sleep(_UPKEEP_SECONDS * random.uniform(0.1, 1.0))  # noqa: S311  # jitter
            await self._try("drop positions of files long gone", self._prune())

    async def _accept_recovery(self) -> None:
        """Accept a recovered store once all files are known."""
        for stream in self.streams:
            await stream.scanned.wait()
        if self._positions.recovered:
            await self._try("accept the recovered positions", self._positions.accept_recovery())

    async def _prune(self) -> None:
        begun_ns = self._clock.now_ns()
        present: set[int] = set()
        spared: set[str] = set()
        for stream in self.streams:
            rows = await _present_rows(stream)
            if rows is None:
                name = stream.config.name
                spared.add(name)
                self._emit(
                    UpkeepFailed(
                        step=f"drop positions of stream {name!r}",
                        cause="not all of its directories could be looked at; all are kept",
                    )
                )
            else:
                present |= rows
        agent = self._config.agent
        await self._positions.prune(
            begun_ns - int(agent.forget_after * 1e9),
            keep=present,
            kept_since_ns=begun_ns,
            spared=spared,
            max_rows=agent.max_positions,
        )

    async def _try(self, step: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StateError as error:
            self._emit(UpkeepFailed(step=step, cause=str(error)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug("run a task", error)

    def _crashed(self, _: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context.get("message"))
        self._bug("run the loop", error)

    def _bug(self, step: str, error: BaseException) -> None:
        # Positions make a restart safe; going on with half a state would not be.
        self._emit(InternalError.of(step, error))
        self._status = os.EX_SOFTWARE
        self.request_stop("internal error")

    def _signalled(self, name: str) -> None:
        if self._stop.is_set():
            os._exit(os.EX_TEMPFAIL)
        self.request_stop(name)

    # --- stopping -----------------------------------------------------------------------------

    async def _wind_up(self) -> None:
        deadline_seconds = self._config.agent.drain_deadline
        self._emit(AgentStopping(cause=self._stop_cause, deadline_seconds=deadline_seconds))
        try:
            if not await self._settle(deadline_seconds):
                self._status = self._status or os.EX_TEMPFAIL
        finally:
            try:
                await self._positions.close()
            except StateError as error:
                self._emit(PositionsUnwritten(cause=str(error)))
            self._close_books()
        for task in self._tasks:
            task.cancel()
        for arrivals in self._arrivals:
            arrivals.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(cluster.close() for cluster in self._clusters.values()))
        for embedded in self._embedded.values():
            embedded.close()
        for stream in self.streams:
            stream.close()

    async def _settle(self, deadline_seconds: float) -> bool:
        """Read no more, and wait for what was sent; whether all of it is delivered."""
        await asyncio.gather(*(stream.stop() for stream in self.streams))
        settled = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_seconds):
                drained = (c.drain(deadline_seconds) for c in self._clusters.values())
                settles = (stream.settle() for stream in self.streams)
                settled = all((await asyncio.gather(*drained, *settles))[len(self._clusters) :])
                if self._publishers:
                    await self._try("commit positions", self._positions.flush())
                    await asyncio.gather(*(each.publish() for each in self._publishers))
        return settled

    def _close_books(self) -> None:
        for account in self.ledger:
            self._emit(
                LedgerBalance(
                    stream=account.stream,
                    destination=account.destination,
                    read=account.read,
                    delivered=account.delivered,
                    filtered=account.filtered,
                    sampled=account.sampled,
                    dead_lettered=account.dead_lettered,
                    skipped=account.skipped.total(),
                    rewound=account.rewound,
                    held=account.held,
                    in_flight=account.in_flight,
                    difference=account.difference,
                    records=account.records,
                )
            )


async def _present_rows(stream: Stream) -> set[int] | None:
    """As the stream says; None also if it does not say so in time. Raises StateError."""
    with contextlib.suppress(TimeoutError, ReadError):
        async with asyncio.timeout(_PRESENT_SECONDS):
            await stream.scanned.wait()
            return await stream.present_rows()
    return None


def _used(config: Config) -> dict[str, ClusterConfig]:
    """The clusters some stream publishes to."""
    names = {destination.cluster for stream in config.streams for destination in stream.publish}
    return {name: cluster for name, cluster in config.clusters.items() if name in names}


def _raise_file_limit() -> None:
    """Every open log file takes a descriptor, and distributions' soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _most_open_files(wanted: int) -> int:
    """As many as the process's limit allows, with room for everything else that takes one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if limit == resource.RLIM_INFINITY else max(1, min(wanted, limit * 3 // 4))
