"""The whole inbox in numbers, for `manage.py inbox`: jobs in each state, how long they wait, what is dead.

One GROUP BY gives every count of jobs, so that the counts agree with each other. It reads the whole table, as any count
of succeeded jobs must: 1.9 s at ten million jobs on PostgreSQL (two cores, warm), where grouping only by state takes
1.0 s; SQLite takes 1.3 s for each million. It is for people and scripts, not for a probe or a page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Min
from django.utils import timezone

from webhooks.inbox.database import database_time
from webhooks.inbox.due import CLAIMABLE
from webhooks.models import Delivery, Job
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

DEAD_SHOWN = 20
UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)


@dataclass(slots=True)
class JobCounts:
    """Jobs by state, and since when the longest waiting job could have run (None if none waits)."""

    states: dict[JobState, int] = field(default_factory=lambda: dict.fromkeys(JobState, 0))
    waiting_since: datetime | None = None

    def add(self, state: JobState, count: int, waiting_since: datetime | None) -> None:
        self.states[state] += count
        self.waiting_since = min(filter(None, (self.waiting_since, waiting_since)), default=None)


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A dead job, with the values that a list shows."""

    job: int
    handler: str
    delivery: str
    attempts: int
    error: str
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxSummary:
    """The inbox in numbers, with all installed queues and handlers, also those without jobs."""

    at: datetime
    """The database's clock."""
    deliveries: int
    jobs: JobCounts
    queues: dict[str, JobCounts]
    handlers: dict[str, JobCounts]
    newest_errors: dict[str, str]
    """For each handler with dead jobs, why the newest of them died."""
    dead: Sequence[DeadJob]
    """The newest DEAD_SHOWN."""

    def waiting_seconds(self, counts: JobCounts) -> float | None:
        """Return the age of the oldest job that waits: queued, or retrying and due."""
        if counts.waiting_since is None:
            return None
        return max(0.0, round((self.at - counts.waiting_since).total_seconds(), 3))


def summarise() -> InboxSummary:
    """Read the summary from the database."""
    total, queues, handlers = JobCounts(), _installed_queues(), _installed_handlers()
    for handler, queue, state, count, waiting_since in _grouped():
        for counts in (total, queues.setdefault(queue, JobCounts()), handlers.setdefault(handler, JobCounts())):
            counts.add(JobState(state), count, waiting_since)
    return InboxSummary(
        at=database_time() or timezone.now(),
        deliveries=Delivery.objects.count(),
        jobs=total,
        queues=dict(sorted(queues.items())),
        handlers=dict(sorted(handlers.items())),
        newest_errors=_newest_errors(name for name, counts in handlers.items() if counts.states[JobState.DEAD]),
        dead=_newest_dead(),
    )


def _installed_queues() -> dict[str, JobCounts]:
    return {queue: JobCounts() for queue in installed_subscriptions().queues}


def _installed_handlers() -> dict[str, JobCounts]:
    return {subscription.name: JobCounts() for subscription in installed_subscriptions()}


def _grouped() -> Iterable[tuple[str, str, str, int, datetime | None]]:
    return (
        Job.objects.order_by()
        .values_list("handler", "queue", "state")
        .annotate(count=Count("pk"), waiting_since=Min("due_at", filter=CLAIMABLE))
    )


def _newest_errors(handlers: Iterable[str]) -> dict[str, str]:
    dead = Job.objects.filter(state=JobState.DEAD).order_by("-finished_at", "-id").values_list("error", flat=True)
    return {handler: dead.filter(handler=handler).first() or "" for handler in handlers}


def _newest_dead() -> list[DeadJob]:
    newest = Job.objects.filter(state=JobState.DEAD).order_by("-finished_at", "-id")
    columns = ("pk", "handler", "delivery__guid", "attempt", "error", "finished_at")
    return [
        DeadJob(job, handler, str(guid), attempts, error, finished_at)
        for job, handler, guid, attempts, error, finished_at in newest.values_list(*columns)[:DEAD_SHOWN]
    ]
