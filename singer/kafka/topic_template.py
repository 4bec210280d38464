"""Topic templates: a topic that named groups of a file's path fill in.

Whoever makes a log file chooses its name, so the name must not choose more than the template leaves
open. The rule for what is put in place of `{group}`:

- each character that is not an ASCII letter, a digit, a hyphen or an underscore becomes an
  underscore, dots too: they part the levels that access rules are written for
- a group that is empty, or not in the path, becomes `unmatched`
- what would make the topic longer than Kafka allows is cut

A template begins with text of its own, with a letter or digit in it, so that no name can lead to
another's topic or to one of Kafka's own (`__consumer_offsets`). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: Kafka's own rule (org.apache.kafka.common.internals.Topic).
MAX_TOPIC_LENGTH: Final = 249
_LEGAL: Final = re.compile(r"[a-zA-Z0-9._-]*")
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_-]")
_PARTS: Final = re.compile(r"\{([^{}]*)\}")
_UNMATCHED: Final = "unmatched"


class TopicTemplate:
    """A topic name with `{group}` in it, or a plain one. Raises ValueError if it can be neither."""

    __slots__ = ("_groups", "_texts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # split() gives text, group, text, group, ..., text
        parts = _PARTS.split(text)
        self._texts, self._groups = parts[::2], parts[1::2]
        if not all(map(_LEGAL.fullmatch, self._texts)) or text in ("", ".", ".."):
            raise ValueError(
                "must be a topic name of letters, digits, dots, underscores, hyphens, and {groups} "
                "of path_pattern"
            )
        if sum(map(len, self._texts)) + len(self._groups) > MAX_TOPIC_LENGTH:
            raise ValueError(f"must be a topic name of at most {MAX_TOPIC_LENGTH} characters")
        if self._groups and not re.search("[a-zA-Z0-9]", self._texts[0]):
            raise ValueError(
                "must be a topic name that begins with a letter or digit of its own, or the name "
                "of a file could lead to any topic"
            )

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups."""
        return frozenset(self._groups)

    def fill(self, groups: Mapping[str, str | None]) -> str:
        """The topic for a path in which the groups are these."""
        room = MAX_TOPIC_LENGTH - sum(map(len, self._texts))
        topic = self._texts[0]
        for index, name in enumerate(self._groups):
            later = len(self._groups) - index - 1  # a character is left for each of them
            value = _UNSAFE.sub("_", groups.get(name) or _UNMATCHED)[: room - later]
            room -= len(value)
            topic += value + self._texts[index + 1]
        return topic
