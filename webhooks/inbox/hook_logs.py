"""How long ago each source's logs at GitHub were read completely. A row for each hook: few."""

from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Max
from django.db.models.functions import Coalesce, Now

from webhooks.models import HookLog


def incomplete_seconds() -> dict[str, float]:
    """Return for each source whose logs are read since when, for the hook that was not for longest."""
    since = Coalesce("completed_at", "created_at")
    age = ExpressionWrapper(Now() - F("since"), output_field=DurationField())
    rows = HookLog.objects.annotate(since=since).annotate(age=age).values("source").annotate(longest=Max("age"))
    return {row["source"]: max(0.0, row["longest"] / timedelta(seconds=1)) for row in rows}
