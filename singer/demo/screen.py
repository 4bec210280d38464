"""Where the demo is shown: a panel that is redrawn on a terminal, lines of text elsewhere."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live

from singer.demo import table
from singer.demo.table import Happening, View

#: Often enough to look alive; a redraw takes some milliseconds of a core that the agent wants.
_LIVE_SECONDS: Final = 0.25
_PLAIN_SECONDS: Final = 1.0


class Screen(Protocol):
    """A context manager that is given every view and shows some."""

    def show(self, view: View, *, now: bool = False) -> None:
        """Show it if the last one is old enough, or `now`."""
        ...

    def happened(self, what: Happening) -> None:
        """Something for the journal, which is part of the next view too."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def screen(*, plain: bool) -> Screen:
    """The panel, unless plain text is asked for or standard output is no terminal for it."""
    console = Console()
    if plain or os.environ.get("NO_COLOR") or not console.is_terminal or console.is_dumb_terminal:
        return PlainScreen()
    return LiveScreen(console)


class LiveScreen:
    """A panel, redrawn in place; the last one stays."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._shown = float("-inf")

    def show(self, view: View, *, now: bool = False) -> None:
        """See Screen."""
        if now or time.monotonic() - self._shown >= _LIVE_SECONDS:
            self._shown = time.monotonic()
            self._live.update(table.panel(view), refresh=True)

    def happened(self, what: Happening) -> None:
        """See Screen: the panel has the journal."""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()


class PlainScreen:
    """A line each second, and one for everything that happens."""

    def __init__(self) -> None:
        self._shown = float("-inf")

    def show(self, view: View, *, now: bool = False) -> None:
        """See Screen."""
        if now or time.monotonic() - self._shown >= _PLAIN_SECONDS:
            self._shown = time.monotonic()
            print(table.line(view), flush=True)

    def happened(self, what: Happening) -> None:
        """See Screen."""
        print(table.happening(what), flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
