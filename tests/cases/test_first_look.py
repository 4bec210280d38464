"""The first look of a run: what is there then is never taken for history."""

import time

from singer.base.config import Start
from singer.base.errors import ReadError
from singer.files.walk import Walker
from singer.inquiries import Inquiries
from tests.support.logs import append, lines, long_ago


def refuse(monkeypatch, path, times):
    real = Walker._open
    left = [times]

    def _open(self, descent, where):
        if where == str(path) and left[0]:
            left[0] -= 1
            error = OSError(24, "Too many open files")
            raise ReadError(f"open {where!r}: too many open files") from error
        return real(self, descent, where)

    monkeypatch.setattr(Walker, "_open", _open)
    return left


def test_start_at_the_end_skips_what_no_descriptor_was_left_for(rig, logs, monkeypatch):
    log = logs / "app.log"
    append(log, lines(0, 10))
    long_ago(log)
    left = refuse(monkeypatch, log, 1)
    agent = rig(rescan=0.2, start=Start.END).start()
    agent.run_until(lambda: not left[0], "it was refused")
    agent.run_for(1.0)
    append(log, lines(10, 20))
    agent.run_until(lambda: lines(10, 20)[-1] in agent.writer.arrived, "the new lines")
    assert agent.writer.arrived == lines(10, 20)


def test_rotated_twice_during_the_first_inquiry(rig, logs, monkeypatch):
    log = logs / "app.log"
    append(log, lines(0, 10))
    real = Inquiries._answer
    done = []

    async def answer(self, portion):
        findings = await real(self, portion)
        if not done:
            done.append(True)
            log.rename(logs / "app.log.2")
            append(log, lines(10, 20))
            log.rename(logs / "app.log.1")
            append(log, lines(20, 30))
            time.sleep(0.1)  # noqa: ASYNC251  # examining an archive takes minutes
        return findings

    monkeypatch.setattr(Inquiries, "_answer", answer)
    agent = rig(rescan=0.2).start()
    agent.run_until(lambda: lines(20, 30)[-1] in agent.writer.arrived, "the last")
    agent.run_for(1.0)
    assert agent.writer.arrived == lines(0, 30)


def test_renamed_in_the_milliseconds_of_the_very_first_look(rig, logs, monkeypatch):
    log, old = logs / "app.log", logs / "app.log.1"
    append(log, lines(0, 10))
    long_ago(log)
    real = Inquiries._answer
    done = []

    async def answer(self, portion):
        if not done:
            done.append(True)
            log.rename(old)
        return await real(self, portion)

    monkeypatch.setattr(Inquiries, "_answer", answer)
    agent = rig(rescan=0.2).start(once=True)
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 10)


def test_rotated_before_the_first_walk_comes_first(rig, logs, monkeypatch):
    log = logs / "app.log"
    real = Walker.walk
    done = []

    def walk(self, *known):
        if not done:
            done.append(True)
            for n in range(3):
                append(log, lines(n * 10, n * 10 + 10))
                log.rename(logs / f"app.log.{3 - n}")
                time.sleep(0.005)  # files are told apart by their times
            append(log, lines(30, 40))
        return real(self, *known)

    monkeypatch.setattr(Walker, "walk", walk)
    agent = rig(rescan=0.2).start()
    agent.run_until(lambda: lines(30, 40)[-1] in agent.writer.arrived, "the last")
    log.rename(logs / "app.log.0")
    append(log, lines(40, 50))
    agent.run_until(lambda: lines(40, 50)[-1] in agent.writer.arrived, "the successor")
    agent.run_until_caught_up()
    assert agent.writer.arrived == lines(0, 50)
