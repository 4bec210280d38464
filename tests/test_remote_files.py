"""Files on mounts that may hang: what is theirs waits, and nobody else."""

import asyncio
import os
import signal
import tempfile
import threading
import time
from dataclasses import replace

import pytest

from singer.base.config import EmbeddedConfig
from singer.base.position import FINGERPRINT_BYTES, FileIdentity, Mark, Position
from singer.budget import Ceiling
from singer.files.events import MountAnswers, MountHangs
from singer.files.openfile import OpenFile
from singer.files.stat import is_shared, stat_fd
from singer.kafka.embedded import EmbeddedCluster
from singer.pipeline import Pipeline
from singer.positions.query import read_positions
from tests.support.agent_process import START_SECONDS, AgentProcess, configuration
from tests.support.agent_process import stream as stream_of
from tests.support.consume import Collector
from tests.support.fuse import hanging_mount
from tests.support.rig import Rig, SlowDisk


@pytest.fixture
def mount(tmp_path):
    (tmp_path / "fuse").mkdir()
    with hanging_mount(str(tmp_path / "fuse")) as mount:
        yield mount


@pytest.fixture
def flushing(tmp_path):
    """A mount that hears of each close as well."""
    (tmp_path / "fuse").mkdir()
    with hanging_mount(str(tmp_path / "fuse"), flush=True) as mount:
        yield mount


@pytest.fixture
def bench(tmp_path):
    """The parts of an agent; its stream finds nothing, the test opens the files."""
    made = []

    def make(**options):
        (tmp_path / "nothing").mkdir()
        none = str(tmp_path / "nothing" / "app.log")
        made.append(Bench(Rig(str(tmp_path / "state"), [none], **options)))
        return made[-1]

    yield make
    for one in made:
        one.end()


class Bench:
    def __init__(self, rig):
        self.rig = rig.start()
        rig.run_until(rig.stream.scanned.is_set, "the first look")
        self.services = rig.stream._services
        self.destination = rig.stream._destinations["out"]
        self.pipelines = []
        self.changed = []
        self.ended = False

    def pipeline(self, path, *, offset=0, **more):
        fd = os.open(path, os.O_RDONLY)
        stat = stat_fd(fd)
        identity = FileIdentity(device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns)
        row = Position(stream="s", destination="out", path=path, identity=identity, offset=offset)
        (position,) = self.rig.loop.run_until_complete(self.rig.positions.sight([row]))
        file = OpenFile(fd, path, path, identity, remote=is_shared(fd))
        self.pipelines.append(
            Pipeline(
                self.destination,
                self.services,
                file,
                position,
                b"",
                after=(),
                on_changed=self.changed.append,
                **more,
            )
        )
        self.pipelines[-1].wake()
        return self.pipelines[-1]

    @property
    def arrived(self):
        return self.rig.writer.arrived

    def run_until_arrived(self, some):
        self.rig.run_until(lambda: set(some) <= set(self.arrived), f"{len(some)} lines")

    def offsets(self):
        """By path, what is committed."""
        self.rig.loop.run_until_complete(self.rig.positions.flush())
        return {row.path: row.offset for row in read_positions(self.rig.state.positions)}

    def end(self):
        if self.ended:
            return
        self.ended = True

        async def stop():
            await asyncio.gather(*(pipeline.stop() for pipeline in self.pipelines))
            await self.rig.writer.drain(1.0)  # a test that failed may have left it down
            for pipeline in self.pipelines:
                await pipeline.settle()
                pipeline.abandon(None)
                pipeline.file.close(self.services.threads)

        self.rig.loop.run_until_complete(stop())
        self.rig.kill()


def lines(name, first, last):
    return [b"%s %06d " % (name, n) + b"x" * 40 for n in range(first, last)]


def append(path, some):
    with open(path, "ab", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in some))


def test_a_remote_file_is_read_and_polled_but_never_asked_on_the_loop(bench, mount, monkeypatch):
    agent = bench()
    path = os.path.join(mount.backing, "a.log")
    on_loop = []

    def noting(call):
        real = getattr(os, call)

        def asked(first, *rest):
            if first == fd and threading.current_thread() is threading.main_thread():
                on_loop.append(call)
            return real(first, *rest)

        return asked

    for call in ("preadv", "pread", "fstat"):
        monkeypatch.setattr(os, call, noting(call))
    fd = -1
    append(path, lines(b"a", 0, 10))
    pipeline = agent.pipeline(os.path.join(mount.path, "a.log"))
    assert pipeline.file.remote
    fd = pipeline.file.fd
    for first in (10, 20):
        agent.run_until_arrived(lines(b"a", 0, first))
        agent.rig.run_until(lambda: pipeline.at_end, "the end")
        assert agent.services.wakeup.polled == 1
        assert agent.services.wakeup._armed == {}
        append(path, lines(b"a", first, first + 10))
    agent.run_until_arrived(lines(b"a", 0, 30))
    assert agent.arrived == lines(b"a", 0, 30)
    os.truncate(path, 0)
    agent.rig.run_until(lambda: agent.changed == [pipeline], "the truncation is seen")
    assert on_loop == []


def test_a_hung_mount_holds_up_its_own_files_and_nobody_else(bench, mount, tmp_path):
    agent = bench()
    names = [b"r%d" % n for n in range(8)]
    inside = [os.path.join(mount.backing, name.decode()) for name in names]
    for path, name in zip(inside, names, strict=True):
        append(path, lines(name, 0, 50))
        agent.pipeline(os.path.join(mount.path, name.decode()))
    local = str(tmp_path / "local")
    append(local, lines(b"l", 0, 10))
    agent.pipeline(local)
    before = [line for name in names for line in lines(name, 0, 50)]
    agent.run_until_arrived([*before, *lines(b"l", 0, 10)])

    mount.hang()
    for path, name in zip(inside, names, strict=True):
        append(path, lines(name, 50, 100))
    agent.rig.run_until(lambda: agent.rig.seen(MountHangs), "it is said")
    (event,) = agent.rig.seen(MountHangs)
    assert mount.path in event.message()
    assert "umount" in event.message()
    assert [count.amount for count in event.counts()] == [1]
    for n in range(10, 30, 5):
        append(local, lines(b"l", n, n + 5))
        agent.run_until_arrived(lines(b"l", 0, n + 5))
    assert sorted(agent.arrived) == sorted([*before, *lines(b"l", 0, 30)])
    device = agent.pipelines[0].file.identity.device
    assert agent.services.threads._devices[device].threads == 2
    assert agent.services.threads.hung == 1

    mount.go_on()
    after = [line for name in names for line in lines(name, 50, 100)]
    agent.run_until_arrived(after)
    agent.rig.run_until(lambda: agent.rig.seen(MountAnswers), "it is said")
    assert sorted(agent.arrived) == sorted([*before, *after, *lines(b"l", 0, 30)])
    assert len(agent.rig.seen(MountHangs)) == 1


def test_a_stop_on_a_hung_mount_takes_no_time_and_commits_the_rest(bench, flushing, tmp_path):
    agent, mount = bench(), flushing
    inside, local = os.path.join(mount.backing, "a"), str(tmp_path / "local")
    remote = os.path.join(mount.path, "a")
    append(inside, lines(b"a", 0, 10))
    append(local, lines(b"l", 0, 10))
    agent.pipeline(remote)
    agent.pipeline(local)
    agent.run_until_arrived([*lines(b"a", 0, 10), *lines(b"l", 0, 10)])
    mount.hang()
    append(inside, lines(b"a", 10, 20))
    append(local, lines(b"l", 10, 20))
    agent.run_until_arrived(lines(b"l", 0, 20))
    agent.rig.run_until(lambda: agent.rig.seen(MountHangs), "it hangs")
    assert agent.offsets() == {remote: 10 * 50, local: 20 * 50}
    begun = time.monotonic()
    agent.end()  # all descriptors are given back as well
    assert time.monotonic() - begun < 2.0
    mount.go_on()


@pytest.fixture
def elsewhere(tmp_path):
    """A directory on another device."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("a second file system is needed: /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield path


def test_reads_that_hang_keep_no_memory_from_others(bench, tmp_path, elsewhere, monkeypatch):
    agent = bench(memory=1 << 20)
    # Many partitions: none of them is full before the agent is.
    outlet = agent.destination.outlet("")
    wide = replace(outlet, partition_ceiling=lambda _: Ceiling(1 << 20))
    agent.destination = replace(agent.destination, outlet=lambda _: wide)
    disk = SlowDisk(monkeypatch)
    disk.arm(number=-1)  # nothing is cached
    gate, entered = threading.Event(), threading.Semaphore(0)

    def hang():
        entered.release()
        gate.wait(60)

    device = os.stat(tmp_path).st_dev
    for _ in range(2):
        agent.services.threads.post(device, hang)
        assert entered.acquire(timeout=10)
    wanted = []
    try:
        for n in range(80):
            name = b"h%d" % n
            append(tmp_path / name.decode(), lines(name, 0, 500))
            agent.pipeline(str(tmp_path / name.decode()))
            wanted += lines(name, 0, 500)
        other = os.path.join(elsewhere, "other")
        append(other, lines(b"o", 0, 2000))
        agent.rig.run_until(lambda: all(p._reading for p in agent.pipelines[:4]), "reads hang")
        agent.pipeline(other)
        agent.run_until_arrived(lines(b"o", 0, 2000))
        assert agent.arrived == lines(b"o", 0, 2000)
        agent.rig.run_until(lambda: all(p._reading for p in agent.pipelines[:-1]), "all hang")
    finally:
        gate.set()
    # What they read is charged again, or read again when there is room.
    agent.rig.writer.up = False
    agent.rig.run_until(lambda: not any(p._reading for p in agent.pipelines), "all were read")
    assert 0 < agent.destination.ceilings[-1].used <= 1 << 20
    agent.rig.writer.up = True
    agent.rig.loop.call_soon(agent.rig.writer.settle)
    agent.run_until_arrived(wanted)
    assert sorted(agent.arrived) == sorted([*wanted, *lines(b"o", 0, 2000)])
    ceilings = [c for p in agent.pipelines for c in (p._ceiling, *p.destination.ceilings)]
    agent.rig.run_until(lambda: not any(c.used for c in ceilings), "all memory is given back")


# --- streams and agents ---------------------------------------------------------------------


def test_a_stream_goes_on_reading_beside_a_hung_mount(tmp_path, mount):
    inside, local = os.path.join(mount.backing, "a.log"), str(tmp_path / "local.log")
    append(inside, lines(b"a", 0, 10))
    append(local, lines(b"l", 0, 10))
    rig = Rig(str(tmp_path / "state"), [os.path.join(mount.path, "*.log"), local]).start()
    try:
        wanted = [*lines(b"a", 0, 10), *lines(b"l", 0, 10)]
        rig.run_until(lambda: set(wanted) <= set(rig.writer.arrived), "what is there")
        assert rig.wakeup._directories.keys() == {str(tmp_path)}
        mount.hang()
        append(inside, lines(b"a", 10, 20))
        for n in range(10, 60, 10):
            append(local, lines(b"l", n, n + 10))
            wanted = lines(b"l", 0, n + 10)
            rig.run_until(lambda w=wanted: set(w) <= set(rig.writer.arrived), "the local lines")
        rig.run_until(lambda: len(rig.seen(MountHangs)) == 2, "its file and its directory hang")
        begun = time.monotonic()
        assert rig.stop()
        assert time.monotonic() - begun < 2.0
        mount.go_on()
        # Rotated while nobody could see it, and while nobody ran.
        os.rename(inside, inside + ".1")
        append(inside, lines(b"a", 20, 30))
        rig.start()
        wanted = [*lines(b"a", 0, 30), *lines(b"l", 0, 60)]
        rig.run_until(lambda: set(wanted) <= set(rig.writer.arrived), "everything")
        rig.run_until_caught_up()
        assert sorted(rig.writer.arrived) == sorted(wanted)
    finally:
        if rig.running:
            rig.kill()


def test_a_remote_file_is_rotated_deleted_and_truncated_as_any_other(tmp_path, mount):
    log = os.path.join(mount.backing, "app.log")
    append(log, lines(b"a", 0, 10))
    rig = Rig(str(tmp_path / "state"), [os.path.join(mount.path, "app.log")]).start()
    try:
        wanted = []

        def arrive(first, last):
            wanted.extend(lines(b"a", first, last))
            rig.run_until(lambda: len(rig.writer.arrived) >= len(wanted), f"{last} lines")
            assert rig.writer.arrived == wanted

        arrive(0, 10)
        os.rename(log, log + ".1")
        append(log + ".1", lines(b"a", 10, 20))
        append(log, lines(b"a", 20, 30))
        arrive(10, 30)
        rig.run_until_caught_up()
        os.truncate(log, 0)
        append(log, lines(b"a", 30, 35))
        arrive(30, 35)
        append(log, lines(b"a", 35, 40))
        os.unlink(log)
        arrive(35, 40)
        append(log, lines(b"a", 40, 50))
        arrive(40, 50)
        assert rig.wakeup._directories == {}
    finally:
        rig.stop()


@pytest.fixture
def cluster():
    cluster = EmbeddedCluster(EmbeddedConfig(brokers=1))
    cluster.create_topic("logs", 1)
    yield cluster
    cluster.close()


class Agents:
    """Agents with two streams, `remote` and `local`, on one state directory."""

    def __init__(self, tmp_path, mount, cluster):
        self.mount = mount
        self.inside, self.local = os.path.join(mount.backing, "a.log"), str(tmp_path / "local.log")
        append(self.inside, lines(b"a", 0, 10))
        append(self.local, lines(b"l", 0, 10))
        self.state = str(tmp_path / "state")
        self.directory = str(tmp_path / "agent")
        self.config = configuration(
            state_dir=self.state,
            bootstrap=cluster.bootstrap,
            streams=[
                stream_of("remote", os.path.join(mount.path, "*.log"), "logs"),
                stream_of("local", self.local, "logs"),
            ],
        )

    def agent(self, name=""):
        return AgentProcess(self.directory + name, self.config)

    def write_while_hung(self, collector):
        append(self.inside, lines(b"a", 10, 20))
        for n in range(10, 40, 10):
            append(self.local, lines(b"l", n, n + 10))
            collector.wait_for_values(20 + n, 10)

    def offsets(self):
        rows = read_positions(os.path.join(self.state, "positions"))
        return {os.path.basename(row.path): row.offset for row in rows}


def values(collector):
    return sorted(record.value for records in collector.close().values() for record in records)


def test_an_agent_goes_on_and_stops_beside_a_hung_mount(tmp_path, mount, cluster):
    agents = Agents(tmp_path, mount, cluster)
    with Collector(cluster.bootstrap, "logs") as collector, agents.agent() as agent:
        agent.start()
        collector.wait_for_values(20, START_SECONDS)
        with mount.hung():
            agents.write_while_hung(collector)
            begun = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - begun < 10.0
            agent.assert_balanced()
            assert agents.offsets() == {"a.log": 10 * 50, "local.log": 40 * 50}
        append(agents.local, lines(b"l", 40, 50))
        agent.start()
        collector.wait_for_values(70, START_SECONDS)
        assert agent.stop() == 0
        agent.assert_balanced()
        assert values(collector) == sorted([*lines(b"a", 0, 20), *lines(b"l", 0, 50)])


def test_a_process_that_cannot_end_leaves_the_way_free(tmp_path, flushing, cluster):
    """The kernel keeps it until its files are closed; all that matters is done by then."""
    agents = Agents(tmp_path, flushing, cluster)
    with (
        Collector(cluster.bootstrap, "logs") as collector,
        agents.agent() as one,
        agents.agent("-2") as another,
    ):
        one.start()
        collector.wait_for_values(20, START_SECONDS)
        with flushing.hung():
            agents.write_while_hung(collector)
            os.kill(one.pid, signal.SIGTERM)
            one.wait_for_log("event=agent-stopped.*status=0", 10)
            one.assert_balanced()
            another.start()
            append(agents.local, lines(b"l", 40, 50))
            collector.wait_for_values(60, START_SECONDS)
        assert one.wait(10) == 0
        collector.wait_for_values(70, START_SECONDS)
        assert another.stop() == 0
        another.assert_balanced()
        assert values(collector) == sorted([*lines(b"a", 0, 20), *lines(b"l", 0, 50)])


# --- the fingerprint ------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "app.log")


def fingerprint(agent):
    """The committed row's, and what it should be."""
    agent.rig.loop.run_until_complete(agent.rig.positions.flush())
    (row,) = read_positions(agent.rig.state.positions)
    with open(row.path, "rb") as file:
        return row.identity.fingerprint, Mark.of(file.read(min(row.offset, FINGERPRINT_BYTES)))


def test_the_fingerprint_grows_with_what_was_delivered(bench, log, monkeypatch):
    append(log, [])
    agent = bench()
    pipeline = agent.pipeline(log)

    def refuse(*_):
        raise AssertionError("the file is asked")

    monkeypatch.setattr(os, "pread", refuse)
    for n in range(0, 30, 3):
        append(log, lines(b"a", n, n + 3))
        agent.run_until_arrived(lines(b"a", 0, n + 3))
        kept, right = fingerprint(agent)
        assert kept == right
        assert len(pipeline._head) == min((n + 3) * 50, 1024) % 1024
    assert kept.length == FINGERPRINT_BYTES


def test_the_fingerprint_is_of_what_was_delivered_not_of_what_was_sent(bench, log):
    append(log, lines(b"a", 0, 10))
    agent = bench()
    agent.rig.writer.failing, agent.rig.writer.settled = True, 3
    agent.pipeline(log)
    agent.rig.run_until(lambda: len(agent.arrived) >= 3, "rows of an attempt")
    agent.rig.writer.settled = 3
    agent.rig.run_until(lambda: len(agent.arrived) >= 6, "rows of two attempts")
    kept, right = fingerprint(agent)
    assert kept == right
    assert 0 < kept.length < 500
    agent.rig.writer.failing = False
    append(log, lines(b"a", 10, 40))
    agent.run_until_arrived(lines(b"a", 0, 40))
    kept, right = fingerprint(agent)
    assert kept == right
    assert kept.length == FINGERPRINT_BYTES


@pytest.mark.parametrize("offset", [50, 1000, 1050, 4000])
def test_it_grows_from_the_beginning_that_was_skipped(bench, log, monkeypatch, offset):
    append(log, lines(b"a", 0, 100))
    with open(log, "rb") as file:
        head = file.read(min(offset, FINGERPRINT_BYTES))
    agent = bench()
    monkeypatch.delattr(os, "pread")
    agent.pipeline(log, offset=offset, head=head)
    monkeypatch.undo()
    agent.run_until_arrived(lines(b"a", offset // 50, 100))
    kept, right = fingerprint(agent)
    assert kept == right
    assert kept.length == FINGERPRINT_BYTES


def test_without_its_beginning_a_fingerprint_stays_as_it_was(bench, mount):
    append(os.path.join(mount.backing, "a"), lines(b"a", 0, 100))
    agent = bench()
    agent.pipeline(os.path.join(mount.path, "a"), offset=500)
    agent.run_until_arrived(lines(b"a", 10, 100))
    assert fingerprint(agent)[0].length == 0
