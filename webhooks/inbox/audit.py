"""Writes down what people change: who, when, what and why."""

from collections.abc import Iterable

from django.db.models import F

from webhooks.models import Change, ChangedJob

ROWS_AT_ONCE = 1_000


def record(action: str, *, who: str, scope: str, reason: str = "", jobs: Iterable[int] = ()) -> Change:
    """Record one change, and the jobs that it changed. Call it in the change's own transaction."""
    changed = list(jobs)
    change = Change.objects.create(
        action=action, who=who[:150], scope=scope[:500], reason=reason[:500], count=len(changed)
    )
    note_jobs(change, changed)
    return change


def extend(change: Change, jobs: Iterable[int]) -> None:
    """Add further jobs to a change, and count them. Call it in the transaction that changes them."""
    changed = list(jobs)
    Change.objects.filter(pk=change.pk).update(count=F("count") + len(changed))
    note_jobs(change, changed)


def note_jobs(change: Change, jobs: Iterable[int]) -> None:
    """Note jobs that a change has changed; it does not count them."""
    rows = (ChangedJob(change=change, job_id=job) for job in jobs)
    ChangedJob.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE)
