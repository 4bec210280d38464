"""Files whose new lines wait for more, so that they come in one batch."""

from dataclasses import replace

import pytest

from singer.base.config import LingerConfig, Seconds
from singer.base.events import BatchDelivered
from tests.support.logs import append, expect

#: Longer than it takes to append five times, whatever else runs.
WAIT = LingerConfig(wait=Seconds(1.0))


def batches(agent):
    return [event.records for event in agent.events if isinstance(event, BatchDelivered)]


def test_lines_of_one_round_are_read_together(rig, logs):
    agent = rig(linger=WAIT).start()
    append(logs / "app.log", [b"0"])
    expect(agent, [b"0"])
    for number in range(1, 6):
        append(logs / "app.log", [b"%d" % number])
    expect(agent, [b"%d" % number for number in range(6)])
    assert batches(agent) == [1, 5]
    assert agent.stop()


def test_a_line_that_waits_is_neither_lost_nor_repeated_by_a_stop(rig, logs):
    agent = rig(linger=LingerConfig(wait=Seconds(10.0))).start()
    append(logs / "app.log", [b"waits"])
    agent.run_until(lambda: list(agent.stream.pipelines), "the file is open")
    assert agent.stop()
    assert agent.writers["out"].arrived == []
    agent.config = replace(agent.config, linger=LingerConfig())
    agent.start()
    expect(agent, [b"waits"])
    assert agent.stop()


@pytest.mark.parametrize("linger", [LingerConfig(), LingerConfig(latency=Seconds(0.2))])
def test_many_lines_do_not_wait_and_none_is_lost(rig, logs, linger):
    agent = rig(linger=linger).start()
    some = [b"%d" % number + b"x" * 100 for number in range(3000)]
    append(logs / "app.log", some)
    expect(agent, some)
    append(logs / "app.log", [b"more"])
    expect(agent, [*some, b"more"])
    assert agent.stop()


def test_a_rotated_file_is_read_to_its_end_before_its_successor_waits_or_not(rig, logs):
    agent = rig(linger=LingerConfig(wait=Seconds(0.2))).start()
    append(logs / "app.log", [b"0"])
    expect(agent, [b"0"])
    append(logs / "app.log", [b"1"])
    (logs / "app.log").rename(logs / "app.log.1")
    append(logs / "app.log", [b"2"])
    expect(agent, [b"0", b"1", b"2"])
    assert agent.stop()
