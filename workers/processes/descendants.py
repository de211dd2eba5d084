"""The processes that handlers start: a handler may have any, and they end with its run.

Processes that a run has left behind are killed and reaped before its outcome is recorded. The child then ends too: the
next run could not use a pool or an executor whose processes are gone. If the child itself has died, the worker's parent
process ends the processes that it left (`workers/processes/orphans.py`).

This needs Linux. There a subreaper becomes the parent of every descendant whose own parent has ended, whatever its
session or group: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html. And /proc lists a process's
children. On other systems, only the hard limit and a stop end the processes of the child's process group.
"""

import _thread
import ctypes
import multiprocessing.process
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
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
"""How long the handler's processes may take to end by themselves after the handler has returned."""
KILLED_SECONDS = 2.0
"""How long to wait for killed processes to end. A process of another user cannot be killed: it is left alone."""
LOOK_SECONDS = 0.005
WATCH_SECONDS = 0.2
"""How often a child looks for its parent once a thread of that has ended."""
CHILD_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGURG)
"""The signals for which a child has handlers of its own."""

_main_process = multiprocessing.process.current_process()
_kept_open: list[Any] = []
_is_retired = False


def let_handlers_have_processes() -> None:
    """Prepare a child of the worker: once, before its first run."""
    # Billiard has put its own process object there: a daemon, which may not have children.
    multiprocessing.process._current_process = _main_process  # type: ignore[attr-defined]
    adopt_orphans()
    _hold_signals_at_forks()
    child: Any = billiard_process.current_process()
    _end_at_parents_death(child._parent_pid)
    loop = child._target
    wait_for_job = loop.wait_for_job
    loop.wait_for_job = lambda: sys.exit(EX_RECYCLE) if _is_retired else wait_for_job()


def end_processes(*, at_once: bool = False) -> int:
    """Kill and reap all descendants of this process; return how many had not ended by themselves."""
    if not IS_LINUX:
        return 0
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # There are no child processes, as nearly always.
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
        except ChildProcessError:  # It has ended by itself, and multiprocessing does not start it again.
            left.append(pid)
    return len(left)


def retire() -> None:
    """Have this child end as soon as the parent has the result of its run, as a recycled child does."""
    global _is_retired  # noqa: PLW0603  A process ends once.
    _is_retired = True


def is_retired() -> bool:
    """Tell whether this child takes no further job."""
    return _is_retired


def _hold_signals_at_forks() -> None:
    """Hold the child's signals up while a handler forks, until the new process has dropped the child's handlers.

    They would take a signal that comes for it before, and lose it: whoever has sent SIGTERM, as
    `multiprocessing.Pool.terminate` does, would wait for ever. All of these are calls into C alone: if a limit's signal
    was held up in the child, it is raised where the handler forks, not in here, where Python ignores what is raised.
    """
    libc = ctypes.PyDLL(None)
    ours, before = (ctypes.create_string_buffer(128) for _ in range(2))  # A sigset_t is no larger anywhere.
    libc.sigemptyset(ours)
    for number in CHILD_SIGNALS:
        libc.sigaddset(ours, int(number))
    hold = partial(libc.pthread_sigmask, int(signal.SIG_BLOCK), ours, before)
    restore = partial(libc.pthread_sigmask, int(signal.SIG_SETMASK), before, None)
    one_at_a_time = _thread.allocate_lock()  # For what was before.
    # In the order of registration after a fork, the other way round before it.
    os.register_at_fork(before=hold, after_in_parent=restore, after_in_child=_drop_what_belongs_to_the_child)
    os.register_at_fork(after_in_child=restore)
    os.register_at_fork(
        before=one_at_a_time.acquire, after_in_parent=one_at_a_time.release, after_in_child=one_at_a_time.release
    )


def _drop_what_belongs_to_the_child() -> None:
    """Drop the child's signal handlers and database connections in a process that a handler has forked."""
    for number in CHILD_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    for used in connections.all(initialized_only=True):
        # Kept open: closing it would end the session at the server, or change the file, that the child still uses.
        _kept_open.append(used)
        del connections[used.alias]


def _end_at_parents_death(parent: int) -> None:
    """End at the parent's death, with all descendants.

    Celery asks the kernel for SIGKILL, which would leave the descendants behind. It also comes when the *thread* ends
    that has forked the child: on filesystem:// that is a thread of the pool, which ends when a stop begins. While a
    call into C lets no signal handler run, the child goes on until the call returns.
    """
    has_watch = False

    def kill_all_without_parent(_number: int = 0, _frame: FrameType | None = None) -> None:
        nonlocal has_watch
        if os.getppid() != parent:
            _kill_all()
        elif _number and not has_watch:
            # Its threads may be ending one by one, each with a signal. The last one would be lost if it came just now:
            # a call into C that a signal interrupts goes on after the handler, and does not look for another.
            has_watch = True
            _thread.start_new_thread(watch, ())  # Here, `threading` may hold a lock of its own.

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        _kill_all()

    # No other program sends this signal, and billiard does not replace its handler.
    signal.signal(signal.SIGURG, kill_all_without_parent)
    signal_at_parents_end(signal.SIGURG)
    kill_all_without_parent()


def _kill_all() -> None:
    try:
        end_processes(at_once=True)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def _helpers() -> Iterator[tuple[int, Any]]:
    """Yield the processes that multiprocessing keeps for its "spawn" and "forkserver", if this process has started any.

    They go on running after the processes that they were started for. They are stopped, not killed: the tracker removes
    what killed processes have left in shared memory, and multiprocessing must know that it has to start them again.
    """
    children = children_of(os.getpid())
    for module, pid_name in (("forkserver", "_forkserver_pid"), ("resource_tracker", "_pid")):
        helper = getattr(sys.modules.get(f"multiprocessing.{module}"), f"_{module}", None)
        if helper is not None and (pid := getattr(helper, pid_name)) in children:
            yield pid, helper


def _running(*, but: dict[int, Any]) -> list[int]:
    """Reap the children that have ended, and return all other descendants of this process."""
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
    """Yield the descendants of a process, also those that have ended and are not reaped yet."""
    for child in children_of(pid):
        if child not in but:
            yield child
        yield from descendants_of(child)


def children_of(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):  # The process or one of its threads has ended, or the system has no such list.
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  A worker's parent does this every second.
            children += map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split())
    return children
