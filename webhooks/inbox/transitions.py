"""The one module that changes a job's state.

Every change is a conditional UPDATE: of two processes that try, one succeeds and the other sees that it has not. A run
also names its attempt, and only the run with the job's current attempt may record. All moments are by the database's
clock. This module decides what a claim and a record change; `webhooks/inbox/engine.py` writes it to the database.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from webhooks.inbox.database import skip_locked
from webhooks.inbox.engine import engine
from webhooks.inbox.outcomes import Budget, Outcome, Step, next_step, one_line, storable
from webhooks.models import Job, Payload
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff

logger = logging.getLogger(__name__)

RUN_AGAIN_FROM = (JobState.DEAD, JobState.SUCCEEDED, JobState.SKIPPED)
HAS_PAYLOAD = Exists(Payload.objects.filter(pk=OuterRef("delivery_id")))
GIVE_UP_FROM = (JobState.QUEUED, JobState.RETRYING, JobState.DEAD)


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job whose attempt has just begun, with values of its delivery."""

    pk: int
    handler: str
    attempt: int
    max_attempts: int
    forgiven: int
    lost: int
    budget_from_attempt: int
    budget_from_at: datetime
    claimed_at: datetime
    """The database's time of the claim."""
    delivery_id: int
    event: str
    action: str
    guid: UUID
    hook_id: int
    repository: str
    installation_id: int | None
    sender: str
    received_at: datetime
    source: str
    content_type: str | None
    """The header as received; None if the delivery has none."""
    once_key: str | None
    """The key of this handler's one job for the event; None if each hook's delivery has its own job."""


def claim(job_id: int, *, worker: str, pid: int, lease_seconds: float) -> ClaimedJob | None:
    """Start an attempt, or return None if the job is taken, final, not due yet or gone.

    The attempt is counted and committed here, before any code of the handler runs and before the payload is read. So it
    is counted even if the payload takes more memory than the process may have.
    """
    row = engine().claim(job_id, worker=worker[:255], pid=pid, lease_seconds=lease_seconds)
    return ClaimedJob(*row) if row else None


def record(job: ClaimedJob | Job, outcome: Outcome, *, age_seconds: float, backoff: Backoff) -> JobState | None:
    """End the job's current attempt and return the job's new state, or None if the attempt is no longer current.

    `job` was read while the attempt was current; `age_seconds` counts from the first claim of its budget.
    """
    budget = Budget(
        attempt=job.attempt,
        budget_from_attempt=job.budget_from_attempt,
        forgiven=job.forgiven,
        lost=job.lost,
        max_attempts=job.max_attempts,
        age_seconds=age_seconds,
    )
    step = next_step(
        outcome,
        budget,
        backoff=backoff,
        max_age_seconds=timedelta(hours=settings.HOOKLINE_MAX_AGE_HOURS).total_seconds(),
    )
    return step.state if engine().record(_change(job, outcome, step)) else None


def _change(job: ClaimedJob | Job, outcome: Outcome, step: Step) -> dict[str, Any]:
    """Return what the end of an attempt changes in the job's row and in the attempt's."""
    succeeded = step.state is JobState.SUCCEEDED
    return {
        "job": job.pk,
        "attempt": job.attempt,
        "state": step.state.value,
        "is_final": step.state is not JobState.RETRYING,
        "delay": timedelta(seconds=step.delay_seconds),
        "forgives": int(step.forgives),
        "loses": int(step.loses),
        "result": one_line(outcome.message) if succeeded else "",
        "error": "" if succeeded else one_line(f"{outcome.message} {step.reason}"),
        "fingerprint": outcome.fingerprint,
        "outcome": outcome.kind.value,
        "message": one_line(outcome.message),
        "traceback": storable(outcome.traceback),
    }


def record_ended_process(job_id: int, outcome: Outcome, *, worker: str, pid: int, backoff: Backoff) -> JobState | None:
    """Record the outcome of a run whose process has ended; return the job's new state.

    Return None if the current attempt belongs to another process, or is recorded already.
    """
    job = (
        Job.objects.filter(
            pk=job_id,
            state=JobState.RUNNING,
            attempts__number=F("attempt"),
            attempts__worker=worker[:255],
            attempts__pid=pid,
        )
        .annotate(seen_at=Now())
        .first()
    )
    if job is None:
        return None
    age_seconds = (job.seen_at - job.budget_from_at).total_seconds()
    return record(job, outcome, age_seconds=age_seconds, backoff=backoff)


def expire_leases(*, limit: int = 100) -> int:
    """Record as lost the runs that did not record before their lease ran out; return how many."""
    with transaction.atomic():
        overdue = list(
            skip_locked(Job.objects.filter(state=JobState.RUNNING, lease_until__lt=Now()))
            .annotate(seen_at=Now())
            .order_by("lease_until", "id")[:limit]
        )
        for job in overdue:
            expire(job, seen_at=job.seen_at)
    return len(overdue)


def expire(job: Job, *, seen_at: datetime) -> JobState | None:
    """Record that a run is lost: its worker died, or was killed at the hard time limit before it could record."""
    outcome = Outcome(
        kind=AttemptOutcome.LOST,
        message="The run did not record before its lease ran out: its worker died, or the hard time limit killed it.",
        fingerprint="lost",
    )
    age_seconds = (seen_at - job.budget_from_at).total_seconds()
    state = record(job, outcome, age_seconds=age_seconds, backoff=Backoff())
    logger.warning("run lost", extra={"job": job.pk, "handler": job.handler, "attempt": job.attempt, "state": state})
    return state


def run_again(jobs: QuerySet[Job]) -> int:
    """Queue final jobs again, with a new budget of attempts; return how many. Other jobs are not changed.

    A job whose payload has been pruned is not changed either, and keeps its result: it could only fail.
    """
    with transaction.atomic():
        _lock(jobs)
        return jobs.filter(HAS_PAYLOAD, state__in=RUN_AGAIN_FROM).update(
            state=JobState.QUEUED,
            due_at=Now(),
            publish_at=Now(),
            publications=0,
            budget_from_attempt=F("attempt"),
            budget_from_at=Now(),
            forgiven=0,
            lost=0,
            finished_at=None,
            result="",
        )


def give_up(jobs: QuerySet[Job]) -> int:
    """Skip jobs that wait or are dead; return how many. A running job is not changed: its run may still succeed."""
    with transaction.atomic():
        _lock(jobs)
        waiting_or_dead = jobs.filter(state__in=GIVE_UP_FROM)
        return waiting_or_dead.update(state=JobState.SKIPPED, publish_at=None, finished_at=Now())


def _lock(jobs: QuerySet[Job]) -> None:
    """Lock the jobs' rows in the order of their ids.

    Then two operators with some of the same jobs wait for each other. Updates in any order could deadlock.
    """
    if connection.features.has_select_for_update:
        ids = jobs.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True)
        deque(ids.iterator(), maxlen=0)  # Reads all ids and keeps none in memory.


def end_without_run(job_ids: Sequence[int], *, reason: str) -> int:
    """End waiting jobs as dead without a run, because there is no handler for them; return how many.

    A job that another relay has locked is left to that relay.
    """
    with transaction.atomic():
        free = skip_locked(Job.objects.filter(pk__in=job_ids)).order_by("pk").values_list("pk", flat=True)
        waiting = Job.objects.filter(pk__in=list(free), state__in=(JobState.QUEUED, JobState.RETRYING))
        return waiting.update(
            state=JobState.DEAD,
            publish_at=None,
            finished_at=Now(),
            error=one_line(reason),
            fingerprint="no-handler",
        )
