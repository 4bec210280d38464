"""What must survive when no broker answers, and when the process is killed."""

import pytest

from tests.support.consume import Collector, read_topic
from tests.support.logs import append, expect, lines, run_until_on_disk
from tests.support.waiting import wait_until


@pytest.fixture
def down(brokers):
    """Take all brokers down; up again at the end at the latest."""

    def switch(*, off):
        for broker in (0, 1, 2, 3):
            (brokers.set_down if off else brokers.set_up)(broker)

    yield switch
    switch(off=False)


def values(brokers, topic):
    return sorted(r.value for p in read_topic(brokers.bootstrap, topic).values() for r in p)


def test_killed_while_no_broker_answers_after_everything_was_read(agent, brokers, logs, down):
    """rsyslog and syslog-ng lost all 5000 lines. OTel 45120, Vector 24193."""
    one = agent()
    append(logs / "app.log", lines(0, 10))
    with Collector(brokers.bootstrap, one.topic) as collector:
        one.start()
        collector.wait_for(10, 30)
        down(off=True)
        append(logs / "app.log", lines(10, 5010))
        one.wait_for_log("event=cluster-down")
        # Its memory holds all of it by now: the file is in the page cache and far below a window.
        one.kill()
        down(off=False)
        one.start()
        collector.wait_for_values(5010, 30)
        assert one.stop() == 0
    assert sorted(set(values(brokers, one.topic))) == lines(0, 5010)


def test_started_while_no_broker_answers(agent, brokers, logs, down):
    """It starts, waits, and delivers when they are there. Java Singer failed at boot."""
    one = agent()
    down(off=True)
    append(logs / "app.log", lines(0, 100))
    one.start()
    one.wait_for_log("event=(cluster-down|destination-waits)")
    append(logs / "app.log", lines(100, 200))
    (logs / "app.log").rename(logs / "app.log.1")
    append(logs / "app.log", lines(200, 300))
    assert one.running
    down(off=False)
    with Collector(brokers.bootstrap, one.topic) as collector:
        collector.wait_for(300, 60)
        wait_until(lambda: one.running, 1, "it runs")
        assert one.stop() == 0
    assert values(brokers, one.topic) == lines(0, 300)


def test_killed_when_idle_repeats_nothing(rig, logs):
    """rsyslog sent 2992 of 3000 lines twice: positions reach the disk without being asked."""
    log = logs / "app.log"
    append(log, lines(0, 3000))
    agent = rig().start()
    expect(agent, lines(0, 3000))
    run_until_on_disk(agent, log)
    agent.kill()
    append(log, lines(3000, 3010))
    agent.start()
    expect(agent, lines(0, 3010))


def test_rotated_and_killed_while_no_broker_answers_and_rotated_again(rig, logs):
    """Outage, rotation, kill, rotation, broker back. Vector 14259, 22954."""
    log = logs / "app.log"
    append(log, lines(0, 100))
    agent = rig().start()
    expect(agent, lines(0, 100))
    run_until_on_disk(agent, log)
    agent.writer.up = False
    append(log, lines(100, 200))
    agent.run_until(lambda: agent.writer.under_way, "batches under way")
    log.rename(logs / "app.log.1")
    append(log, lines(200, 300))
    agent.run_for(0.1)
    agent.kill()
    append(log, lines(300, 310))
    (logs / "app.log.1").rename(logs / "app.log.2")
    log.rename(logs / "app.log.1")
    append(log, lines(310, 320))
    agent.start()
    agent.run_for(0.05)
    agent.writer.up = True
    agent.loop.call_soon(agent.writer.settle)
    expect(agent, lines(0, 320))


def test_the_topic_refuses_for_a_while_and_files_are_rotated_meanwhile(rig, logs):
    """Vector 24193, Fluent Bit 10667: the first records after an outage were dropped."""
    log = logs / "app.log"
    append(log, lines(0, 10))
    agent = rig().start()
    expect(agent, lines(0, 10))
    agent.writer.failing = True
    for n in range(1, 4):
        append(log, lines(n * 10, n * 10 + 10))
        agent.run_for(0.02)
        log.rename(logs / f"app.log.{n}")
    append(log, lines(40, 50))
    agent.run_for(0.05)
    agent.writer.failing = False
    expect(agent, lines(0, 50))
