"""When a child is replaced: after HOOKLINE_CHILD_MAX_JOBS jobs, or once it holds HOOKLINE_CHILD_RECYCLE_MB more memory.

Celery's limit on tasks counts more than jobs: also messages whose job another child has, and the worker's own work. For
memory, Celery compares the largest resident size ever, and a child inherits that from its parent: if the application
alone needed more than the limit, every child would be replaced after each job, without a message. Here the limit is on
the memory that the child has gained since its start: memory that a handler keeps counts, memory that it has freed does
not. Files and shared memory do not count, since a child maps more of them over time.
"""

import itertools
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from billiard import pool
from django.conf import settings

MEGABYTE = 2**20
LOOK_SECONDS = 0.02
"""How often a child looks at its memory: a look takes a tenth of what a job costs that does nothing."""
_STATM = Path("/proc/self/statm")
"""Pages: all, resident, resident and shared, code, 0, data. https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html"""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

logger = logging.getLogger(__name__)
_jobs = itertools.count(1)
_look_at = 0.0
_start_bytes = 0


def has_had_enough() -> bool:
    """Count a job that this child has run; return whether the child is to be replaced now."""
    global _look_at  # noqa: PLW0603  Of this process.
    if next(_jobs) >= settings.HOOKLINE_CHILD_MAX_JOBS:
        return True
    now = time.monotonic()
    if now < _look_at:
        return False
    _look_at = now + LOOK_SECONDS
    return bool(_grown_kb() > settings.HOOKLINE_CHILD_RECYCLE_MB * 1024)


def count_growth(**_options: Any) -> None:
    """Have billiard, too, compare the memory that this child gains from now on."""
    global _start_bytes  # noqa: PLW0603  Of this process.
    _start_bytes = held_bytes()
    pool.mem_rss = _grown_kb  # type: ignore[attr-defined]  # The stubs lack it.


def _grown_kb() -> int:
    grown_bytes = held_bytes() - _start_bytes
    if grown_bytes > settings.HOOKLINE_CHILD_RECYCLE_MB * MEGABYTE:
        logger.info("child replaced for its memory", extra={"pid": os.getpid(), "grown_mb": grown_bytes // MEGABYTE})
    return max(1, grown_bytes // 1024)  # Billiard takes 0 for a measure that failed.


def held_bytes() -> int:
    """Return this process's own memory; if the system does not report it, the largest resident size so far."""
    try:
        file = os.open(_STATM, os.O_RDONLY)
    except FileNotFoundError:
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, all others kilobytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        _, resident, shared, *_ = map(int, os.read(file, 200).split())
    finally:
        os.close(file)
    return (resident - shared) * _PAGE_BYTES


def warn_of_little_room(**_options: Any) -> None:
    """Warn at the start if a child would reach the limit on its memory before it is replaced for its growth."""
    if not _STATM.exists():
        return
    inherited_mb = int(_STATM.read_text().split()[5]) * _PAGE_BYTES // MEGABYTE
    if inherited_mb + settings.HOOKLINE_CHILD_RECYCLE_MB > settings.HOOKLINE_CHILD_MAX_MB:
        logger.warning(
            "HOOKLINE_CHILD_MAX_MB leaves little for handlers: an allocation fails before the child is replaced",
            extra={"inherited_mb": inherited_mb, "max_mb": settings.HOOKLINE_CHILD_MAX_MB},
        )
