"""TextLogger: lines, each written whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from singer.client.logfile import LogFile


class TextLogger:
    """Writes a line for each record with one `write`; the options are those of `LogFile`.

    A record is one line: a newline in it is written as a backslash and an `n`.
    """

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        self.file = LogFile(path, **options)
        self._end_line()

    def log(self, line: str | bytes) -> None:
        """Write one record. Raises LogFullError, OSError."""
        with self.file.lock:
            self.file.append(_line(line))

    def log_many(self, lines: Iterable[str | bytes]) -> None:
        """Write records in one piece."""
        data = b"".join(map(_line, lines))
        if data:
            with self.file.lock:
                self.file.append(data)

    def close(self) -> None:
        """Write no more."""
        self.file.close()

    def _end_line(self) -> None:
        """What somebody was writing when he was killed is a line of its own, not part of ours."""
        with suppress(OSError), open(self.file.path, "rb") as file:  # empty, or not for us to read
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                with self.file.lock:
                    self.file.append(b"\n")


def encoded(text: str) -> bytes:
    """A text as it is written: any text, since no record may be lost for half of a pair in it."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _line(line: str | bytes) -> bytes:
    content = encoded(line) if isinstance(line, str) else line
    return content.replace(b"\n", b"\\n") + b"\n"
