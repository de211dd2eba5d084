"""A dispatcher's metrics of the jobs that its worker runs: how the runs ended, how long they took and had waited."""

import time
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.states import AttemptOutcome, JobState

BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
ENDS = (JobState.SUCCEEDED, JobState.DEAD)


class RunMetrics:
    """No label has a value that a payload could choose: handlers and queues are those of the installed apps."""

    def __init__(self, registry: CollectorRegistry) -> None:
        runs = Counter("hookline_worker_runs", "Runs by how they ended.", ["handler", "outcome"], registry=registry)
        jobs = Counter(
            "hookline_worker_jobs_ended",
            "Jobs that are final with a run of this worker: succeeded, or dead.",
            ["handler", "state"],
            registry=registry,
        )
        run_seconds = Histogram(
            "hookline_worker_run_seconds", "How long runs took.", ["handler"], buckets=BUCKETS, registry=registry
        )
        wait_seconds = Histogram(
            "hookline_worker_wait_seconds",
            "How long jobs had waited as their run began: since they came, or were due again.",
            ["queue"],
            buckets=BUCKETS,
            registry=registry,
        )
        # The library takes longer to find a series by its labels than to add to it.
        self._runs, self._jobs = cache(runs.labels), cache(jobs.labels)
        self._run_seconds, self._wait_seconds = cache(run_seconds.labels), cache(wait_seconds.labels)
        self._to_epoch: float | None = None
        """What to add to a moment of the machine's monotonic clock for the database's; None before the first claim."""

    def claimed(self, job: ClaimedJob, *, ago_seconds: float) -> None:
        """Compare the clocks: the database has claimed this job so long ago."""
        self._to_epoch = job.claimed_at.timestamp() + ago_seconds - time.monotonic()

    def ended(self, handler: str, outcome: AttemptOutcome, state: JobState | None, *, seconds: float) -> None:
        self._runs(handler, outcome.value).inc()
        self._run_seconds(handler).observe(seconds)
        if state in ENDS:
            self._jobs(handler, state.value).inc()

    def waited(self, job: ClaimedJob, *, until: float) -> None:
        """Note that a job's run began at this moment of the machine's monotonic clock."""
        if self._to_epoch is not None:
            self._wait_seconds(job.queue).observe(max(0.0, until + self._to_epoch - job.due_at.timestamp()))
