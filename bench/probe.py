"""The agent with an ear for acknowledgements: `python -m bench.probe CONFIG OUT`.

Runs the whole agent as `singer run` does and notes when each file position moved. At the end
OUT has lines of `MONOTONIC_NS END`: the clock (of all processes of the machine) and the file
offset up to which everything is acknowledged.
"""

from __future__ import annotations

import os
import sys
import time

from singer import agent
from singer.base.events import BatchDelivered, Event, Severity
from singer.config.loader import load
from singer.observe.counters import Counters
from singer.observe.fan_out import fan_out
from singer.observe.log import Log


def main(config_path: str, out_path: str) -> None:
    seen: list[tuple[int, int]] = []

    def note(event: Event) -> None:
        if isinstance(event, BatchDelivered):
            seen.append((time.monotonic_ns(), event.end))

    log = Log(threshold=Severity.INFO)
    emit = fan_out(note, Counters(), log)
    status = agent.run(load(config_path).config, once=False, emit=emit)
    log.close()
    with open(out_path, "w", encoding="ascii") as out:
        out.writelines(f"{moment} {end}\n" for moment, end in seen)
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
