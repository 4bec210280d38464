"""The agent as a process: its end, its messages, and what a person does to it."""

import os
import signal
import subprocess
import sys

import pytest

from tests.positions.parts import fill, mounted
from tests.support import child
from tests.support.agent_process import configuration, stream
from tests.support.consume import Collector, read_topic
from tests.support.waiting import wait_until


def write(tmp_path, data, name="app.log"):
    with open(tmp_path / "logs" / name, "ab", buffering=0) as file:
        file.write(data)


def values(brokers, topic):
    return sorted(r.value for p in read_topic(brokers.bootstrap, topic).values() for r in p)


def numbered(first, last):
    return b"".join(b"%06d\n" % n for n in range(first, last))


def test_once_delivers_what_is_there_and_holds_the_last_words(agent, brokers, tmp_path):
    write(tmp_path, numbered(0, 1000) + b"held")
    one = agent()
    assert one.run_once() == 0
    assert values(brokers, one.topic) == numbered(0, 1000).split()
    assert one.assert_balanced()["held"] == 4
    write(tmp_path, b" and ended\n")
    assert one.run_once() == 0
    assert values(brokers, one.topic)[-1] == b"held and ended"
    assert len(values(brokers, one.topic)) == 1001


def test_a_clean_stop_is_0_and_a_restart_repeats_nothing(agent, brokers, tmp_path):
    one = agent()
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        write(tmp_path, numbered(0, 500))
        collector.wait_for(500, 30)
        assert one.stop() == 0
        one.assert_balanced()
        write(tmp_path, numbered(500, 600))
        one.start()
        collector.wait_for(600, 30)
        assert one.stop() == 0
    assert values(brokers, one.topic) == numbered(0, 600).split()


def test_a_start_right_after_kill_9_works_at_once(agent, brokers, tmp_path):
    one = agent()
    with Collector(brokers.bootstrap, one.topic) as collector:
        for n in range(3):
            write(tmp_path, numbered(n * 100, n * 100 + 100))
            one.start()
            collector.wait_for_values(n * 100 + 100, 30)
            one.kill()
    assert sorted(set(values(brokers, one.topic))) == numbered(0, 300).split()


def test_a_stop_with_brokers_down_ends_by_its_deadline_with_75(agent, brokers, tmp_path):
    one = agent(agent={"drain_deadline": "1s"})
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        write(tmp_path, numbered(0, 10))
        collector.wait_for(10, 30)
        try:
            for broker in (0, 1, 2, 3):
                brokers.set_down(broker)
            write(tmp_path, numbered(10, 20))
            one.wait_for_log("event=cluster-down")
            assert one.stop() == os.EX_TEMPFAIL
            assert "the next start sends it" in one.log()
        finally:
            for broker in (0, 1, 2, 3):
                brokers.set_up(broker)
        assert one.run_once() == 0
    assert sorted(set(values(brokers, one.topic))) == numbered(0, 20).split()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(agent, brokers, tmp_path, number):
    one = agent(agent={"drain_deadline": "60s"})
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        write(tmp_path, numbered(0, 10))
        collector.wait_for(10, 30)
        try:
            for broker in (0, 1, 2, 3):
                brokers.set_down(broker)
            write(tmp_path, numbered(10, 20))
            one.wait_for_log("event=cluster-down")
            os.kill(one.pid, number)
            one.wait_for_log("event=agent-stopping")
            os.kill(one.pid, number)
            assert one.wait(5) == os.EX_TEMPFAIL
        finally:
            for broker in (0, 1, 2, 3):
                brokers.set_up(broker)


def test_a_service_connects_within_its_spread_and_a_run_of_once_at_once(agent, brokers, tmp_path):
    one = agent(agent={"start_spread": "1s"})
    write(tmp_path, numbered(0, 10))
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(10, 30)
    assert one.stop() == 0
    one.assert_balanced()
    assert "event=destination-waits" not in one.log()

    other = agent(agent={"start_spread": "10s"}, create=False)
    other.start()
    other.wait_for_log("event=file-found")
    write(tmp_path, numbered(10, 20))
    assert other.stop() == 0  # whether or not it had connected
    other.assert_balanced()
    assert other.run_once() == 0
    assert sorted(set(values(brokers, one.topic))) == numbered(0, 20).split()


def test_one_agent_per_state_directory(agent, tmp_path):
    one = agent()
    other = agent(create=False)
    one.start()
    one.wait_for_log("event=agent-started")
    other.start()
    assert other.wait(30) == os.EX_UNAVAILABLE
    assert str(one.pid) in other.log()
    assert str(tmp_path / "state") in other.log()
    assert one.running


def test_a_corrupt_positions_file_is_kept_aside_and_nothing_is_lost(agent, brokers, tmp_path):
    write(tmp_path, numbered(0, 100))
    one = agent(start="end")
    one.start()
    one.wait_for_log("event=file-found")
    with Collector(brokers.bootstrap, one.topic) as collector:
        write(tmp_path, numbered(100, 200))
        collector.wait_for(100, 30)
    one.kill()
    for name in os.listdir(tmp_path / "state"):
        if name.startswith("positions"):
            os.truncate(tmp_path / "state" / name, 100)
    write(tmp_path, numbered(200, 300))
    assert one.run_once() == 0
    assert "event=positions-recovered" in one.log()
    # Without any position left, `start: end` would lose what came meanwhile.
    assert sorted(set(values(brokers, one.topic))) == numbered(0, 300).split()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_state_disk_does_not_stop_delivery(agent, brokers, tmp_path):
    with mounted(str(tmp_path / "small"), "size=1m") as small:
        write(tmp_path, numbered(0, 10))
        one = agent(state_dir=os.path.join(small, "state"))
        with Collector(brokers.bootstrap, one.topic) as collector:
            one.start()
            collector.wait_for(10, 30)
            ballast = fill(small)
            write(tmp_path, numbered(10, 20))
            collector.wait_for(20, 30)  # a known file goes on
            write(tmp_path, numbered(20, 30), "new.log")
            one.wait_for_log("event=(scan-failed|position-writes-failing)")
            os.unlink(ballast)
            collector.wait_for(30, 60)
            assert one.stop() == 0
            one.assert_balanced()
    assert values(brokers, one.topic) == numbered(0, 30).split()


def test_an_absent_topic_is_named_with_what_to_do(agent, brokers, tmp_path):
    brokers.create_topic("web.access", 1)
    one = agent(create=False)
    one.configure(
        configuration(
            state_dir=str(tmp_path / "state"),
            bootstrap=brokers.bootstrap,
            streams=[stream("s", str(tmp_path / "logs" / "*.log"), "web.acess")],
        )
    )
    write(tmp_path, numbered(0, 1))
    one.start()
    line = one.wait_for_log("event=destination-waits.*").group(0)
    assert "web.acess" in line
    assert "web.access" in line


def test_topics_are_chosen_by_the_paths_of_files_and_one_that_is_absent_holds_up_no_other(
    agent, brokers, tmp_path
):
    for topic in ("logs.web_api", "logs.db"):
        brokers.create_topic(topic, 1)
    for service in ("web.api", "db", "new"):
        (tmp_path / "logs" / service).mkdir()
    write(tmp_path, numbered(0, 100), "web.api/app.log")
    write(tmp_path, numbered(100, 150), "web.api/app.log.1")
    write(tmp_path, numbered(200, 300), "db/app.log")
    write(tmp_path, numbered(300, 400), "new/app.log")
    one = agent(create=False)
    routed = {
        "path_pattern": "/logs/(?P<service>[^/]+)/",
        "rotated": "all",
        **stream("s", str(tmp_path / "logs" / "*" / "*.log"), "logs.{service}"),
    }
    one.configure(
        configuration(
            state_dir=str(tmp_path / "state"), bootstrap=brokers.bootstrap, streams=[routed]
        )
    )
    with (
        Collector(brokers.bootstrap, "logs.web_api") as web,
        Collector(brokers.bootstrap, "logs.db") as db,
    ):
        one.start()
        web.wait_for(150, 30)
        db.wait_for(100, 30)
        assert "logs.new" in one.wait_for_log("event=destination-waits.*").group(0)
        brokers.create_topic("logs.new", 1)
        with Collector(brokers.bootstrap, "logs.new") as new:
            new.wait_for(100, 60)
        assert one.stop() == 0
    one.assert_balanced()
    assert values(brokers, "logs.web_api") == numbered(0, 150).split()
    assert values(brokers, "logs.db") == numbered(200, 300).split()
    assert values(brokers, "logs.new") == numbered(300, 400).split()


_CRASHING = """
import sys
from singer import agent
from singer.config.loader import load
from singer.observe.log import Log
from singer.readers import making
from singer.readers.text import TextReader
import ctypes

class Crashing(TextReader):
    def frame(self, window, offset, state, **more):
        if b"crash here" in window.tobytes():
            ctypes.string_at(0)
        return super().frame(window, offset, state, **more)

making.TextReader = Crashing
sys.exit(agent.run(load(sys.argv[1]).config, once=False, emit=Log()))
"""


def test_three_crashes_on_one_file_quarantine_it_and_the_rest_goes_on(agent, brokers, tmp_path):
    one = agent()
    write(tmp_path, b"good\n" * 10, "good.log")
    write(tmp_path, b"before\n", "bad.log")
    log_path = tmp_path / "crashing.log"

    def start():
        with open(log_path, "ab") as log:
            command = [sys.executable, "-c", _CRASHING, one.config_path]
            return child.spawn(command, output=log)

    def crash():
        process = start()
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    with Collector(brokers.bootstrap, one.topic) as collector:
        process = start()
        try:
            collector.wait_for(11, 60)
        finally:
            child.end(process, 20)
        write(tmp_path, b"crash here\n", "bad.log")
        for _ in range(3):
            assert crash() == -signal.SIGSEGV
        process = start()
        try:
            write(tmp_path, b"still good\n", "good.log")
            collector.wait_for_values(3, 30)
            wait_until(
                lambda: "event=file-quarantined" in child.tail(str(log_path), 400),
                10,
                "the quarantine is said",
            )
        finally:
            assert child.end(process, 20) == 0
    assert "difference=0" in child.tail(str(log_path))
    assert set(values(brokers, one.topic)) == {b"good", b"before", b"still good"}


def test_kills_are_not_crashes(agent, brokers, tmp_path):
    one = agent()
    write(tmp_path, numbered(0, 10))
    for _ in range(4):
        one.start()
        one.wait_for_log("event=file-found")
        one.kill()
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        write(tmp_path, numbered(10, 20))
        collector.wait_for_values(20, 30)
        assert "quarantined" not in one.log()
        assert one.stop() == 0


def test_the_agents_own_log_is_never_shipped(agent, brokers, tmp_path):
    one = agent()
    one.log_path = str(tmp_path / "logs" / "singer.log")  # in the way of the glob
    write(tmp_path, numbered(0, 10))
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(10, 30)
        write(tmp_path, numbered(10, 20))
        collector.wait_for(20, 30)
        assert one.stop() == 0
    assert values(brokers, one.topic) == numbered(0, 20).split()
