"""The first start after the Java agent: its watermarks say how far each file was delivered."""

import os

from tests.support.logs import append, expect, later, lines, long_ago


def mark(log, inode, offset):
    text = f'{{"1":{{"rec":{{"1":{{"i64":{inode}}}}}}},"2":{{"i64":{offset}}}}}'
    (log.parent / f".app_log.{log.name}").write_text(text)


def bytes_of(some):
    return sum(len(line) + 1 for line in some)


def test_the_first_start_goes_on_where_the_java_agent_stopped(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 20))
    mark(log, log.stat().st_ino, bytes_of(lines(0, 12)))
    agent = rig().start()
    expect(agent, lines(12, 20))
    assert agent.stop()
    append(log, lines(20, 25))
    agent.start()
    expect(agent, lines(12, 25))


def test_a_rotated_file_is_finished_and_older_ones_are_left_alone(rig, logs):
    log = logs / "app.log"
    for number, name in enumerate(["app.log.2", "app.log.1", "app.log"]):
        append(logs / name, lines(10 * number, 10 * number + 10))
        later(logs / name, number)
    long_ago(logs / "app.log.2")  # before the agent was started
    mark(log, (logs / "app.log.1").stat().st_ino, bytes_of(lines(10, 14)))
    agent = rig().start()
    expect(agent, lines(14, 30))


def test_a_watermark_of_an_inode_that_was_given_out_again_loses_nothing(rig, logs):
    log = logs / "app.log"
    append(log, lines(0, 20))
    mark(log, os.stat(logs).st_ino, 100)
    expect(rig().start(), lines(0, 20))
