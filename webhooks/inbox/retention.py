"""What is removed from the inbox, and when: payloads first, later the whole delivery with its jobs and attempts.
Rows that apps have named are removed at the same age (app_rows.py), and so are replays that have ended. Figures of
minutes are kept for two days, those of hours as long as dead jobs.

A delivery is removed if it was received, and last repeated, before the limit, and if all its jobs are final and ended
before the limit. For a job that was run again, its last end counts. A dead job keeps its delivery and the payload
longer: without the payload the job could not run again. A job that is queued, running or retrying keeps both.

Pruning works in batches while receivers, relays and workers run, and several processes may prune at once. A batch is
read without locks. The rows that may be removed are then locked, except those that another process has locked; they are
read once more and deleted.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import Error, transaction
from django.db.models import Q, QuerySet

from webhooks.inbox import app_rows, database, hook_logs, workers
from webhooks.inbox.database import skip_locked
from webhooks.inbox.figures.pruning import old_figures
from webhooks.inbox.replays import pruning
from webhooks.models import Attempt, ChangedJob, Delivery, Job, Payload, Pull, Recovery, ReplayItem, WorkerRequest
from webhooks.outage_log import OutageLog
from webhooks.states import JobState

BATCH = 200
"""Deliveries in a batch. It takes some 50 ms, for which a redelivery of one of them would wait."""
BATCH_BYTES = 32 * 1024 * 1024
PASS_SECONDS = 3600.0
"""Pause of the relay between two passes."""
STEP_SECONDS = 1.0
AGAIN_SECONDS = 60.0
"""Pause after a database error."""
FIRST_WITHIN_SECONDS = 60.0
KEEP_MINUTES = timedelta(days=2)
DONE = (JobState.SUCCEEDED, JobState.SKIPPED)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Rows that ended before these moments, by the database's clock, may be removed."""

    payloads: datetime
    deliveries: datetime
    dead: datetime
    minutes: datetime
    """For the figures by minute; those by hour go with dead jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much was removed."""

    deliveries: int = 0
    jobs: int = 0
    attempts: int = 0
    payloads: int = 0
    app_rows: int = 0
    replays: int = 0
    figures: int = 0

    def __add__(self, other: "Pruned") -> "Pruned":
        return Pruned(
            deliveries=self.deliveries + other.deliveries,
            jobs=self.jobs + other.jobs,
            attempts=self.attempts + other.attempts,
            payloads=self.payloads + other.payloads,
            app_rows=self.app_rows + other.app_rows,
            replays=self.replays + other.replays,
            figures=self.figures + other.figures,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch removed, and when the last delivery that it read was received."""

    pruned: Pruned
    reached: datetime


def current_limits() -> Limits | None:
    """Return the limits as of now, or None if nothing was ever received."""
    now = database.database_time()
    if now is None:
        return None
    return Limits(
        payloads=now - timedelta(days=settings.HOOKLINE_KEEP_PAYLOADS_DAYS),
        deliveries=now - timedelta(days=settings.HOOKLINE_KEEP_DAYS),
        dead=now - timedelta(days=settings.HOOKLINE_KEEP_DEAD_DAYS),
        minutes=now - KEEP_MINUTES,
    )


def prune(limits: Limits, *, batch: int = BATCH, is_dry_run: bool = False) -> Iterator[Batch]:
    """Remove everything that may be removed, and yield after each batch, when no transaction is open.

    A dry run removes nothing; it yields what would be removed. What gone workers have left, and old passes
    over GitHub's logs, are not counted.
    """
    if not is_dry_run:
        workers.forget_gone()
        hook_logs.forget_old(limits.deliveries)
    yield from prune_deliveries(limits, batch=batch, is_dry_run=is_dry_run)
    yield from prune_payloads(limits, batch=batch, is_dry_run=is_dry_run)
    yield from prune_app_rows(limits, batch=batch, is_dry_run=is_dry_run)
    yield from prune_replays(limits, batch=batch, is_dry_run=is_dry_run)
    yield from prune_figures(limits, is_dry_run=is_dry_run)


def prune_deliveries(limits: Limits, *, batch: int = BATCH, is_dry_run: bool = False) -> Iterator[Batch]:
    """Remove deliveries with their jobs, attempts and payloads, as `prune` does."""
    for received in _old(_deliveries, limits.deliveries, batch):
        yield Batch(_prune_deliveries(received, limits, is_dry_run=is_dry_run), received[-1].at)


def prune_payloads(limits: Limits, *, batch: int = BATCH, is_dry_run: bool = False) -> Iterator[Batch]:
    """Remove the payloads of deliveries that stay, as `prune` does."""
    for received in _old(_deliveries_with_payload, limits.payloads, batch):
        yield Batch(_prune_payloads(received, limits, is_dry_run=is_dry_run), received[-1].at)


def prune_app_rows(limits: Limits, *, batch: int = BATCH, is_dry_run: bool = False) -> Iterator[Batch]:
    """Remove the rows that apps have named and that are as old as the deliveries removed, as `prune` does."""
    for old in app_rows.old_rows(limits.deliveries, batch=batch):
        yield Batch(Pruned(app_rows=old.rows.count() if is_dry_run else _delete(old.rows)), old.reached)


def prune_replays(limits: Limits, *, batch: int = BATCH, is_dry_run: bool = False) -> Iterator[Batch]:
    """Remove the replays that ended before the limit of deliveries, as `prune` does. One with jobs that run stays."""
    for ids, reached in pruning.ended_replays(limits.deliveries, batch=batch):
        yield Batch(Pruned(replays=len(ids) if is_dry_run else pruning.remove(ids)), reached)


def prune_figures(limits: Limits, *, is_dry_run: bool = False) -> Iterator[Batch]:
    """Remove the figures of minutes and hours that are old, as `prune` does."""
    for old in old_figures(minutes_before=limits.minutes, hours_before=limits.dead):
        yield Batch(Pruned(figures=old.rows.count() if is_dry_run else _delete(old.rows)), old.reached)


class Received(NamedTuple):
    """What `_old` reads of a delivery."""

    pk: int
    at: datetime
    last_repeat_at: datetime | None
    body_bytes: int


def _old(read: Callable[[int, int], list[Received]], before: datetime, batch: int) -> Iterator[list[Received]]:
    """Yield the deliveries that were received before a moment, in batches.

    They are read along the primary key, which grows with the time of receipt. Each row is read once: the next batch
    begins after the last row of this one, whether its rows were kept or deleted.
    """
    last = 0
    while received := read(last, batch):
        last = received[-1].pk
        old = [delivery for delivery in received if delivery.at < before]
        if not old:
            return
        yield from _parts(old)


def _deliveries(after: int, limit: int) -> list[Received]:
    return _read(Delivery.objects.filter(pk__gt=after).order_by("pk")[:limit])


def _deliveries_with_payload(after: int, limit: int) -> list[Received]:
    with_payload = Payload.objects.filter(pk__gt=after).order_by("pk").values("pk")[:limit]
    return _read(Delivery.objects.filter(pk__in=with_payload).order_by("pk"))


def _read(deliveries: QuerySet[Delivery]) -> list[Received]:
    return [Received(*row) for row in deliveries.values_list("pk", "received_at", "last_repeat_at", "body_bytes")]


def _parts(received: Sequence[Received]) -> Iterator[list[Received]]:
    """Divide a batch whose payloads are large: PostgreSQL stores them in pieces of 2 kB, and deletes each piece."""
    part: list[Received] = []
    part_bytes = 0
    for delivery in received:
        part.append(delivery)
        part_bytes += delivery.body_bytes
        if part_bytes >= BATCH_BYTES:
            yield part
            part, part_bytes = [], 0
    if part:
        yield part


def _prune_deliveries(received: Sequence[Received], limits: Limits, *, is_dry_run: bool) -> Pruned:
    going = _deliveries_to_go(received, limits)
    if is_dry_run or not going:
        return _counted(going)
    with transaction.atomic():
        # Lock the delivery before its jobs, as a redelivery does: with the same order there is no deadlock.
        quiet = Q(last_repeat_at=None) | Q(last_repeat_at__lt=limits.deliveries)
        locked = skip_locked(Delivery.objects.filter(quiet, pk__in=going)).only("pk")
        going, jobs = _lock_jobs([delivery.pk for delivery in locked], _job_goes_with_delivery(limits))
        # The audit log keeps what people did to the jobs, without the jobs.
        for rows in (ReplayItem, ChangedJob, WorkerRequest):
            _delete(rows._default_manager.filter(job_id__in=jobs))
        _delete(Recovery.objects.filter(pk__in=going))
        _delete(Pull.objects.filter(pk__in=going))
        return Pruned(
            attempts=_delete(Attempt.objects.filter(job_id__in=jobs)),
            jobs=_delete(Job.objects.filter(pk__in=jobs)),
            payloads=_delete(Payload.objects.filter(pk__in=going)),
            deliveries=_delete(Delivery.objects.filter(pk__in=going)),
        )


def _prune_payloads(received: Sequence[Received], limits: Limits, *, is_dry_run: bool) -> Pruned:
    job_may_go = Q(state__in=DONE, finished_at__lt=limits.payloads)
    going = _without_other_jobs([delivery.pk for delivery in received], job_may_go)
    if is_dry_run:
        return Pruned(payloads=len(set(going) - set(_deliveries_to_go(received, limits))))
    if not going:
        return Pruned()
    with transaction.atomic():
        going, _ = _lock_jobs(going, job_may_go)
        return Pruned(payloads=_delete(Payload.objects.filter(pk__in=going)))


def _job_goes_with_delivery(limits: Limits) -> Q:
    return Q(state__in=DONE, finished_at__lt=limits.deliveries) | Q(state=JobState.DEAD, finished_at__lt=limits.dead)


def _deliveries_to_go(received: Sequence[Received], limits: Limits) -> list[int]:
    # GitHub redelivers for some days after the last time that the delivery came, which may be a redelivery.
    quiet = [
        delivery.pk
        for delivery in received
        if max(delivery.at, delivery.last_repeat_at or delivery.at) < limits.deliveries
    ]
    return _without_other_jobs(quiet, _job_goes_with_delivery(limits))


def _without_other_jobs(ids: Sequence[int], job_may_go: Q) -> list[int]:
    """Return the deliveries of which every job may be removed."""
    held = set(Job.objects.filter(delivery_id__in=ids).exclude(job_may_go).values_list("delivery_id", flat=True))
    return [pk for pk in ids if pk not in held]


def _lock_jobs(ids: Sequence[int], job_may_go: Q) -> tuple[list[int], list[int]]:
    """Lock those jobs of the deliveries that may be removed. Return the deliveries whose jobs are now all locked, and
    their jobs.

    The jobs are checked under the lock, since an operator may just have said "run again".
    """
    locked = {job.pk for job in skip_locked(Job.objects.filter(job_may_go, delivery_id__in=ids)).only("pk")}
    jobs = list(Job.objects.filter(delivery_id__in=ids).values_list("pk", "delivery_id"))
    held = {delivery_id for pk, delivery_id in jobs if pk not in locked}
    going = [pk for pk in ids if pk not in held]
    return going, [pk for pk, delivery_id in jobs if delivery_id not in held]


def _delete(rows: QuerySet[Any]) -> int:
    # Django's own delete() would read every row once more, and delete a hundred at a time.
    return rows._raw_delete(using=rows.db) or 0


def _counted(ids: Sequence[int]) -> Pruned:
    if not ids:
        return Pruned()
    return Pruned(
        deliveries=len(ids),
        jobs=Job.objects.filter(delivery_id__in=ids).count(),
        attempts=Attempt.objects.filter(job__delivery_id__in=ids).count(),
        payloads=Payload.objects.filter(pk__in=ids).count(),
    )


class Schedule:
    """Prunes between other work: at most one batch a second, and an hour's pause after each pass."""

    def __init__(self) -> None:
        self._batches: Iterator[Batch] | None = None
        self._pruned = Pruned()
        self._failures = OutageLog(logger, "pruning failed")
        # Relays that start together should not prune at the same moments.
        self._next_at = time.monotonic() + random.uniform(0, FIRST_WITHIN_SECONDS)  # noqa: S311

    def step(self) -> None:
        """Remove a batch if it is time for one. An error of the database ends the pass; a new pass begins later."""
        if time.monotonic() < self._next_at:
            return
        try:
            pause_seconds = PASS_SECONDS if self._take_batch() else None
        except Error as error:
            database.drop()
            self._failures.failed(f"the database {database.reason(error)}")
            pause_seconds = AGAIN_SECONDS
        if pause_seconds is not None:
            logger.info("pruned", extra=asdict(self._pruned))
            self._batches, self._pruned = None, Pruned()
        self._next_at = time.monotonic() + (pause_seconds or STEP_SECONDS)

    def _take_batch(self) -> bool:
        """Remove the next batch, in a new pass if none has begun; tell whether the pass is over."""
        if self._batches is None:
            limits = current_limits()
            if limits is None:
                return True
            self._batches = prune(limits)
        batch = next(self._batches, None)
        if batch is None:
            return True
        self._pruned += batch.pruned
        return False
