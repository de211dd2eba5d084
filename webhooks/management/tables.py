"""Tables and lines on a terminal of any width, also 60 columns. Text from outside cannot control the terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from webhooks.durations import relative


def console_on(stream: Any) -> Console:
    """Return a console that writes to a command's output: in colour and as wide as it is, if that is a terminal."""
    return Console(file=stream, highlight=False, emoji=False, markup=False)


def printable(text: str) -> str:
    """Return the text without characters that control a terminal: an error may hold any text."""
    return "".join(character if character.isprintable() else "·" for character in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> Table:
    """Return a table whose cells are wrapped where the terminal is narrow; the columns in `numbers` to the right."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(header):
        made.add_column(name.upper(), justify="right" if place in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def moment(at: datetime | None, *, now: datetime) -> str:
    """Return "2026-05-04 14:02:10 UTC (3 min ago)"."""
    if at is None:
        return "-"
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({relative(at, now=now)})"
