"""Jobs as Celery's own task events, which Flower and other tools of Celery understand.

    task-received     claimed: the worker has it
    task-started      its handler runs
    task-succeeded, task-retried, task-failed     how the attempt ended: retried if another one follows
    task-revoked      given back before it had begun; whoever runs it claims it again, as another attempt

A task is one attempt, with the handler's name. Its id is `<job>-<attempt>`: job 4711 of the admin is found in Flower by
`4711-`, and the other way round. The format: https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.outcomes import Outcome, one_line
from webhooks.states import AttemptOutcome, JobState
from workers.runs.slots import Running

Claim = tuple[int, int]
"""A job and its attempt."""
Event = dict[str, Any]


class JobEvents:
    """Makes the events. Moments that it is given are by the machine's monotonic clock."""

    def __init__(self, worker: str, put: Callable[[Event], None]) -> None:
        self._worker = worker
        self._put = put
        self._not_started: dict[Claim, str] = {}
        """The handler of each claim that was received and of which nothing else was said."""
        self._set_clock()

    def claimed(self, jobs: Iterable[ClaimedJob]) -> None:
        now = time.time()
        for job in jobs:
            self._not_started[job.pk, job.attempt] = job.handler
            event = self._event("task-received", (job.pk, job.attempt), job.handler, now)
            event["args"], event["kwargs"], event["retries"] = f"({job.pk},)", "{}", job.attempt - 1
            self._put(event)

    def given_back(self, jobs: Iterable[ClaimedJob]) -> None:
        for job in jobs:
            claim = job.pk, job.attempt
            if self._not_started.pop(claim, None):
                event = self._event("task-revoked", claim, job.handler, time.time())
                self._put(event | {"terminated": False, "signum": None, "expired": False})

    def running(self, runs: Iterable[Running]) -> None:
        """Say of each run that it has started, once."""
        self._set_clock()
        for run in runs:
            self._started((run.job_id, run.attempt), run.pid, run.began_at)

    def ended(
        self,
        claim: Claim,
        handler: str,
        outcome: Outcome,
        state: JobState | None,
        *,
        pid: int,
        began_at: float,
        ended_at: float,
    ) -> None:
        self._started(claim, pid, began_at)
        kind = "task-succeeded"
        if outcome.kind is not AttemptOutcome.SUCCEEDED:
            kind = "task-retried" if state is JobState.RETRYING else "task-failed"
        event = self._event(kind, claim, handler, ended_at + self._to_epoch)
        event["pid"], event["runtime"] = pid, ended_at - began_at
        text = one_line(outcome.message) if outcome.message else ""
        if kind == "task-succeeded":
            event["result"] = text
        else:
            event["exception"] = text or outcome.kind.label
        self._put(event)

    def _set_clock(self) -> None:
        """Compare the clocks, now and then: each look at a clock may cost as much as an event."""
        self._to_epoch = time.time() - time.monotonic()

    def _started(self, claim: Claim, pid: int, began_at: float) -> None:
        if handler := self._not_started.pop(claim, None):
            event = self._event("task-started", claim, handler, began_at + self._to_epoch)
            event["pid"] = pid
            self._put(event)

    def _event(self, kind: str, claim: Claim, handler: str, at: float) -> Event:
        # Without Celery's logical clock and the time zone: the receiver counts for itself, and the time is UTC's.
        return {
            "type": kind,
            "uuid": f"{claim[0]}-{claim[1]}",
            "name": handler,
            "hostname": self._worker,
            "timestamp": at,
        }
