"""How much memory a worker's processes use together, with what they share counted once.

The kernel's PSS divides a shared page between the processes that have it:
https://www.kernel.org/doc/html/latest/filesystems/proc.html. To find it out, the kernel walks through each process's
pages, so it is asked rarely, and more rarely where that takes long.
"""

import time
from pathlib import Path

from workers.processes.descendants import descendants_of

LOOK_SECONDS = 30.0
"""How often it is found out."""
COST = 100
"""Between two looks passes at least so many times as long as the last look has taken."""


class MemoryUse:
    """The memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._look_at = 0.0
        self._bytes: int | None = None

    def bytes(self, *, now: float) -> int | None:
        """Return the last sum; None where the system does not tell."""
        if now >= self._look_at:
            began_at = time.monotonic()
            self._bytes = _pss_of_all(self._pid)
            self._look_at = now + max(LOOK_SECONDS, COST * (time.monotonic() - began_at))
        return self._bytes


def _pss_of_all(pid: int) -> int | None:
    found = [_pss(one) for one in (pid, *descendants_of(pid))]
    # One that has just ended, or that another user has, has none. Without the first, the sum would say nothing.
    return None if not found or found[0] is None else sum(size or 0 for size in found)


def _pss(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:")), None)
