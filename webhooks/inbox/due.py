"""Every question about waiting jobs: which may be claimed, which are due for the broker, how many, and for how long.

`publish_at` is when the relay should next put a job's message on the broker. It is set while the job waits, and empty
when the job is claimed or final. This module reads and moves it; only `transitions.py` changes a job's state. All
moments are by the database's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Count, F, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from webhooks.inbox.database import database_time, skip_locked
from webhooks.models import Job
from webhooks.states import JobState

PUBLISH_GRACE = timedelta(seconds=5)
"""How long the relay waits for a claim after the receiver has published a message, before it takes that for lost."""
LONGEST_INTERVAL_SECONDS = 20.0
"""So a message that the broker has lost is published again within half a minute. A superfluous message costs a failed
claim, and there are never more of them than the window holds."""
SAMPLE = 10_000
"""How many jobs `waiting_in` reads at most, in each of its two ranges of the index."""

CLAIMABLE = Q(state=JobState.QUEUED) | Q(state=JobState.RETRYING, due_at__lte=Now())
"""A worker may claim such a job. `postgresql.py` says the same in SQL."""


def waiting_queues() -> list[str]:
    """Return the queues with jobs to publish, now or later. One index lookup a queue, for any number of jobs."""
    queues: list[str] = []
    waiting = Job.objects.filter(publish_at__isnull=False).order_by("queue")
    while (
        queue := waiting.filter(queue__gt=queues[-1] if queues else "").values_list("queue", flat=True).first()
    ) is not None:
        queues.append(queue)
    return queues


def seconds_until_due(queues: Sequence[str]) -> float | None:
    """Return how long until the next job is due for the broker; 0 or less if one is, None if none waits."""
    waits: list[float] = []
    for queue in queues:
        waiting = Job.objects.filter(queue=queue, publish_at__isnull=False)
        soonest = waiting.annotate(at=Now()).order_by("publish_at").values_list("publish_at", "at").first()
        if soonest and soonest[0]:
            waits.append((soonest[0] - soonest[1]).total_seconds())
    return min(waits, default=None)


def take_due(queue: str, *, limit: int) -> Sequence[Job]:
    """Return up to `limit` jobs that are due for the broker, each moved forward by a growing interval, committed.

    The interval is 5 s after the first publication and doubles with each; the broker may lose any of the messages.
    """
    with transaction.atomic():
        due = list(
            skip_locked(Job.objects.filter(queue=queue, publish_at__lte=Now()))
            .only("id", "handler", "queue", "publications")
            .order_by("publish_at", "id")[:limit]
        )
        by_publications: dict[int, list[int]] = {}
        for job in due:
            by_publications.setdefault(job.publications, []).append(job.pk)
        for publications, ids in by_publications.items():
            Job.objects.filter(pk__in=ids, publish_at__isnull=False).update(
                publish_at=Now() + publish_interval(publications), publications=F("publications") + 1
            )
    return due


def publish_interval(publications: int) -> timedelta:
    """Return how long to wait for a claim after the nth publication (from 0) before the job is published again."""
    seconds = PUBLISH_GRACE.total_seconds() * 2 ** min(publications, 16)
    return timedelta(seconds=min(seconds, LONGEST_INTERVAL_SECONDS))


def put_back(job_ids: Sequence[int]) -> None:
    """Undo `take_due` for jobs whose messages were not sent: they are due at once, before all later jobs."""
    Job.objects.filter(pk__in=job_ids, publish_at__isnull=False, publications__gt=0).update(
        publish_at=F("due_at"), publications=F("publications") - 1
    )


class Place(NamedTuple):
    """A job's place in the order in which a queue's jobs are published."""

    publish_at: datetime
    pk: int

    @classmethod
    def of(cls, job: Job) -> "Place":
        assert job.publish_at is not None, "It waits."
        return cls(job.publish_at, job.pk)


def due_from(place: Place | None, queue: str, *, limit: int) -> Sequence[Job]:
    """Return up to `limit` jobs that are due for the broker, in their order, from the first or after a place."""
    due = Job.objects.filter(queue=queue, publish_at__lte=Now())
    if place is not None:
        # SQLite compares moments as text, with three digits of a second or six: so look back a thousandth, too.
        due = due.filter(publish_at__gte=place.publish_at - timedelta(milliseconds=1)).filter(
            Q(publish_at__gt=place.publish_at) | Q(pk__gt=place.pk)
        )
    return list(due.only("id", "handler", "queue", "publish_at").order_by("publish_at", "id")[:limit])


def move(job_ids: Sequence[int], *, queue: str) -> int:
    """Move waiting jobs to another queue, to be published now; return how many. Jobs that another relay locks stay."""
    with transaction.atomic():
        free = skip_locked(Job.objects.filter(pk__in=job_ids, publish_at__isnull=False))
        ids = list(free.order_by("pk").values_list("pk", flat=True))
        return Job.objects.filter(pk__in=ids).update(queue=queue, publish_at=Now(), publications=0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs of one queue that are due and not running."""

    jobs: int = 0
    oldest_seconds: float = 0.0


def waiting_in(queue: str) -> Waiting:
    """Count the waiting jobs of a queue. It reads a limited number of rows, for any backlog.

    It reads two ranges of the index `job_publish`, SAMPLE rows of each at most. The first range is jobs that wait for
    the relay, the oldest first. The second is jobs whose message is on the broker: the relay looks at them again within
    LONGEST_INTERVAL_SECONDS. So the count is exact up to SAMPLE, and is SAMPLE if more jobs wait. The oldest job of
    both ranges is the oldest of the queue, since the relay publishes in that order.
    """
    jobs = Job.objects.filter(queue=queue)
    for_the_relay = _due(jobs.filter(publish_at__lte=Now()))
    on_the_broker = _due(jobs.filter(publish_at__gt=Now(), publish_at__lte=_longest_interval_from_now()))
    oldest_at = min(filter(None, (for_the_relay.oldest_at, on_the_broker.oldest_at)), default=None)
    age_seconds = ((database_time() or timezone.now()) - oldest_at).total_seconds() if oldest_at else 0.0
    return Waiting(min(for_the_relay.jobs + on_the_broker.jobs, SAMPLE), max(0.0, age_seconds))


class _Due(NamedTuple):
    jobs: int
    oldest_at: datetime | None


def _due(jobs: QuerySet[Job]) -> _Due:
    is_due = Q(due_at__lte=Now())
    sample = jobs.order_by("publish_at", "id")[:SAMPLE]
    found = sample.aggregate(jobs=Count("pk", filter=is_due), oldest_at=Min("due_at", filter=is_due))
    return _Due(**found)


def has_due_jobs(queue: str) -> bool:
    """Tell whether jobs wait in this queue for a worker to take their messages.

    While the window has room, the relay looks at each published job again within LONGEST_INTERVAL_SECONDS, so such jobs
    have a `publish_at` within these seconds. When the window is full, the relay looks at none, and the jobs become due
    for it. So the index on `publish_at` is read from its beginning, to the first row that fits or to the end of these
    seconds: few rows, for any backlog.
    """
    is_published_or_due = Q(publish_at__lte=Now()) | Q(publications__gt=0)
    waiting = Job.objects.filter(
        CLAIMABLE, is_published_or_due, queue=queue, publish_at__lte=_longest_interval_from_now()
    )
    # Ordered, so that PostgreSQL reads the index. Otherwise it may scan the table, since it expects to find one soon.
    return waiting.order_by("publish_at", "id").values_list("id").first() is not None


def _longest_interval_from_now() -> object:
    return Now() + timedelta(seconds=LONGEST_INTERVAL_SECONDS)
