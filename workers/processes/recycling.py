"""When a child is replaced: after HOOKLINE_CHILD_MAX_JOBS jobs, or once it holds HOOKLINE_CHILD_RECYCLE_MB more memory.

Celery's limit on tasks counts more than jobs: messages whose job another child has, and what the worker itself has a
child do. For memory, Celery compares the most that was ever resident, and a child inherits that from its parent: where
the application alone holds more, every child would be replaced after each job, without a word. Here it is what the
child has come to hold since its start. What a handler took and gave back counts no more; what it keeps does. Files and
shared memory are not counted: a child maps them as it goes.
"""

import itertools
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

from billiard import pool
from django.conf import settings

from workers.processes.descendants import retire

MEGABYTE = 2**20
_STATM = Path("/proc/self/statm")
"""Pages: all, resident, resident and shared, code, 0, data. https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html"""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

logger = logging.getLogger(__name__)
_jobs = itertools.count(1)


def count_job() -> None:
    """Count a job that this child has claimed, and have the child end after it if it is to have no more."""
    if next(_jobs) >= settings.HOOKLINE_CHILD_MAX_JOBS:
        retire()


def count_growth(**_options: Any) -> None:
    """Have this child compared by what it has come to hold from now on."""
    start_bytes = held_bytes()

    def grown_kb() -> int:
        grown_bytes = held_bytes() - start_bytes
        if grown_bytes > settings.HOOKLINE_CHILD_RECYCLE_MB * MEGABYTE:
            logger.info(
                "child replaced for its memory", extra={"pid": os.getpid(), "grown_mb": grown_bytes // MEGABYTE}
            )
        return max(1, grown_bytes // 1024)  # Billiard takes 0 for a measure that failed.

    pool.mem_rss = grown_kb  # type: ignore[attr-defined]  # The stubs lack it.


def held_bytes() -> int:
    """Return what this process holds in memory of its own; where the system does not tell, the most it ever did."""
    if not _STATM.exists():
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, all others kilobytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    _, resident, shared, *_ = map(int, _STATM.read_text().split())
    return (resident - shared) * _PAGE_BYTES


def warn_of_little_room(**_options: Any) -> None:
    """Say it at the start where the limit on all of a child's memory is near what it inherits."""
    if not _STATM.exists():
        return
    inherited_mb = int(_STATM.read_text().split()[5]) * _PAGE_BYTES // MEGABYTE
    if inherited_mb + settings.HOOKLINE_CHILD_RECYCLE_MB > settings.HOOKLINE_CHILD_MAX_MB:
        logger.warning(
            "HOOKLINE_CHILD_MAX_MB leaves little for handlers: an allocation fails before the child is replaced",
            extra={"inherited_mb": inherited_mb, "max_mb": settings.HOOKLINE_CHILD_MAX_MB},
        )
