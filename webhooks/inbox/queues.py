"""Each queue as an operator looks at it: what waits, what runs, who consumes, what is paused.

Every question is answered by an index and reads a bounded number of rows, however large the inbox is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from webhooks.inbox import counts, due, pauses
from webhooks.inbox.counts import Capped
from webhooks.models import Job, Pause, WorkerReport
from webhooks.replay_queues import live_queue
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

FRESH_SECONDS = 30.0
"""A worker whose last report is older than this does not count as one that consumes."""
CONSUMING = (WorkerReport.State.STARTING, WorkerReport.State.READY)


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
    running, consumers = _running(), _consumers()
    names = sorted({*installed.queues, *due.waiting_queues(), *of_queues})
    own = {
        name: [HandlerStatus(one.name, of_handlers.pop(one.name, None)) for one in installed if one.queue == name]
        for name in names
    }
    return [
        QueueStatus(
            name=name,
            is_installed=live_queue(name) in installed.queues,
            waiting=_capped(Job.objects.filter(due.CLAIMABLE, queue=name)),
            oldest_seconds=_oldest_seconds(name),
            later=_capped(Job.objects.filter(queue=name, publish_at__gt=Now())),
            running=running[name],
            workers=len(consumers.get(live_queue(name), ())),
            slots=sum(consumers.get(live_queue(name), ())),
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
    return Capped(waiting.order_by("publish_at", "id")[: counts.MOST_COUNTED + 1].count())


def _oldest_seconds(queue: str) -> float | None:
    oldest = Job.objects.filter(due.CLAIMABLE, queue=queue).annotate(at=Now()).order_by("publish_at", "id")
    for publish_at, at in oldest.values_list("publish_at", "at")[:1]:
        return max(0.0, (at - publish_at).total_seconds()) if publish_at else None
    return None


def _running() -> Counter[str]:
    """Count the running jobs of each queue: as many as workers have claimed, so there are few."""
    running = Job.objects.filter(state=JobState.RUNNING).order_by("lease_until", "id")
    return Counter(running.values_list("queue", flat=True)[: counts.MOST_COUNTED + 1])


def _consumers() -> dict[str, list[int]]:
    """Return for each queue the slots of each worker that consumes from it."""
    fresh = Q(reported_at__gte=Now() - timedelta(seconds=FRESH_SECONDS), state__in=CONSUMING)
    slots: dict[str, list[int]] = {}
    for names, count in WorkerReport.objects.filter(fresh).values_list("queues", "slots"):
        for name in names:
            slots.setdefault(name, []).append(count)
    return slots
