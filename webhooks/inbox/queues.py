"""Each queue as an operator looks at it: what waits, what runs, who consumes, what is paused.

Every question is answered by an index and reads a bounded number of rows, however large the inbox is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet
from django.db.models.functions import Now

from webhooks.inbox import counts, due, pauses, workers
from webhooks.inbox.counts import Capped
from webhooks.inbox.database import database_time
from webhooks.models import Job, Pause
from webhooks.replay_queues import live_queue
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions


@dataclass(frozen=True, slots=True)
class HandlerStatus:
    """A handler of a queue, and its pause if it has one."""

    name: str
    pause: Pause | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """One queue."""

    name: str
    is_installed: bool
    waiting: Capped
    """Jobs that are due, paused or not."""
    oldest_seconds: float | None
    """For how long the oldest of them has been due; None if none is."""
    later: Capped
    """Jobs that wait for their time."""
    running: int
    workers: int
    """How many consume from it."""
    slots: int
    pause: Pause | None
    handlers: Sequence[HandlerStatus]

    @property
    def is_forsaken(self) -> bool:
        """Whether jobs wait that nobody takes, and nobody has wanted that."""
        return bool(self.waiting) and not self.workers and self.pause is None


def queues() -> list[QueueStatus]:
    """Return every queue that is installed, has waiting jobs or is paused; by name."""
    installed = installed_subscriptions()
    held = pauses.current()
    of_queues = {pause.queue: pause for pause in held if pause.queue}
    of_handlers = {pause.handler: pause for pause in held if pause.handler}
    running, reporting = _running(), workers.reporting()
    names = sorted({*installed.queues, *due.waiting_queues(), *of_queues})
    own = {
        name: [HandlerStatus(one.name, of_handlers.pop(one.name, None)) for one in installed if one.queue == name]
        for name in names
    }
    consumers = {name: [worker for worker in reporting if worker.consumes(name)] for name in names}
    return [
        QueueStatus(
            name=name,
            is_installed=live_queue(name) in installed.queues,
            waiting=_capped(Job.objects.filter(due.CLAIMABLE, queue=name)),
            oldest_seconds=_oldest_seconds(name),
            later=_capped(Job.objects.filter(queue=name, publish_at__gt=Now())),
            running=running[name],
            workers=len(consumers[name]),
            slots=sum(worker.slots for worker in consumers[name]),
            pause=of_queues.get(live_queue(name)),
            handlers=own[name],
        )
        for name in names
    ]


def paused_elsewhere(shown: Sequence[QueueStatus]) -> list[Pause]:
    """Return the pauses of handlers that none of these queues has: no installed app has them."""
    names = {handler.name for queue in shown for handler in queue.handlers}
    return [pause for pause in pauses.current() if pause.handler and pause.handler not in names]


def _capped(waiting: QuerySet[Job]) -> Capped:
    return counts.capped(waiting.order_by("publish_at", "id"))


def _oldest_seconds(queue: str) -> float | None:
    since = due.oldest_since(Job.objects.filter(due.CLAIMABLE, queue=queue))
    at = database_time() if since else None
    return max(0.0, (at - since).total_seconds()) if since and at else None


def _running() -> Counter[str]:
    """Count the running jobs of each queue: as many as workers have claimed, so there are few."""
    running = Job.objects.filter(state=JobState.RUNNING).order_by("lease_until", "id")
    return Counter(running.values_list("queue", flat=True)[: counts.MOST_COUNTED + 1])
