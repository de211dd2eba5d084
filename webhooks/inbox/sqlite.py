"""The engine for SQLite. A claim and a record are two statements each, through the ORM, in one transaction.

They work on every database that Django supports: `tests/inbox/test_engine.py` runs them on PostgreSQL too.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, F, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from webhooks.inbox.due import CLAIMABLE
from webhooks.models import Attempt, Job
from webhooks.states import JobState

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
