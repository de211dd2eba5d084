"""Makes Celery's tasks and queues of the installed subscriptions, for a worker."""

from celery import Celery
from django.conf import settings

from webhooks.publishing.broker import job_queue
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscriptions
from workers.runs.task import HandlerTask

VISIBILITY_MARGIN_SECONDS = 60.0
LAST_RESORT_SECONDS = 60.0
TURN_SECONDS = 5.0
"""How long a child takes jobs for one message. In between Celery may replace it."""


def configure(app: Celery) -> None:
    """Register a task for each subscription, and declare the queues they use."""
    subscriptions = installed_subscriptions()
    names = {app.conf.task_default_queue, *subscriptions.queues}
    app.conf.task_queues = [job_queue(name) for name in sorted(names)]
    app.conf.task_create_missing_queues = False
    if app.conf.broker_url.startswith("redis"):
        options = app.conf.broker_transport_options
        app.conf.broker_transport_options = {**options, "visibility_timeout": visibility_seconds(subscriptions)}
    register(app, subscriptions)


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


def visibility_seconds(subscriptions: Subscriptions) -> float:
    """Return how long Redis waits for a worker to acknowledge a message before it gives the message to another.

    A message is acknowledged when its run starts. Until then it waits in the worker for a free child: for one run of
    the longest time limit at most. Twice that time is allowed.
    """
    return 2 * max((subscription.time_limit for subscription in subscriptions), default=0.0) + VISIBILITY_MARGIN_SECONDS


def longest_turn_seconds(subscriptions: Subscriptions) -> float:
    """Return how long a child may take for one message, by all that we know: its last job may begin at its turn's end.

    And then it waits until the outcome is recorded, which may take as long as the lease.
    """
    longest = max((subscription.time_limit for subscription in subscriptions), default=0.0)
    return TURN_SECONDS + longest + float(settings.HOOKLINE_LEASE_MARGIN_SECONDS) + LAST_RESORT_SECONDS
