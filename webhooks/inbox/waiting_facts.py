"""Reads what `waiting.py` needs to say why a job waits: a handful of index lookups, each with an upper limit."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from webhooks.inbox import api_limits, due, workers
from webhooks.inbox.outcomes import Budget, Outcome, next_step, spent
from webhooks.inbox.waiting import why
from webhooks.inbox.waiting_values import MOST_AHEAD, Claim, Facts, Fleet, Held, Limit, Turn, Waiting
from webhooks.models import Attempt, Job, Pause, WorkerReport
from webhooks.replay_queues import is_replay_queue, live_queue
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Backoff

SAMPLE = 500
"""How many of the newest attempts tell how fast a queue is worked off."""
LATELY_SECONDS = 60.0
FEWEST = 10
"""Fewer attempts than this in that time tell nothing."""

WAITING = (JobState.QUEUED, JobState.RETRYING)


def explain(job: Job) -> Waiting | None:
    """Return why a job waits, or who runs it; None if it is final or gone. It reads the job anew."""
    found = Job.objects.filter(pk=job.pk).annotate(seen_at=Now()).first()
    return why(read(found, now=found.seen_at)) if found else None


def read(job: Job, *, now: datetime) -> Facts:
    """Read the facts on a job."""
    subscription = installed_subscriptions().get(job.handler)
    facts: dict[str, Any] = {}
    if job.state == JobState.RUNNING:
        facts["claim"] = _claim(job, now=now, limit_seconds=subscription.time_limit if subscription else None)
    elif job.state in WAITING:
        facts |= _of_waiting(job, now=now)
    return Facts(
        now=now,
        state=job.state,
        handler=job.handler,
        queue=live_queue(job.queue),
        publish_at=_since(job),
        spent=spent(job),
        max_attempts=job.max_attempts,
        handler_queue=subscription.queue if subscription else None,
        **facts,
    )


def _of_waiting(job: Job, *, now: datetime) -> dict[str, Any]:
    pauses = list(Pause.objects.filter(resumed_at=None).order_by("paused_at", "id"))
    is_due = job.publish_at is not None and job.publish_at <= now
    passed_by = [pause.handler for pause in pauses if pause.handler]
    return {
        "last_outcome": _last_outcome(job),
        "held": _held(job, pauses),
        "turn": _turn(job) if job.publish_at is None else None,
        "limit": _limit(job, now=now),
        "fleet": _fleet(job.queue) if is_due else Fleet(),
        "ahead": due.ahead_of(job, most=MOST_AHEAD + 1, passed_by=passed_by) if is_due else 0,
        "jobs_a_second": jobs_a_second(job.queue, now=now) if is_due else None,
    }


def _since(job: Job) -> datetime | None:
    """Return from when on a waiting job may be claimed; where it waits for its turn, from when on it takes part."""
    if job.state not in WAITING or job.publish_at is None:
        return job.due_at if job.state in WAITING else None
    return max(job.publish_at, job.turn_at) if job.turn_at else job.publish_at


def _turn(job: Job) -> Turn | None:
    """Return whose turn it is among the jobs with the same key."""
    has_turn = Q(state=JobState.RUNNING) | Q(publish_at__isnull=False)
    others = Job.objects.filter(order_key=job.order_key).exclude(pk=job.pk)
    first = others.filter(has_turn).only("pk", "state").first() if job.order_key else None
    if first is None:
        return None
    before = others.filter(state=JobState.QUEUED, publish_at=None, pk__lt=job.pk)[: MOST_AHEAD + 1]
    subscription = installed_subscriptions().get(job.handler)
    key = subscription.one_at_a_time_by if subscription else None
    return Turn(job_id=first.pk, state=first.state, key=key or "", ahead=before.count())


def _held(job: Job, pauses: Iterable[Pause]) -> Held | None:
    for pause in pauses:
        if live_queue(job.queue) == pause.queue or job.handler == pause.handler:
            what = f"queue {pause.queue}" if pause.queue else f"handler {pause.handler}"
            return Held(what=what, who=pause.paused_by, since=pause.paused_at, reason=pause.reason)
    return None


def _limit(job: Job, *, now: datetime) -> Limit | None:
    """Return the rate limit that holds the job: its handler says that it calls GitHub's API, or its last run has."""
    subscription, of = installed_subscriptions().get(job.handler), job.delivery.installation_id
    is_retrying = job.state == JobState.RETRYING
    if subscription is None or of is None or not (subscription.uses_api or (is_retrying and subscription.takes_run)):
        return None
    until = api_limits.reached_until(job.delivery.source.name, of, is_replay=is_replay_queue(job.queue), now=now)
    is_before = job.publish_at is not None and until is not None and job.publish_at < until
    return None if until is None or (is_before and not subscription.uses_api) else Limit(of, until)


def _last_outcome(job: Job) -> str:
    """Return how the last attempt of the job's budget ended; empty if there was none."""
    ended = Attempt.objects.filter(job=job, number__gt=job.budget_from_attempt).order_by("-number")
    return ended.values_list("outcome", flat=True).first() or ""


def _fleet(queue: str) -> Fleet:
    reporting = workers.reporting()
    ready = [worker for worker in reporting if worker.consumes(queue)]
    return Fleet(
        reporting=len(reporting),
        ready=len(ready),
        slots=sum(worker.slots for worker in ready),
        free_slots=sum(max(0, worker.slots - worker.busy) for worker in ready),
    )


def jobs_a_second(queue: str, *, now: datetime) -> float | None:
    """Return how many attempts of a queue have ended a second lately; None if too few have to tell.

    The newest SAMPLE attempts of all queues are read, by their numbers, which follow their ends.
    """
    newest = Attempt.objects.order_by("-id").values_list("job__queue", "finished_at")[:SAMPLE]
    ends = [(of, at) for of, at in newest if at is not None]
    since = now - timedelta(seconds=LATELY_SECONDS)
    if len(ends) == SAMPLE:
        since = max(since, min(at for _, at in ends))
    lately = sum(of == queue and at >= since for of, at in ends)
    seconds = (now - since).total_seconds()
    return lately / seconds if lately >= FEWEST and seconds > 0 else None


def _claim(job: Job, *, now: datetime, limit_seconds: float | None) -> Claim:
    report = WorkerReport.objects.filter(worker=job.worker).first() if job.worker else None
    known: dict[str, Any] = {}
    if report is not None:
        silent_seconds = max(0.0, (now - report.reported_at).total_seconds())
        has_stopped = report.state == WorkerReport.State.STOPPED or silent_seconds > workers.LOST_SECONDS
        known = {"silent_seconds": silent_seconds, "has_stopped": has_stopped}
        run = _run_of(job, report)
        if run is not None and not has_stopped:
            known |= {"pid": int(run["pid"]), "ran_seconds": float(run["seconds"]) + silent_seconds}
    return Claim(
        worker=job.worker,
        since=job.claimed_at,
        lease_until=job.lease_until,
        limit_seconds=limit_seconds,
        fate=_fate(job, now=now),
        **known,
    )


def _run_of(job: Job, report: WorkerReport) -> Mapping[str, Any] | None:
    """Return what a worker reports of the job's current run."""
    for run in report.running:
        if (run["job"], run["attempt"]) == (job.pk, job.attempt):
            found: Mapping[str, Any] = run
            return found
    return None


def _fate(job: Job, *, now: datetime) -> str:
    """Return what becomes of the job if this run is lost, as `transitions.expire` decides it."""
    budget = Budget(
        attempt=job.attempt,
        budget_from_attempt=job.budget_from_attempt,
        forgiven=job.forgiven,
        lost=job.lost,
        max_attempts=job.max_attempts,
        age_seconds=(now - job.budget_from_at).total_seconds(),
    )
    step = next_step(Outcome(kind=AttemptOutcome.LOST), budget, backoff=Backoff(), max_age_seconds=0.0)
    # What had not begun does not count as lost.
    if step.state is JobState.DEAD and job.started_at is not None:
        return "the job is dead: too many of its runs were lost"
    return "it runs again"
