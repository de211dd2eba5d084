"""Runs one job in this process, from the claim to the record. There is no worker, so no time limit is enforced."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webhooks.github_api.runs import ApiOfRun
from webhooks.inbox import transitions
from webhooks.inbox.calls import call, outcome_of
from webhooks.inbox.claimed_event import event_of
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import Ended
from webhooks.states import JobState
from webhooks.subscriptions.event import Event, Run
from webhooks.subscriptions.subscription import Subscription

LEASE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How the run of a job ended, how long the handler took, and the job's state now; None if that was too late."""

    outcome: Outcome
    seconds: float
    state: JobState | None


def run_job(
    job_id: int, subscription: Subscription, *, worker: str, open_github: Callable[[], Any] | None = None
) -> Ran | None:
    """Claim a job, run its handler and record the outcome; None if the job cannot be claimed.

    `open_github` is what `run.github` opens: without it, GitHub's API for the event's installation.
    """
    job = transitions.claim(job_id, worker=worker, handler=subscription.name, lease_seconds=LEASE_SECONDS)
    if job is None:
        return None
    if open_github is None:
        open_github = ApiOfRun(job.source, job.installation_id, is_replay=False, until=math.inf, may_lack_key=True).open
    run = Run(attempt=job.attempt, stopping=lambda: False, open_github=open_github)
    began = time.monotonic()
    outcome = ended(subscription, lambda: event_of(job), run)
    seconds = time.monotonic() - began
    state = transitions.record(
        Ended(
            job=job,
            outcome=outcome,
            backoff=subscription.backoff,
            age_seconds=0.0,
            worker=worker,
            pid=os.getpid(),
            began_seconds_ago=seconds,
        )
    )
    return Ran(outcome, seconds, state)


def ended(subscription: Subscription, event: Callable[[], Event], run: Run) -> Outcome:
    """Make the event, call the handler with it and return the outcome."""
    try:
        return call(subscription, event(), run)
    except (Exception, SystemExit) as error:  # Not Ctrl-C or pytest's own exceptions.
        return outcome_of(subscription, error)
