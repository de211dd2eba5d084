"""Every question about jobs that wait: which may be claimed, which are due for the broker, how many, and for how long.

`publish_at` says when the relay should next put a job's message on the broker. It is set while the job waits, and empty
once the job is claimed or final. Here it is read and moved; a job's state is changed in `transitions.py` alone. All
moments are the database's clock.
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
"""How long a message published beside the commit has before the relay takes it for lost."""
LONGEST_INTERVAL_SECONDS = 20.0
"""So that whatever the broker has lost is back within half a minute. A message too many costs a failed claim, and there
are never more of them than the window has room for."""
SAMPLE = 10_000
"""How many jobs of each of the two ranges of the index `waiting_in` reads at most."""

CLAIMABLE = Q(state=JobState.QUEUED) | Q(state=JobState.RETRYING, due_at__lte=Now())
"""A worker may claim such a job. `postgresql.py` says the same in SQL."""


def waiting_queues() -> list[str]:
    """Return the queues with jobs to publish, now or later: one index step a queue, however many jobs there are."""
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
    """Return how long a message published for the nth time (from 0) has to be claimed before it is published again."""
    seconds = PUBLISH_GRACE.total_seconds() * 2 ** min(publications, 16)
    return timedelta(seconds=min(seconds, LONGEST_INTERVAL_SECONDS))


def put_back(job_ids: Sequence[int]) -> None:
    """Undo `take_due` for jobs whose messages were not sent: they are due at once, before all that came later."""
    Job.objects.filter(pk__in=job_ids, publish_at__isnull=False, publications__gt=0).update(
        publish_at=F("due_at"), publications=F("publications") - 1
    )


class Place(NamedTuple):
    """Where a job stands in the order in which a queue's jobs are published."""

    publish_at: datetime
    pk: int

    @classmethod
    def of(cls, job: Job) -> "Place":
        assert job.publish_at is not None, "It waits."
        return cls(job.publish_at, job.pk)


def due_from(place: Place | None, queue: str, *, limit: int) -> Sequence[Job]:
    """Return up to `limit` jobs that are due for the broker, in their order: the first, or those behind a place."""
    due = Job.objects.filter(queue=queue, publish_at__lte=Now())
    if place is not None:
        # SQLite compares moments as text, written to a thousandth or a millionth: so look a thousandth back as well.
        due = due.filter(publish_at__gte=place.publish_at - timedelta(milliseconds=1)).filter(
            Q(publish_at__gt=place.publish_at) | Q(pk__gt=place.pk)
        )
    return list(due.only("id", "handler", "queue", "publish_at").order_by("publish_at", "id")[:limit])


def move(job_ids: Sequence[int], *, queue: str) -> int:
    """Let waiting jobs be published to another queue, now; return how many. A job that another relay holds stays."""
    with transaction.atomic():
        free = skip_locked(Job.objects.filter(pk__in=job_ids, publish_at__isnull=False))
        ids = list(free.order_by("pk").values_list("pk", flat=True))
        return Job.objects.filter(pk__in=ids).update(queue=queue, publish_at=Now(), publications=0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one queue: jobs that are due and not running."""

    jobs: int = 0
    oldest_seconds: float = 0.0


def waiting_in(queue: str) -> Waiting:
    """Read what waits in a queue. The reading is bounded, whatever the backlog.

    It reads two ranges of the index `job_publish`, SAMPLE rows of each at most. The first are jobs that wait for the
    relay, beginning with the oldest; the second are those whose message is on the broker, since the relay looks at them
    again within LONGEST_INTERVAL_SECONDS. So the count is exact up to SAMPLE, and is SAMPLE where more jobs wait. The
    age is that of the oldest job in both ranges, which is the oldest of the queue: the relay publishes in that order.
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

    The relay looks again within LONGEST_INTERVAL_SECONDS at a job whose message it has put on the broker lately. Once
    the window is full the relay looks at none: then its own jobs, and all that came later, are due for it. So the index
    on `publish_at` is read from its beginning: the first row that is due will do, and where there is none, the range of
    those seconds alone is read, however long the backlog is.
    """
    is_published_or_due = Q(publish_at__lte=Now()) | Q(publications__gt=0)
    waiting = Job.objects.filter(
        CLAIMABLE, is_published_or_due, queue=queue, publish_at__lte=_longest_interval_from_now()
    )
    # Ordered, so that PostgreSQL reads the index, and not the table in the hope that one of so many rows is near.
    return waiting.order_by("publish_at", "id").values_list("id").first() is not None


def _longest_interval_from_now() -> object:
    return Now() + timedelta(seconds=LONGEST_INTERVAL_SECONDS)
