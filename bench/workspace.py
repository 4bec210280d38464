"""Files of the benchmark: log data that is made once, configurations, directories of a run."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from tests.support.lines import line

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(ROOT, ".cache", "bench")
TOPIC = "bench"
#: Of the lines of a tree, newline included.
LINE_BYTES = 150
#: Lines made at once; the parent stays small.
_BLOCK_LINES = 5000
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def log_data(line_bytes: int, lines: int) -> str:
    """The path of a file of `lines` lines of `line_bytes` each, newline included."""
    os.makedirs(CACHE, exist_ok=True)
    path = os.path.join(CACHE, f"lines-{line_bytes}-{lines}.log")
    if not os.path.exists(path):
        fresh = f"{path}.{os.getpid()}"
        with open(fresh, "wb") as file:
            for first in range(0, lines, _BLOCK_LINES):
                block = range(first, min(first + _BLOCK_LINES, lines))
                file.write(b"".join(line(1, n, line_bytes - 1) + b"\n" for n in block))
        os.rename(fresh, path)
    with open(path, "rb") as file:  # into the page cache: disks are not what is compared
        while file.read(1 << 20):
            pass
    return path


@contextmanager
def directory() -> Iterator[str]:
    """A directory for one run, removed afterwards."""
    os.makedirs(CACHE, exist_ok=True)
    path = tempfile.mkdtemp(prefix="run-", dir=CACHE)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def agent_config(
    work: str,
    bootstrap: str,
    paths: str,
    properties: Mapping[str, str],
    *,
    agent: Mapping[str, str] = _NOTHING,
    stream: Mapping[str, object] = _NOTHING,
    cluster: Mapping[str, object] = _NOTHING,
    more_streams: Sequence[Mapping[str, object]] = (),
    more_clusters: Mapping[str, Mapping[str, object]] = _NOTHING,
) -> str:
    """Write a configuration of default settings but for these; its path.

    `agent`, `cluster` and `stream` are further keys, the last of the stream that reads `paths`.
    """
    config = {
        "agent": {"state_dir": os.path.join(work, "state"), "start_spread": "0s", **agent},
        "clusters": {
            "main": {"bootstrap": bootstrap.split(","), "properties": dict(properties), **cluster},
            **more_clusters,
        },
        "streams": [
            {"publish": [{"cluster": "main", "topic": TOPIC}], **each}
            for each in ({"name": "bench", "paths": [paths], **stream}, *more_streams)
        ],
    }
    path = os.path.join(work, "singer.yaml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)  # JSON is YAML
    return path


def log_tree(work: str, files: int, directories: int) -> tuple[str, list[str]]:
    """Files of one line each, dealt to directories; the glob that finds them, and their paths."""
    root = os.path.join(work, "logs")
    for number in range(directories):
        os.makedirs(os.path.join(root, f"{number:04}"))
    paths = [os.path.join(root, f"{n % directories:04}", f"app-{n:06}.log") for n in range(files)]
    for number, path in enumerate(paths):
        with open(path, "wb", buffering=0) as file:
            file.write(line(number % 10_000, 0, LINE_BYTES - 1) + b"\n")
    return os.path.join(root, "*", "*.log"), paths


def agent_command(config_path: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "singer", "run", "-c", config_path, *arguments]
