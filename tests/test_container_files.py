"""Lines of containers in files, when what is sent fails in the middle."""

from singer.base.config import ContainerReaderConfig, Seconds
from tests.readers.container_logs import cri


def test_a_record_that_arrived_before_a_part_of_another_is_safe_is_counted_once(rig, logs):
    agent = rig(reader=ContainerReaderConfig()).start()
    agent.writer.failing, agent.writer.settled = True, 1
    data = cri(b"a", full=False) + cri(b"err", stream="stderr") + cri(b"b")
    (logs / "app.log").write_bytes(data)
    (account,) = agent.ledger
    agent.run_until(lambda: account.rewound == len(data), "all of it is read again")
    assert (account.records, account.delivered) == (0, 0)
    agent.writer.failing = False
    agent.run_until(lambda: account.delivered == len(data), "delivered")
    assert agent.writer.arrived == [b"err", b"err", b"ab"]
    assert account.records == 2
    assert agent.stop()


def test_parts_that_were_sent_without_the_last_are_sent_again_after_a_failure(rig, logs):
    agent = rig(reader=ContainerReaderConfig(timeout=Seconds(0.05))).start()
    agent.writer.failing = True
    data = cri(b"a", full=False)
    (logs / "app.log").write_bytes(data + b"unterminated")
    (account,) = agent.ledger
    agent.run_until(lambda: account.rewound > 0, "it failed")
    agent.writer.failing = False
    agent.run_until(lambda: agent.writer.arrived == [b"a"], "sent again, though nothing came")
    agent.run_until(lambda: account.delivered == len(data), "and committed")
    assert agent.stop()
