"""A worker's stop, from the stop signal to its exit within HOOKLINE_GRACE_SECONDS.

    stop signal   no more jobs are taken, prefetched messages go back to the broker, running handlers go on
    interrupt     a margin before the end, handlers that still run are interrupted, and their jobs handed back;
                  processes that such a handler waits for are killed
    kill          a handler that still runs is killed with its process; its job's lease runs out
    exit          the parent exits, whatever it still waits for

The grace counts from the first stop signal; a later SIGTERM does not start it again. A thread keeps these times: during
a stop the event loop waits for the pool, and a broker that does not answer may block it for ever. Before the stop the
thread only sleeps, since the parent forks children while it exists.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state
from django.conf import settings

from webhooks.threads import start_thread
from workers.processes.descendants import kill_descendants
from workers.processes.orphans import end_orphans
from workers.stopping.checks import check_times
from workers.stopping.flag import PLANNED, begin_stop, is_stopping, mark_stopping, open_stop_pipe, stopping_since
from workers.stopping.short_waits import ShortWaits
from workers.stopping.times import margin_seconds

LOOK_SECONDS = 0.2

at_exit: list[Callable[[float], None]] = []
"""What else is to be done before the parent exits at the end of the grace, each given the seconds that it may take."""

logger = logging.getLogger(__name__)


class Grace(StartStopStep):
    """Keeps the times of a stop: a step of the Celery worker, with a thread of its own."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_options: Any) -> None:
        self._worker = worker
        self._margin_seconds = margin_seconds(settings.HOOKLINE_GRACE_SECONDS)
        self._is_over_now = False
        self._prefetched: set[Any] = set()
        self._stop_pipe = open_stop_pipe()
        worker.app.steps["consumer"].add(ShortWaits)

    def start(self, worker: Any) -> None:
        for warning in check_times():
            logger.warning(warning.msg)
        start_thread("grace", self._guard)
        signal.signal(signal.SIGQUIT, self._stop_now)
        # On SIGHUP Celery would execute itself again, with a path that does not start, and exit with 1.
        signal.signal(signal.SIGHUP, _stop)
        # `manage.py` has blocked SIGTERM until there is a handler for it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Wake the loop as the stop begins: Python resumes a poll that a signal interrupts, for up to a second."""
        hub.add_reader(self._stop_pipe, os.read, self._stop_pipe, 64)

    def close(self, worker: Any) -> None:
        """Begin the stop if it has not begun: a worker that fails also stops warmly."""
        mark_stopping()
        self._prefetched = prefetched()  # The consumer forgets them as it closes.

    def stop(self, worker: Any) -> None:
        """Hand back prefetched messages: after the consumer has stopped, before the pool waits for its children."""
        hand_back({*self._prefetched, *prefetched()})

    def _stop_now(self, _number: int, _frame: FrameType | None) -> None:
        """SIGQUIT: stop as if the grace were over. Celery's handler would ask the broker first, which may be silent."""
        self._is_over_now = True
        begin_stop()

    def _guard(self) -> None:
        while not is_stopping():
            time.sleep(LOOK_SECONDS)
        ends_at = stopping_since() + settings.HOOKLINE_GRACE_SECONDS
        while time.monotonic() < ends_at - self._margin_seconds and not self._is_over_now:
            end_orphans()
            time.sleep(LOOK_SECONDS)
        # With SIGQUIT, the margin begins now.
        ends_at = min(ends_at, time.monotonic() + self._margin_seconds)
        try:
            self._signal_children(signal.SIGTERM, "handlers are interrupted and their jobs handed back")
            _sleep_until(ends_at - 0.75 * self._margin_seconds)
            for pid in living_children(self._worker):
                # An executor in an interrupted handler waits for its processes, and the handler waits for the executor.
                kill_descendants(pid)
            _sleep_until(ends_at - 0.5 * self._margin_seconds)
            self._signal_children(signal.SIGKILL, "handlers that still run after the interrupt are killed")
            _sleep_until(ends_at - 0.3 * self._margin_seconds)
            end_orphans()
            for work in at_exit:
                work(0.25 * self._margin_seconds)
        finally:
            # Also if something above has failed: nothing else makes the parent exit.
            os._exit(self._worker.exitcode or state.should_stop or PLANNED)

    def _signal_children(self, number: signal.Signals, event: str) -> None:
        pids = living_children(self._worker)
        if pids:
            # In a thread: a thread that hangs while it holds the log's lock must not keep this one from the exit.
            extra = {"extra": {"processes": len(pids)}}
            with contextlib.suppress(RuntimeError):  # No thread can be started: nothing is logged.
                threading.Thread(target=logger.warning, args=(event,), kwargs=extra, daemon=True).start()
        for pid in pids:
            with contextlib.suppress(OSError):  # It has ended, or is another user's.
                # A child leads a process group, which also holds the processes that the handler has started.
                (os.killpg if number is signal.SIGKILL else os.kill)(pid, number)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """SIGHUP: a warm stop, as SIGTERM is."""
    begin_stop()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def living_children(worker: Any) -> list[int]:
    """Return the ids of the pool's processes that have not ended."""
    pool = getattr(worker.pool, "_pool", None)
    processes = list(pool._pool) if pool is not None else []
    # One that is just being started is in the list, and has no id yet.
    pids = [process.pid for process in processes]
    return [pid for pid in pids if pid is not None and not _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    """Tell without reaping the process: if the main thread waits for it too, only one of the two gets its status."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13. A signal to a process that has ended does nothing.
        return False
    try:
        status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return True
    return status is not None


def prefetched() -> set[Any]:
    """Return the messages that no child has got. If not handed back, they would wait until the last handler ends."""
    return {request for request in state.reserved_requests if request._apply_result is None}


def hand_back(requests: set[Any]) -> None:
    for request in requests:
        request.reject(requeue=True)
    if requests:
        logger.info("prefetched messages handed back", extra={"messages": len(requests)})
