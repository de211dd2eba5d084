"""The engine for SQLite. A claim and a record are two statements each, through the ORM, in one transaction.

They work on every database that Django supports: `tests/inbox/test_engine.py` runs them on PostgreSQL too.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, F, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from webhooks.inbox.due import CLAIMABLE, PUBLISH_GRACE
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.models import Attempt, Delivery, Job, Payload, Source
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Subscription

_CLAIMED: tuple[Any, ...] = (
    *("pk", "handler", "attempt", "max_attempts", "forgiven", "lost", "budget_from_attempt", "budget_from_at", Now()),
    *(f"delivery__{name}" for name in ("id", "event", "action", "guid", "hook_id", "repository", "installation_id")),
    *(
        "delivery__sender",
        "delivery__received_at",
        "delivery__source__name",
        KeyTextTransform("Content-Type", "delivery__headers"),
        "once_key",
    ),
)
"""The values of a ClaimedJob in its order."""


@transaction.atomic
def insert(deliveries: Sequence[NewDelivery]) -> list[Stored | None]:
    source_ids = dict(Source.objects.values_list("name", "pk"))
    same_guid = Delivery.objects.filter(guid__in=[new.guid for new in deliveries])
    present = set(same_guid.values_list("source__name", "hook_id", "guid"))
    absent = [new for new in deliveries if new.source in source_ids and new.key not in present]
    rows = Delivery.objects.bulk_create([_row(new, source_ids[new.source]) for new in absent])
    stored = dict(zip((new.key for new in absent), rows, strict=True))
    Payload.objects.bulk_create([Payload(delivery=stored[new.key], body=new.body) for new in absent])
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
    )


def _job(new: NewDelivery, row: Delivery, subscription: Subscription) -> Job:
    return Job(
        delivery=row,
        handler=subscription.name,
        queue=subscription.queue,
        max_attempts=subscription.max_attempts,
        publish_at=Now() + PUBLISH_GRACE,
        once_key=new.once_key(subscription),
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
def claim(job_id: int, *, worker: str, pid: int, lease_seconds: float) -> tuple[Any, ...] | None:
    claimed = Job.objects.filter(CLAIMABLE, pk=job_id).update(
        state=JobState.RUNNING,
        attempt=F("attempt") + 1,
        lease_until=Now() + timedelta(seconds=lease_seconds),
        publish_at=None,
        publications=0,
        budget_from_at=Case(When(attempt=F("budget_from_attempt"), then=Now()), default=F("budget_from_at")),
    )
    if not claimed:
        return None
    row: tuple[Any, ...] = Job.objects.values_list(*_CLAIMED).get(pk=job_id)
    Attempt.objects.create(job_id=job_id, number=row[_CLAIMED.index("attempt")], worker=worker, pid=pid)
    return row


@transaction.atomic
def record(change: Mapping[str, Any]) -> bool:
    due = None if change["is_final"] else Now() + change["delay"]
    if not Job.objects.filter(pk=change["job"], state=JobState.RUNNING, attempt=change["attempt"]).update(
        state=change["state"],
        lease_until=None,
        due_at=due or F("due_at"),
        publish_at=due,
        finished_at=Now() if change["is_final"] else None,
        forgiven=F("forgiven") + change["forgives"],
        lost=F("lost") + change["loses"],
        result=change["result"],
        error=change["error"],
        fingerprint=change["fingerprint"],
    ):
        return False
    Attempt.objects.filter(job_id=change["job"], number=change["attempt"]).update(
        finished_at=Now(),
        outcome=change["outcome"],
        message=change["message"],
        traceback=change["traceback"],
    )
    return True


def prepare_connection(*, wait_seconds: float) -> None:
    # Wait for another writer a little shorter than the request waits.
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {int(wait_seconds * 900)}")


def limit_lock_wait(*, milliseconds: int) -> None:
    """SQLite has no row locks; `prepare_connection` limits the wait for another writer."""


def commit_without_waiting() -> None:
    """Not possible: every commit of SQLite waits for the disk."""
