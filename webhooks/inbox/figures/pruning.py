"""Which figures are old. `webhooks/inbox/retention.py` removes them, and says when."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Model

from webhooks.inbox.app_rows import OldRows
from webhooks.models import AnswerMinute, FigureHour, FigureMark, FigureMinute, QueueMinute

ROWS = 1_000


def old_figures(*, minutes_before: datetime, hours_before: datetime) -> Iterator[OldRows]:
    """Yield the rows of minutes and hours that began before these moments, in batches, the oldest first.

    Minutes of which no hour is made yet stay: the relays may have been away for days.
    """
    hours_until = FigureMark.objects.values_list("hours_until", flat=True).first()
    minutes_before = min(minutes_before, hours_until or minutes_before)
    for model in (FigureMinute, AnswerMinute, QueueMinute):
        yield from _before(model, minutes_before)
    yield from _before(FigureHour, hours_before)


def _before(model: type[Model], before: datetime) -> Iterator[OldRows]:
    """Yield a model's old rows along (at, id), for which its unique constraint is an index on the first."""
    rows = model._default_manager.filter(at__lt=before).order_by("at", "pk")
    last: tuple[datetime, int] | None = None
    while True:
        left = rows if last is None else rows.filter(at__gte=last[0]).exclude(at=last[0], pk__lte=last[1])
        read = list(left.values_list("at", "pk")[:ROWS])
        if not read:
            return
        last = read[-1]
        yield OldRows(model._default_manager.filter(pk__in=[pk for _, pk in read]), last[0])
