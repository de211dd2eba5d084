"""What happened to one delivery: its jobs, their runs, what people asked for, and the same event from other hooks.

The page and `manage.py deliveries` show the same values. The newest jobs and runs come first, and are bounded.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import F, Prefetch, QuerySet
from django.utils import timezone

from webhooks.inbox.outcomes import spent
from webhooks.models import Attempt, ChangedJob, Delivery, Job, Pull, Recovery
from webhooks.states import JobState

MOST_JOBS = 25
MOST_RUNS = 10
"""Of each job. All of them are on the job's own page."""
MOST_CHANGES = 100
MOST_TWINS = 20

STATES_ONLY = Prefetch("jobs", Job.objects.only("delivery_id", "state"))
"""What a list of deliveries needs of their jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job. `waited` is the time since the one before ended, or since the job was created."""

    number: int
    worker: str
    pid: int | None
    started_at: datetime
    waited: timedelta | None
    ran: timedelta
    outcome: str
    """An `AttemptOutcome`; "running" if it has not ended."""
    message: str = ""
    traceback: str = ""


class Asked(NamedTuple):
    """What a person asked for a job: "run again", when and why."""

    who: str
    what: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStory:
    """A job with its runs and what people changed, the newest first."""

    job: Job
    attempts_spent: int
    runs: Sequence[Run]
    has_older_runs: bool
    changes: Sequence[Asked]
    next_at: datetime | None
    """When it may run next, if it waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A delivery and all that came of it."""

    delivery: Delivery
    jobs: Sequence[JobStory]
    has_older_jobs: bool
    twins: Sequence[Delivery]
    """The deliveries with the same GUID from other hooks."""
    recovery: Recovery | None
    """What GitHub says of its sending, if it was taken from GitHub's log."""
    pull: Pull | None
    """Where it comes from, if it was pulled from another installation."""


def story_of(delivery: Delivery) -> Story:
    """Read what happened to a delivery, in six queries."""
    jobs = list(delivery.jobs.order_by("-id")[: MOST_JOBS + 1])
    shown = jobs[:MOST_JOBS]
    attempts, changes = _attempts(shown), _changes(shown)
    for job in shown:
        job.delivery = delivery
    return Story(
        delivery=delivery,
        jobs=[_job(job, attempts.get(job.pk, []), changes.get(job.pk, [])) for job in shown],
        has_older_jobs=len(jobs) > MOST_JOBS,
        twins=list(twins_of(delivery)[:MOST_TWINS]),
        recovery=Recovery.objects.filter(pk=delivery.pk).first(),
        pull=Pull.objects.filter(pk=delivery.pk).first(),
    )


def story_of_job(job: Job, *, most_runs: int) -> JobStory:
    """Read what happened to one job: its newest runs, and what people changed."""
    attempts, changes = _attempts([job], most=most_runs), _changes([job])
    return _job(job, attempts.get(job.pk, []), changes.get(job.pk, []), most=most_runs)


def twins_of(delivery: Delivery) -> QuerySet[Delivery]:
    """Return the deliveries of the same GUID by other hooks or sources, with their jobs' states."""
    same = Delivery.objects.filter(guid=delivery.guid).exclude(pk=delivery.pk)
    return same.select_related("source").prefetch_related(STATES_ONLY).order_by("id")


def at_a_glance(jobs: Iterable[Job]) -> list[tuple[str, int]]:
    """Return how many jobs are in each state, the dead first."""
    counts = Counter(job.state for job in jobs)
    return [(state, counts[state]) for state in dict.fromkeys((JobState.DEAD, *JobState)) if counts[state]]


def _attempts(jobs: Sequence[Job], *, most: int = MOST_RUNS) -> Mapping[int, list[Attempt]]:
    """Return at least the newest `most` + 1 attempts of each job, if there are so many; the newest first."""
    rows: dict[int, list[Attempt]] = defaultdict(list)
    recent = Attempt.objects.filter(job__in=jobs, number__gte=F("job__attempt") - most)
    for attempt in recent.order_by("-number"):
        rows[attempt.job_id].append(attempt)
    return rows


def _changes(jobs: Sequence[Job]) -> Mapping[int, list[Asked]]:
    rows: dict[int, list[Asked]] = defaultdict(list)
    noted = ChangedJob.objects.filter(job__in=jobs).select_related("change").order_by("-change_id")
    for each in noted[:MOST_CHANGES]:
        change = each.change
        rows[each.job_id].append(Asked(change.who, change.action.replace("_", " "), change.at, change.reason))
    return rows


def _job(job: Job, attempts: Sequence[Attempt], changes: Sequence[Asked], *, most: int = MOST_RUNS) -> JobStory:
    runs = [*_running(job, attempts), *_ended(job, attempts)]
    return JobStory(
        job=job,
        attempts_spent=spent(job),
        runs=runs[:most],
        has_older_runs=len(runs) > most,
        changes=changes,
        next_at=job.due_at if job.state in (JobState.QUEUED, JobState.RETRYING) else None,
    )


def _running(job: Job, attempts: Sequence[Attempt]) -> list[Run]:
    """Return the run that goes on: it has no row of its own before it ends."""
    if job.state != JobState.RUNNING or any(attempt.number == job.attempt for attempt in attempts):
        return []
    began = job.started_at or job.claimed_at or timezone.now()
    return [
        Run(
            number=job.attempt,
            worker=job.worker,
            pid=None,
            started_at=began,
            waited=_since(attempts[0].finished_at if attempts else job.created_at, began),
            ran=timezone.now() - began,
            outcome=JobState.RUNNING,
        )
    ]


def _ended(job: Job, attempts: Sequence[Attempt]) -> list[Run]:
    before = [each.finished_at for each in attempts[1:]]
    # Of the oldest one that was read, the end of the one before is not known, unless it is the first.
    before += [job.created_at if attempts and attempts[-1].number == 1 else None]
    return [
        Run(
            number=attempt.number,
            worker=attempt.worker,
            pid=attempt.pid,
            started_at=attempt.started_at,
            waited=_since(ended, attempt.started_at),
            ran=(attempt.finished_at or timezone.now()) - attempt.started_at,
            outcome=attempt.outcome or JobState.RUNNING,
            message=attempt.message,
            traceback=attempt.traceback,
        )
        for attempt, ended in zip(attempts, before, strict=False)
    ]


def _since(before: datetime | None, began: datetime) -> timedelta | None:
    return max(began - before, timedelta()) if before else None
