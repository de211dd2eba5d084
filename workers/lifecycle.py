"""What happens as a Celery worker starts and stops: tasks, queues, refusals. Hooks of Celery, wired in `connect`."""

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
