"""What the inbox has measured, for a plan of capacity: how long runs took, and when jobs came.

An inbox holds millions of rows: each question reads a bounded number of them, by an index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from webhooks.inbox.figures.making import HOUR, MINUTE, hour_of, minute_of
from webhooks.inbox.figures.reading import Span, received
from webhooks.models import Attempt, Job
from webhooks.replay_queues import live_queue
from webhooks.states import AttemptOutcome

MOST_RUNS = 20_000
"""So many of the newest runs are read."""
MOST_JOBS = 500_000
"""So many jobs of a window are read at most."""
CHUNK = 1_000
WITH_MINUTES = timedelta(hours=47)
"""Figures of minutes are kept for two days. Further back the hours are compared."""

BY_THEMSELVES = frozenset(AttemptOutcome.values) - {
    AttemptOutcome.HANDED_BACK,
    AttemptOutcome.CRASHED,
    AttemptOutcome.LOST,
}
"""How runs end that were not cut off."""


class Created(NamedTuple):
    """A job, as it came."""

    at: datetime
    handler: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The jobs of a window, in the order in which they came."""

    begin: datetime
    end: datetime
    jobs: Sequence[Created]
    is_cut_off: bool
    """Whether there were more than MOST_JOBS, so that the last ones are left out."""


def run_seconds(queues: frozenset[str] | None) -> dict[str, list[float]]:
    """Return how long the newest runs took, by handler; of these queues, or of all."""
    newest = Attempt.objects.order_by("-pk").values_list("job_id", "outcome", "started_at", "finished_at")[:MOST_RUNS]
    runs = [
        (job, (finished - started).total_seconds())
        for job, outcome, started, finished in newest
        if outcome in BY_THEMSELVES and finished is not None
    ]
    found: dict[str, list[float]] = {}
    # Their jobs by number, some at a time: a join might be planned as a walk over all jobs there are.
    for begin in range(0, len(runs), CHUNK):
        some = runs[begin : begin + CHUNK]
        rows = Job.objects.filter(pk__in=[job for job, _ in some]).values_list("pk", "handler", "queue")
        jobs = {pk: (handler, queue) for pk, handler, queue in rows}
        for job, seconds in some:
            handler, queue = jobs.get(job, ("", ""))
            if handler and _is_of(queue, queues):
                found.setdefault(handler, []).append(max(0.0, seconds))
    return found


def _is_of(queue: str, queues: frozenset[str] | None) -> bool:
    return queues is None or live_queue(queue) in queues


def busiest_window(since: datetime, *, now: datetime, length: timedelta) -> datetime:
    """Return when the window with the most deliveries began; if none were counted, the last one's beginning."""
    span = _span(since, now)
    counts = received(span)
    steps = max(1, length // span.step)
    best, begin, total = 0, now - length, 0
    moments = span.moments
    for place, at in enumerate(moments):
        total += counts.get(at, 0)
        if place >= steps:
            total -= counts.get(moments[place - steps], 0)
        if total > best:
            best, begin = total, moments[max(0, place - steps + 1)]
    return begin


def _span(since: datetime, now: datetime) -> Span:
    if now - since > WITH_MINUTES:
        return Span(hour_of(since), hour_of(now) - HOUR, is_hourly=True, now=now)
    return Span(minute_of(since), minute_of(now) - MINUTE, is_hourly=False, now=now)


def trace(begin: datetime, end: datetime, *, queues: frozenset[str] | None) -> Trace:
    """Return the jobs that came in this time, for these queues or for all."""
    rows = (
        Job.objects.filter(created_at__gte=begin, created_at__lt=end)
        .order_by("created_at", "pk")
        .values_list("created_at", "handler", "queue")[: MOST_JOBS + 1]
    )
    read = list(rows)
    jobs = [Created(at, handler) for at, handler, queue in read[:MOST_JOBS] if _is_of(queue, queues)]
    return Trace(begin, end, jobs, is_cut_off=len(read) > MOST_JOBS)
