"""Handlers by hour: how many of their runs failed, and how long they took."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from webhooks.inbox.figures import reading
from webhooks.inbox.figures.reading import Runs, Span

MOST_HANDLERS = 40
RECENT = 6
"""How many hours a phone shows."""
_LEVELS = (0.0, 0.01, 0.05, 0.2, 0.5)
"""Above each share of failed runs, the next colour. The number stands in every cell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One handler in one hour."""

    at: datetime
    runs: Runs
    is_recent: bool

    @property
    def level(self) -> int:
        return sum(self.runs.failure_share > share for share in _LEVELS)

    @property
    def percent(self) -> str:
        """Return the share of failed runs: "0%", "<1%", "12%"."""
        share = 100 * self.runs.failure_share
        return "<1%" if 0 < share < 1 else f"{share:.0f}%"

    @property
    def took(self) -> str:
        """Return how long a run took on average, short enough for a cell: "8ms", "0.4s", "12s", "3min"."""
        seconds = self.runs.mean_seconds
        if seconds < 0.1:
            return f"{1_000 * seconds:.0f}ms"
        if seconds < 60:
            return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
        return f"{seconds / 60:.0f}min"


@dataclass(frozen=True, slots=True)
class Row:
    """One handler: its hours, and all of them together."""

    handler: str
    cells: list[Cell]
    whole: Cell
    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The handlers that ran, the one with most failures first."""

    hours: list[tuple[datetime, bool]]
    """Each with whether it is recent."""
    rows: list[Row]
    handlers: int
    """How many there are; `rows` has MOST_HANDLERS at most."""


def grid(span: Span) -> Grid:
    """Read the grid of a span of hours."""
    moments = span.moments
    hours = [(at, place >= len(moments) - RECENT) for place, at in enumerate(moments)]
    found, durations = reading.runs_by_handler(span), reading.durations_by_handler(span)
    totals = {handler: _together(by_hour) for handler, by_hour in found.items()}
    names = sorted(found, key=lambda handler: (-totals[handler].failed, handler))
    rows = [
        Row(
            handler,
            [Cell(at, found[handler].get(at, Runs()), is_recent) for at, is_recent in hours],
            Cell(span.last, totals[handler], True),
            *durations.get(handler, (0.0, 0.0)),
        )
        for handler in names[:MOST_HANDLERS]
    ]
    return Grid(hours, rows, len(names))


def _together(by_hour: Mapping[datetime, Runs]) -> Runs:
    total = Runs()
    for runs in by_hour.values():
        total.add(runs)
    return total
