"""The oracle of the model: which lines must arrive, which may be lost, and which may come again.

It is the promise of `docs/design.md`, in three parts.

Loss (`forgive`): what has not arrived may be missing once no file that the agent can get at holds
it: none at a path, none with the name of a rotated file, none whose inode has a row, none that is
held open.

Duplicates (`allow_...`): after the death of the process, what was delivered and is behind the
positions on disk; what arrives while a topic refuses records; and a copy of which nothing proves
that it is one.

Pieces: a line without its newline, at the end of a file that is not at its path, is a record; if
more is written behind it, the rest is another.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from singer.base.position import FINGERPRINT_BYTES, TAIL_BYTES, Position
from singer.positions.query import read_positions
from tests.model.world import Content, File, Span, World
from tests.support.rig import LoopbackWriter, Rig


class Oracle:
    """What one destination is to get."""

    def __init__(self, world: World, rig: Rig, name: str) -> None:
        self.name = name
        self._world = world
        self._rig = rig
        self._lost: dict[Content, list[Span]] = {}
        self._again: dict[Content, list[Span]] = {}
        self._again_by_value: Counter[bytes] = Counter()
        self._weighed: set[File] = set()  # copies that may be read from their beginning

    @property
    def writer(self) -> LoopbackWriter:
        return self._rig.writers[self.name]

    # --- what may be lost ---------------------------------------------------------------------

    def forgive(self, reach: dict[Content, int]) -> None:
        """`reach` is how many bytes of each content the agent can get at."""
        arrived = set(self.writer.arrived)
        for content in self._world.contents:
            if reach.get(content, 0) >= len(content.data):
                continue
            for start, end in self._segments(content):
                # A newline that is gone does not matter if its line can be had.
                if end > reach.get(content, 0) and not self._has(content, start, end, arrived):
                    self._forgive(content, start, end)

    def forgive_the_same_beginning(self, content: Content, rows: list[Position]) -> None:
        """A file was truncated, and begins again as it did, as far as the position is.

        That is not noticed: a known limitation. What it held in between may not have been seen.
        """
        before = content.before
        while before is not None and self._committed(before, rows) <= before.header:
            self._forgive(content, 0, before.header)
            before = before.before

    def _forgive(self, content: Content, start: int, end: int) -> None:
        spans = self._lost.setdefault(content, [])
        if (start, end) not in spans:
            spans.append((start, end))

    def _segments(self, content: Content) -> Iterator[Span]:
        """The shortest pieces that records may be made of."""
        for line in content.lines():
            ends = content.pieces(line)
            yield from pairwise(ends)

    def _has(self, content: Content, start: int, end: int, arrived: set[bytes]) -> bool:
        """Whether these bytes arrived, in whatever record."""
        if start < content.header:  # others have the same: what is behind must speak for it
            return self.delivered(content) > content.header
        return any(
            content.piece(a, b) in arrived
            for line in content.lines()
            if line[0] <= start and end <= line[1]
            for a in content.pieces(line)
            for b in content.pieces(line)
            if a <= start and end <= b
        )

    # --- what may come again ------------------------------------------------------------------

    def allow_after_death(self, rows: list[Position]) -> None:
        """The process died: what was delivered behind the positions on disk is sent again."""
        for content in self._world.contents:
            committed = self._committed(content, rows)
            self._allow(content, committed, len(content.data))
            for file in self._world.holders(content):
                if file in self._weighed:  # it is read by itself, from its beginning
                    self._allow(content, 0, file.length)

    def allow_arrived_since(self, count: int) -> None:
        """What arrived since there were `count` records: their batch failed."""
        self._again_by_value.update(self.writer.arrived[count:])

    def allow_for_copies(self) -> None:
        """Copies of a log that is not at its path any more, or too short to be told from others."""
        for file in self._world.files():
            if file.is_copy and file not in self._weighed:
                original = self._world.at.get(file.content.path)
                there = original is not None and original.content is file.content
                truncated = all(f.limit is not None for f in self._world.holders(file.content))
                if file.length < TAIL_BYTES or not (there or truncated):
                    self.allow_copy(file)

    def allow_for_truncation(self, content: Content, rows: list[Position], seen: set[File]) -> None:
        """A log was truncated: its one copy is finished where delivery was, if there is proof.

        Its row is proof if it has a full tail and the copy holds all that was delivered. If lines
        were delivered after the copy was made, the agent must have `seen` the copy before.
        """
        copies = [file for file in self._world.holders(content) if file.is_copy]
        committed = self._committed(content, rows)
        reached = max(self.delivered(content, [*self.writer.arrived, *self.writer.waiting]), 0)
        for file in copies:
            proof = (
                len(copies) == 1
                and committed >= TAIL_BYTES
                and (reached <= file.length or file in seen)
            )
            if not proof:
                self.allow_copy(file)

    def allow_copy(self, file: File) -> None:
        """A copy may be read from its beginning."""
        if file not in self._weighed:
            self._weighed.add(file)
            self._allow(file.content, 0, file.length)

    def allow_for_archive(self, file: File) -> None:
        """Fewer delivered bytes than a tail has do not prove whose archive it is.

        If it is made of a copy, all of it may come: what is delivered behind its end leaves nothing
        in the row that is in the archive.
        """
        self._allow(file.content, 0, TAIL_BYTES)
        if file.is_copy:
            self.allow_copy(file)

    def shorten(self, content: Content, length: int, rows: list[Position], written_ns: int) -> None:
        """A power loss takes the end of a file, some of which arrived.

        It is read from its beginning should so much be gone that the fingerprint does not agree, or
        should it have been written to since its row was: nobody knows which bytes are new.
        """
        mine = [row for row in rows if self._is_of(row, content)]
        if any(
            length < min(FINGERPRINT_BYTES, row.offset) or row.updated_ns < written_ns
            for row in mine
        ):
            self.allow_from_the_beginning(content, length)
        counts = Counter(self.writer.arrived)
        gone = {content.piece(*each) for each in self._segments(content) if each[1] > length}
        self._again_by_value.update({value: counts[value] for value in gone})
        for spans in (self._lost, self._again):
            spans[content] = [(a, min(b, length)) for a, b in spans.get(content, []) if a < length]

    def allow_from_the_beginning(self, content: Content, length: int) -> None:
        """So many bytes of it are read once more."""
        self._allow(content, 0, length)

    def _allow(self, content: Content, start: int, end: int) -> None:
        if start < end:
            self._again.setdefault(content, []).append((start, end))

    def _committed(self, content: Content, rows: list[Position]) -> int:
        """How far the positions on disk are through a content; they are known by their marks."""
        return max((r.offset for r in rows if self._is_of(r, content)), default=0)

    def _is_of(self, row: Position, content: Content) -> bool:
        data = content.data
        return (
            row.destination == self.name
            and 0 < row.offset <= len(data)
            and row.identity.fingerprint.agrees(bytes(data))
            and row.tail.agrees(bytes(data[row.offset - row.tail.length : row.offset]))
        )

    def delivered(self, content: Content, arrived: list[bytes] | None = None) -> int:
        """The end of the last line of a content that arrived; those that others have do not say."""
        values = set(self.writer.arrived if arrived is None else arrived)
        ends = [
            end
            for start, end in self._segments(content)
            if start >= content.header and content.piece(start, end) in values
        ]
        return max(ends, default=0)

    # --- the verdict --------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What must arrive and has not."""
        counts = Counter(self.writer.arrived)
        needed: Counter[bytes] = Counter()
        missing = []
        for content in self._world.contents:
            lost = self._lost.get(content, [])
            for line in content.lines():
                if line[1] == len(content.data) and not self._is_final(content):
                    continue
                if line[0] < content.header:
                    if not self._touches(lost, *line):
                        needed[content.piece(*line)] += 1
                elif not self._arrives(content, line, counts, lost):
                    missing.append(f"{content} at {line[0]}: {content.piece(*line)[:20]!r}")
        short = needed - counts
        return missing + [f"{count} times {value[:20]!r}" for value, count in short.items()]

    def _is_final(self, content: Content) -> bool:
        """Whether the end of a content, without a newline, is a record."""
        return len(content.data) in content.cuts and not any(
            self._world.is_live(path)
            for file in self._world.holders(content)
            if file.length == len(content.data)
            for path in self._world.names(file)
        )

    def _arrives(
        self, content: Content, line: Span, arrived: Counter[bytes], lost: list[Span]
    ) -> bool:
        """Whether a line arrived in pieces that make up the whole, but for what is lost."""
        ends = content.pieces(line)
        reached = {ends[0]}
        for index, end in enumerate(ends[1:], 1):
            if any(s in reached and content.piece(s, end) in arrived for s in ends[:index]) or (
                ends[index - 1] in reached and self._touches(lost, ends[index - 1], end)
            ):
                reached.add(end)
        return ends[-1] in reached

    def assert_nothing_unexpected(self) -> None:
        """Nothing arrived that was never written, or more often than is allowed."""
        most: Counter[bytes] = Counter(self._again_by_value)
        for content in self._world.contents:
            again = self._again.get(content, [])
            for line in content.lines():
                ends = content.pieces(line)
                whole = line[1] < len(content.data) or line[1] in content.cuts
                for index, start in enumerate(ends):
                    for end in ends[index + 1 :]:
                        if end == line[1] and not whole:
                            continue
                        often = sum(a < end and start < b for a, b in again)
                        most[content.piece(start, end)] += 1 + often
        excess = Counter(self.writer.arrived) - most
        shown = [f"{count} times {value[:20]!r}" for value, count in list(excess.items())[:5]]
        assert not excess, f"{self.name}: more than expected: {shown}"

    def assert_order(self) -> None:
        """What arrived of each file arrived in its order, counting the first of each line."""
        first: dict[bytes, int] = {}
        for index, value in enumerate(self.writer.arrived):
            first.setdefault(value, index)
        for content in self._world.contents:
            lines = [content.piece(*line) for line in content.lines() if line[0] >= content.header]
            order = [first[line] for line in lines if line in first]
            assert order == sorted(order), f"{self.name}: out of order in {content}"

    @staticmethod
    def _touches(spans: list[Span], start: int, end: int) -> bool:
        return any(a < end and start < b for a, b in spans)


def rows_on_disk(rig: Rig) -> list[Position]:
    """What a process that starts now would find."""
    path = os.path.join(rig.state_dir, "positions")
    return list(read_positions(path)) if os.path.exists(path) else []
