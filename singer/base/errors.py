"""The error tree: everything Singer raises on purpose.

    SingerError
    ├── InvariantError            ours: a bug, never expected
    ├── InputError                theirs: what a person or a program gave us is wrong
    │   ├── UsageError            the command line
    │   └── ConfigError           the configuration; carries every problem at once
    └── WorldError                the world's: may pass, so a retry makes sense
        ├── StateError            the state directory or the position store
        │   └── StateLockedError  another agent holds the state directory
        ├── ReadError             a log file
        ├── LocalityError         who knows this host's zone does not say it
        ├── DeadLettersFullError  the dead-letter file reached its ceiling
        └── DeliveryError         a batch was not (wholly) acknowledged
            ├── TopicError        this topic: absent, not authorised, invalid
            ├── ClusterError      the cluster as a whole: unreachable, not authenticated
            └── FatalProducerError  the producer is fenced or broken; a new one is needed

Foreign exceptions are translated where they enter, with `from`. A record that the broker
refuses is not an error but a value (`base.ports.Rejection`): its neighbours flow on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:  # numpy is not needed for --help
    from singer.base.batch import Run


class SingerError(Exception):
    """Root of the tree. `exit_status` is what a command that ends with it returns."""

    exit_status: ClassVar[int] = os.EX_SOFTWARE
    retriable: ClassVar[bool] = False


class InvariantError(SingerError):
    """A promise between our own parts was broken: a bug."""


class InputError(SingerError):
    """Something given to Singer is wrong and stays wrong until a person changes it."""

    exit_status = os.EX_DATAERR


class UsageError(InputError):
    """The command line cannot be understood or names something that is not there."""

    exit_status = os.EX_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault of a configuration: where it is, what it is about and what to do.

    `line` and `column` count from 1. `path` is the dotted path of the value,
    such as `streams[2].publish[0].cluster`.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(InputError):
    """The configuration cannot be used. `problems` holds all faults, in file order."""

    exit_status = os.EX_CONFIG

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class WorldError(SingerError):
    """The machine or the network does not do what is asked now; later it may."""

    exit_status = os.EX_UNAVAILABLE
    retriable = True


class StateError(WorldError):
    """The state directory or the position store cannot be read or written."""


class StateLockedError(StateError):
    """Another agent runs on the same state directory."""


class LocalityError(WorldError):
    """The zone of this host cannot be found out now."""


class ReadError(WorldError):
    """A log file cannot be opened or read."""


class DeadLettersFullError(WorldError):
    """The dead-letter file has reached its ceiling; the stream waits rather than loses."""


class Kind(NamedTuple):
    """What errors are counted by: the class, and librdkafka's name of the code."""

    error_class: str
    code: str


class DeliveryError(WorldError):
    """A batch was not wholly acknowledged.

    `settled` counts the rows at the start of the batch that were acknowledged before the first
    one that was not: the position may move past them. `runs` say where acknowledged rows lie,
    those and others. `code` is librdkafka's name of the cause, where it is librdkafka's.
    """

    error_class: ClassVar[str] = "connection"

    def __init__(self, message: str, *, settled: int = 0, code: str = "none") -> None:
        super().__init__(message)
        self.settled = settled
        self.runs: tuple[Run, ...] = ()
        self.code = code

    @property
    def kind(self) -> Kind:
        """What it is counted as."""
        return Kind(self.error_class, self.code)


class RefusedError(DeliveryError):
    """A broker refused these rows of a batch, and with them the transaction they were in.

    `proven`: each of them is itself to blame; else one of them, or one beside them, is.
    """

    error_class = "record"

    def __init__(
        self, message: str, *, rows: tuple[int, ...], proven: bool, code: str = "none"
    ) -> None:
        super().__init__(message, code=code)
        self.rows = rows
        self.proven = proven


class TopicError(DeliveryError):
    """The topic is absent, invalid or may not be written."""

    error_class = "topic"


class ClusterError(DeliveryError):
    """The cluster as a whole does not serve us."""


class FatalProducerError(DeliveryError):
    """The producer instance is unusable (fenced, sequence lost); it has to be replaced."""

    error_class = "fatal"
