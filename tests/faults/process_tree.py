"""Processes as /proc shows them: who is whose child, who shares a session, how much memory they held at most."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_STATE, _PARENT, _SESSION = 0, 1, 3
"""Places in /proc/PID/stat behind the command's name. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""


def die_with_parent() -> None:
    """Have the kernel kill this process once the thread that started it is gone, however the suite ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    return sorted(child for child, fields in _alive().items() if int(fields[_PARENT]) == pid)


def descendants_of(pid: int) -> list[int]:
    """Return every process below `pid`, children before their own children."""
    parents = {child: int(fields[_PARENT]) for child, fields in _alive().items()}
    found = [pid]
    for parent in found:
        found += sorted(child for child, its_parent in parents.items() if its_parent == parent)
    return found[1:]


def session_of(pid: int) -> list[int]:
    """Return every live process of the session that `pid` leads, or has led."""
    return sorted(member for member, fields in _alive().items() if int(fields[_SESSION]) == pid)


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def threads_of(pid: int) -> int:
    """Return how many threads a process has; 0 if it has ended."""
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    return 0


def peak_memory_mb(pids: Iterable[int]) -> float:
    """Return the sum of what each process held resident at its peak."""
    peaks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peaks += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return peaks / 1024


def _alive() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat from the state on, of each process that is not a zombie."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[_STATE] != "Z":
                found[int(folder.name)] = fields
    return found
