"""The inbox as it is now: rates, queues, workers. Each query reads an index, and a bounded number of its rows.

`summary.py` counts every job exactly, which takes seconds; this is for what looks every two seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q
from django.db.models.functions import Now
from django.utils import timezone

from webhooks.inbox import due, workers
from webhooks.inbox.database import database_time
from webhooks.inbox.workers import Worker
from webhooks.models import Attempt, Delivery, Job, Pause
from webhooks.replay_queues import live_queue
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.installed import installed_subscriptions

WINDOW = timedelta(minutes=1)
MOST = 10_000
"""How many rows a rate or a count reads at most. Of more in a minute, the newest so many give the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How many in a minute."""

    received: float
    succeeded: float
    failed: float
    """Attempts that ended otherwise, whether another one follows or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue's due jobs."""

    name: str
    waiting: int
    """`due.SAMPLE` stands for as many or more."""
    oldest_seconds: float
    paused_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What `manage.py inbox --watch` shows."""

    at: datetime
    rates: Rates
    dead: int
    """MOST stands for as many or more."""
    queues: Sequence[Queue]
    paused_handlers: Sequence[str]
    workers: Sequence[Worker]


def look() -> Live:
    """Read it from the database."""
    now = database_time() or timezone.now()
    paused = list(Pause.objects.filter(resumed_at=None).values_list("queue", "handler", "paused_by"))
    return Live(
        at=now,
        rates=_rates(now),
        dead=Job.objects.filter(state=JobState.DEAD).order_by("-finished_at", "-id")[:MOST].count(),
        queues=_queues({queue: who for queue, _, who in paused if queue}),
        paused_handlers=sorted(handler for _, handler, _ in paused if handler),
        workers=[worker for worker in workers.known() if worker.state != workers.State.STOPPED],
    )


def _rates(now: datetime) -> Rates:
    newest = Delivery.objects.filter(received_at__gt=Now() - WINDOW).order_by("-received_at", "-id")[:MOST]
    received = newest.aggregate(count=Count("pk"), since=Min("received_at"))
    # Attempts are numbered in the order in which they end: no index on when they ended is needed.
    last = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    is_recent = Q(finished_at__gt=Now() - WINDOW)
    ended = Attempt.objects.filter(pk__gt=last - MOST).aggregate(
        count=Count("pk"),
        since=Min("finished_at"),
        recent=Count("pk", filter=is_recent),
        succeeded=Count("pk", filter=is_recent & Q(outcome=AttemptOutcome.SUCCEEDED)),
    )
    scale = _scale(ended["count"], ended["since"], now)
    return Rates(
        received=received["count"] * _scale(received["count"], received["since"], now),
        succeeded=ended["succeeded"] * scale,
        failed=(ended["recent"] - ended["succeeded"]) * scale,
    )


def _scale(read: int, since: datetime | None, now: datetime) -> float:
    """Return by what to multiply a count: above one if there were more in the minute than were read."""
    if read < MOST or since is None or now - since >= WINDOW:
        return 1.0
    return WINDOW / max(now - since, timedelta(seconds=1))


def _queues(paused: dict[str, str]) -> list[Queue]:
    names = {*installed_subscriptions().queues, *due.waiting_queues(), *paused}
    found = []
    for name in sorted(names):
        waiting = due.waiting_in(name)
        found.append(
            Queue(
                name=name,
                waiting=waiting.jobs,
                oldest_seconds=waiting.oldest_seconds,
                paused_by=paused.get(live_queue(name), ""),
            )
        )
    return found
