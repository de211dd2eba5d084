"""How far a pass over GitHub's log is, on a terminal: by time, since the log does not say how long it is.

While the bar is there, only what is wrong is logged: a line for each delivery would push it away.
"""

import logging
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from webhooks.github.delivery_log import KEPT
from webhooks.models import LogPass


class PassProgress:
    """Use it in a `with` block; `show` after each page."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[said]}"))
        self._progress = Progress(*columns, console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._logger = logging.getLogger("webhooks")
        self._level = self._logger.level

    def __enter__(self) -> Self:
        self._logger.setLevel(max(logging.WARNING, self._logger.getEffectiveLevel()))
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()
        self._logger.setLevel(self._level)

    def show(self, going: LogPass) -> None:
        name = str(going.log)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1.0, said="")
        said = f"{going.entries:,} entries, {going.recovered + going.asked:,} missing"
        self._progress.update(self._tasks[name], completed=_share(going), said=said)


def _share(going: LogPass) -> float:
    """Return which share of the time that the pass looks back on it has seen."""
    if going.until is None or going.oldest_at is None:
        return 0.0
    whole = going.until - going.since if going.since else KEPT
    return min(1.0, (going.until - going.oldest_at) / max(whole, timedelta(seconds=1)))
