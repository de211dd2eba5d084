"""What happens as a Celery worker starts and stops: tasks, queues, refusals. Hooks of Celery, wired in `connect`."""

import os
from typing import Any

from celery import Celery, signals
from celery.concurrency.prefork import TaskPool

from webhooks.apps import installed_subscriptions
from webhooks.broker import job_queue
from workers.stopping import mark_stopping
from workers.task import register


def connect() -> None:
    """Connect the hooks. They do nothing in a process that is not a Celery worker."""
    signals.celeryd_init.connect(_prepare, weak=False)
    signals.worker_init.connect(_refuse_other_pools, weak=False)
    signals.worker_shutting_down.connect(_mark_stopping, weak=False)
    signals.worker_process_init.connect(_leave_the_group, weak=False)


def configure(app: Celery) -> None:
    """Register a task for each subscription, and declare the queues they use."""
    subscriptions = installed_subscriptions()
    names = {app.conf.task_default_queue, *subscriptions.queues}
    app.conf.task_queues = [job_queue(name) for name in sorted(names)]
    app.conf.task_create_missing_queues = False
    register(app, subscriptions)


def _prepare(instance: Any = None, **_options: Any) -> None:
    configure(instance.app)


def _refuse_other_pools(sender: Any = None, **_options: Any) -> None:
    """Stop the start: threads and solo ignore time limits in silence, gevent and eventlet the soft one."""
    if not issubclass(sender.pool_cls, TaskPool):
        pool = sender.pool_cls.__module__.rpartition(".")[2]
        raise SystemExit(f"hookline: the {pool} pool ignores handlers' time limits; start the worker with -P prefork.")


def _mark_stopping(**_options: Any) -> None:
    mark_stopping()


def _leave_the_group(**_options: Any) -> None:
    """Put a child into a process group of its own, so that a signal to the worker's group stops the parent alone.

    A child that gets SIGTERM beside its parent is cut off in mid-run, and the parent then hangs at its exit. At the
    hard time limit the parent kills the child's whole group, and with it what the handler has started.
    """
    os.setpgrp()
