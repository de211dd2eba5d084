"""Whether this worker is to stop: a byte of memory that the parent shares with its children.

Every stop begins here, by SIGTERM, by the lifetime or by `manage.py stop_workers`. `grace.py` has the times of a stop.
"""

import contextlib
import mmap
import os
import time

PLANNED = 0
"""Exit status of a planned stop, after which the supervisor starts the worker again."""
STAY_DOWN = 37
"""Exit status of a planned stop, after which the worker is not started again. All other statuses are failures."""

_flag = mmap.mmap(-1, 1)
_began_at = 0.0
_stop_pipe: int | None = None
"""The write end of the pipe that `open_stop_pipe` makes."""


def begin_stop(status: int = PLANNED) -> None:
    """Have the worker stop warmly, as SIGTERM does, and exit with `status`. Called in its parent process only."""
    from celery.worker import state  # It imports Celery's own worker, which no other process needs.

    mark_stopping()
    if state.should_stop is None:
        state.should_stop = status  # type: ignore[assignment]  # The stubs take the type of its first value.


def mark_stopping() -> None:
    """Note that the stop has begun; only the first time counts. Safe in a signal handler."""
    global _began_at  # noqa: PLW0603  A process stops once.
    if not is_stopping():
        _began_at = time.monotonic()
        _flag[0] = 1
    if _stop_pipe is not None:
        with contextlib.suppress(BlockingIOError):
            os.write(_stop_pipe, b"\0")


def is_stopping() -> bool:
    """Tell, in the worker or any of its children, whether it takes no more jobs."""
    return _flag[0] == 1


def stopping_since() -> float:
    """Return when the stop began, by the parent's monotonic clock; 0.0 if it has not."""
    return _began_at


def open_stop_pipe() -> int:
    """Return a descriptor that becomes readable when the stop begins: it wakes a sleeping event loop."""
    global _stop_pipe
    readable, _stop_pipe = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(_stop_pipe, False)
    return readable
