"""What operators see of a dispatcher's work: metrics, events for Flower, log lines of runs that did not succeed."""

import logging

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.job_log import job_fields
from webhooks.inbox.outcomes import Outcome
from webhooks.models import Job
from webhooks.states import AttemptOutcome, JobState
from workers.dispatcher.api_use import ApiMetrics
from workers.dispatcher.desk import EndedRun
from workers.dispatcher.ended_children import CutOff
from workers.dispatcher.events import JobEvents
from workers.dispatcher.exchange import Answer
from workers.dispatcher.run_metrics import RunMetrics
from workers.runs.slots import Slots

LOOK_SECONDS = 0.5
"""How often it looks which runs have started. Of a shorter run it says so when that has ended."""

logger = logging.getLogger(__name__)


class Reports:
    """Reports each answer of the inbox, once. Without `events` it sends none."""

    def __init__(self, registry: CollectorRegistry, events: JobEvents | None) -> None:
        self._events = events
        self._look_at = 0.0
        ProcessCollector(namespace="hookline_worker_dispatcher", registry=registry)
        self._runs = RunMetrics(registry)
        self._api = ApiMetrics(registry)
        self._claimed = Counter(
            "hookline_worker_jobs_claimed", "Jobs that it claimed, those given back included.", ["queue"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "hookline_worker_exchange_seconds",
            "How long the inbox took to record outcomes and to claim jobs, each time.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5),
            registry=registry,
        )
        self._failed = Counter(
            "hookline_worker_exchanges_failed", "How often the inbox was not available for that.", registry=registry
        )

    def look(self, slots: Slots, *, now: float) -> None:
        if self._events and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._events.running(slots.running())

    def answered(self, answer: Answer) -> None:
        self._seconds.observe(answer.seconds)
        for cut_off, job, state in answer.cut_off:
            self._ended_with_process(cut_off, job, state)
        if answer.has_failed:
            self._failed.inc()
            return
        for run, state in zip(answer.request.ended, answer.states, strict=True):
            self._ended(run, state)
        if answer.claimed:
            self._runs.claimed(answer.claimed[0], ago_seconds=answer.seconds)
            self._claimed.labels(answer.claimed[0].queue).inc(len(answer.claimed))
        if self._events:
            self._events.claimed(answer.claimed)
            self._events.given_back(answer.request.given_back)
            self._events.given_back([job for job in answer.request.begins if job not in answer.begun])

    def _ended_with_process(self, run: CutOff, job: ClaimedJob | Job, state: JobState | None) -> None:
        self._runs.ended(job.handler, run.kind, state, seconds=run.ended_at - run.began_at)
        if self._events:
            outcome = Outcome(kind=run.kind, message=run.reason)
            self._events.ended(
                (run.job_id, run.attempt), job.handler, outcome, state,
                pid=run.pid, began_at=run.began_at, ended_at=run.ended_at,
            )  # fmt: skip
        fields = {**job_fields(job), "outcome": run.kind.value, "state": _name(state)}
        logger.warning("attempt ended with its process", extra={**fields, "reason": run.reason})

    def _ended(self, run: EndedRun, state: JobState | None) -> None:
        job, message, kind = run.job, run.message, run.message.outcome.kind
        self._runs.ended(job.handler, kind, state, seconds=message.ended_at - message.began_at)
        self._runs.waited(job, until=message.began_at)
        self._api.ended(run)
        if self._events:
            self._events.ended(
                (job.pk, job.attempt), job.handler, message.outcome, state,
                pid=message.pid, began_at=message.began_at, ended_at=message.ended_at,
            )  # fmt: skip
        level = logging.DEBUG if kind is AttemptOutcome.SUCCEEDED else logging.INFO
        if logger.isEnabledFor(level):
            fields = {**job_fields(job), "outcome": kind.value, "state": _name(state)}
            seconds = round(message.ended_at - message.began_at, 3)
            logger.log(level, "attempt ended", extra={**fields, "seconds": seconds})


def _name(state: JobState | None) -> str:
    return state.value if state else "not recorded"
