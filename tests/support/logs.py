"""Log files as tests write them, and what a `Rig` makes of them.

`lines` are told apart by their numbers. Whoever rotates under load takes `LogWriter` of `lines.py`
and the oracle instead; `delivered` hands it what arrived.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from singer.positions.query import read_positions
from tests.support.consume import Record
from tests.support.lines import LogWriter
from tests.support.oracle import Verdict, assert_delivered
from tests.support.rig import Rig

#: When files were written that are older than any stream.
_LONG_AGO_NS = 10**18


# --- writing --------------------------------------------------------------------------------------


def lines(first: int, last: int, pad: int = 40) -> list[bytes]:
    """The lines with the numbers from `first` up to, without, `last`."""
    return [b"line %06d " % n + b"x" * pad for n in range(first, last)]


def append(path: Path, some: Sequence[bytes]) -> None:
    """Write lines behind what is in the file; makes the file."""
    with path.open("ab", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in some))


def rewrite(path: Path, some: Sequence[bytes]) -> None:
    """Truncate a file and write it anew, before anybody can look."""
    path.write_bytes(b"".join(line + b"\n" for line in some))


def later(path: Path, milliseconds: int) -> None:
    """Give a file a time of its own, where the kernel's clock would give the same to several."""
    os.utime(path, ns=(0, time.time_ns() + milliseconds * 10**6))


def long_ago(path: Path) -> None:
    """Make a file older than any stream: history."""
    os.utime(path, ns=(0, _LONG_AGO_NS))


# --- what arrived ---------------------------------------------------------------------------------


def expect(agent: Rig, some: Sequence[bytes]) -> None:
    """Exactly these lines arrive, in this order."""
    agent.run_until(
        lambda: len(agent.writer.arrived) >= len(some),
        f"{len(some)} lines, not {len(agent.writer.arrived)}",
    )
    agent.run_until_caught_up()
    assert agent.writer.arrived == some


def expect_all(agent: Rig, some: Sequence[bytes]) -> None:
    """Exactly these lines arrive, in any order: they are from files that are read side by side."""
    wanted = Counter(some)
    agent.run_until(
        lambda: len(agent.writer.arrived) >= len(some) and Counter(agent.writer.arrived) >= wanted,
        f"all of {len(some)} lines",
    )
    agent.run_until_caught_up()
    arrived = Counter(agent.writer.arrived)
    assert arrived == wanted, f"lost {wanted - arrived}, twice {arrived - wanted}"


def expect_each(agent: Rig, *files: Sequence[bytes]) -> None:
    """Exactly these lines arrive, those of each file in their order, whatever is in between."""
    expect_all(agent, [line for file in files for line in file])
    for file in files:
        here = set(file)
        assert [line for line in agent.writer.arrived if line in here] == list(file)


def expect_written(
    agent: Rig, *writers: LogWriter, duplicates_at_most: int = 0, seconds: float = 30.0
) -> Verdict:
    """The oracle's verdict, once every line of the writers arrived (none is lost)."""
    written = {writer.lineage: writer.written for writer in writers}
    every = {line for some in written.values() for line in some}
    agent.run_until(
        lambda: len(agent.writer.arrived) >= len(every) and every <= set(agent.writer.arrived),
        f"all of {len(every)} lines",
        seconds=seconds,
    )
    agent.run_until_caught_up()
    return assert_delivered(written, delivered(agent), duplicates_at_most=duplicates_at_most)


def delivered(agent: Rig) -> Mapping[int, list[Record]]:
    """What arrived, for the oracle: one partition."""
    return {0: [Record(n, value, None) for n, value in enumerate(agent.writer.arrived)]}


# --- what the agent did ---------------------------------------------------------------------------


def run_until_looked(agent: Rig, path: Path) -> None:
    """Until the agent has looked at everything once more; `path` is a new file it will find."""
    line = b"look " + path.name.encode()
    append(path, [line])
    agent.run_until(lambda: line in agent.writer.arrived, "a look")
    agent.run_until_caught_up()
    agent.writer.arrived.remove(line)


def run_until_on_disk(agent: Rig, path: Path) -> None:
    """Until the positions on disk are at the end of the file: a kill repeats nothing of it."""
    stat = path.stat()

    def committed() -> bool:
        rows = read_positions(agent.state.positions)
        offsets = [row.offset for row in rows if row.identity.inode == stat.st_ino]
        return bool(offsets) and all(offset == stat.st_size for offset in offsets)

    agent.run_until(committed, "positions on disk")


def descriptors(logs: Path) -> list[str]:
    """What our descriptors below `logs` lead to: paths, with ` (deleted)` behind dead ones."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return [path for path in found if path.startswith(f"{logs}/")]


def run_until_let_go(agent: Rig, logs: Path) -> None:
    """Until no file is held open that no name leads to."""
    agent.run_until(
        lambda: not any(path.endswith(" (deleted)") for path in descriptors(logs)),
        "deleted files let go",
    )
