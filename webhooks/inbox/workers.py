"""What workers report of themselves, and what people ask of them: written, read and removed here, and nowhere else.

Every moment is by the database's clock, so that a worker with a wrong clock is not taken for a lost one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from webhooks.inbox import audit
from webhooks.models import Job, WorkerReport, WorkerRequest
from webhooks.replay_queues import live_queue
from webhooks.states import JobState

REPORT_SECONDS = 10.0
"""How often a worker reports, if nothing has changed."""
LOST_SECONDS = 30.0
"""A worker that has not reported for so long, and did not say that it has stopped, is lost."""
REQUEST_SECONDS = 60.0
"""A worker ignores an older request: the person who asked has seen that nobody answered."""
KEPT = timedelta(days=1)
"""How long the rows of stopped and lost workers are kept, and requests."""
LISTED = 500
"""How many workers are listed at most."""
MOST = 2_000
"""How many are looked at, at most, where they are only counted."""
REQUESTS_AT_ONCE = 20
LOST = "lost"
"""The state of a worker that no longer reports; no worker says this of itself."""

State = WorkerReport.State
_ORDER: Mapping[str, int] = {LOST: 0, State.DRAINING: 1, State.STARTING: 2, State.READY: 3, State.STOPPED: 4}
_REPORTED = (
    *("release", "queues", "state", "slots", "busy", "memory_bytes", "running"),
    *("started_at", "reported_at"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A run that goes on in a worker."""

    job: int
    attempt: int
    handler: str
    pid: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker says of itself."""

    worker: str
    release: str
    queues: Sequence[str]
    state: WorkerReport.State
    slots: int
    memory_bytes: int | None
    running: Sequence[RunningJob]
    age_seconds: float
    """How long ago the worker started."""

    def with_handlers(self, handlers: Mapping[int, str]) -> "Report":
        """Return the report with the handlers of its jobs."""
        return replace(self, running=[replace(run, handler=handlers.get(run.job, "")) for run in self.running])


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker as its last report shows it."""

    row: WorkerReport
    state: str
    silent_seconds: float
    """How long ago it reported."""
    asked_by: str = ""
    """Who has asked it to stop, if somebody has and it has not stopped yet."""

    @property
    def is_there(self) -> bool:
        """Whether it runs, as far as anybody knows."""
        return self.state not in (LOST, State.STOPPED)

    @property
    def may_be_asked_to_stop(self) -> bool:
        return self.state in (State.READY, State.STARTING) and not self.asked_by


@dataclass(frozen=True, slots=True)
class Reporting:
    """A worker that has reported lately and has not stopped."""

    state: str
    queues: Sequence[str]
    slots: int
    busy: int

    def consumes(self, queue: str) -> bool:
        """Tell whether it takes the jobs of a queue; who does takes those of its replay queue as well."""
        return self.state == State.READY and live_queue(queue) in self.queues


# --- The worker's side ------------------------------------------------------------------------------------------------


def handlers_of(jobs: Iterable[int]) -> dict[int, str]:
    """Return the handlers of jobs."""
    return dict(Job.objects.filter(pk__in=list(jobs)).values_list("pk", "handler"))


def write(report: Report) -> None:
    """Write a worker's row anew."""
    row = WorkerReport(
        worker=report.worker,
        release=report.release[:100],
        queues=list(report.queues),
        state=report.state,
        slots=report.slots,
        busy=len(report.running),
        memory_bytes=report.memory_bytes,
        running=[asdict(run) for run in report.running],
        started_at=Now() - timedelta(seconds=report.age_seconds),
        reported_at=Now(),
    )
    WorkerReport.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["worker"], update_fields=list(_REPORTED)
    )


def open_requests(worker: str) -> list[WorkerRequest]:
    """Return what a worker is asked and has not answered, the oldest first."""
    asked = WorkerRequest.objects.filter(worker=worker, answered_at=None).order_by("id")
    return list(asked.filter(asked_at__gte=Now() - timedelta(seconds=REQUEST_SECONDS))[:REQUESTS_AT_ONCE])


def answer(request: WorkerRequest, text: str) -> bool:
    """Write a worker's answer; tell whether it is the first."""
    return bool(WorkerRequest.objects.filter(pk=request.pk, answered_at=None).update(answered_at=Now(), answer=text))


# --- The people's side ------------------------------------------------------------------------------------------------


def known() -> list[Worker]:
    """Return the workers that have reported within a day, those that need a look first; LISTED at most."""
    rows = WorkerReport.objects.annotate(now=Now()).filter(reported_at__gt=Now() - KEPT)
    asked = _stops_asked()
    found = [_worker(row, asked) for row in rows.order_by("-reported_at")[:LISTED]]
    return sorted(found, key=lambda worker: (_ORDER[worker.state], worker.row.worker))


def reporting() -> list[Reporting]:
    """Return the workers that are neither stopped nor lost: every page that asks who consumes a queue asks this."""
    lately = _running().filter(reported_at__gt=_lost_before()).order_by("-reported_at")
    return [Reporting(*row) for row in lately.values_list("state", "queues", "slots", "busy")[:MOST]]


def count_lost() -> int:
    """Count the workers that no longer report, MOST at most."""
    return _running().filter(reported_at__lte=_lost_before())[:MOST].count()


def _running() -> QuerySet[WorkerReport]:
    """Return the rows of workers that have not said that they have stopped."""
    return WorkerReport.objects.exclude(state=State.STOPPED)


def _lost_before() -> Combinable:
    return Now() - timedelta(seconds=LOST_SECONDS)


def _worker(row: Any, asked: Mapping[str, tuple[str, datetime]]) -> Worker:
    silent_seconds = max(0.0, (row.now - row.reported_at).total_seconds())
    is_lost = row.state != State.STOPPED and silent_seconds > LOST_SECONDS
    who, at = asked.get(row.worker, ("", None))
    is_asked = at is not None and at >= row.started_at and row.state != State.STOPPED and not is_lost
    return Worker(
        row=row,
        state=LOST if is_lost else row.state,
        silent_seconds=silent_seconds,
        asked_by=who if is_asked else "",
    )


def _stops_asked() -> dict[str, tuple[str, datetime]]:
    """Return who has asked which worker to stop, and when: what was answered, and what may still be."""
    may_count = Q(answered_at__isnull=False) | Q(asked_at__gte=Now() - timedelta(seconds=REQUEST_SECONDS))
    asked = WorkerRequest.objects.filter(may_count, kind=WorkerRequest.Kind.STOP, asked_at__gte=Now() - KEPT)
    newest = asked.order_by("-asked_at")[: 2 * LISTED].values_list("worker", "asked_by", "asked_at")
    return {worker: (who, at) for worker, who, at in reversed(newest)}


@transaction.atomic
def ask_to_stop(names: Sequence[str], *, who: str, reason: str) -> int:
    """Ask workers to stop after their current jobs, and record it; return how many were asked.

    Those that are lost, that stop already, or that were asked before are left out.
    """
    asked = [one.row.worker for one in known() if one.row.worker in names and one.may_be_asked_to_stop]
    WorkerRequest.objects.bulk_create(
        WorkerRequest(worker=name, kind=WorkerRequest.Kind.STOP, asked_by=who[:150]) for name in asked
    )
    if asked:
        audit.record("stop_workers", who=who, scope=", ".join(asked), reason=reason)
    return len(asked)


def ask_for_stack(job: Job, *, who: str) -> WorkerRequest | None:
    """Ask a running job's worker for its stack. Asked again before the answer, it is the same request.

    None if the job does not run.
    """
    if job.state != JobState.RUNNING or not job.worker:
        return None
    newest = newest_stack(job)
    if newest is not None and is_awaited(newest) and newest.attempt == job.attempt:
        return newest
    return WorkerRequest.objects.create(
        worker=job.worker, kind=WorkerRequest.Kind.STACK, job=job, attempt=job.attempt, asked_by=who[:150]
    )


def newest_stack(job: Job) -> WorkerRequest | None:
    """Return the newest request for a job's stack, or None; with the database's time as `now`."""
    asked = WorkerRequest.objects.filter(job=job, kind=WorkerRequest.Kind.STACK).annotate(now=Now())
    return asked.order_by("-id").first()


def waited_seconds(request: Any) -> float:
    """Return how long ago a request of `newest_stack` was made."""
    waited: timedelta = request.now - request.asked_at
    return waited.total_seconds()


def is_awaited(request: WorkerRequest) -> bool:
    """Tell whether a request of `newest_stack` may still be answered."""
    return request.answered_at is None and waited_seconds(request) < REQUEST_SECONDS


def forget_gone() -> None:
    """Remove what is left of workers that stopped or were lost a day ago, and old requests."""
    WorkerReport.objects.filter(reported_at__lt=Now() - KEPT).delete()
    WorkerRequest.objects.filter(asked_at__lt=Now() - KEPT).delete()
