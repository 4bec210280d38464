"""The agent with an ear for its progress: `python -m bench.probe CONFIG OUT DESTINATION`.

Runs the whole agent as `singer run` does. OUT gets lines of `WHAT MONOTONIC_NS END PATH` (the
clock of all processes of the machine): `started`, `found` when a file's row was on disk, and
`acknowledged` when everything of it before offset END is; `sent`, with four numbers instead of a
path, when librdkafka told what it had sent. Of all destinations, if DESTINATION is empty.
"""

from __future__ import annotations

import os
import sys
import time

from singer import agent
from singer.base.events import AgentStarted, BatchDelivered, Event, FileFound, Severity
from singer.config.loader import load
from singer.kafka.events import Compressed
from singer.observe.counters import Counters
from singer.observe.fan_out import fan_out
from singer.observe.log import Log


def main(config_path: str, out_path: str, destination: str) -> None:
    # A line at a time, as they come: kept in memory they would be measured with the agent's.
    with open(out_path, "w", 1, encoding="utf-8", errors="surrogateescape") as out:

        def note(event: Event) -> None:
            match event:
                case BatchDelivered() if destination not in ("", event.destination):
                    pass
                case BatchDelivered(path=path, end=end):
                    out.write(f"acknowledged {time.monotonic_ns()} {end} {path}\n")
                case FileFound(path=path):
                    out.write(f"found {time.monotonic_ns()} 0 {path}\n")
                case Compressed():
                    numbers = (event.records, event.batches, event.nbytes, event.sent_bytes)
                    out.write(f"sent {time.monotonic_ns()} 0 {' '.join(map(str, numbers))}\n")
                case AgentStarted():
                    out.write(f"started {time.monotonic_ns()} 0 -\n")

        log = Log(threshold=Severity.INFO)
        emit = fan_out(note, Counters(), log)
        status = agent.run(load(config_path).config, once=False, emit=emit)
        log.close()
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
