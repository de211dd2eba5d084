"""The one module that changes a job's state.

Every change is a conditional UPDATE: of two processes that try, one succeeds and the other sees that it has not. A run
also names its attempt, and only the run with the job's current attempt may record. All moments are by the database's
clock. This module decides what a claim and a record change; `webhooks/inbox/engine.py` writes it to the database.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, Exists, F, OuterRef, QuerySet, Value, When
from django.db.models.functions import Concat, Least, Now, Replace

from webhooks.inbox import turns
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.database import skip_locked
from webhooks.inbox.engine import Change, engine
from webhooks.inbox.job_log import job_fields
from webhooks.inbox.outcomes import Budget, Outcome, Step, failure_fingerprint, next_step, one_line
from webhooks.inbox.turns import Keys
from webhooks.models import Attempt, Job, Payload
from webhooks.replay_queues import MARK
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff

logger = logging.getLogger(__name__)

RUN_AGAIN_FROM = (JobState.DEAD, JobState.SUCCEEDED, JobState.SKIPPED)
HAS_PAYLOAD = Exists(Payload.objects.filter(pk=OuterRef("delivery_id")))
CLAIMED_HERE = ~Exists(Attempt.objects.filter(job=OuterRef("pk"), number=OuterRef("attempt")))
"""Whether a running job is claimed by this release: the one before wrote the attempt's row at the claim."""
GIVE_UP_FROM = (JobState.QUEUED, JobState.RETRYING, JobState.DEAD)
_LIVE_QUEUE = Replace("queue", Value(MARK))
"""A job's queue without the mark of a replay: no other queue's name has it."""
_UNLESS_IN_TURN = Case(When(order_key=None, then=Now()))
"""A job with an order key may be claimed only once `turns.py` says that it is its turn."""
MOST_BEHIND = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that has ended: its job as it was claimed, or as it is while the attempt is current; and how it ended."""

    job: ClaimedJob | Job
    outcome: Outcome
    backoff: Backoff
    age_seconds: float
    """Since the first claim of the job's budget."""
    worker: str
    pid: int = 0
    """The process of the run; 0 if none is known."""
    began_seconds_ago: float = 0.0
    ended_seconds_ago: float = 0.0


def claim(job_id: int, *, worker: str, lease_seconds: float, handler: str) -> ClaimedJob | None:
    """Start an attempt of one job, or return None if the job is taken, final, not due yet or gone."""
    _, claimed = exchange([], Wanted(worker=worker, leases={handler: lease_seconds}, job_id=job_id))
    return claimed[0] if claimed else None


def record(ended: Ended) -> JobState | None:
    """End the job's current attempt and return the job's new state, or None if the attempt is no longer current."""
    return exchange([ended], None)[0][0]


def exchange(ended: Sequence[Ended], wanted: Wanted | None) -> tuple[list[JobState | None], list[ClaimedJob]]:
    """Record runs and claim jobs, all in one transaction; return each run's new state, as `record` does, and the jobs.

    An attempt is counted and committed here, before any code of the handler runs and before a large payload is read. So
    it is counted even if the payload takes more memory than the process may have.
    """
    runs = [(one.job.pk, one.job.attempt) for one in ended]
    # A run may be given twice. The rows are locked in the order of their ids, as an operator's selection locks them.
    unique = dict(sorted(zip(runs, ended, strict=True), key=itemgetter(0)))
    steps = {run: _step(one) for run, one in unique.items()}
    with turns.held(Keys.of(one.job for one in unique.values())):
        recorded, rows = engine().exchange([_change(one, steps[run]) for run, one in unique.items()], wanted)
    states = [steps[run].state if run in recorded else None for run in runs]
    return states, [ClaimedJob(*row) for row in rows]


def running(job_id: int, attempt: int) -> tuple[Job, timedelta] | None:
    """Return a job whose current attempt is this one, and the age of its budget; None if it has recorded."""
    running = Job.objects.filter(pk=job_id, state=JobState.RUNNING, attempt=attempt).select_related("delivery")
    found = running.annotate(seen_at=Now()).first()
    return (found, found.seen_at - found.budget_from_at) if found else None


def release_unknown(worker: str, known: Collection[tuple[int, int]]) -> int:
    """Give back what is claimed for a worker that does not know of it: the answer to its claim was lost."""
    claims = Job.objects.filter(CLAIMED_HERE, state=JobState.RUNNING, worker=worker, started_at=None)
    columns = claims.order_by("pk").values_list("pk", "attempt", "order_key", "latest_key")
    unknown = [row for row in columns if row[:2] not in known]
    return _release([row[:2] for row in unknown], Keys.of_pairs(row[2:] for row in unknown))


def release(jobs: Sequence[ClaimedJob]) -> int:
    """Give claims back whose runs have not begun; return how many. Nothing is counted against their jobs.

    The worker is sure of it, also where `begin` was noted and the child that was to run the job did not.
    """
    return _release(sorted((job.pk, job.attempt) for job in jobs), Keys.of(jobs))


def _release(claims: Sequence[tuple[int, int]], keys: Keys) -> int:
    with turns.held(keys):
        return engine().release(claims) if claims else 0


def begin(job: ClaimedJob) -> bool:
    """Note that the run of a job begins, and return whether its attempt is still current.

    Needed only for a job that was lost before: see `_counts_as_lost`.
    """
    running = Job.objects.filter(pk=job.pk, state=JobState.RUNNING, attempt=job.attempt)
    return bool(running.update(started_at=Now()))


def _step(ended: Ended) -> Step:
    job = ended.job
    budget = Budget(
        attempt=job.attempt,
        budget_from_attempt=job.budget_from_attempt,
        forgiven=job.forgiven,
        lost=job.lost,
        max_attempts=job.max_attempts,
        age_seconds=ended.age_seconds,
    )
    longest = timedelta(hours=settings.HOOKLINE_MAX_AGE_HOURS)
    return next_step(ended.outcome, budget, backoff=ended.backoff, max_age_seconds=longest.total_seconds())


def _change(ended: Ended, step: Step) -> Change:
    """Return what the end of an attempt changes in the job's row, and the attempt's row."""
    outcome, succeeded = ended.outcome, step.state is JobState.SUCCEEDED
    return {
        "job": ended.job.pk,
        "attempt": ended.job.attempt,
        "state": step.state.value,
        "is_final": step.state is not JobState.RETRYING,
        "delay": step.delay_seconds,
        "forgives": int(step.forgives),
        "loses": int(step.loses),
        "result": one_line(outcome.message) if succeeded else "",
        "error": "" if succeeded else one_line(f"{outcome.message} {step.reason}"),
        "fingerprint": _fingerprint(ended, step),
        "outcome": outcome.kind.value,
        "message": one_line(outcome.message),
        "traceback": outcome.traceback,
        "worker": ended.worker[:255],
        "pid": ended.pid,
        "began": ended.began_seconds_ago,
        "ended": ended.ended_seconds_ago,
    }


def _fingerprint(ended: Ended, step: Step) -> str:
    """Return what groups the failure with others like it. A dead job always has one: by its message if need be."""
    outcome = ended.outcome
    if outcome.fingerprint or step.state is not JobState.DEAD:
        return outcome.fingerprint
    return failure_fingerprint(ended.job.handler, outcome.kind.value, one_line(outcome.message))


def expire_leases(*, limit: int = 100) -> int:
    """Record as lost the runs that did not record before their lease ran out; return how many."""
    overdue = Job.objects.filter(state=JobState.RUNNING, lease_until__lt=Now()).order_by("lease_until", "id")
    found = list(overdue.values_list("order_key", "latest_key")[:limit])
    if not found:  # So nearly every second of every relay takes no transaction.
        return 0
    keys = Keys.of_pairs(found)
    with transaction.atomic():
        turns.lock(keys)
        jobs = list(skip_locked(overdue.filter(keys.only_these)).annotate(seen_at=Now())[:limit])
        for job in jobs:
            expire(job, seen_at=job.seen_at)
    return len(jobs)


def expire(job: Job, *, seen_at: datetime) -> JobState | None:
    """Record that a run is lost: its worker ended before it could record."""
    if not _counts_as_lost(job):
        return JobState.QUEUED if _release([(job.pk, job.attempt)], Keys.of([job])) else None
    outcome = Outcome(
        kind=AttemptOutcome.LOST,
        message="The run did not record before its lease ran out: its worker died, or the hard time limit killed it.",
        fingerprint=failure_fingerprint(job.handler, AttemptOutcome.LOST.value, ""),
    )
    age_seconds = (seen_at - job.budget_from_at).total_seconds()
    state = record(Ended(job=job, outcome=outcome, backoff=Backoff(), age_seconds=age_seconds, worker=job.worker))
    logger.warning("run lost", extra={**job_fields(job), "state": state})
    return state


def _counts_as_lost(job: Job) -> bool:
    """Tell whether a job may have run that is lost with its worker.

    A worker claims more jobs than it runs, and nothing tells from outside which had begun. The first loss counts all
    the same. From then on, `begin` is committed before each run of the job: without it, the job had not begun. So no
    job reaches the limit on lost runs only since its worker had claimed it ahead. The release before claimed a job only
    to run it.
    """
    return job.lost == 0 or job.started_at is not None or not Job.objects.filter(CLAIMED_HERE, pk=job.pk).exists()


def run_again(jobs: QuerySet[Job]) -> int:
    """Queue final jobs again, with a new budget of attempts; return how many. Other jobs are not changed.

    A job whose payload has been pruned is not changed either, and keeps its result: it could only fail.
    """
    with _held(jobs) as held:
        return _queue_again(held.filter(HAS_PAYLOAD, state__in=RUN_AGAIN_FROM), queue=_LIVE_QUEUE)


def replay(jobs: QuerySet[Job]) -> list[Job]:
    """Queue jobs again as `run_again` does, but behind all live jobs of their queues; return them as they were."""
    with _held(jobs) as held:
        again = held.filter(HAS_PAYLOAD, state__in=RUN_AGAIN_FROM).order_by("pk")
        chosen = list(again.only("pk", "handler", "state", "delivery_id"))
        _queue_again(Job.objects.filter(pk__in=[job.pk for job in chosen]), queue=Concat(_LIVE_QUEUE, Value(MARK)))
    return chosen


def _queue_again(jobs: QuerySet[Job], *, queue: Replace | Concat) -> int:
    return jobs.update(
        state=JobState.QUEUED,
        queue=queue,
        due_at=Now(),
        publish_at=_UNLESS_IN_TURN,
        superseded_by=None,
        budget_from_attempt=F("attempt"),
        budget_from_at=Now(),
        forgiven=0,
        lost=0,
        finished_at=None,
        result="",
    )


def take_back(jobs: QuerySet[Job], *, state: JobState) -> list[int]:
    """End replayed jobs whose run has not begun in the final state that they had before; return them."""
    with _held(jobs) as held:
        waiting = held.filter(state=JobState.QUEUED, attempt=F("budget_from_attempt"), queue__endswith=MARK)
        chosen = list(waiting.order_by("pk").values_list("pk", flat=True))
        Job.objects.filter(pk__in=chosen).update(state=state, queue=_LIVE_QUEUE, publish_at=None, finished_at=Now())
    return chosen


def give_up(jobs: QuerySet[Job]) -> int:
    """Skip jobs that wait or are dead; return how many. A running job is not changed: its run may still succeed."""
    with _held(jobs) as held:
        waiting_or_dead = held.filter(state__in=GIVE_UP_FROM)
        return waiting_or_dead.update(state=JobState.SKIPPED, publish_at=None, finished_at=Now())


def retry_now(jobs: QuerySet[Job]) -> int:
    """Let retrying jobs be due now, whatever their handler's backoff or RetryLater asked for; return how many retry.

    A job that is due already keeps its place before those that were not.
    """
    with _held(jobs) as held:
        retrying = held.filter(state=JobState.RETRYING)
        # Not where it is another job's turn: on PostgreSQL, LEAST passes over what is empty.
        publish_at = Case(When(publish_at__isnull=False, then=Least("publish_at", Now())))
        return retrying.update(due_at=Least("due_at", Now()), publish_at=publish_at)


@contextmanager
def _held(jobs: QuerySet[Job]) -> Iterator[QuerySet[Job]]:
    """Hold jobs while they change; yield those of them that are held. Then settle the turns of their keys."""
    with transaction.atomic():
        keys = lock(jobs)
        # Not one that is among the jobs only now, and whose keys are not held.
        yield jobs.filter(keys.only_these)
        turns.settle(keys)


def lock(jobs: QuerySet[Job]) -> Keys:
    """Lock the jobs' keys, which it returns, and then their rows in the order of their ids.

    Then two operators with some of the same jobs wait for each other. Updates in any order could deadlock.
    """
    keys = turns.keys_of(jobs)
    turns.lock(keys)
    if connection.features.has_select_for_update:
        ids = jobs.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True)
        deque(ids.iterator(), maxlen=0)  # Reads all ids and keeps none in memory.
    return keys


def end_without_run(job_ids: Sequence[int], *, reason: str) -> int:
    """End waiting jobs as dead without a run, because there is no handler for them; return how many.

    So do those that wait for the turns of these. A job that another relay has locked is left to that relay.
    """
    keys = turns.keys_of(Job.objects.filter(pk__in=job_ids))
    with transaction.atomic(), turns.held(keys):
        going = Job.objects.filter(keys.only_these, pk__in=[*job_ids, *_behind(keys)])
        free = skip_locked(going).order_by("pk").values_list("pk", flat=True)
        waiting = Job.objects.filter(pk__in=list(free), state__in=(JobState.QUEUED, JobState.RETRYING))
        return waiting.update(
            state=JobState.DEAD,
            publish_at=None,
            finished_at=Now(),
            error=one_line(reason),
            fingerprint=failure_fingerprint("", "no-handler", reason),
        )


def _behind(keys: Keys) -> list[int]:
    """Return jobs that wait for the turns of others with these keys: of the same handler, therefore."""
    waiting = (JobState.QUEUED, JobState.RETRYING)
    behind = Job.objects.filter(order_key__in=keys.order, state__in=waiting, publish_at=None) if keys.order else None
    return list(behind.order_by("pk").values_list("pk", flat=True)[:MOST_BEHIND]) if behind is not None else []
