"""How the demo looks: one picture of its state, as a panel for a terminal and as a line of text.

Pure: a `View` in, something to print out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from singer.demo.child import State
from singer.demo.consumer import LATENCY_WINDOW_SECONDS, Latency

#: Wider than this the eye loses the line.
_WIDTH: Final = 98
_LABEL_CELLS: Final = 9
_BAR_CELLS: Final = 28
#: Of the journal; with the rest of the panel it fits on 30 rows.
_JOURNAL_ROWS: Final = 7
_AGENT_STYLES: Final = {
    State.RUNNING: "bold green",
    State.KILLED: "bold red",
    State.RESTARTED: "bold green",
    State.STOPPED: "bold",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something worth a line in the journal, `seconds` after the writing began; None: before."""

    seconds: float | None
    text: str
    alarming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Payload bytes that went to brokers of a zone."""

    name: str
    nbytes: int
    home: bool  #: the agent's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The records of a stream: written, and arrived up to the first that did not."""

    name: str
    form: str  #: the type of its reader
    written: int
    arrived: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything there is to see."""

    phase: str
    seconds: float
    of_seconds: float
    written: int
    delivered: int
    written_rate: float  #: lines per second, lately
    delivered_rate: float
    latency: Latency | None
    compression: float | None
    streams: Sequence[Flow]
    zones: Sequence[Zone]
    agent: State
    pid: int | None
    exit_status: int | None
    rotations: int
    duplicated: int
    out_of_order: int
    overrun: int
    journal: Sequence[Happening]

    @property
    def lag(self) -> int:
        """Lines written that did not arrive yet."""
        return max(0, self.written - self.delivered)


def panel(view: View) -> RenderableType:
    """The picture for a terminal."""
    figures = Table.grid(padding=(0, 2), expand=True)
    figures.add_column(style="dim", width=_LABEL_CELLS)
    for _ in range(3):
        figures.add_column(ratio=1, no_wrap=True)  # of equal width, whatever is in them
    figures.add_row(
        "lines",
        _pair("written", f"{view.written:,}"),
        _pair("delivered", f"{view.delivered:,}"),
        _pair("lag", f"{view.lag:,}", "bold yellow" if view.agent is State.KILLED else "bold"),
    )
    figures.add_row(
        "lines/s",
        _pair("written", f"{view.written_rate:,.0f}"),
        _pair("delivered", f"{view.delivered_rate:,.0f}"),
        _pair("compression", f"{view.compression:.1f} : 1" if view.compression else "-"),
    )
    latency = view.latency
    figures.add_row(
        "latency",
        _pair("p50", _milliseconds(latency.p50_ms) if latency else "-"),
        _pair("p99", _milliseconds(latency.p99_ms) if latency else "-"),
        Text(f"over the last {LATENCY_WINDOW_SECONDS:g} s", style="dim"),
    )
    figures.add_row(
        "checked",
        _pair("duplicated", f"{view.duplicated:,}"),
        _pair("out of order", f"{view.out_of_order:,}", _alarm(view.out_of_order)),
        _pair("rotations", f"{view.rotations:,}"),
    )
    agent = Text.assemble(("agent".ljust(_LABEL_CELLS + 2), "dim"), _agent(view))
    parts: list[RenderableType] = [figures, agent, Text(), _streams(view.streams), Text()]
    parts.append(_zones(view.zones))
    if view.overrun:
        parts += [Text(), Text(_overrun(view.overrun), style="bold red")]
    parts += [Rule(style="dim"), _journal(view.journal)]
    title = f"singer demo · {view.phase} · {view.seconds:.0f} s of {view.of_seconds:g} s"
    return Panel(Group(*parts), title=title, width=_WIDTH, border_style="cyan", padding=(1, 2))


def line(view: View) -> str:
    """The same in one line of plain text."""
    latency = view.latency
    parts = [
        f"written {view.written:,}",
        f"delivered {view.delivered:,}",
        f"lag {view.lag:,}",
        f"{view.delivered_rate:,.0f} lines/s",
        f"p50 {_milliseconds(latency.p50_ms)} p99 {_milliseconds(latency.p99_ms)}"
        if latency
        else "p50 - p99 -",
        f"compression {view.compression:.1f}" if view.compression else "compression -",
        " ".join(f"{stream.form} {stream.arrived:,}" for stream in view.streams),
        " ".join(f"{zone.name} {_bytes(zone.nbytes)}" for zone in view.zones),
        f"rotations {view.rotations}",
        f"duplicated {view.duplicated:,}",
        f"agent {view.agent.value}",
    ]
    if view.overrun:
        parts.append(_overrun(view.overrun))
    return f"{view.seconds:5.1f} s  {', '.join(parts)}"


def happening(what: Happening) -> str:
    """A line of the journal as plain text."""
    return f"{_moment(what).rjust(7)}  * {what.text}"


def _moment(what: Happening) -> str:
    return "before" if what.seconds is None else f"{what.seconds:.1f} s"


def _pair(name: str, value: str, style: str = "bold") -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, style))


def _alarm(count: int) -> str:
    return "bold red" if count else "bold"


def _agent(view: View) -> Text:
    text = Text(view.agent.value, style=_AGENT_STYLES[view.agent])
    if view.exit_status is not None:
        return text.append(f" with exit status {view.exit_status}", style="default")
    if view.agent is State.KILLED:
        return text.append(" with SIGKILL", style="default")
    if view.agent is State.STOPPED:
        return text
    return text.append(f" pid {view.pid}", style="dim")


def _streams(streams: Sequence[Flow]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", width=_LABEL_CELLS)
    for width in (8, 11, 18, 18):
        table.add_column(min_width=width)
    for row, stream in enumerate(streams):
        table.add_row(
            "" if row else "streams",
            stream.name,
            Text(stream.form, style="cyan"),
            _pair("written", f"{stream.written:,}"),
            _pair("in order", f"{stream.arrived:,}"),
        )
    return table


def _zones(zones: Sequence[Zone]) -> Table:
    total = sum(zone.nbytes for zone in zones)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", width=_LABEL_CELLS)
    table.add_column(min_width=13)
    table.add_column(justify="right", min_width=9)
    table.add_column(justify="right", min_width=5)
    table.add_column()
    for row, zone in enumerate(zones):
        share = zone.nbytes / total if total else 0.0
        style = "green" if zone.home else ("bold red" if zone.nbytes else "dim")
        table.add_row(
            "" if row else "zones",
            Text(f"{zone.name} (here)" if zone.home else zone.name, style=style),
            Text(_bytes(zone.nbytes), style=style),
            Text(f"{share:.0%}", style=style),
            Text("█" * round(share * _BAR_CELLS), style=style),
        )
    return table


def _journal(journal: Sequence[Happening]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right", min_width=8)
    table.add_column(ratio=1)
    for what in journal[-_JOURNAL_ROWS:]:
        text = Text(what.text, style="bold red" if what.alarming else "default")
        table.add_row(_moment(what), text)
    for _ in range(_JOURNAL_ROWS - len(journal)):
        table.add_row()
    return table


def _overrun(records: int) -> str:
    return f"the demo could not keep up: {records:,} records went unread and may count as lost"


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
