"""What is kept of GitHub's logs: how long ago each was read completely, and when old passes over them are removed."""

from datetime import datetime, timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Max
from django.db.models.functions import Coalesce, Now

from webhooks.models import HookLog, LogPass, MissedDelivery

BATCH = 200


def incomplete_seconds() -> dict[str, float]:
    """Return how long ago the logs of each source were read completely: of its hooks, the longest. A row for each."""
    since = Coalesce("completed_at", "created_at")
    age = ExpressionWrapper(Now() - F("since"), output_field=DurationField())
    rows = HookLog.objects.annotate(since=since).annotate(age=age).values("source").annotate(longest=Max("age"))
    return {row["source"]: max(0.0, row["longest"] / timedelta(seconds=1)) for row in rows}


def forget_old(before: datetime) -> None:
    """Remove the passes that ended, and the missed deliveries that were found, before a moment. In batches."""
    passes = LogPass.objects.filter(started_at__lt=before, finished_at__isnull=False).order_by("started_at", "pk")
    missed = MissedDelivery.objects.filter(found_at__lt=before).order_by("found_at", "pk")
    for rows in (passes, missed):
        while ids := list(rows.values_list("pk", flat=True)[:BATCH]):
            rows.model._default_manager.filter(pk__in=ids).delete()
