"""Ends the processes that a dead child's handlers had started. They are the parent's then, since it is a subreaper.

They are those of its children that are not in its process group, and that it has not started itself. `descendants.py`
has the rest.
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
_spared: set[int] = set()
_pool: Any = None
"""Celery's pool, once it has started."""


class Orphans(StartStopStep):
    """Ends what dead children have left: a step of the Celery worker, with a timer of its own."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def start(self, worker: Any) -> None:
        global _pool  # noqa: PLW0603  A process has one, and `workers/stopping/grace.py` asks from a thread.
        _pool = worker.pool
        spare(*children_of(os.getpid()))
        adopt_orphans()
        worker.timer.call_repeatedly(TICK_SECONDS, end_and_log)
        atexit.register(end_orphans)


def spare(*pids: int) -> None:
    """Note that these children of the parent are its own."""
    _spared.update(pids)


def end_orphans() -> int:
    """Kill and reap what the pool's dead children have left to this process; return how many it killed."""
    if _pool is None:
        return 0
    found = children_of(os.getpid())
    # Celery's pool has billiard's, until it has stopped, and that one the processes.
    pool_pids = {process.pid for process in getattr(_pool._pool, "_pool", ())}
    if None in pool_pids:  # One is just being started, and may be among those found: the next time.
        return 0
    killed = 0
    for pid in found:
        if pid in pool_pids or pid in _spared or not _is_of_a_child(pid):
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
    """Tell whether a process is out of the parent's group, as children are, and all that they start."""
    try:
        return os.getpgid(pid) != os.getpgrp()
    except ProcessLookupError:
        return False
