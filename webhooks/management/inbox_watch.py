"""`manage.py inbox --watch`: a picture of the inbox on the terminal, drawn anew every two seconds until q or Ctrl-C.

It holds on any size: what does not fit is counted, not cut off. Without a terminal it is printed once.
"""

import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, timedelta
from typing import IO

from django.db import Error
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from webhooks.durations import rough
from webhooks.inbox import database
from webhooks.inbox.due import SAMPLE
from webhooks.inbox.live import MOST, Live, Queue, look
from webhooks.inbox.workers import LOST, State, Worker
from webhooks.management.migrated import on_migrated_database

EVERY_SECONDS = 2.0
HEAD_LINES = 8
"""Lines that are not rows: those above, of which the rates may take two, the tables' headings, the empty lines."""
FEWEST_ROWS = 2
UNLIMITED = 10_000
WIDE_COLUMNS = 60
_STYLES = {LOST: "bold red", State.DRAINING: "yellow", State.STARTING: "cyan", State.READY: "green"}


def watch(output: IO[str]) -> None:
    """Draw until the person has seen enough; once if nobody can see it change."""
    console = Console(file=output, highlight=False)
    first = on_migrated_database(look, app="webhooks")
    if not console.is_terminal:
        console.print(picture(first, lines=UNLIMITED, columns=console.width))
        return
    with (
        suppress(KeyboardInterrupt),
        keys() as is_over,
        Screen(console=console, screen=True, auto_refresh=False) as screen,
    ):
        drawn, trouble = first, ""
        while True:
            width, height = console.size
            shown = picture(drawn, lines=height, columns=width, trouble=trouble, is_live=True)
            screen.update(shown, refresh=True)
            if is_over(EVERY_SECONDS):
                return
            try:
                drawn, trouble = look(), ""
            except Error as error:
                database.drop()
                trouble = f"The database {database.reason(error)}. This is what was there before."


@contextmanager
def keys() -> Iterator[Callable[[float], bool]]:
    """Give what waits for so many seconds, and tells whether q was pressed."""
    source = sys.stdin.fileno()
    if not sys.stdin.isatty():
        yield lambda seconds: bool(select.select([], [], [], seconds)[0])
        return
    before = termios.tcgetattr(source)
    tty.setcbreak(source)
    try:
        yield lambda seconds: bool(select.select([source], [], [], seconds)[0]) and sys.stdin.read(1) in "qQ\x04"
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)


def picture(live: Live, *, lines: int, columns: int, trouble: str = "", is_live: bool = False) -> RenderableType:
    """Return the picture, in so many lines and columns where that is possible."""
    room = max(2 * FEWEST_ROWS, lines - HEAD_LINES - bool(trouble))
    queue_rows = max(FEWEST_ROWS, min(len(live.queues), room - min(len(live.workers), room // 2)))
    parts: list[RenderableType] = [_headline(live, is_live=is_live), _rates(live)]
    if trouble:
        parts.append(Text(trouble, style="bold red", overflow="ellipsis", no_wrap=True))
    worker_rows = max(FEWEST_ROWS, room - queue_rows)
    workers = _workers(live.workers, worker_rows, is_wide=columns >= WIDE_COLUMNS)
    parts += [Text(), _queues(live, queue_rows), Text(), workers]
    return Group(*parts)


def _headline(live: Live, *, is_live: bool) -> Text:
    text = Text(f"The inbox at {live.at.astimezone(UTC):%H:%M:%S} UTC", style="bold", overflow="ellipsis", no_wrap=True)
    return text.append("   q ends", style="dim") if is_live else text


def _rates(live: Live) -> Text:
    rates = live.rates
    dead = f"{live.dead:,}{'+' if live.dead >= MOST else ''} dead"
    text = Text()
    text.append(f"A minute: {rates.received:,.0f} received, {rates.succeeded:,.0f} succeeded, ")
    text.append(f"{rates.failed:,.0f} failed", style="red" if rates.failed else "")
    return text.append("; ").append(dead, style="red" if live.dead else "")


def _table(*columns: str) -> Table:
    """Return a table of names to the left, which are shortened where they must, and of short words to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    table.add_column(columns[0])  # Of all columns only this one may be narrower than its content.
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _queues(live: Live, rows: int) -> Table:
    table = _table("QUEUE", "WAITING", "OLDEST")
    # Those in trouble first: what does not fit is what may be left out.
    order = sorted(live.queues, key=lambda queue: (not queue.paused_by, -queue.oldest_seconds, queue.name))
    for queue in order[: _fitting(len(order), rows)]:
        table.add_row(_queue_name(queue), _waiting(queue), _age(queue.oldest_seconds) if queue.waiting else "-")
    _add_rest(table, len(order), rows, "queue")
    for handler in live.paused_handlers:
        table.add_row(_name(handler).append(" handler paused", style="bold yellow"), "", "")
    return table


def _queue_name(queue: Queue) -> Text:
    text = _name(queue.name)
    if queue.paused_by:
        text.append(f" paused by {printable(queue.paused_by)}", style="bold yellow")
    return text


def _waiting(queue: Queue) -> str:
    return f"{queue.waiting:,}{'+' if queue.waiting >= SAMPLE else ''}"


def _workers(workers: Sequence[Worker], rows: int, *, is_wide: bool) -> RenderableType:
    if not workers:
        return Text("No worker reports: jobs wait until one is started.", style="bold red", overflow="fold")
    table = _table("WORKER", "STATE", "BUSY", *(["MEMORY"] if is_wide else []), "REPORT")
    for worker in workers[: _fitting(len(workers), rows)]:
        row, state = worker.row, worker.state
        word = state if state == LOST else State(state).label
        memory = "-" if row.memory_bytes is None else f"{row.memory_bytes / 2**20:,.0f} MB"
        table.add_row(
            _name(row.worker),
            Text(word, style=_STYLES.get(state, "")),
            f"{row.busy}/{row.slots}",
            *([memory] if is_wide else []),
            _age(worker.silent_seconds),
        )
    _add_rest(table, len(workers), rows, "worker")
    return table


def _fitting(count: int, rows: int) -> int:
    """Return how many are shown: one line is for the number of those that are not."""
    return count if count <= rows else rows - 1


def _add_rest(table: Table, count: int, rows: int, name: str) -> None:
    if left := count - _fitting(count, rows):
        table.add_row(_name(f"and {left} more {name}{'' if left == 1 else 's'}", style="dim"))


def _name(text: str, *, style: str = "") -> Text:
    return Text(printable(text), style=style, overflow="ellipsis", no_wrap=True)


def _age(seconds: float) -> str:
    return rough(timedelta(seconds=seconds))


def printable(text: str) -> str:
    """Return the text without characters that control a terminal: an error may hold any text."""
    return "".join(character if character.isprintable() else "·" for character in text)
