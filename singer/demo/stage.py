"""What the demo is played with: zones, streams, log files and the agent's configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import yaml

from singer.base.config import EmbeddedConfig
from singer.demo.lines import Format

#: One broker in each.
ZONES: Final = ("zone-a", "zone-b", "zone-c")
#: Where the agent is told that it runs; nothing should go anywhere else.
HOME_ZONE: Final = ZONES[0]
#: Of each topic: two in every zone, so that there is something to choose in the home zone.
PARTITIONS: Final = 6

CLUSTER: Final = EmbeddedConfig(brokers=len(ZONES), racks=ZONES, partitions=PARTITIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Log files that go to one topic."""

    name: str
    topic: str
    files: tuple[str, ...]  #: without `.log`
    form: Format
    reader: dict[str, Any]  #: what the type needs besides
    partitioner: dict[str, Any]


STREAMS: Final = (
    Stream(
        name="access",
        topic="demo.access",
        files=("access-0", "access-1"),
        form=Format.TEXT,
        reader={},
        partitioner={"type": "random", "local": True},
    ),
    Stream(
        name="events",
        topic="demo.events",
        files=("events-0",),
        form=Format.THRIFT,
        reader={},
        # Far shorter than anybody would choose, so that it changes during the demo.
        partitioner={"type": "sticky", "local": True, "interval": "3s"},
    ),
    Stream(
        name="traces",
        topic="demo.traces",
        files=("traces-0",),
        form=Format.MULTILINE,
        # Records are written whole here, so that the last of a file need not wait for more.
        reader={"start": "^[0-9]", "timeout": "100ms"},
        partitioner={"type": "random", "local": True},
    ),
)

#: All log files; elsewhere a file is its index in here.
FILES: Final = tuple(file for stream in STREAMS for file in stream.files)
FORMS: Final = tuple(stream.form for stream in STREAMS for _ in stream.files)
TOPICS: Final = tuple(stream.topic for stream in STREAMS)


def log_path(directory: str, file: str) -> str:
    """Where the log file is that the application has open."""
    return os.path.join(directory, "logs", f"{file}.log")


def configuration(directory: str, bootstrap: str) -> str:
    """The agent's configuration, as YAML. All that is not here has its default."""
    return yaml.safe_dump(
        {
            "agent": {
                "id": "singer-demo",
                "state_dir": os.path.join(directory, "state"),
                "locality": f"static:{HOME_ZONE}",
                # Only where notifications of the kernel are missing does this show.
                "rescan": "1s",
            },
            "clusters": {"demo": {"bootstrap": bootstrap.split(",")}},
            "streams": [
                {
                    "name": stream.name,
                    "paths": [log_path(directory, f"{stream.name}-*")],
                    "reader": stream.reader | {"type": stream.form.value},
                    "publish": [
                        {
                            "cluster": "demo",
                            "topic": stream.topic,
                            "partitioner": stream.partitioner,
                        }
                    ],
                }
                for stream in STREAMS
            ],
        },
        sort_keys=False,
    )
