"""The task: what a worker does with a message. Claim, run, record.

    claim     counts the attempt in the inbox and takes the lease; a superfluous message ends here
    run       calls the handler under its time limits (workers/runs/handler.py)
    record    writes the outcome, if this attempt still holds the job

Every subscription is a Celery task with the subscription's name. So Flower and metrics show handlers by name, and each
has its own time limits.
"""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Task
from django.conf import settings
from django.db import Error, connections

from webhooks.inbox import database, transitions
from webhooks.inbox.claimed_event import event_of
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import ClaimedJob
from webhooks.outage_log import OutageLog
from webhooks.publishing.broker import MESSAGE_VERSION
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import Run
from webhooks.subscriptions.subscription import Subscription
from workers.processes.descendants import end_processes, retire
from workers.processes.recycling import count_job
from workers.runs.handler import HandlerWindow, run_handler
from workers.stopping.flag import is_stopping

PAUSE_SECONDS = 1.0
"""How long a child that gets no answer from the database waits before it tries again or takes the next message."""
INTERRUPTED = (AttemptOutcome.HARD_LIMIT, AttemptOutcome.HANDED_BACK)
"""Outcomes after which the parent soon kills the child: it has only a moment to record them."""

logger = logging.getLogger(__name__)
_unclaimed = OutageLog(logger, "jobs are not claimed")
_unrecorded = OutageLog(logger, "outcomes are not recorded yet")


class HandlerTask(Task[[int], str]):
    """One subscription as a Celery task. Its only argument is the id of the job."""

    abstract = True
    typing = False
    ignore_result = True
    Request = "workers.runs.ended_processes:RunRequest"
    subscription: Subscription

    def run(self, job_id: int) -> str:
        version = self.request.get("hookline", MESSAGE_VERSION)
        if version != MESSAGE_VERSION:
            # Its job waits in the inbox; the relay publishes it again, for a worker that reads this version.
            logger.warning("message dropped: unknown version", extra={"job": job_id, "version": version})
            return "dropped"
        if is_stopping():
            # The message reached this child after the stop began. Its job waits in the inbox; the relay publishes it.
            return "handed back"
        subscription = under_limits(self.subscription, self.request.get("timelimit"))
        window = HandlerWindow(subscription)
        try:
            return perform(subscription, job_id, worker=str(self.request.hostname), window=window)
        except MemoryError:
            # Raised outside of the handler, if handlers have used up the memory. Celery would end the whole worker.
            raise RuntimeError("The process has no memory left.") from None
        finally:
            window.leave()


def under_limits(subscription: Subscription, limits: Sequence[float | None] | None) -> Subscription:
    """Return the subscription under the time limits that the parent enforces: the message's (hard, soft), if any.

    Another release, or another pod, may have put other limits into the message than this worker's own.
    """
    hard, soft = limits or (None, None)
    return replace(
        subscription,
        time_limit=hard or subscription.time_limit,
        soft_time_limit=soft or subscription.soft_time_limit,
    )


def perform(subscription: Subscription, job_id: int, *, worker: str, window: HandlerWindow) -> str:
    """Claim a job, run its handler and record the outcome; return what happened, for Flower."""
    lease_seconds = subscription.time_limit + settings.HOOKLINE_LEASE_MARGIN_SECONDS
    try:
        job = database.run(
            partial(transitions.claim, job_id, worker=worker, pid=os.getpid(), lease_seconds=lease_seconds)
        )
    except Error as error:
        if not database.is_outage(error):
            raise
        # The relay publishes the job again. If it was claimed and only the answer was lost, its lease ends first.
        _unclaimed.failed(f"the database {database.reason(error)}")
        time.sleep(PAUSE_SECONDS)
        return "left to the relay"
    if job is None:
        logger.debug("message dropped: its job is taken, done, not due or gone", extra={"job": job_id})
        return "dropped"
    claimed = time.monotonic()
    count_job()
    if job.handler != subscription.name:
        outcome = Outcome(kind=AttemptOutcome.GAVE_UP, message=f"The message named {subscription.name}.")
    else:
        run = Run(attempt=job.attempt, stopping=is_stopping)
        outcome = run_handler(subscription, partial(event_of, job), run, window)
        _end_processes_of(job, at_once=outcome.kind in INTERRUPTED)
    if close_faulty_connections() and outcome.kind is AttemptOutcome.SUCCEEDED:
        outcome = Outcome(kind=AttemptOutcome.FAILED, message="The handler left a transaction open; it is rolled back.")
    state = _record(subscription, job, outcome, claimed=claimed, lease_seconds=lease_seconds)
    logger.info(
        "attempt ended",
        extra={
            "job": job.pk,
            "handler": job.handler,
            "attempt": job.attempt,
            "outcome": outcome.kind.value,
            "state": state.value if state else "not recorded",
            "seconds": round(time.monotonic() - claimed, 3),
        },
    )
    return outcome.kind.value


def _end_processes_of(job: ClaimedJob, *, at_once: bool) -> None:
    if left := end_processes(at_once=at_once):
        extra = {"job": job.pk, "handler": job.handler, "processes": left}
        logger.warning("processes killed that the handler had left; this child ends too", extra=extra)
        retire()


def close_faulty_connections() -> bool:
    """Close connections with an error or an open transaction of the handler; return whether a transaction was open."""
    was_open = False
    for used in connections.all(initialized_only=True):
        if used.connection is None:
            continue
        if used.in_atomic_block or not used.autocommit:
            was_open = True
            # Reset it to the state of an unused connection: `close` alone would leave it inside the atomic block.
            used.in_atomic_block, used.needs_rollback = False, False
            used.savepoint_ids, used.atomic_blocks = [], []
            used.close()
        elif used.errors_occurred:
            used.close()
    return was_open


def _record(
    subscription: Subscription, job: ClaimedJob, outcome: Outcome, *, claimed: float, lease_seconds: float
) -> Any:
    """Record the outcome, trying until the lease ends; after that the relay records the run as lost."""
    is_bare = False
    while True:
        held = time.monotonic() - claimed
        age = job.claimed_at - job.budget_from_at + timedelta(seconds=held)
        try:
            return database.run(
                partial(transitions.record, job, outcome, age_seconds=age.total_seconds(), backoff=subscription.backoff)
            )
        except (Error, ValueError) as error:
            if database.is_outage(error):
                _unrecorded.failed(f"the database {database.reason(error)}")
                if held + PAUSE_SECONDS >= lease_seconds:
                    raise
                time.sleep(PAUSE_SECONDS)
            elif is_bare:
                raise
            else:
                # Something in the outcome cannot be stored. Store only that the run has failed.
                is_bare = True
                message = f"The outcome could not be recorded: {type(error).__name__}"
                outcome = Outcome(kind=AttemptOutcome.FAILED, message=message)
