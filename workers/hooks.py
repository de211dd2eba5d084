"""Hooks of Celery: what happens as a worker and its children start and stop. `connect` connects them."""

import logging
import os
import resource
import signal
from typing import Any

import billiard
from celery import signals
from celery.concurrency.prefork import TaskPool
from django.conf import settings

from webhooks.traces import spans
from workers.memory import keep_loaded_shared
from workers.processes.descendants import IS_LINUX, let_handlers_have_processes
from workers.processes.recycling import count_growth, warn_of_little_room
from workers.runs.registration import configure
from workers.stopping.flag import is_stopping, mark_stopping

NOT_ON_LINUX = (
    "the worker is not on Linux: a child's memory has no limit (HOOKLINE_CHILD_MAX_MB), and processes that a handler "
    "has started may outlive it; fine for writing handlers, but in production use Linux"
)

logger = logging.getLogger(__name__)


def connect() -> None:
    """Connect the hooks. They do nothing in a process that is not a Celery worker."""
    signals.celeryd_init.connect(_prepare, weak=False)
    signals.worker_init.connect(_refuse_other_pools, weak=False)
    if settings.HOOKLINE_TRACES:
        signals.worker_init.connect(_load_spans, weak=False)  # Before the next, so that children share what is loaded.
        signals.worker_process_init.connect(_start_spans, weak=False)
        signals.worker_process_shutdown.connect(_end_spans, weak=False)
    signals.worker_init.connect(keep_loaded_shared, weak=False)
    signals.worker_init.connect(warn_of_little_room, weak=False)
    signals.worker_shutting_down.connect(_mark_stopping, weak=False)
    signals.worker_process_init.connect(_make_own_group, weak=False)
    signals.worker_process_init.connect(_limit_memory, weak=False)
    signals.worker_process_init.connect(count_growth, weak=False)
    signals.worker_process_init.connect(_unblock_sigterm, weak=False)
    signals.worker_process_init.connect(_let_handlers_have_processes, weak=False)
    signals.worker_process_shutdown.connect(_exit_at_once, weak=False)


def _prepare(instance: Any = None, **_options: Any) -> None:
    # These import Celery's own worker, which no other process needs.
    from workers.dispatcher.step import DispatcherStep
    from workers.probes.step import SignsStep
    from workers.processes.orphans import Orphans
    from workers.stopping import remote_commands  # noqa: F401  Importing it registers the commands.
    from workers.stopping.grace import Grace
    from workers.stopping.lifetime import Lifetime
    from workers.stopping.short_waits import shorten_childrens_wait

    # On macOS billiard would start new interpreters instead. Those would not have the parent's tasks, nor the shared
    # memory by which a child learns that the worker stops.
    billiard.set_start_method("fork", force=True)
    if not IS_LINUX:
        logger.warning(NOT_ON_LINUX)
    shorten_childrens_wait()
    configure(instance.app)
    for step in (SignsStep, DispatcherStep, Orphans, Grace, Lifetime):
        instance.app.steps["worker"].add(step)


def _refuse_other_pools(sender: Any = None, **_options: Any) -> None:
    """Refuse to start: threads and solo silently ignore both time limits, gevent and eventlet the soft one."""
    if not issubclass(sender.pool_cls, TaskPool):
        pool = sender.pool_cls.__module__.rpartition(".")[2]
        raise SystemExit(f"hookline: the {pool} pool ignores handlers' time limits; start the worker with -P prefork.")


def _mark_stopping(**_options: Any) -> None:
    mark_stopping()


def _limit_memory(**_options: Any) -> None:
    """Let an allocation that is far too large fail in its own job. Else the kernel kills all of a container's children.

    On other systems than Linux this limit does not count memory from mmap, which is how memory is allocated today.
    """
    if not IS_LINUX:
        return
    most = settings.HOOKLINE_CHILD_MAX_MB * 1024 * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _make_own_group(**_options: Any) -> None:
    """Put a child into a process group of its own, so that a signal to the worker's group stops only the parent.

    If parent and child got SIGTERM together, the child's run would be interrupted, and the parent would hang at its
    exit. At the hard time limit the parent kills the child's whole group: also most processes that the handler started.
    """
    os.setpgrp()


def _unblock_sigterm(**_options: Any) -> None:
    """Unblock SIGTERM in a child: `manage.py` blocks it, and the first children are forked before it is unblocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _let_handlers_have_processes(**_options: Any) -> None:
    let_handlers_have_processes()


def _load_spans(**_options: Any) -> None:
    spans.is_installed()


def _start_spans(**_options: Any) -> None:
    spans.start("worker")


def _end_spans(**_options: Any) -> None:
    spans.spans().end()


def _exit_at_once(exitcode: int = 0, **_options: Any) -> None:
    """End a child of a worker that stops. Billiard would wait a second for the parent, which no longer reads."""
    if is_stopping():
        logging.shutdown()
        os._exit(exitcode)
