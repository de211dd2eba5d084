"""Ends the processes that the handlers of a dead child had started.

They become children of the worker's parent process, since that is a subreaper. The parent recognises them: they are not
in its process group, and it has not started them itself. `descendants.py` ends those of a living child.
"""

import atexit
import logging
import os
import signal
from contextlib import suppress
from typing import Any

from celery.bootsteps import StartStopStep

from workers.processes.descendants import adopt_orphans, children_of, kill_descendants

TICK_SECONDS = 1.0

logger = logging.getLogger(__name__)
_never_ended: set[int] = set()
_pool: Any = None
"""Celery's pool, once it has started."""


class Orphans(StartStopStep):
    """Ends the processes that dead children have left: a step of the Celery worker, with a timer of its own."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def start(self, worker: Any) -> None:
        global _pool  # noqa: PLW0603  A process has one pool, and `workers/stopping/grace.py` asks from a thread.
        _pool = worker.pool
        never_end(*children_of(os.getpid()))
        adopt_orphans()
        worker.timer.call_repeatedly(TICK_SECONDS, end_and_log)
        atexit.register(end_orphans)


def never_end(*pids: int) -> None:
    """Note that the parent has started these children itself."""
    _never_ended.update(pids)


def end_orphans() -> int:
    """Kill and reap what the pool's dead children have left to this process; return how many it killed."""
    if _pool is None:
        return 0
    found = children_of(os.getpid())
    # Until it has stopped, Celery's pool holds billiard's pool, which holds the processes.
    pool_pids = {process.pid for process in getattr(_pool._pool, "_pool", ())}
    if None in pool_pids:  # A child is just being started, and may be in `found` already: wait for the next call.
        return 0
    killed = 0
    for pid in found:
        if pid in pool_pids or pid in _never_ended or not _is_of_a_child(pid):
            continue
        with suppress(OSError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                kill_descendants(pid)
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


def end_and_log() -> None:
    if killed := end_orphans():
        logger.warning("processes killed that an ended child had left", extra={"processes": killed})


def _is_of_a_child(pid: int) -> bool:
    """Tell whether a process is outside the parent's group, as the children and the processes that they start are."""
    try:
        return os.getpgid(pid) != os.getpgrp()
    except ProcessLookupError:
        return False
