"""Reports to the probe process how runs ended, which it counts for the metrics.

A child reports its own runs; the parent reports those whose process ended in mid-run. A report is one line in a pipe,
shorter than PIPE_BUF, so that lines of several children do not mix. Nobody waits for the pipe: if it is full or not
read, a run is not counted, but no run is delayed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals

from webhooks.states import AttemptOutcome

ERROR = "error"
"""Hookline's part of the run failed: the claim or the record, mostly because the database did not answer."""
DROPPED = "dropped"
"""There was no run: the message was superfluous."""
LONGEST_BYTES = 512

_pipe: tuple[int, int] | None = None


def open_reports() -> int:
    """Open the pipe, before any child is forked, and have each run reported; return the read end."""
    global _pipe  # noqa: PLW0603  Celery's signals have no room for it.
    if _pipe is None:
        _pipe = os.pipe()
        os.set_blocking(_pipe[1], False)
        signals.task_success.connect(_succeeded, weak=False)
        signals.task_failure.connect(_failed, weak=False)
    return _pipe[0]


def read_reports(descriptor: int) -> Iterator[tuple[str, str]]:
    """Yield (handler, outcome) for each reported run, until every process that may report has ended."""
    rest = b""
    while chunk := os.read(descriptor, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            handler, _, outcome = line.decode().partition("\t")
            yield handler, outcome


def _succeeded(sender: Any = None, result: Any = None, **_options: Any) -> None:
    _report(sender.name, str(result))


def _failed(sender: Any = None, exception: BaseException | None = None, **_options: Any) -> None:
    outcome = ERROR
    if isinstance(exception, TimeLimitExceeded):
        outcome = AttemptOutcome.HARD_LIMIT.value
    elif isinstance(exception, WorkerLostError):
        outcome = AttemptOutcome.CRASHED.value
    _report(sender.name, outcome)


def _report(handler: str, outcome: str) -> None:
    line = f"{handler}\t{outcome}\n".encode()
    if _pipe is not None and len(line) <= LONGEST_BYTES:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(_pipe[1], line)
