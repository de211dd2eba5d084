"""The processes that handlers start: a handler may have any, and they end with its run.

What a run has left behind is killed and reaped before its outcome is recorded. The child then ends too: what it still
holds of a pool or an executor, the next run could not use. What a child that died has left is the parent's to end:
`workers/processes/orphans.py`.

Linux gives both what they need. A subreaper is made the parent of every descendant whose own parent has ended,
whatever its session or group: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html. And /proc lists
a process's children. Elsewhere, only the hard limit and a stop end what is in the child's process group.
"""

import ctypes
import multiprocessing.process
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from billiard import process as billiard_process
from billiard.pool import EX_RECYCLE
from django.db import connections

from webhooks.parent import signal_at_parents_end

IS_LINUX = sys.platform.startswith("linux")
PR_SET_CHILD_SUBREAPER = 36
ENDING_SECONDS = 0.2
"""How long a process that is about to end by itself has for it, once the handler has returned."""
KILLED_SECONDS = 2.0
"""How long killed processes have to be gone. One that another user owns cannot be killed, and is given up."""
LOOK_SECONDS = 0.005
OURS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGURG)
"""The signals for which a child has handlers of its own."""

_main_process = multiprocessing.process.current_process()
_inherited: list[Any] = []
_is_retired = False


def let_handlers_have_processes() -> None:
    """Prepare a child of the worker: once, before its first run."""
    # Billiard has put its own there, a daemon, and those may have no children.
    multiprocessing.process._current_process = _main_process  # type: ignore[attr-defined]
    adopt_orphans()
    os.register_at_fork(after_in_child=_be_the_handlers_own)
    child: Any = billiard_process.current_process()
    _end_with(child._parent_pid)
    loop = child._target
    wait_for_job = loop.wait_for_job
    loop.wait_for_job = lambda: sys.exit(EX_RECYCLE) if _is_retired else wait_for_job()


def end_processes(*, at_once: bool = False) -> int:
    """Kill and reap all descendants of this process; return how many had not ended by themselves."""
    if not IS_LINUX:
        return 0
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # There are none, nearly always.
        return 0
    helpers = dict(_helpers())
    gives_up_at = time.monotonic() + (0.0 if at_once else ENDING_SECONDS)
    while (left := _running(but=helpers)) and time.monotonic() < gives_up_at:
        time.sleep(LOOK_SECONDS)
    gives_up_at = time.monotonic() + KILLED_SECONDS
    while _running(but=helpers) and time.monotonic() < gives_up_at:
        kill_descendants(os.getpid(), but=helpers)
        time.sleep(LOOK_SECONDS)
    for pid, helper in helpers.items():
        try:
            helper._stop()
        except ChildProcessError:  # It has ended by itself, and multiprocessing will not start another.
            left.append(pid)
    return len(left)


def retire() -> None:
    """Have this child end as soon as the parent has the result of its run, as a recycled child does."""
    global _is_retired  # noqa: PLW0603  A process ends once.
    _is_retired = True


def _be_the_handlers_own() -> None:
    """Give up, in a process that a handler has forked, what belongs to the child: its signals and connections."""
    for number in OURS:
        signal.signal(number, signal.SIG_DFL)
    for used in connections.all(initialized_only=True):
        # Kept open: to close it would end the session at the server, or touch the file, that the child still uses.
        _inherited.append(used)
        del connections[used.alias]


def _end_with(parent: int) -> None:
    """End at the parent's death, with all descendants.

    Celery asks for SIGKILL, which would leave those behind, and comes at the end of the *thread* that has forked the
    child: on filesystem:// that is a thread of the pool, which ends as a stop begins. A call into C that lets no signal
    through keeps the child until it returns.
    """

    def die_with_the_parent(_number: int = 0, _frame: FrameType | None = None) -> None:
        if os.getppid() != parent:
            try:
                end_processes(at_once=True)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)

    # A signal that nobody else sends, and for which billiard sets no handler after this.
    signal.signal(signal.SIGURG, die_with_the_parent)
    signal_at_parents_end(signal.SIGURG)
    die_with_the_parent()


def _helpers() -> Iterator[tuple[int, Any]]:
    """Yield the processes that multiprocessing keeps for its "spawn" and "forkserver", if this process has started any.

    They outlive what they are for, and are stopped and not killed: the tracker removes what killed processes have left
    in shared memory, and multiprocessing must know that it has to start them again.
    """
    children = children_of(os.getpid())
    for module, pid_name in (("forkserver", "_forkserver_pid"), ("resource_tracker", "_pid")):
        helper = getattr(sys.modules.get(f"multiprocessing.{module}"), f"_{module}", None)
        if helper is not None and (pid := getattr(helper, pid_name)) in children:
            yield pid, helper


def _running(*, but: dict[int, Any]) -> list[int]:
    """Reap what has ended, and return all other descendants of this process."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return list(descendants_of(os.getpid(), but=but))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    if IS_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants(pid: int, *, but: Any = ()) -> None:
    for descendant in list(descendants_of(pid, but=but)):
        with suppress(OSError):  # Gone meanwhile, or another user's.
            os.kill(descendant, signal.SIGKILL)


def descendants_of(pid: int, *, but: Any = ()) -> Iterator[int]:
    """Yield the descendants of a process, those who have ended and were not reaped among them."""
    for child in children_of(pid):
        if child not in but:
            yield child
        yield from descendants_of(child)


def children_of(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):  # The process or one of its threads has ended; or there is no such list.
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  A worker's parent does this every second.
            children += map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split())
    return children
