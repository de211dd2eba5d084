"""Every question about waiting jobs: which may be claimed, how many, and for how long.

A job waits while its `publish_at` is set: from that moment on a worker may claim it, the longest due first. A claim or
a final state empties it. This module reads it; only `transitions.py` changes a job's state. All moments are by the
database's clock.

What an operator has paused waits too, but no worker may claim it. So it is left out wherever an answer makes a process
do something: send messages, start workers, or take a worker for stuck.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Count, F, Min, Q, QuerySet
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone

from webhooks.inbox.database import database_time, skip_locked
from webhooks.inbox.pauses import Paused, paused
from webhooks.models import Job, Pause
from webhooks.states import JobState

SAMPLE = 20_000
"""How many jobs `waiting_in` reads at most."""
REPEATED_SECONDS = 5.0
"""While due jobs wait, a relay says so to the broker again after so long, or sooner: messages may have been lost."""
CLAIMABLE = Q(publish_at__lte=Now())
"""A worker may claim such a job, unless it is paused. `postgresql.py` says the same in SQL."""
SINCE = Greatest(F("publish_at"), Coalesce(F("turn_at"), F("publish_at")))
"""Since when a due job may be claimed. One that waited for its turn (`turns.py`) keeps its place in the queue."""
MOST_LATE_TURNS = 1_000
"""How many of the first jobs are looked at for the one that waits longest, where turns are passed on."""


def waiting_queues() -> list[str]:
    """Return the queues with waiting jobs, due or not. One index lookup a queue, for any number of jobs."""
    queues: list[str] = []
    waiting = Job.objects.filter(publish_at__isnull=False).order_by("queue")
    while (
        queue := waiting.filter(queue__gt=queues[-1] if queues else "").values_list("queue", flat=True).first()
    ) is not None:
        queues.append(queue)
    return queues


def seconds_until_due(queues: Sequence[str], *, held: Paused) -> float | None:
    """Return how long until the next job of these queues is due; 0 or less if one is, None if none waits.

    Jobs that `held` names do not count.
    """
    waits: list[float] = []
    for queue in queues:
        waiting = _unpaused(queue, held).filter(publish_at__isnull=False)
        soonest = waiting.annotate(at=Now()).order_by("publish_at").values_list(SINCE, "at").first()
        if soonest and soonest[0]:
            waits.append((soonest[0] - soonest[1]).total_seconds())
    return min(waits, default=None)


def claimable_seconds(queues: Sequence[str]) -> float | None:
    """Return for how long a worker could have claimed a job of these queues; None if it can claim none.

    It counts from the end of the last pause: a job that was due for hours while it was paused is no old job.
    """
    until_due = seconds_until_due(queues, held=paused())
    if until_due is None:
        return None
    ended = Pause.objects.filter(resumed_at__isnull=False).annotate(at=Now()).order_by("-resumed_at")
    last = ended.values_list("resumed_at", "at").first()
    return min(-until_due, (last[1] - last[0]).total_seconds()) if last and last[0] else -until_due


def _unpaused(queue: str, held: Paused) -> QuerySet[Job]:
    """Return a queue's jobs, waiting or not, that are not paused."""
    if held.has_queue(queue):
        return Job.objects.none()
    jobs = Job.objects.filter(queue=queue)
    return jobs.filter(~Q(handler__in=held.handlers) | Q(pk__in=held.admitted)) if held.handlers else jobs


class DueJob(NamedTuple):
    """A job that is due."""

    pk: int
    handler: str
    queue: str
    publish_at: datetime


def due_jobs(queue: str, *, handlers: Iterable[str], limit: int, admitted: Iterable[int] = ()) -> list[DueJob]:
    """Return jobs of a queue that a worker with these handlers may claim, the longest due first; paused ones too.

    Those that are admitted are jobs of other handlers.
    """
    of_these = Q(handler__in=handlers) | Q(pk__in=admitted)
    due = Job.objects.filter(CLAIMABLE, of_these, queue=queue).order_by("publish_at", "id")
    return list(map(DueJob._make, due.values_list("pk", "handler", "queue", "publish_at")[:limit]))


def first_of(handler: str, *, queue: str) -> int | None:
    """Return the job of a handler that is due for longest, paused or not, among the first SAMPLE of its queue."""
    first = Job.objects.filter(CLAIMABLE, queue=queue).order_by("publish_at", "id")[:SAMPLE]
    # By a subquery: else the database would read all of the queue's jobs to find the handler's.
    own = Job.objects.filter(pk__in=first.values("pk"), handler=handler).order_by("publish_at", "id")
    return own.values_list("pk", flat=True).first()


class Place(NamedTuple):
    """A job's place in the order in which a queue's jobs are due."""

    publish_at: datetime
    pk: int


def place_after(place: Place | None, queue: str, *, jobs: int) -> Place | None:
    """Return the place of the last of the next so many due jobs; None if fewer are due."""
    ends = _due_after(place, queue).values_list("publish_at", "pk")[jobs - 1 : jobs]
    return next((Place(publish_at, pk) for publish_at, pk in ends if publish_at), None)


def strays_after(place: Place | None, queue: str, *, own: Sequence[str], limit: int) -> list[tuple[int, str]]:
    """Return (id, handler) of those of the next `limit` due jobs whose handlers are none of the queue's own.

    The database reads so many rows, by the index, and hands over only these.
    """
    statement, values = _due_after(place, queue).values_list("id", "handler")[:limit].query.sql_with_params()
    marks = ", ".join(["%s"] * len(own)) or "''"
    with connection.cursor() as cursor:
        # Django cannot filter what is limited. If the filter came first, the limit would not bound what is read.
        cursor.execute(
            f"SELECT id, handler FROM ({statement}) AS next_jobs WHERE handler NOT IN ({marks})",  # noqa: S608
            [*values, *own],
        )
        strays: list[tuple[int, str]] = cursor.fetchall()
        return strays


def give_party(place: Place | None, queue: str, *, limit: int) -> int:
    """Count those of the next `limit` due jobs that have no party as jobs of nobody in particular; return how many.

    They came before their queue was shared fairly, or by way of a release that shared none.
    """
    following = _due_after(place, queue).values_list("pk", "fair_key")[:limit]
    without = [pk for pk, fair_key in following if fair_key is None]
    return Job.objects.filter(pk__in=without, publish_at__isnull=False).update(fair_key="") if without else 0


def _due_after(place: Place | None, queue: str) -> QuerySet[Job]:
    due = Job.objects.filter(CLAIMABLE, queue=queue).order_by("publish_at", "id")
    if place is not None:
        # SQLite compares moments as text, with three digits of a second or six: so look back a thousandth, too.
        due = due.filter(publish_at__gte=place.publish_at - timedelta(milliseconds=1)).filter(
            Q(publish_at__gt=place.publish_at) | Q(pk__gt=place.pk)
        )
    return due


def move(job_ids: Sequence[int], *, queue: str) -> int:
    """Move waiting jobs to another queue; return how many. Jobs that another relay locks stay."""
    with transaction.atomic():
        free = skip_locked(Job.objects.filter(pk__in=job_ids, publish_at__isnull=False))
        ids = list(free.order_by("pk").values_list("pk", flat=True))
        keys = Job.objects.filter(pk__in=ids, order_key__isnull=False).values_list("order_key", flat=True)
        # With them, what waits for their turns: of the same handlers, therefore.
        behind = Q(order_key__in=list(keys), publish_at=None, finished_at=None) & ~Q(state=JobState.RUNNING)
        return Job.objects.filter(Q(pk__in=ids) | behind).update(queue=queue)


def ahead_of(job: Job, *, most: int, passed_by: Collection[str] = ()) -> int:
    """Count the jobs that are claimed before a due job of the same queue, among the first `most` of them.

    Those of the handlers that are passed by are read, and not counted.
    """
    before = Q(publish_at__lte=job.publish_at) & (Q(publish_at__lt=job.publish_at) | Q(pk__lt=job.pk))
    # SQLite compares moments as text, with three digits of a second or six: so the job may stand before itself.
    first = Job.objects.filter(before, queue=job.queue).exclude(pk=job.pk).order_by("publish_at", "id")[:most]
    counted: int = first.aggregate(jobs=Count("pk", filter=~Q(handler__in=list(passed_by))))["jobs"]
    return counted


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs of one queue that are due and not running: those that a worker may claim, and those that are paused."""

    jobs: int = 0
    oldest_seconds: float = 0.0
    paused_jobs: int = 0


def waiting_in(queue: str, *, most: int | None = None) -> Waiting:
    """Count the due jobs of a queue: exactly up to `most`, and as `most` where more wait; that is SAMPLE by default.

    For any backlog, it reads so many rows at most, of the index on `publish_at`; while one of its handlers is paused,
    that handler's jobs as well.
    """
    most = SAMPLE if most is None else most
    held = paused()
    due = Job.objects.filter(CLAIMABLE, queue=queue)
    if held.has_queue(queue):
        return Waiting(paused_jobs=_sample(due, most)["jobs"])
    paused_jobs = _sample(due.filter(handler__in=held.handlers), most)["jobs"] if held.handlers else 0
    found = _sample(_unpaused(queue, held).filter(CLAIMABLE), most)
    if not found["jobs"]:
        return Waiting(paused_jobs=paused_jobs)
    oldest_at = oldest_since(_unpaused(queue, held).filter(CLAIMABLE)) or found["oldest_at"]
    age_seconds = ((database_time() or timezone.now()) - oldest_at).total_seconds()
    return Waiting(found["jobs"], max(0.0, age_seconds), paused_jobs)


def oldest_since(due: QuerySet[Job]) -> datetime | None:
    """Return since when a job of a queue's due ones could have been claimed; None if there is none.

    Their first has waited longest, unless it waited for its turn: then the longest of the first MOST_LATE_TURNS has.
    """
    first = due.order_by("publish_at", "id")
    found = first.values_list("publish_at", "turn_at").first()
    if found is None or found[1] is None:
        return found and found[0]
    since: datetime | None = first.annotate(since=SINCE)[:MOST_LATE_TURNS].aggregate(at=Min("since"))["at"]
    return since


def _sample(due: QuerySet[Job], most: int) -> dict[str, Any]:
    return due.order_by("publish_at", "id")[:most].aggregate(jobs=Count("pk"), oldest_at=Min("publish_at"))
