"""A claimed job, as the inbox hands it to a worker; and its run, without one."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from webhooks.github.payload import JSON
from webhooks.inbox import transitions
from webhooks.inbox.claimed_event import event_of
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.foreground import ended
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import Ended
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.event import Run
from webhooks.subscriptions.subscription import Subscription
from workers.dispatcher.desk import EndedRun
from workers.runs.messages import RunEnded

DONE = Outcome(kind=AttemptOutcome.SUCCEEDED)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def claimed_job(**values: Any) -> ClaimedJob:
    """Return a job of `shop.count` in its first attempt, if nothing else is said."""
    given: dict[str, Any] = {
        "pk": 1,
        "handler": "shop.count",
        "queue": "default",
        "attempt": 1,
        "max_attempts": 3,
        "forgiven": 0,
        "lost": 0,
        "budget_from_attempt": 0,
        "budget_from_at": AT,
        "claimed_at": AT,
        "due_at": AT,
        "delivery_id": 1,
        "event": "push",
        "action": "",
        "guid": UUID(int=1),
        "hook_id": 1,
        "repository": "acme/widgets",
        "installation_id": None,
        "sender": "octo",
        "received_at": AT,
        "source": "github",
        "content_type": JSON,
        "traceparent": None,
        "once_key": None,
        "body_bytes": 2,
        "body": b"{}",
    }
    return ClaimedJob(**given | values)


def run_now(subscription: Subscription, job_id: int) -> JobState | None:
    """Claim a job, run its handler in this process and record the outcome; return the job's new state."""
    job = transitions.claim(job_id, worker="worker@test", lease_seconds=60, handler=subscription.name)
    assert job is not None
    outcome = ended(subscription, lambda: event_of(job), Run(attempt=job.attempt, stopping=lambda: False))
    age_seconds = (job.claimed_at - job.budget_from_at).total_seconds()
    return transitions.record(
        Ended(
            job=job, outcome=outcome, backoff=subscription.backoff, age_seconds=age_seconds, worker="worker@test", pid=1
        )
    )


def ended_run(
    job: ClaimedJob,
    outcome: Outcome = DONE,
    *,
    place: int = 0,
    number: int = 1,
    pid: int = 11,
    began_at: float = 0.0,
    ended_at: float = 0.0,
    is_last: bool = False,
) -> EndedRun:
    """Return what a child has said of its run of this job, as the dispatcher keeps it."""
    message = RunEnded(number, job.pk, job.attempt, None, outcome, pid, began_at, ended_at, is_last)
    return EndedRun(place, job, message)
