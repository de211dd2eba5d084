"""Makes Celery's tasks and queues of the installed subscriptions, for a worker."""

from dataclasses import replace

from celery import Celery
from django.conf import settings

from webhooks.destination_handlers import QUEUE as FORWARDING
from webhooks.destination_handlers import RUN_SECONDS, task_of
from webhooks.inbox.destinations.running import subscription_of_run
from webhooks.publishing.broker import job_queue
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscription, Subscriptions
from workers.runs.task import HandlerTask

VISIBILITY_MARGIN_SECONDS = 60.0
LAST_RESORT_SECONDS = 60.0
TURN_SECONDS = 5.0
"""How long a child takes jobs for one message. In between Celery may replace it."""


def configure(app: Celery) -> None:
    """Register a task for each subscription, and declare the queues they use."""
    subscriptions = installed_subscriptions()
    names = {app.conf.task_default_queue, *subscriptions.queues, FORWARDING}
    app.conf.task_queues = [job_queue(name) for name in sorted(names)]
    app.conf.task_create_missing_queues = False
    if app.conf.broker_url.startswith("redis"):
        options = app.conf.broker_transport_options
        app.conf.broker_transport_options = {**options, "visibility_timeout": visibility_seconds(subscriptions)}
    register(app, subscriptions)
    register(app, Subscriptions(map(_of_destinations, names)))


def register(app: Celery, subscriptions: Subscriptions) -> None:
    """Register one task for each subscription."""
    last_resort = longest_turn_seconds(subscriptions)
    for subscription in subscriptions:
        task_class = type(
            "HandlerTask",
            (HandlerTask,),
            {
                "name": subscription.name,
                "subscription": subscription,
                "time_limit": last_resort,
                "__doc__": subscription.handler.__doc__,
                "__module__": subscription.handler.__module__,
            },
        )
        app.register_task(task_class())


def _of_destinations(queue: str) -> Subscription:
    """Return what stands for all destinations of a queue: messages name its task; the inbox says which job it is."""
    return replace(subscription_of_run(task_of(queue)), queue=queue)


def visibility_seconds(subscriptions: Subscriptions) -> float:
    """Return how long Redis waits for a worker to acknowledge a message before it gives the message to another.

    A message is acknowledged when its run starts. Until then it waits in the worker for a free child: for one run of
    the longest time limit at most. Twice that time is allowed.
    """
    return 2 * _longest_seconds(subscriptions) + VISIBILITY_MARGIN_SECONDS


def longest_turn_seconds(subscriptions: Subscriptions) -> float:
    """Return how long a child may take for one message, by all that we know: its last job may begin at its turn's end.

    And then it waits until the outcome is recorded, which may take as long as the lease.
    """
    return (
        TURN_SECONDS
        + _longest_seconds(subscriptions)
        + float(settings.HOOKLINE_LEASE_MARGIN_SECONDS)
        + LAST_RESORT_SECONDS
    )


def _longest_seconds(subscriptions: Subscriptions) -> float:
    """Return the longest time limit. A worker runs the jobs of destinations too, which may be made later."""
    return max([RUN_SECONDS, *(subscription.time_limit for subscription in subscriptions)])
