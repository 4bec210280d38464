"""Files that are compressed while somebody still writes to them."""

import gzip

import pytest

from singer.base.events import FileLetGo
from tests.support.logs import append, expect, lines, run_until_looked


@pytest.mark.parametrize("late", ["seen before", "seen after"])
def test_written_to_after_it_was_compressed_and_before_it_is_deleted(rig, logs, late):
    """A program that is slow to reopen its log: the archive holds less than what was delivered."""
    log, old, packed = logs / "app.log", logs / "app.log.1", logs / "app.log.1.gz"
    append(log, lines(0, 30))
    agent = rig().start()
    expect(agent, lines(0, 30))
    log.rename(old)
    append(log, [])
    content = gzip.compress(old.read_bytes())
    append(old, lines(30, 35))
    if late == "seen before":
        expect(agent, lines(0, 35))
    packed.write_bytes(content)
    old.unlink()
    expect(agent, lines(0, 35))
    agent.run_until(lambda: agent.seen(FileLetGo), "the deleted one let go")
    append(log, lines(35, 40))
    expect(agent, lines(0, 40))
    run_until_looked(agent, logs / "app.log.2")
    assert agent.writer.arrived == lines(0, 40)
    assert agent.stop()
    agent.start()
    append(log, lines(40, 50))
    expect(agent, lines(0, 50))
