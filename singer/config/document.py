"""One YAML file as a checked tree of nodes, and where in it a value stands.

Owns opening, decoding, syntax, tags and the bound on aliases. Values and their meaning belong
to `nodes` and `loader`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import yaml

from singer.base.errors import ConfigError, Problem
from singer.base.smallfile import read_small_file

#: The configuration of thousands of streams; `-c /dev/zero` must end.
_MAX_FILE_BYTES: Final = 8 << 20
#: Nodes after aliases are followed. An alias bomb of a few lines stands for billions.
_MAX_NODES: Final = 1_000_000
#: Ours need eight; deeper ones would exhaust the stack.
_MAX_DEPTH: Final = 64

_KNOWN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A node with the path that leads to it: `streams[2].publish[0].cluster`."""

    node: yaml.Node
    path: str = ""

    @property
    def file(self) -> str:
        """The file the node was read from, as it was named."""
        return str(self.node.start_mark.name)

    @property
    def directory(self) -> str:
        """The directory that relative paths in this file are resolved against.

        Without symbolic links, so that `..` means the same here as to the kernel.
        """
        return os.path.realpath(os.path.dirname(os.path.abspath(self.file)))

    def child(self, node: yaml.Node, step: str | int) -> Spot:
        """A value below: `step` is its key, or its index in a list."""
        if isinstance(step, int):
            return Spot(node=node, path=f"{self.path}[{step}]")
        return Spot(node=node, path=f"{self.path}.{step}" if self.path else step)

    def problem(self, message: str) -> Problem:
        """A problem that points here."""
        mark = self.node.start_mark
        return Problem(
            file=self.file,
            line=mark.line + 1,
            column=mark.column + 1,
            path=self.path,
            message=message,
        )


def compose(file: str) -> Spot | None:
    """The root of `file`; None when it holds nothing but comments. Raises ConfigError."""
    return parse(_text(file), file)


def parse(text: str, file: str) -> Spot | None:
    """The root of `text`, which was read from `file`. Raises ConfigError."""
    try:
        loader = yaml.SafeLoader(text)
        loader.name = file  # every mark takes its file from here
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line, column = _line_and_column(text, error.position)
        message = f"character U+{ord(text[error.position]):04X} is not allowed: remove it"
        raise _error(file, message, line, column) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _error(file, f"yaml syntax: {what}", line, column) from error
    except RecursionError as error:
        raise _error(file, f"nested deeper than {_MAX_DEPTH} levels") from error
    if node is None:
        return None
    root = Spot(node=node)
    _Inspection().inspect(root.node, depth=0)
    return root


def _text(file: str) -> str:
    try:
        data = read_small_file(file, _MAX_FILE_BYTES)
    except ValueError as error:
        advice = ": create it, or name another with -c FILE" if "no such file" in str(error) else ""
        raise _error(file, f"open configuration: {error}{advice}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        line, column = _line_and_column(before, len(before))
        byte = data[error.start]
        raise _error(
            file, f"byte 0x{byte:02x} is not UTF-8: save the file as UTF-8", line, column
        ) from error


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    line = text.count("\n", 0, index) + 1
    return line, index - text.rfind("\n", 0, index)


def _error(file: str, message: str, line: int = 1, column: int = 1) -> ConfigError:
    return ConfigError((Problem(file=file, line=line, column=column, path="", message=message),))


class _Inspection:
    """Tags, depth and size of a tree, each node looked at once however many aliases it has."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def inspect(self, node: yaml.Node, *, depth: int) -> int:
        """The nodes below `node`, itself included, with aliases followed."""
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        spot = Spot(node=node)
        if id(node) in self._open:
            raise ConfigError((spot.problem("an alias (*) stands inside its own anchor (&)"),))
        if depth > _MAX_DEPTH:
            raise ConfigError((spot.problem(f"nested deeper than {_MAX_DEPTH} levels"),))
        if node.tag not in _KNOWN_TAGS:
            name = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise ConfigError((spot.problem(f"yaml tag {name} is not supported: remove it"),))
        self._open.add(id(node))
        total = 1 + sum(self.inspect(child, depth=depth + 1) for child in _children(node))
        self._open.remove(id(node))
        if total > _MAX_NODES:
            raise ConfigError(
                (spot.problem(f"aliases stand for more than {_MAX_NODES} values: use fewer"),)
            )
        self._sizes[id(node)] = total
        return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
