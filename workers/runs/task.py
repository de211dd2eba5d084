"""The task: what a child of a worker does with a message. It takes a turn (turn.py).

Every subscription is a Celery task under its own name. A message names one, and a job, but says no more than that there
is work in its queue: the dispatcher decides which job is run. So Celery's events and time limits would be those of a
turn. The dispatcher sends events of the jobs themselves, and `limits.py` keeps their limits; Celery's hard limit is
only the last resort, against a child that does not even end its turn.
"""

import logging
from typing import Any

from celery import Task
from celery.worker import request

from webhooks.publishing.broker import MESSAGE_VERSION, REPLAY_HEADER
from webhooks.replay_queues import replay_queue
from webhooks.subscriptions.subscription import Subscription
from workers.runs import turn
from workers.runs.hints import hints
from workers.stopping.flag import is_stopping

logger = logging.getLogger(__name__)


class TurnRequest(request.Request):
    """A message as the parent keeps it while a child takes a turn for it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # None of the message's own: a release before this one put a job's limits there. So the task's counts.
        self.time_limits = (None, None)


class HandlerTask(Task[[int], str]):
    """One subscription as a Celery task. Its only argument is the id of a job that waits."""

    abstract = True
    typing = False
    ignore_result = True
    send_events = False
    Request: Any = "workers.runs.task:TurnRequest"
    subscription: Subscription

    def start_strategy(self, app: Any, consumer: Any, **options: Any) -> Any:
        """Return what the parent does with a message of this task. Called anew for each connection to the broker."""
        hints.forget()
        begin = super().start_strategy(app, consumer, **options)
        return hints.strategy(self.subscription.queue, begin=begin, errors=consumer.connection_errors)

    def run(self, job_id: int) -> str:
        version = self.request.get("hookline", MESSAGE_VERSION)
        if version != MESSAGE_VERSION:
            # The job waits in the inbox; the relay publishes it again, for a worker that reads this version.
            logger.warning("message dropped: unknown version", extra={"job": job_id, "version": version})
            return "dropped"
        if is_stopping():
            # The message was on its way to this child when the stop began. The relay publishes another.
            return "handed back"
        try:
            queue = self.subscription.queue
            return turn.take_jobs(replay_queue(queue) if self.request.get(REPLAY_HEADER) else queue)
        except MemoryError:
            # Of our own code, after handlers have left no memory. Celery would end the whole worker for it.
            raise RuntimeError("The process has no memory left.") from None
