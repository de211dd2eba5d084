"""The engine for SQLite: statements through the ORM, each change in one transaction.

They work on every database that Django supports: `tests/inbox/test_engine.py` runs them on PostgreSQL too.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, F, Q, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from webhooks.inbox import api_limits, fair_due
from webhooks.inbox.claimed_job import SMALL_BODY_BYTES, Wanted
from webhooks.inbox.database import skip_locked
from webhooks.inbox.kept_bodies import kept
from webhooks.inbox.new_delivery import JobToPublish, Key, NewDelivery, Stored
from webhooks.inbox.pauses import paused
from webhooks.models import Attempt, Delivery, Job, Payload, Source
from webhooks.replay_queues import replay_queue
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Subscription
from webhooks.traces.context import HEADER

_OF_THE_JOB = (
    *("pk", "handler", "queue", "attempt", "max_attempts", "forgiven", "lost", "budget_from_attempt"),
    *("budget_from_at", "claimed_at", "due_at"),
)
_OF_THE_DELIVERY = (
    *("id", "event", "action", "guid", "hook_id", "repository", "installation_id", "sender", "received_at"),
    "source__name",
)
_CLAIMED: tuple[Any, ...] = (
    *_OF_THE_JOB,
    *(f"delivery__{name}" for name in _OF_THE_DELIVERY),
    KeyTextTransform("Content-Type", "delivery__headers"),
    KeyTextTransform(HEADER, "delivery__headers"),
    "once_key",
    "delivery__body_bytes",
    Case(When(delivery__body_bytes__lte=SMALL_BODY_BYTES, then="delivery__payload__body")),
    *("order_key", "latest_key", "fair_key"),
)
"""The values of a ClaimedJob in its order."""


def insert(deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
    return _insert(deliveries, {new.key: kept(new.body) for new in deliveries})  # Encrypted before others have to wait.


@transaction.atomic
def _insert(deliveries: Sequence[NewDelivery], bodies: Mapping[Key, bytes]) -> list[Stored | None]:
    source_ids = dict(Source.objects.values_list("name", "pk"))
    same_guid = Delivery.objects.filter(guid__in=[new.guid for new in deliveries])
    present = set(same_guid.values_list("source__name", "hook_id", "guid"))
    absent = [new for new in deliveries if new.source in source_ids and new.key not in present]
    rows = Delivery.objects.bulk_create([_row(new, source_ids[new.source]) for new in absent])
    stored = dict(zip((new.key for new in absent), rows, strict=True))
    Payload.objects.bulk_create([Payload(delivery=stored[new.key], body=bodies[new.key]) for new in absent])
    jobs = _insert_jobs([_job(new, stored[new.key], one) for new in absent for one in new.subscriptions])
    return [_stored(stored[new.key], jobs) if new.key in stored else None for new in deliveries]


def _row(new: NewDelivery, source_id: int) -> Delivery:
    return Delivery(
        source_id=source_id,
        hook_id=new.hook_id,
        guid=new.guid,
        event=new.event,
        action=new.action,
        repository=new.repository,
        installation_id=new.installation_id,
        sender=new.sender,
        secret_fingerprint=new.secret_fingerprint,
        headers=dict(new.headers),
        body_bytes=len(new.body),
        redacted=new.redacted,
    )


def _job(new: NewDelivery, row: Delivery, subscription: Subscription) -> Job:
    keys = new.keys_of(subscription)
    return Job(
        delivery=row,
        handler=subscription.name,
        queue=subscription.queue,
        max_attempts=subscription.max_attempts,
        publish_at=None if keys.order else Now(),
        once_key=new.once_key(subscription),
        fair_key=keys.fair,
        order_key=keys.order,
        latest_key=keys.latest,
    )


def _insert_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Insert jobs and return them, without those that another hook's delivery already has."""
    Job.objects.bulk_create([job for job in jobs if job.once_key is None])
    keyed = {job.once_key: job for job in reversed(jobs) if job.once_key is not None}
    taken = set(Job.objects.filter(once_key__in=keyed).values_list("once_key", flat=True))
    Job.objects.bulk_create([job for key, job in keyed.items() if key not in taken])
    return [job for job in jobs if job.pk]


def _stored(row: Delivery, jobs: Sequence[Job]) -> Stored:
    own = tuple(JobToPublish(job.pk, job.handler, job.queue) for job in jobs if job.delivery_id == row.pk)
    return Stored(row.pk, is_duplicate=False, job_count=len(own), to_publish=own)


@transaction.atomic
def exchange(
    changes: Sequence[Mapping[str, Any]], wanted: Wanted | None
) -> tuple[set[tuple[int, int]], list[tuple[Any, ...]]]:
    claimed = _claim(wanted) if wanted else []  # First: as on PostgreSQL, a job recorded here is not claimed here.
    return {(change["job"], change["attempt"]) for change in changes if _record(change)}, claimed


def _record(change: Mapping[str, Any]) -> bool:
    due = None if change["is_final"] else Now() + timedelta(seconds=change["delay"])
    if not Job.objects.filter(pk=change["job"], state=JobState.RUNNING, attempt=change["attempt"]).update(
        state=change["state"],
        lease_until=None,
        due_at=due or F("due_at"),
        publish_at=due and Case(When(order_key=None, then=due)),
        finished_at=Now() if change["is_final"] else None,
        forgiven=F("forgiven") + change["forgives"],
        lost=F("lost") + change["loses"],
        result=change["result"],
        error=change["error"],
        fingerprint=change["fingerprint"],
    ):
        return False
    ended = {
        "finished_at": Now() - timedelta(seconds=change["ended"]),
        **{name: change[name] for name in ("outcome", "message", "traceback")},
    }
    began = {"worker": change["worker"], "pid": change["pid"], "started_at": Now() - timedelta(seconds=change["began"])}
    # It may be there: the release before wrote it at the claim.
    if not Attempt.objects.filter(job_id=change["job"], number=change["attempt"]).update(**ended):
        Attempt.objects.create(job_id=change["job"], number=change["attempt"], **began, **ended)
    return True


def _claim(wanted: Wanted) -> list[tuple[Any, ...]]:
    held = paused()  # In this transaction, which no pause can be committed beside.
    if wanted.queue is not None and held.has_queue(wanted.queue):
        return []
    held_queues = [*held.queues, *map(replay_queue, held.queues)]
    asked = Q(pk=wanted.job_id) & ~Q(queue__in=held_queues) if wanted.queue is None else Q(queue=wanted.queue)
    not_held = Q(handler__in=wanted.leases.keys() - held.handlers)
    admitted = Q(pk__in=held.admitted, handler__in=wanted.leases.keys())
    waiting = Job.objects.filter(asked, not_held | admitted, publish_at__lte=Now()).order_by("publish_at", "id")
    if wanted.api_handlers and not api_limits.put_off(waiting, wanted):
        return []
    due = dict(
        skip_locked(waiting).values_list("pk", "handler")[: wanted.limit]
        if wanted.after is None
        else fair_due.of(waiting, after=wanted.after, limit=wanted.limit)
    )
    for handler in set(due.values()):
        Job.objects.filter(pk__in=[pk for pk, its in due.items() if its == handler]).update(
            state=JobState.RUNNING,
            attempt=F("attempt") + 1,
            publish_at=None,
            worker=wanted.worker,
            claimed_at=Now(),
            started_at=None,
            lease_until=Now() + timedelta(seconds=wanted.leases[handler]),
            budget_from_at=Case(When(attempt=F("budget_from_attempt"), then=Now()), default=F("budget_from_at")),
        )
    rows = {row[0]: row for row in Job.objects.filter(pk__in=due).values_list(*_CLAIMED)}
    return [rows[pk] for pk in due]


@transaction.atomic
def release(jobs: Sequence[tuple[int, int]]) -> int:
    return sum(
        Job.objects.filter(pk=pk, attempt=attempt, state=JobState.RUNNING).update(
            state=JobState.QUEUED,
            started_at=None,
            lease_until=None,
            publish_at=F("due_at"),
            budget_from_attempt=F("budget_from_attempt") + 1,
        )
        for pk, attempt in jobs
    )


def prepare_connection(*, wait_seconds: float) -> None:
    # Wait for another writer a little shorter than the request waits.
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {int(wait_seconds * 900)}")


def limit_lock_wait(*, milliseconds: int) -> None:
    """SQLite has no row locks; `prepare_connection` limits the wait for another writer."""


def commit_without_waiting() -> None:
    """Not possible: every commit of SQLite waits for the disk."""
