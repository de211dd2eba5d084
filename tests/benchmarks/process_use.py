"""What processes use of the CPU and of memory, as /proc shows it."""

import contextlib
import os
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.process_tree import children_of, descendants_of
from tests.support.stack import Stack

SERVERS = {"postgres": "PostgreSQL", "beam.smp": "RabbitMQ", "redis-server": "Redis"}
WORKER = ("parent", "dispatcher", "children")
_USER, _ENDED_USER, _STARTED = 11, 13, 19
"""Places in /proc/PID/stat behind the command's name. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a parent and all below it hold, in MB."""

    total: float
    anonymous: float
    parent: float
    child: float
    """The median child's."""


def memory_of(parent: int) -> Memory:
    """Read what the kernel says of the parent and of all below it."""
    all_pss = [pss(pid) for pid in [parent, *descendants_of(parent)]]
    return Memory(
        total=sum(total for total, _ in all_pss),
        anonymous=sum(anonymous for _, anonymous in all_pss),
        parent=all_pss[0][0],
        child=statistics.median(total for total, _ in all_pss[1:] or all_pss),
    )


def pss(pid: int) -> tuple[float, float]:
    """Return a process's proportional set size in MB, and its anonymous part. https://docs.kernel.org/filesystems/proc.html"""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes["Pss"], sizes["Pss_Anon"]


def cpu_seconds(parents: Sequence[int], *, alone: bool = False) -> float:
    """Return what these processes have used of the CPU; unless `alone`, with all below them, ended ones too."""
    if alone:
        return sum(_cpu(pid)[0] for pid in parents)
    return sum(map(sum, (_cpu(pid) for parent in parents for pid in [parent, *descendants_of(parent)])))


def cpu_by_kind(stack: Stack) -> Mapping[str, float]:
    """Return the CPU seconds of a stack's processes and of the servers that this process has started, by their kind.

    A worker counts as its parent, its dispatcher (the first child; the baseline's has none) and its children.
    """
    used: dict[str, float] = defaultdict(float)
    for kind, pid in _kinds(stack):
        with contextlib.suppress(OSError):
            own, of_ended = _cpu(pid)
            used[kind] += own
            used["children" if kind == "parent" else kind] += of_ended
    return used


def _kinds(stack: Stack) -> list[tuple[str, int]]:
    found = []
    for pid in descendants_of(os.getpid()):
        with contextlib.suppress(OSError):
            if server := SERVERS.get(Path(f"/proc/{pid}/comm").read_text().strip()):
                found.append((server, pid))
    for role, process in stack.processes:
        below = descendants_of(process.pid)
        if "worker" not in role:
            found += [(role, pid) for pid in [process.pid, *below]]
            continue
        first = sorted(children_of(process.pid), key=_started)[:1] if role == "worker" else []
        found += [("parent", process.pid), *(("dispatcher", pid) for pid in first)]
        found += [("children", pid) for pid in below if pid not in first]
    return found


def _started(pid: int) -> tuple[int, int]:
    return int(_stat(pid)[_STARTED]), pid


def _cpu(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and those of its children that have ended."""
    ticks, fields = os.sysconf("SC_CLK_TCK"), _stat(pid)
    own, of_ended = (sum(map(int, fields[first : first + 2])) / ticks for first in (_USER, _ENDED_USER))
    return own, of_ended


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
